//! Retention on the real engine: old data goes as whole partitions, nothing else does, and no data is written anew.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod server;

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use clickhouse::Client;
use server::server;
use shardlake_embedded::Clickhouse;
use shardlake_schema::{
    migrate,
    retention::{self, Change, Retention, RetentionError},
};
use tokio::time::{sleep, timeout};

const DATABASE: &str = "shardlake";
/// What a condition may take to come true before it counts as a hang.
const PATIENCE: Duration = Duration::from_secs(90);

async fn migrated() -> (Clickhouse, Client, tempfile::TempDir) {
    let (clickhouse, client, directory) = server().await;
    migrate::apply(&client, DATABASE).await.unwrap();
    (clickhouse, client, directory)
}

async fn execute(client: &Client, sql: &str) {
    client.query_raw(sql).execute().await.unwrap();
}

fn wanted(text: &str) -> Vec<Retention> {
    text.split(',').map(|one| one.parse().unwrap()).collect()
}

async fn set(client: &Client, text: &str) -> Result<Vec<Change>, RetentionError> {
    retention::set(client, DATABASE, &wanted(text)).await
}

/// Rows of a partition per day of `samples`, by age in days.
async fn by_age(client: &Client) -> Vec<(i64, u64)> {
    let sql = "SELECT dateDiff('day', toDate(time), today()) AS age, count() FROM samples GROUP BY age ORDER BY age";
    client.query_raw(sql).fetch_all().await.unwrap()
}

async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let met = async {
        while !condition().await {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, met).await.expect(what);
}

/// 1,000 samples in the middle of each of these days, in wide parts, as those of a big bot are.
async fn fill(client: &Client, ages_in_days: &[u32]) {
    execute(client, "ALTER TABLE samples MODIFY SETTING min_bytes_for_wide_part = 0, merge_with_ttl_timeout = 0").await;
    for age in ages_in_days {
        let sql = format!(
            "INSERT INTO samples (cluster, boot, batch, time, name, kind, value) SELECT '0', 1, 1, \
             toDateTime(today() - {age}) + INTERVAL 12 HOUR, 'name', 'gauge', number FROM numbers(1000)"
        );
        execute(client, &sql).await;
    }
}

/// The file of the values of each part, by partition.
async fn files(client: &Client, server: &Path) -> BTreeMap<String, u64> {
    let sql = "SELECT partition, path FROM system.parts WHERE database = currentDatabase() AND table = 'samples' AND active AND rows > 0";
    let parts: Vec<(String, String)> = client.query_raw(sql).fetch_all().await.unwrap();
    let inode = |path: String| fs::metadata(server.join("engine").join(path).join("value.bin")).unwrap().ino();
    parts.into_iter().map(|(partition, path)| (partition, inode(path))).collect()
}

#[tokio::test]
async fn a_shorter_time_drops_whole_partitions_and_rewrites_nothing() {
    let (clickhouse, client, directory) = migrated().await;
    fill(&client, &[1, 10, 20]).await;
    let before = files(&client, directory.path()).await;
    assert_eq!(before.len(), 3);

    let planned = retention::plan(&client, DATABASE, &wanted("samples=2w")).await.unwrap();
    let ours = &planned[0];
    assert_eq!((ours.table.as_str(), ours.from.as_str(), ours.to.to_string()), ("samples", "30d", "2w".to_owned()));
    assert_eq!((ours.rows, ours.bytes > 0, &ours.warnings[..]), (1000, true, &[][..]));
    assert_eq!(by_age(&client).await, [(1, 1000), (10, 1000), (20, 1000)], "a plan changes nothing");

    assert_eq!(set(&client, "samples=2w").await.unwrap(), planned);
    eventually("the old partition is gone", async || by_age(&client).await == [(1, 1000), (10, 1000)]).await;
    let mut after = files(&client, directory.path()).await;
    for (partition, file) in &mut after {
        assert_eq!(before[partition], *file, "{partition} lies in the same file as before");
    }
    assert_eq!(set(&client, "samples=2w").await.unwrap(), [], "nothing is left to change");
    migrate::apply(&client, DATABASE).await.unwrap();
    assert_eq!(retention::plan(&client, DATABASE, &wanted("samples=14d")).await.unwrap()[0].from, "2w");
    clickhouse.stop().await.unwrap();
}

#[tokio::test]
async fn a_longer_time_saves_what_was_about_to_go() {
    let (clickhouse, client, _directory) = migrated().await;
    execute(&client, "SYSTEM STOP TTL MERGES samples").await;
    // Written when 30 days were the limit, and past it: only the stopped merges kept it.
    fill(&client, &[1, 40]).await;
    set(&client, "samples=60d").await.unwrap();
    let noted =
        "SELECT count() FROM system.mutations WHERE database = currentDatabase() AND table = 'samples' AND NOT is_done";
    eventually("the new times are noted", async || client.query_raw(noted).fetch_one::<u64>().await.unwrap() == 0)
        .await;
    execute(&client, "SYSTEM START TTL MERGES samples").await;
    // A partition that is past the new time shows that the server has looked.
    fill(&client, &[70]).await;
    eventually("what is too old by any measure is gone", async || by_age(&client).await.len() == 2).await;
    assert_eq!(by_age(&client).await, [(1, 1000), (40, 1000)]);

    set(&client, "samples=forever").await.unwrap();
    fill(&client, &[3000]).await;
    execute(&client, "OPTIMIZE TABLE samples FINAL").await;
    assert_eq!(by_age(&client).await, [(1, 1000), (40, 1000), (3000, 1000)]);
    assert_eq!(set(&client, "samples=forever").await.unwrap(), []);
    clickhouse.stop().await.unwrap();
}

