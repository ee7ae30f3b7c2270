//! Every rollup against the raw rows, to the last digit: after retries, late rows, batches over several partitions, and an
//! insert that died between two views.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{fmt::Write as _, iter};

use clickhouse::{Client, error::Error};
use serde_json::{Value, json};
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_schema::migrate::{self, MIGRATIONS};
use time::OffsetDateTime;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// What an insert of ours says; see `ingest/src/insert.rs`.
const SETTINGS: &[(&str, &str)] =
    &[("async_insert", "0"), ("insert_deduplicate", "1"), ("deduplicate_blocks_in_dependent_materialized_views", "1")];

/// The columns of the interactions' rollups and what they are of raw rows. Text, so that a sketch of nothing equals itself.
const COUNTS: [(&str, &str); 6] = [
    ("sum(interactions)", "count()"),
    ("sum(succeeded), sum(cancelled)", "countIf(outcome = 'success'), countIf(outcome = 'cancelled')"),
    ("sum(failed), sum(panicked)", "countIf(outcome = 'error'), countIf(outcome = 'panic')"),
    ("sum(timed_out)", "countIf(outcome = 'timed_out')"),
    ("sum(tracked)", "countIf(outcome NOT IN ('received', 'untracked'))"),
    ("sum(errors)", "countIf(outcome IN ('error', 'panic', 'timed_out'))"),
];
const USERS: (&str, &str) = ("uniqCombinedMerge(12)(users)", "uniqCombinedIf(12)(user_key, user_key != 0)");
const STATES: [(&str, &str); 5] = [
    USERS,
    ("uniqCombinedMerge(12)(guilds)", "uniqCombinedIf(12)(guild_id, guild_id != 0)"),
    (
        "toString(quantilesBFloat16Merge(0.5, 0.99)(response))",
        "toString(quantilesBFloat16If(0.5, 0.99)(response_ms, response_ms > 0))",
    ),
    (
        "toString(quantilesBFloat16Merge(0.5, 0.99)(duration))",
        "toString(quantilesBFloat16If(0.5, 0.99)(duration_ms, duration_ms > 0))",
    ),
    (
        "toString(quantilesBFloat16Merge(0.5, 0.99)(delivery_lag))",
        "toString(quantilesBFloat16(0.5, 0.99)(delivery_lag_ms))",
    ),
];
const DISPATCHES: [(&str, &str); 1] =
    [("sum(dispatches), sum(replayed), sum(bytes)", "sum(dispatches), sum(replayed), sum(bytes)")];
const CHANGES: [(&str, &str); 1] = [(
    "sum(events), sum(downtime_ms), max(longest_downtime_ms), sum(replayed)",
    "count(), sum(downtime_ms), max(downtime_ms), sum(replayed)",
)];
const LATENCIES: [(&str, &str); 1] = [(
    "sum(samples), min(latency_min_s), max(latency_max_s), round(sum(latency_sum_s), 6)",
    "count(), min(value), max(value), round(sum(value), 6)",
)];

/// The start of this month, UTC: rows a few days around it lie in two months. Minutes are kept for 90 days, so nothing may be
/// much older.
fn middle_ms() -> i64 {
    let today = OffsetDateTime::now_utc().date();
    today.replace_day(1).unwrap().midnight().assume_utc().unix_timestamp() * 1_000
}

struct Lake {
    clickhouse: Clickhouse,
    client: Client,
    directory: tempfile::TempDir,
}

impl Lake {
    async fn start() -> Self {
        let lake = Self::over(tempfile::tempdir().unwrap()).await;
        migrate::apply(&lake.client, "shardlake").await.unwrap();
        lake
    }

    /// A server over what is in the directory.
    async fn over(directory: tempfile::TempDir) -> Self {
        let clickhouse = Clickhouse::start(Options::new(directory.path())).await.unwrap();
        let admin = clickhouse.credentials(User::Admin);
        let client = Client::default().with_url(clickhouse.url()).with_database("shardlake");
        let client = client.with_user(admin.user).with_password(admin.password);
        Self { clickhouse, client, directory }
    }

