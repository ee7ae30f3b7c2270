//! The service on a real ClickHouse: what an answer says about its data, what a mistake is told, and what a client that
//! leaves costs.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod lake;

use std::{
    fs,
    time::{Duration, Instant},
};

use lake::{Api, Lake, insert, run};
use serde_json::{Value, json};
use shardlake_embedded::User;
use shardlake_queries::Catalogue;
use tokio::io::AsyncReadExt as _;

/// 2025-01-01T00:00:00Z in milliseconds: when the fixtures' processes start.
const START_MS: i64 = 1_735_689_600_000;

/// The five minutes in which the fixtures' rows lie.
const RANGE: &str = "from=2025-01-01T00:00:00Z&to=2025-01-01T00:05:00Z";

/// A boot that began when the fixtures do; `random` tells boots apart.
fn boot(random: i64) -> i64 {
    ((START_MS - 1_420_070_400_000) << 22) + random
}

/// One interaction in batch `batch`, `second` seconds after the start.
fn interaction(cluster: &str, batch: u64, second: i64) -> Value {
    let time = START_MS + 1000 * second;
    json!({"cluster": cluster, "boot": boot(0), "batch": batch, "time": time, "id_low": batch, "shards_total": 1,
        "type": "application_command", "command": "play", "outcome": "success"})
}

/// A catalogue with the questions `mine/<name>` beside ours: the SQL below a header that declares the column `n`.
fn catalogue_with(questions: &[(&str, &str)]) -> Catalogue {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("mine")).unwrap();
    for (name, sql) in questions {
        let header = "-- title: T\n-- description: D\n-- panel: table\n-- table: interactions\n-- column: n count N\n";
        fs::write(folder.path().join(format!("mine/{name}.sql")), format!("{header}{sql}\n")).unwrap();
    }
    Catalogue::builtin().with_folder(folder.path()).unwrap()
}

