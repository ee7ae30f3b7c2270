//! One shard is killed while clusters write, and comes back: its clusters spool and drain, the others go on, and in the end every
//! row is there once. Meanwhile nobody gets an answer with half of the rows in it.

use std::time::Duration;

use clickhouse::Client;
use serde_json::Value;
use shardlake_embedded::User;
use shardlake_queries::Catalogue;
use shardlake_schema::topology::readers_database;
use tokio::time::sleep;

use crate::{
    lake::Api,
    line::{DATABASE, servers::Servers},
    recording::{record, start, stop, until},
};

/// By their names (`ingest/src/placement.rs`) 0 and 2 write to the first of two shards, 1 and 3 to the second.
const CLUSTERS: [(&str, usize); 4] = [("0", 1), ("1", 2), ("2", 1), ("3", 2)];
const BATCH_AGE: Duration = Duration::from_millis(50);
const OUTAGES: u64 = 3;
/// Rows of each cluster at a time: before all outages, around each and during each.
const ROWS: u64 = 100;
/// Rows of each cluster in the end.
const EACH: u64 = (1 + 2 * OUTAGES) * ROWS;

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_was_away_has_every_row_once() {
    let mut servers = Servers::with_schema(2).await;
    let spools = tempfile::tempdir().unwrap();
    let ids = |cluster: usize, round: u64| {
        let first = (cluster as u64 * 100 + round) * ROWS;
        first..first + ROWS
    };
    let recorders = CLUSTERS.map(|(name, _)| start(name, &spools.path().join(name), &servers.urls(), BATCH_AGE));
    for (cluster, recorder) in recorders.iter().enumerate() {
        record(recorder, ids(cluster, 0));
        until(recorder, "landed", |book| book.landed == ROWS).await;
    }
    let reader = servers.client(1, User::Reader, &readers_database(DATABASE));
    let api = Api::start(reader, Catalogue::builtin()).await;
    assert_eq!(counted(&api.answer("interactions/by_cluster", "from=-1h").await), 4 * ROWS);

    for outage in 0..OUTAGES {
        // In the midst of writing: whether these landed, nobody knows.
        for (cluster, recorder) in recorders.iter().enumerate() {
            record(recorder, ids(cluster, 2 * outage + 1));
        }
        sleep(BATCH_AGE).await; // about when they are sent
        servers.kill(2).await;
        for (cluster, recorder) in recorders.iter().enumerate() {
            record(recorder, ids(cluster, 2 * outage + 2));
        }
        let recorded = (2 * outage + 3) * ROWS;
        for ((_, shard), recorder) in CLUSTERS.iter().zip(&recorders) {
            match shard {
                1 => until(recorder, "landed", |book| book.landed == recorded).await,
                _ => until(recorder, "spooled", |book| book.spooled >= ROWS).await,
            }
        }
        nobody_gets_half_an_answer(&api, servers.tcp_port(2)).await;
        servers.restart(2).await;
        for recorder in &recorders {
            until(recorder, "landed", |book| book.landed == recorded && book.spooled == 0).await;
        }
    }
    for recorder in &recorders {
        stop(recorder, Duration::from_secs(30)).await;
    }
    assert_eq!(counted(&api.answer("interactions/by_cluster", "from=-1h").await), 4 * EACH);
    every_row_is_there_once(&servers.client(1, User::Admin, &readers_database(DATABASE))).await;
    api.stop().await;
    servers.stop().await;
}

/// The server behind `port` is away: the service says so, and names it.
async fn nobody_gets_half_an_answer(api: &Api, port: u16) {
    let (status, answer) = api.json("/v1/interactions/by_cluster?from=-1h").await;
    let error = &answer["error"];
    assert_eq!((status, error["code"].as_str()), (503, Some("shard_away")), "{answer:#}");
    assert!(error["message"].as_str().unwrap().contains(&port.to_string()), "{answer:#}");
}

/// Interactions in an answer to `interactions/by_cluster`, which must know of no gap.
fn counted(answer: &Value) -> u64 {
    assert_eq!(answer["meta"]["complete"], true, "{:#}", answer["meta"]);
    let rows = answer["rows"].as_array().unwrap().iter();
    rows.map(|row| {
        row["interactions"].as_u64().unwrap_or_else(|| row["interactions"].as_str().unwrap().parse().unwrap())
    })
    .sum()
}

async fn every_row_is_there_once(all: &Client) {
    let sql = "SELECT cluster, any(_shard_num), uniqExact(_shard_num), count(), uniqExact(interaction_id) FROM interactions \
         GROUP BY cluster ORDER BY cluster";
    let stored: Vec<(String, u32, u64, u64, u64)> = all.query_raw(sql).fetch_all().await.unwrap();
    let expected = CLUSTERS.map(|(name, shard)| (name.to_owned(), u32::try_from(shard).unwrap(), 1, EACH, EACH));
    assert_eq!(stored, expected, "cluster, shard, shards, rows, different rows");

    let sql = "SELECT cluster, sum(rows), max(batch) = uniqExact(batch) AND count() = uniqExact(batch) FROM batches \
         WHERE table = 'interactions' GROUP BY cluster ORDER BY cluster";
    let batches: Vec<(String, u64, bool)> = all.query_raw(sql).fetch_all().await.unwrap();
    let expected = CLUSTERS.map(|(name, _)| (name.to_owned(), EACH, true));
    assert_eq!(batches, expected, "cluster, rows in its batches, batches without gaps and once each");

    let sql = "SELECT table FROM system.columns WHERE database = currentDatabase() AND table LIKE 'interactions_%' \
         AND table NOT LIKE '%_rollup' AND name = 'interactions' ORDER BY table";
    let rollups: Vec<String> = all.query_raw(sql).fetch_all().await.unwrap();
    assert!(rollups.len() >= 17, "{rollups:?}");
    for rollup in rollups {
        let sql = "SELECT sum(interactions) FROM {rollup:Identifier}";
        let rows: u64 = all.query_raw(sql).param("rollup", &rollup).fetch_one().await.unwrap();
        assert_eq!(rows, 4 * EACH, "{rollup}");
    }
}