    async fn restarted(self) -> Self {
        self.clickhouse.stop().await.unwrap();
        Self::over(self.directory).await
    }

    async fn insert(&self, table: &str, token: &str, rows: &[Value]) -> Result<(), Error> {
        let client = self.client.clone().with_setting("insert_deduplication_token", token);
        let client = SETTINGS.iter().fold(client, |client, (name, value)| client.with_setting(*name, *value));
        let body = rows.iter().fold(String::new(), |mut body, row| {
            writeln!(body, "{row}").unwrap();
            body
        });
        let mut insert = client.insert_formatted_with(format!("INSERT INTO {table} FORMAT JSONEachRow"));
        insert.send(body.into()).await?;
        insert.end().await
    }

    async fn number(&self, sql: &str) -> u64 {
        self.client.query_raw(sql).fetch_one().await.unwrap_or_else(|error| panic!("{error}\n{sql}"))
    }

    /// Keys of which a rollup and the raw rows say different things.
    async fn differing(&self) -> Vec<(String, u64)> {
        let states: Vec<_> = COUNTS.into_iter().chain(STATES).collect();
        let guild: Vec<_> = COUNTS.into_iter().chain([USERS]).collect();
        let latency = "samples WHERE name = 'discord_shard_latency_seconds'";
        let mut rollups = Vec::new();
        let (hour, day) = ("toStartOfHour(time)", "toStartOfDay(time)");
        let week = "toDateTime(toMonday(time), 'UTC')";
        // An even number of weeks since 1970-01-05.
        let fortnight =
            "toDateTime(toMonday(time) - 7 * (dateDiff('day', toDate('1970-01-05'), toMonday(time)) / 7 % 2), 'UTC')";
        for (step, start) in
            [("1m", "toStartOfMinute(time)"), ("1h", hour), ("1d", day), ("1w", week), ("2w", fortnight)]
        {
            rollups.push((format!("interactions_by_cluster_{step}"), "cluster", start, "interactions", &states[..]));
            rollups.push((format!("interactions_{step}"), "'all'", start, "interactions", &states));
            rollups.push((format!("interactions_by_command_{step}"), "type, command", start, "interactions", &states));
            if step != "2w" {
                rollups.push((
                    format!("gateway_counts_{step}"),
                    "event, cluster",
                    start,
                    "gateway_counts",
                    &DISPATCHES,
                ));
            }
        }
        let in_guilds = "interactions WHERE guild_id != 0";
        let no_times = &states[..COUNTS.len() + 2];
        rollups.push(("interactions_in_guilds_1d".into(), "'all'", day, in_guilds, no_times));
        rollups.push(("interactions_by_guild_1d".into(), "guild_id", day, "interactions", &guild));
        rollups.push(("shard_events_1d".into(), "cluster, shard, event, cause", day, "shard_events", &CHANGES));
        rollups.push(("shard_latency_1h".into(), "cluster, shard", hour, latency, &LATENCIES));

        let mut differing = Vec::new();
        for (rollup, key, start, raw, columns) in rollups {
            let (merged, plain): (Vec<&str>, Vec<&str>) = columns.iter().copied().unzip();
            let raw_key = if raw == latency { "cluster, toUInt16(labels['shard'])" } else { key };
            let ours = format!("SELECT {key}, time, {} FROM {rollup} GROUP BY {key}, time", merged.join(", "));
            let exact = format!(
                "SELECT {raw_key}, {start} AS bucket, {} FROM {raw} GROUP BY {raw_key}, bucket",
                plain.join(", ")
            );
            let count = |sql: String| async move { self.number(&format!("SELECT count() FROM ({sql})")).await };
            let keys = count(ours.clone()).await;
            let wrong = count(format!("{ours} EXCEPT {exact}")).await + count(format!("{exact} EXCEPT {ours}")).await;
            // Of all clusters together, one week may be all there is.
            assert!(keys > u64::from(key != "'all'"), "{rollup} has something to compare");
            if wrong > 0 {
                differing.push((rollup, wrong));
            }
        }
        differing
    }
}