#[tokio::test]
async fn a_step_of_a_rollup_has_a_time_of_its_own() {
    let (clickhouse, client, _directory) = migrated().await;
    execute(&client, "ALTER TABLE interactions_by_cluster_rollup MODIFY SETTING merge_with_ttl_timeout = 0").await;
    for age in [1, 70] {
        let sql = format!(
            "INSERT INTO interactions (cluster, boot, batch, time) SELECT '0', 1, 1, now64(3) - INTERVAL {age} DAY FROM numbers(100)"
        );
        execute(&client, &sql).await;
    }
    let old = async || {
        let count = |view| {
            let sql = format!("SELECT sum(interactions) FROM interactions_{view} WHERE time < now() - INTERVAL 30 DAY");
            let client = client.clone();
            async move { client.query_raw(&sql).fetch_one::<u64>().await.unwrap() }
        };
        [count("by_cluster_1m").await, count("1m").await, count("by_cluster_1h").await, count("by_cluster_1d").await]
    };
    assert_eq!(old().await, [100; 4]);

    let both = "interactions_by_cluster_1m=30d,interactions_by_cluster_1d=5y";
    let planned = retention::plan(&client, DATABASE, &wanted(both)).await.unwrap();
    let said: Vec<_> = planned.iter().map(|change| (change.from.as_str(), change.rows)).collect();
    assert_eq!(
        said,
        [("90d", 2), ("forever", 0)],
        "of minutes only that of the old interactions goes, by cluster and of all"
    );
    assert!(planned[0].warnings[0].contains("a month"), "{:?}", planned[0].warnings);
    assert_eq!(set(&client, both).await.unwrap(), planned);
    eventually("the old minutes are gone", async || old().await == [0, 0, 100, 100]).await;
    assert_eq!(set(&client, both).await.unwrap(), [], "nothing is left to change");
    let unknown = set(&client, "interactions_by_cluster_rollup=1y").await.unwrap_err().to_string();
    assert!(unknown.contains("interactions_by_cluster_1h"), "{unknown}");
    clickhouse.stop().await.unwrap();
}

#[tokio::test]
async fn what_has_partitions_of_time_drops_them_whole() {
    let (clickhouse, client, _directory) = migrated().await;
    let sql = "SELECT name FROM system.tables WHERE database = currentDatabase() AND partition_key != '' \
               AND engine_full NOT LIKE '%ttl_only_drop_parts = 1%'";
    assert_eq!(client.query_raw(sql).fetch_all::<String>().await.unwrap(), [""; 0]);
    clickhouse.stop().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_before_anything_changes() {
    let (clickhouse, client, _directory) = migrated().await;
    let ttl = "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = 'samples'";
    let before: String = client.query_raw(ttl).fetch_one().await.unwrap();
    for unknown in ["samples=1d,nonsense=1d", "samples=1d,migrations=1d", "samples=1d,interactions_batches=1d"] {
        let refused = set(&client, unknown).await.unwrap_err();
        let text = refused.to_string();
        assert!(matches!(refused, RetentionError::UnknownTable { .. }), "{text}");
        assert!(text.contains("interactions") && text.contains("processes") && !text.contains("migrations,"), "{text}");
    }
    let twice = set(&client, "samples=1d,samples=2d").await.unwrap_err();
    assert!(matches!(twice, RetentionError::Twice { .. }), "{twice}");
    assert_eq!(client.query_raw(ttl).fetch_one::<String>().await.unwrap(), before);
    clickhouse.stop().await.unwrap();
}

#[tokio::test]
async fn what_may_surprise_is_said() {
    let (clickhouse, client, _directory) = migrated().await;
    for rollup in ["events_by_shard_1m", "events_by_shard_1d"] {
        let table = format!(
            "CREATE TABLE {rollup} (time DateTime('UTC'), n UInt64) ENGINE = SummingMergeTree \
             PARTITION BY toYYYYMM(time) ORDER BY time TTL time + INTERVAL 1 YEAR"
        );
        execute(&client, &table).await;
        let view = format!(
            "CREATE MATERIALIZED VIEW {rollup}_view TO {rollup} AS \
             SELECT toDateTime(time) AS time, count() AS n FROM shard_events GROUP BY time"
        );
        execute(&client, &view).await;
    }
    let warnings = async |text| {
        let planned = retention::plan(&client, DATABASE, &wanted(text)).await.unwrap();
        planned.into_iter().flat_map(|change| change.warnings).collect::<Vec<_>>()
    };
    let shorter_than_a_partition = warnings("interactions=7d").await;
    assert!(shorter_than_a_partition.len() == 1 && shorter_than_a_partition[0].contains("a month"));
    assert!(warnings("processes=1y").await[0].contains("no partitions"));

    assert_eq!(warnings("events_by_shard_1m=90d,events_by_shard_1d=forever").await, [""; 0]);
    let rollup_shorter = warnings("events_by_shard_1m=90d,events_by_shard_1d=6mo").await;
    assert!(rollup_shorter.iter().all(|text| text.contains("shard_events would keep its rows for 2y")));
    assert_eq!(rollup_shorter.len(), 2);
    assert_eq!(warnings("events_by_shard_1m=90d,events_by_shard_1d=2y").await, [""; 0]);
    assert_eq!(warnings("events_by_shard_1d=1y,shard_events=90d,events_by_shard_1m=60d").await, [""; 0]);
    clickhouse.stop().await.unwrap();
}
