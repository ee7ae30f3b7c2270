//! Drift is found wherever it is, and what an operator may choose is none.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod server;

use clickhouse::Client;
use server::server;
use shardlake_schema::{
    migrate::{self, MIGRATIONS, apply_these},
    retention,
    verify::{Verified, verify},
};

const DATABASE: &str = "shardlake";

async fn execute(client: &Client, sql: &str) {
    client.query_raw(sql).execute().await.unwrap();
}

async fn databases(client: &Client) -> Vec<String> {
    client.query_raw("SELECT name FROM system.databases ORDER BY name").fetch_all().await.unwrap()
}

#[tokio::test]
async fn what_the_migrations_made_is_right() {
    let (clickhouse, client, _directory) = server().await;
    migrate::apply(&client, DATABASE).await.unwrap();
    let before = databases(&client).await;
    assert_eq!(verify(&client, DATABASE).await.unwrap(), Verified::default());

    // What an operator may choose, or add.
    let wanted = ["interactions=90d".parse().unwrap(), "samples=forever".parse().unwrap()];
    retention::set(&client, DATABASE, &wanted).await.unwrap();
    execute(&client, "ALTER TABLE samples MODIFY SETTING merge_with_ttl_timeout = 60").await;
    execute(&client, "CREATE TABLE my_notes (x UInt8) ENGINE = Null").await;
    let verified = verify(&client, DATABASE).await.unwrap();
    assert_eq!(verified.drift, [""; 0]);
    let notes = [
        "my_notes is not of this build's making",
        "samples setting merge_with_ttl_timeout is not of this build's making",
    ];
    assert_eq!(verified.notes, notes);
    assert_eq!(databases(&client).await, before, "the scratch database is gone");
    clickhouse.stop().await.unwrap();
}

#[tokio::test]
async fn each_kind_of_drift_is_one_line() {
    let (clickhouse, client, _directory) = server().await;
    migrate::apply(&client, DATABASE).await.unwrap();
    let batches = "SELECT cluster, boot, 'samples' AS table, batch, count() + 1 AS rows, min(time) AS first_time, \
                   max(time) AS last_time, now64(3, 'UTC') AS landed_at FROM samples GROUP BY cluster, boot, batch";
    for (change, line) in [
        (
            "ALTER TABLE samples MODIFY COLUMN value Float32",
            "samples.value: type is `Float32`, this build makes `Float64`",
        ),
        (
            "ALTER TABLE samples COMMENT COLUMN kind 'x'",
            "samples.kind: comment is `x`, this build makes `gauge or counter`",
        ),
        (
            "ALTER TABLE samples MODIFY COLUMN boot UInt64 CODEC(NONE)",
            "samples.boot: codec is `CODEC(NONE)`, this build makes ``",
        ),
        (
            "ALTER TABLE samples MODIFY COLUMN batch UInt64 DEFAULT 7",
            "samples.batch: default is `DEFAULT 7`, this build makes ``",
        ),
        ("ALTER TABLE samples ADD COLUMN extra UInt8", "samples.extra is not of this build's making"),
        ("ALTER TABLE processes DROP COLUMN pid", "processes.pid is missing"),
        (
            "ALTER TABLE batches MODIFY SETTING non_replicated_deduplication_window = 7",
            "batches setting non_replicated_deduplication_window: value is `7`, this build makes `50000`",
        ),
        (
            "ALTER TABLE shard_events RESET SETTING ttl_only_drop_parts",
            "shard_events setting ttl_only_drop_parts is missing",
        ),
        (
            "ALTER TABLE shard_events MODIFY COMMENT 'x'",
            "shard_events: comment is `x`, this build makes `One change in the life of a shard`",
        ),
        (
            "ALTER TABLE shard_events ADD CONSTRAINT closed CHECK boot = 1",
            "shard_events: constraints is `CONSTRAINT closed CHECK boot = 1`, this build makes ``",
        ),
        (
            "ALTER TABLE shard_events ADD INDEX by_cause cause TYPE set(10) GRANULARITY 2",
            "shard_events index by_cause is not of this build's making",
        ),
        (
            "CREATE OR REPLACE TABLE processes (cluster LowCardinality(String)) ENGINE = MergeTree ORDER BY tuple()",
            "processes: engine is `MergeTree`, this build makes `ReplacingMergeTree(last_seen_at)`",
        ),
        (
            "CREATE OR REPLACE TABLE processes (cluster LowCardinality(String)) ENGINE = MergeTree ORDER BY tuple()",
            "processes: sorting key is ``, this build makes `cluster, boot`",
        ),
        (
            "CREATE OR REPLACE VIEW gateway_counts_batches AS SELECT 1",
            "gateway_counts_batches: kind is `View`, this build makes `MaterializedView`",
        ),
        ("DROP VIEW interactions_batches", "interactions_batches is missing"),
        (&format!("ALTER TABLE samples_batches MODIFY QUERY {batches}"), "samples_batches: query is `SELECT cluster"),
    ] {
        execute(&client, change).await;
        let drift = verify(&client, DATABASE).await.unwrap().drift;
        assert_eq!(drift.iter().filter(|found| found.starts_with(line)).count(), 1, "{line}\n{drift:#?}");
    }
    clickhouse.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_not_applied_yet_is_drift_and_nothing_else() {
    let (clickhouse, client, _directory) = server().await;
    let (last, others) = MIGRATIONS.split_last().unwrap();
    apply_these(&client, DATABASE, others).await.unwrap();
    let before = databases(&client).await;
    let lacking = format!("migration {:04}_{} is not applied", last.version, last.name);
    assert_eq!(verify(&client, DATABASE).await.unwrap(), Verified { drift: vec![lacking], notes: vec![] });
    assert_eq!(verify(&client, "nowhere").await.unwrap().drift.len(), MIGRATIONS.len());
    assert_eq!(databases(&client).await, before);
    clickhouse.stop().await.unwrap();
}
