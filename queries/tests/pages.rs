//! Long answers in pages, and answers beside those of the range before.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[allow(dead_code, reason = "shared with tests that need more of it")]
mod lake;

use clickhouse::Client;
use lake::{Api, Lake, run};
use serde_json::{Value, json};
use shardlake_queries::Catalogue;

/// Commands 0 to 22 in the last half an hour, each used once more than the one before.
const COMMANDS: &str = "arrayJoin(range(300, 360 + 60 * number, 60)) FROM numbers(23)";

/// The rarest of them, a thousand times at once.
const RARE_COMMAND: &str = "0 FROM (SELECT 0 AS number FROM numbers(1000))";

/// Inserts interactions with the command `number`, `seconds_ago FROM …`.
async fn use_commands(admin: &Client, commands: &str) {
    let (seconds_ago, from) = commands.split_once(" FROM ").unwrap();
    let sql = format!(
        "INSERT INTO interactions (cluster, boot, batch, time, shards_total, type, command, outcome, error_type, locale, context)
         SELECT '0', 1, 1, now64(3) - toIntervalSecond({seconds_ago}), 1, 'application_command',
            concat('command ', toString(number)), 'success', '', 'en-GB', 'guild'
         FROM {from}"
    );
    run(admin, &sql).await;
}

fn rows(answer: &Value) -> Vec<Value> {
    answer["rows"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_make_the_whole_answer() {
    let lake = Lake::start(["lake"]).await;
    let admin = lake.with_schema("lake").await;
    use_commands(&admin, COMMANDS).await;
    let api = lake.api("lake", Catalogue::builtin()).await;
    for range in ["from=-5h&to=now", "from=-7h&to=-2m"] {
        let whole = api.answer("commands/top", &format!("{range}&limit=1000")).await;
        assert_eq!((rows(&whole).len(), &whole["meta"]["limited"]), (23, &json!(false)));

        let mut page = api.answer("commands/top", &format!("{range}&limit=5")).await;
        // The next page is of the same range, not of one that ends now: the rarest command does not become the first.
        use_commands(&admin, RARE_COMMAND).await;
        let mut walked = rows(&page);
        let mut pages = 1;
        while let Some(cursor) = page["meta"]["next_cursor"].as_str() {
            assert_eq!((rows(&page).len(), &page["meta"]["limited"]), (5, &json!(true)));
            let table = page["meta"]["table"].clone();
            page = api.answer("commands/top", &format!("{range}&limit=5&cursor={cursor}")).await;
            assert_eq!(table, page["meta"]["table"]);
            walked.extend(rows(&page));
            pages += 1;
        }
        assert_eq!((pages, &page["meta"]["limited"]), (5, &json!(false)), "{range}");
        assert_eq!(walked, rows(&whole), "{range}");
    }

    for (limit, limited) in [(22, true), (23, false), (24, false), (100_000, false)] {
        let answer = api.answer("commands/top", &format!("from=-5h&limit={limit}")).await;
        assert_eq!(answer["meta"]["limited"], limited, "{limit} of 23");
        assert_eq!(answer["meta"]["next_cursor"].is_string(), limited);
    }
    let unlimited = api.answer("interactions/by_cluster", "").await;
    assert_eq!((&unlimited["meta"]["limited"], &unlimited["meta"]["next_cursor"]), (&json!(false), &Value::Null));
    api.stop().await;
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_series_is_announced_too() {
    let lake = Lake::start(["lake"]).await;
    let admin = lake.with_schema("lake").await;
    let samples = "INSERT INTO samples (cluster, boot, batch, time, name, kind, labels, value)
        SELECT '0', 1, 1, toDateTime64('2025-01-01 00:00:00', 3, 'UTC') + 30 * intDiv(number, 3), 'discord_shard_latency_seconds', 'gauge',
            map('shard', toString(number % 3)), 0.1 * (1 + number % 3) FROM numbers(30)";
    run(&admin, samples).await;
    let api = lake.api("lake", Catalogue::builtin()).await;
    let range = "from=2025-01-01T00:00:00Z&to=2025-01-01T00:05:00Z&limit=2";
    let first = api.answer("shards/latency", range).await;
    let shards = |answer: &Value| {
        let mut shards: Vec<String> =
            rows(answer).iter().map(|row| row["shard"].as_str().unwrap().to_owned()).collect();
        shards.sort();
        shards.dedup();
        shards
    };
    assert_eq!((shards(&first), &first["meta"]["limited"]), (vec!["1".to_owned(), "2".to_owned()], &json!(true)));
    let cursor = first["meta"]["next_cursor"].as_str().unwrap();
    let second = api.answer("shards/latency", &format!("{range}&cursor={cursor}")).await;
    assert_eq!((shards(&second), &second["meta"]["limited"]), (vec!["0".to_owned()], &json!(false)));
    let (status, reply) = api.json(&format!("/v1/shards/timeline?{range}&cursor={cursor}")).await;
    assert_eq!((status, &reply["error"]["parameter"]), (400, &json!("cursor")));
    api.stop().await;
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_range_before_stands_beside_the_one_asked_about() {
    let lake = Lake::start(["lake"]).await;
    let admin = lake.with_schema("lake").await;
    // An interaction each minute of two days in Berlin, of 24 and of 25 hours.
    let minutes = "INSERT INTO interactions (cluster, boot, batch, time, shards_total, type, command, outcome, error_type, locale, context)
        SELECT '0', 1, 1, toDateTime64('2025-10-24 22:00:00', 3, 'UTC') + 60 * number, 1, 'component', 'vote', 'success', '', 'en-GB', 'guild'
        FROM numbers(49 * 60)";
    run(&admin, minutes).await;
    let api = lake.api("lake", Catalogue::builtin()).await;
    check_days(&api, "1h", 25, 24).await;
    check_days(&api, "1d", 1, 1).await;

    let answer =
        api.answer("interactions/by_cluster", "from=2025-10-25T12:00&to=2025-10-25T12:30&compare=previous").await;
    let previous = &answer["previous"];
    assert_eq!((&answer["rows"][0]["interactions"], &previous["rows"][0]["interactions"]), (&json!(30), &json!(30)));
    assert_eq!(previous["meta"]["from"], "2025-10-25T11:30:00.000Z");
    assert_eq!(previous["meta"]["complete"], true);
    let answer = api.answer("interactions/by_cluster", "from=2025-10-25&to=2025-10-26&compare=").await;
    assert!(answer.get("previous").is_none());
    let (status, reply) = api.json("/v1/interactions/by_cluster?from=1&to=now&compare=previous").await;
    assert_eq!(status, 400, "{reply}");
    let (status, reply) = api.json("/v1/interactions/by_cluster?from=0&to=now&compare=previous").await;
    assert_eq!((status, &reply["error"]["parameter"]), (400, &json!("compare")));
    let (status, reply) = api.json("/v1/interactions/by_cluster?compare=last").await;
    assert_eq!((status, &reply["error"]["parameter"]), (400, &json!("compare")));
    api.stop().await;
    lake.stop().await;
}

async fn check_days(api: &Api, step: &str, buckets: usize, buckets_before: usize) {
    let query = format!("from=2025-10-26&to=2025-10-27&tz=Europe/Berlin&step={step}&compare=previous");
    let answer = api.answer("interactions/volume", &query).await;
    let sum = |rows: &[Value]| rows.iter().map(|row| row["interactions"].as_u64().unwrap()).sum::<u64>();
    let (now, before) = (rows(&answer), rows(&answer["previous"]));
    assert_eq!((now.len(), sum(&now)), (buckets, 25 * 60), "{step}");
    assert_eq!((before.len(), sum(&before)), (buckets_before, 24 * 60), "{step}");
    assert_eq!(before[0]["time"], "2025-10-25T00:00:00.000+02:00");
    let meta = &answer["previous"]["meta"];
    assert_eq!(
        (&meta["from"], &meta["to"]),
        (&json!("2025-10-25T00:00:00.000+02:00"), &json!("2025-10-26T00:00:00.000+02:00"))
    );
    assert_eq!((&meta["time_zone"], &meta["step"]), (&json!("Europe/Berlin"), &json!(step)));
}