/// Repeats `check` until it is true. Only a failure waits for the deadline, which comes before ClickHouse's own limit on time
/// would end a query.
async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !check().await {
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A service that has kept no answer from before.
async fn another(api: Api, lake: &Lake) -> Api {
    api.stop().await;
    lake.api("lake", Catalogue::builtin()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_batch_is_named() {
    let lake = Lake::start(["lake"]).await;
    let admin = lake.with_schema("lake").await;
    let rows: Vec<Value> = (1..=6).map(|batch| interaction("0", batch, 40 * batch.cast_signed())).collect();
    insert(&admin, "interactions", &rows).await;
    insert(&admin, "interactions", &[interaction("1", 1, 10)]).await;
    let api = lake.api("lake", Catalogue::builtin()).await;

    let whole = api.answer("interactions/by_cluster", RANGE).await;
    assert_eq!((&whole["meta"]["complete"], &whole["meta"]["gaps"]), (&json!(true), &json!([])));

    run(&admin, "DELETE FROM batches WHERE cluster = '0' AND batch IN (3, 4)").await;
    let api = another(api, &lake).await;
    let holed = api.answer("interactions/by_cluster", RANGE).await;
    let gap = json!({"cluster": "0", "boot": boot(0).to_string(), "table": "interactions", "first_batch": 3, "last_batch": 4,
        "missing": 2});
    assert_eq!(holed["meta"]["complete"], false);
    assert_eq!((&holed["meta"]["gaps"], &holed["meta"]["missing_batches"]), (&json!([gap]), &json!(2)));

    // Whom and what it concerns: this cluster, this table, times near the hole.
    for (question, query, complete) in [
        ("interactions/by_cluster", format!("{RANGE}&cluster=1"), true),
        ("interactions/by_cluster", format!("{RANGE}&cluster=0"), false),
        ("gateway/throughput", RANGE.to_owned(), true),
        ("pipeline/freshness", RANGE.to_owned(), false),
        ("interactions/by_cluster", "from=2025-01-01T00:02:10Z&to=2025-01-01T00:02:11Z".to_owned(), false),
        ("interactions/by_cluster", "from=2024-12-31T20:00:00Z&to=2024-12-31T23:00:00Z".to_owned(), true),
        ("interactions/by_cluster", "from=2025-01-01T01:00:00Z&to=2025-01-01T02:00:00Z".to_owned(), true),
    ] {
        let answer = api.answer(question, &query).await;
        assert_eq!(answer["meta"]["complete"], complete, "{question}?{query}: {:#}", answer["meta"]);
    }

    // The first batch of a boot can be missed too; the last one cannot.
    run(&admin, "DELETE FROM batches WHERE cluster = '0' AND batch IN (1, 6)").await;
    let api = another(api, &lake).await;
    let holed = api.answer("interactions/by_cluster", RANGE).await;
    assert_eq!(holed["meta"]["missing_batches"], 3);
    assert_eq!(holed["meta"]["gaps"][0]["first_batch"], 1);
    api.stop().await;
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_behind_is_told_from_a_quiet_one() {
    let lake = Lake::start(["lake"]).await;
    let admin = lake.with_schema("lake").await;
    let batch = |cluster: &str, table: &str, batch: u64, second: i64| {
        let time = START_MS + 1000 * second;
        json!({"cluster": cluster, "boot": boot(0), "table": table, "batch": batch, "rows": 1, "first_time": time,
            "last_time": time, "landed_at": time + 500})
    };
    // `quiet` has no interactions but samples to the end; `cut` has stopped landing anything after a minute.
    let batches =
        [batch("quiet", "samples", 1, 299), batch("cut", "samples", 1, 60), batch("cut", "interactions", 1, 55)];
    insert(&admin, "batches", &batches).await;
    // `done` stopped in order after two minutes.
    let at = |second: i64| START_MS + 1000 * second;
    let done = json!({"cluster": "done", "boot": boot(1), "batch": 1, "time": at(0), "last_seen_at": at(120),
        "stopped_at": at(120)});
    insert(&admin, "processes", &[done]).await;
    run(&admin, "ALTER TABLE batches DELETE WHERE table = 'processes' SETTINGS mutations_sync = 1").await;

    let api = lake.api("lake", Catalogue::builtin()).await;
    let answer = api.answer("interactions/by_cluster", RANGE).await;
    let freshness = json!([
        {"cluster": "cut", "newest_landed_at": "2025-01-01T00:01:00.500Z", "newest_in_table_at": "2025-01-01T00:00:55.500Z",
            "behind_ms": 239_500},
        {"cluster": "done", "newest_landed_at": "2025-01-01T00:02:00.000Z", "newest_in_table_at": null, "behind_ms": 0},
        {"cluster": "quiet", "newest_landed_at": "2025-01-01T00:04:59.500Z", "newest_in_table_at": null, "behind_ms": 500},
    ]);
    assert_eq!(answer["meta"]["freshness"], freshness);
    assert_eq!(answer["meta"]["from"], "2025-01-01T00:00:00.000Z");
    assert_eq!(answer["meta"]["time_zone"], "UTC");

    let one = api.answer("interactions/by_cluster", &format!("{RANGE}&cluster=quiet")).await;
    assert_eq!(one["meta"]["freshness"].as_array().unwrap().len(), 1);

    // A format without a place for it says who is furthest behind, in its head.
    let mut csv = String::new();
    let path = format!("/v1/interactions/by_cluster.csv?{RANGE}");
    api.request(&path).await.read_to_string(&mut csv).await.unwrap();
    assert!(csv.contains("shardlake-behind-ms: 239500\r\n"), "{csv}");
    api.stop().await;
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_is_told_what_would_be_right() {
    // No ClickHouse is asked: its address is a port that nobody listens on.
    let nowhere = clickhouse::Client::default().with_url("http://127.0.0.1:9");
    let api = Api::start(nowhere, Catalogue::builtin()).await;
    for (path, parameter, words) in [
        ("interactions/volume?from=yesterday", "from", "ISO 8601"),
        ("interactions/volume?to=2026-02-30", "to", "ISO 8601"),
        ("interactions/volume?from=now&to=-1h", "from", "before `to`"),
        ("interactions/volume?step=often", "step", "30s, 5m, 1h"),
        ("interactions/volume?from=-30d&step=1", "step", "at least 1296s"),
        ("gateway/throughput?step=1", "step", "at least 10s"),
        ("gateway/throughput?step=15", "step", "a multiple of 10s, such as 20s"),
        ("interactions/volume?shard=0,x", "shard", "65535"),
        ("interactions/volume?shard=65536", "shard", "65535"),
        ("interactions/volume?cluster=0,,1", "cluster", "a,b"),
        ("commands/top?limit=-1", "limit", "4294967295"),
        ("commands/top?limit=0", "limit", "1 to 100000"),
        ("commands/top?limit=5&limit=6", "limit", "once"),
        ("clusters/list?silent_after_s=1.5", "silent_after_s", "whole number"),
    ] {
        let (status, reply) = api.json(&format!("/v1/{path}")).await;
        let error = &reply["error"];
        assert_eq!(
            (status, &error["code"], &error["parameter"]),
            (400, &json!("bad_parameter"), &json!(parameter)),
            "{path}: {reply}"
        );
        assert!(error["expected"].as_str().unwrap().contains(words), "{path}: {reply}");
        assert!(!error["message"].as_str().unwrap().is_empty());
    }

    let (status, reply) = api.json("/v1/interactions/volume?clusters=0").await;
    assert_eq!((status, &reply["error"]["code"]), (400, &json!("unknown_parameter")));
    assert_eq!(reply["error"]["nearest"][0], "cluster");
    let (status, reply) = api.json("/v1/interaction/by_clusters").await;
    assert_eq!((status, &reply["error"]["code"]), (404, &json!("unknown_question")));
    assert_eq!(reply["error"]["nearest"][0], "interactions/by_cluster");
    assert_eq!(api.json("/v2").await.0, 404);
    assert_eq!(api.json("/v1/%FF/%FE").await.0, 404);

    let (status, reply) = api.json("/v1/clusters/list").await;
    assert_eq!((status, &reply["error"]["code"]), (503, &json!("clickhouse_unreachable")));
    assert_eq!(api.json("/readyz").await.0, 503);
    assert_eq!(api.text("/healthz").await, (200, "ok\n".to_owned()));

    let metrics = api.text("/metrics").await.1;
    for series in [
        r#"shardlake_queries_requests_total{question="interactions/volume",status="400"} 9"#,
        r#"shardlake_queries_requests_total{question="(unknown)",status="404"} 2"#,
        r#"shardlake_queries_requests_total{question="clusters/list",status="503"} 1"#,
        "shardlake_queries_in_flight 0",
    ] {
        assert!(metrics.contains(series), "{series} is not in\n{metrics}");
    }
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_means_clickhouse_with_every_table() {
    let lake = Lake::start(["lake"]).await;
    run(&lake.client(User::Admin, "system"), "CREATE DATABASE lake").await;
    let api = lake.api("lake", Catalogue::builtin()).await;
    let (status, reply) = api.json("/readyz").await;
    assert_eq!((status, &reply["error"]["code"]), (503, &json!("schema_missing")));
    assert!(reply["error"]["message"].as_str().unwrap().contains("shardlake schema apply"));
    assert_eq!(api.json("/v1/commands/top").await.0, 503);

    lake.with_schema("lake").await;
    assert_eq!(api.text("/readyz").await, (200, "ready\n".to_owned()));
    let answer = api.answer("commands/top", "from=-15m&to=now").await;
    assert_eq!(answer["rows"], json!([]));

    let (status, listed) = api.json("/v1").await;
    let questions = listed["questions"].as_array().unwrap();
    assert_eq!((status, questions.len()), (200, Catalogue::builtin().questions().count()));
    let volume = questions.iter().find(|question| question["path"] == "/v1/interactions/volume").unwrap();
    assert_eq!(volume["parameters"][0]["type"], "DateTime64(3, 'UTC')");
    assert_eq!(volume["columns"][2], json!({"name": "interactions", "unit": "count", "doc": "Interactions received"}));
    assert!(volume.get("sql").is_none());

    let (status, page) = api.text("/").await;
    assert!(status == 200 && page.contains("Shardlake"));
    assert!(
        !page.contains("http:") && !page.contains("https:") && !page.contains("//cdn"),
        "the page asks no other host"
    );
    api.stop().await;
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_of_one_s_own_are_answered_within_the_limits() {
    let lake = Lake::start(["lake"]).await;
    let admin = lake.with_schema("lake").await;
    insert(&admin, "interactions", &[interaction("0", 1, 1)]).await;
    let questions = [
        (
            "shapes",
            "SELECT toUInt64(42) AS n, 18446744073709551615 AS big, toDateTime('2025-01-01', 'UTC') AS at, 0/0 AS nothing",
        ),
        ("many", "SELECT number AS n FROM numbers(100001)"),
        ("wide", "SELECT repeat('x', 1000) AS n FROM numbers(50000)"),
        ("wrong", "SELECT no_such_column AS n FROM interactions"),
        ("write", "DROP TABLE interactions"),
        ("formatted", "SELECT 1 AS n FORMAT CSV"),
    ];
    for user in [User::Reader, User::Admin] {
        let api = Api::start(lake.client(user, "lake"), catalogue_with(&questions)).await;
        let shapes = api.answer("mine/shapes", "").await;
        let row = json!({"n": 42, "big": "18446744073709551615", "at": "2025-01-01T00:00:00Z", "nothing": null});
        assert_eq!(shapes["rows"], json!([row]));
        assert_eq!((&shapes["meta"]["from"], &shapes["meta"]["complete"]), (&json!(null), &json!(true)));
        for (name, status, words) in [
            ("many", 422, "too large"),
            ("wide", 422, "too large"),
            ("wrong", 500, "no_such_column"),
            ("formatted", 500, "FORMAT"),
        ] {
            let (was, reply) = api.json(&format!("/v1/mine/{name}")).await;
            assert_eq!(was, status, "{user} {name}: {reply}");
            assert!(reply["error"]["message"].as_str().unwrap().contains(words), "{user} {name}: {reply}");
        }
        let (status, reply) = api.json("/v1/mine/write").await;
        assert_eq!((status, &reply["error"]["code"]), (502, &json!("clickhouse_refused")), "{user} {reply}");
        api.stop().await;
    }
    let api = lake.api("lake", Catalogue::builtin()).await;
    let answer = api.answer("interactions/by_cluster", RANGE).await;
    assert_eq!(answer["rows"][0]["interactions"], 1, "nothing was dropped");
    assert!(answer["meta"]["rows_read"].as_u64() > Some(0) && answer["meta"]["bytes_read"].as_u64() > Some(0));
    api.stop().await;
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_query_along() {
    let lake = Lake::start(["lake"]).await;
    let admin = lake.with_schema("lake").await;
    let endless = "SELECT count() AS n FROM numbers(1000000000000) WHERE cityHash64(number) = 1";
    let api = Api::start(lake.client(User::Reader, "lake"), catalogue_with(&[("endless", endless)])).await;
    let running = async || {
        let sql =
            "SELECT count() FROM system.processes WHERE query LIKE '%numbers(1000000000000)%' AND user = 'reader'";
        admin.query_raw(sql).fetch_one::<u64>().await.unwrap()
    };

    let client = api.request("/v1/mine/endless").await;
    eventually("the query runs", async || running().await == 1).await;
    drop(client);
    eventually("the query ends", async || running().await == 0).await;
    let cancelled = r#"shardlake_queries_requests_total{question="mine/endless",status="cancelled"} 1"#;
    eventually("it is counted", async || api.text("/metrics").await.1.contains(cancelled)).await;
    api.stop().await;
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_followed_and_a_fault_changes_nothing() {
    let lake = Lake::start(["lake"]).await;
    lake.with_schema("lake").await;
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("mine")).unwrap();
    let write = |name: &str, sql: &str| {
        let header = "-- title: T\n-- description: D\n-- panel: stat\n-- table: interactions\n-- column: n count N\n";
        fs::write(folder.path().join(format!("mine/{name}.sql")), format!("{header}{sql}\n")).unwrap();
    };
    write("first", "SELECT 1 AS n");
    let api = lake.api("lake", Catalogue::builtin().with_folder(folder.path()).unwrap()).await;
    let says = async |name: &str| api.json(&format!("/v1/mine/{name}")).await.1["rows"][0]["n"].clone();
    assert_eq!(says("first").await, 1);
    write("second", "SELECT 2 AS n");
    eventually("the new file is a question", async || says("second").await == 2).await;

    // With a fault in any file all stays as it was, until it is mended.
    fs::write(folder.path().join("mine/third.sql"), "-- title: T\nSELECT 3 AS n\n").unwrap();
    write("first", "SELECT 10 AS n");
    tokio::time::sleep(Duration::from_millis(2_500)).await; // twice as long as it takes to look
    assert_eq!(says("first").await, 1);
    write("third", "SELECT 3 AS n");
    eventually("the change counts", async || says("first").await == 10 && says("third").await == 3).await;
    fs::remove_file(folder.path().join("mine/second.sql")).unwrap();
    eventually("what is gone is no question", async || says("second").await.is_null()).await;
    api.stop().await;
    lake.stop().await;
}