/// Arithmetic that scatters: the same numbers in every run.
fn scatter(number: u64) -> u64 {
    let mixed = (number ^ number >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 29
}

/// `count` interactions around `middle_ms`, up to `spread_ms` from it.
fn interactions(batch: u64, count: u64, middle_ms: i64, spread_ms: i64) -> Vec<Value> {
    let row = |number: u64| {
        let chance = scatter(batch << 32 | number);
        let pick = |choices: u64| chance / 7 % choices;
        let outcomes = ["success", "success", "error", "panic", "timed_out", "cancelled", "received", "untracked"];
        let time = middle_ms - spread_ms + i64::try_from(chance % (2 * spread_ms.unsigned_abs())).unwrap();
        json!({"cluster": (batch % 3).to_string(), "boot": 1, "batch": batch, "time": time, "delivery_lag_ms": pick(300),
            "id_low": number, "guild_id": pick(40), "shards_total": 4, "user_key": pick(90), "type": "application_command",
            "command": format!("command{}", pick(5)), "outcome": outcomes[usize::try_from(pick(8)).unwrap()],
            "response_ms": pick(900), "duration_ms": pick(2_000)})
    };
    (0..count).map(row).collect()
}

fn other_rows(batch: u64) -> [(&'static str, Vec<Value>); 3] {
    let rows = |row: &dyn Fn(u64, i64) -> Value| {
        let at = |number: u64| middle_ms() + 7 * MINUTE_MS * i64::try_from(number).unwrap();
        (0..200).map(|number| row(scatter(batch << 32 | number), at(number))).collect::<Vec<_>>()
    };
    [
        (
            "gateway_counts",
            rows(&|chance, time| {
                json!({"cluster": "0", "boot": 1, "batch": batch, "time": time, "shard": chance % 4,
            "event": format!("EVENT_{}", chance % 3), "dispatches": chance % 50, "replayed": chance % 3, "bytes": chance % 9_999})
            }),
        ),
        (
            "shard_events",
            rows(&|chance, time| {
                json!({"cluster": "0", "boot": 1, "batch": batch, "time": time, "shard": chance % 4,
            "event": "resumed", "cause": if chance % 2 == 1 { "op7" } else { "" }, "downtime_ms": chance % 5_000, "replayed": chance % 9})
            }),
        ),
        (
            "samples",
            rows(&|chance, time| {
                json!({"cluster": "0", "boot": 1, "batch": batch, "time": time, "kind": "gauge",
            "name": if chance.is_multiple_of(5) { "up" } else { "discord_shard_latency_seconds" },
            "labels": {"shard": (chance % 4).to_string()}, "value": f64::from(u32::try_from(chance % 400).unwrap()) / 1000.0})
            }),
        ),
    ]
}

#[tokio::test]
async fn rollups_say_what_the_raw_rows_say() {
    let lake = Lake::start().await;
    let minutes = interactions(1, 500, middle_ms(), 10 * MINUTE_MS);
    let three_months = interactions(2, 500, middle_ms(), 3 * DAY_MS).into_iter();
    let three_months: Vec<_> = three_months.chain(interactions(3, 100, middle_ms() - 50 * DAY_MS, DAY_MS)).collect();
    let late = interactions(4, 300, middle_ms() - 25 * DAY_MS, DAY_MS);
    for (token, rows) in iter::repeat_n([("a", &minutes), ("b", &three_months), ("c", &late)], 3).flatten() {
        lake.insert("interactions", token, rows).await.unwrap();
    }
    for batch in [1, 1, 2, 2] {
        for (table, rows) in other_rows(batch) {
            lake.insert(table, &format!("{table}{batch}"), &rows).await.unwrap();
        }
    }
    assert_eq!(lake.number("SELECT count() FROM interactions").await, 1_400, "no retry was stored");
    assert_eq!(
        lake.number("SELECT uniq(toYYYYMM(time)) FROM interactions WHERE batch IN (2, 3)").await,
        3,
        "one insert into three"
    );
    assert_eq!(lake.differing().await, []);

    for table in ["interactions_by_cluster_rollup", "interactions_by_command_rollup", "interactions_by_guild_1d"] {
        lake.client.query_raw(&format!("OPTIMIZE TABLE {table} FINAL")).execute().await.unwrap();
    }
    assert_eq!(lake.differing().await, [], "merged");
    lake.clickhouse.stop().await.unwrap();
}

#[tokio::test]
async fn an_insert_that_died_between_two_views_is_made_whole_by_its_retry() {
    let lake = Lake::start().await;
    for (table, rows) in other_rows(1) {
        lake.insert(table, table, &rows).await.unwrap();
    }
    let broken = ["interactions_by_cluster_rollup", "interactions_by_guild_1d"];
    let mut was_partial = false;
    for (number, rollup) in (10..).zip(broken) {
        let rows = interactions(number, 400, middle_ms(), DAY_MS);
        let alter = |action: &str| format!("ALTER TABLE {rollup} {action}");
        lake.client.query_raw(&alter("ADD CONSTRAINT broken CHECK interactions = 0")).execute().await.unwrap();
        lake.insert("interactions", rollup, &rows).await.unwrap_err();
        was_partial |=
            lake.number("SELECT count() FROM interactions").await % 400 == 0 && lake.differing_in_any().await;
        lake.client.query_raw(&alter("DROP CONSTRAINT broken")).execute().await.unwrap();
        lake.insert("interactions", rollup, &rows).await.unwrap();
        lake.insert("interactions", rollup, &rows).await.unwrap();
    }
    assert!(was_partial, "no insert left its raw rows without a rollup: nothing was tested");
    assert_eq!(lake.number("SELECT count() FROM interactions").await, 800);
    assert_eq!(lake.differing().await, []);
    lake.clickhouse.stop().await.unwrap();
}

/// The migration that made views anew and left their tables as they were.
const VIEWS_ANEW: usize = 15;

/// A view's name in tokens is its UUID after some statements, until the server is started again.
#[tokio::test]
async fn what_landed_is_known_after_the_views_were_made_anew_and_after_a_restart() {
    let lake = Lake::over(tempfile::tempdir().unwrap()).await;
    migrate::apply_these(&lake.client, "shardlake", &MIGRATIONS[..VIEWS_ANEW - 1]).await.unwrap();
    let before = interactions(1, 400, middle_ms(), DAY_MS);
    lake.insert("interactions", "before", &before).await.unwrap();
    migrate::apply_these(&lake.client, "shardlake", &MIGRATIONS[..VIEWS_ANEW]).await.unwrap();
    lake.insert("interactions", "before", &before).await.unwrap();
    migrate::apply(&lake.client, "shardlake").await.unwrap();
    let after = interactions(2, 400, middle_ms(), DAY_MS);
    lake.insert("interactions", "after", &after).await.unwrap();
    for (table, rows) in other_rows(1) {
        lake.insert(table, table, &rows).await.unwrap();
    }
    assert_eq!(lake.differing().await, [], "made anew");

    let lake = lake.restarted().await;
    lake.insert("interactions", "after", &after).await.unwrap();
    for (table, rows) in other_rows(1) {
        lake.insert(table, table, &rows).await.unwrap();
    }
    assert_eq!(lake.number("SELECT count() FROM interactions").await, 800);
    assert_eq!(lake.differing().await, [], "started again");
    lake.clickhouse.stop().await.unwrap();
}

impl Lake {
    /// Whether raw rows, `batches` and rollups count differently.
    async fn differing_in_any(&self) -> bool {
        let rollups = ["interactions_by_cluster_1m", "interactions_by_cluster_1h", "interactions_by_guild_1d"];
        let counts = rollups.map(|rollup| format!("(SELECT sum(interactions) FROM {rollup})")).join(", ");
        let sql = format!("SELECT toUInt64(length(arrayDistinct([(SELECT count() FROM interactions), {counts}])))");
        self.number(&sql).await > 1
    }
}
