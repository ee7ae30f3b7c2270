//! Several runs of the migrations at once, and runs that died: every statement is carried out once.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod server;

use std::{
    fs::File,
    path::Path,
    time::{Duration, SystemTime},
};

use clickhouse::Client;
use server::server;
use shardlake_schema::migrate::{self, Applied, MIGRATIONS, MigrateError, Migration, apply_these};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

const DATABASE: &str = "shardlake";
/// What a condition may take to come true before it counts as a hang. Longer than a lock lives without its holder.
const PATIENCE: Duration = Duration::from_secs(90);

/// Its second statement takes some seconds on the server, whatever becomes of the client.
const SLOW: Migration = Migration {
    version: 1,
    name: "slow",
    sql: "
CREATE TABLE IF NOT EXISTS a (x UInt64) ENGINE = MergeTree ORDER BY x;
CREATE OR REPLACE TABLE b ENGINE = MergeTree ORDER BY x
AS SELECT number AS x FROM numbers(4) WHERE NOT ignore(sleepEachRow(1)) SETTINGS max_block_size = 1;
CREATE OR REPLACE TABLE c ENGINE = MergeTree ORDER BY x AS SELECT x FROM b;
",
};

/// Statements of migrations that the server carried out, and how often.
async fn carried_out(client: &Client) -> Vec<(String, u64)> {
    client.query_raw("SYSTEM FLUSH LOGS query_log").execute().await.unwrap();
    let sql = "SELECT query, count() FROM system.query_log WHERE query_id LIKE 'held_by_%' AND type = 'QueryFinish' GROUP BY query";
    client.query_raw(sql).fetch_all().await.unwrap()
}

async fn lock_holder(client: &Client) -> String {
    let sql = "SELECT any(name) FROM system.columns WHERE database = currentDatabase() AND table = 'migration_lock'";
    client.query_raw(sql).fetch_one().await.unwrap()
}

async fn is_running(client: &Client) -> bool {
    let sql = "SELECT count() FROM system.processes WHERE query_id LIKE 'held_by_%' AND query LIKE '%sleepEachRow%'";
    // Asked in a database that is there from the start.
    client.clone().with_database("system").query_raw(sql).fetch_one::<u64>().await.unwrap() > 0
}

async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let met = async {
        while !condition().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, met).await.expect(what);
}

/// Lets the holder of the lock look as if it had been silent for an hour.
async fn age_lock(client: &Client, server: &Path) {
    let sql = "SELECT metadata_path FROM system.tables WHERE database = currentDatabase() AND name = 'migration_lock'";
    let file: String = client.query_raw(sql).fetch_one().await.unwrap();
    let file = server.join("engine").join(file);
    File::options().append(true).open(file).unwrap().set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
}

#[tokio::test]
async fn of_many_runs_at_once_one_migrates() {
    let (clickhouse, client, _directory) = server().await;
    let mut runs = JoinSet::new();
    for _ in 0..8 {
        let client = client.clone();
        runs.spawn(async move { migrate::apply(&client, DATABASE).await });
    }
    let outcomes: Vec<Applied> = runs.join_all().await.into_iter().map(Result::unwrap).collect();
    for outcome in &outcomes {
        assert_eq!(outcome.now.len() + outcome.before, MIGRATIONS.len());
    }
    assert_eq!(outcomes.iter().map(|outcome| outcome.now.len()).sum::<usize>(), MIGRATIONS.len());
    let carried_out = carried_out(&client).await;
    assert!(carried_out.len() > MIGRATIONS.len(), "{carried_out:?}");
    for (statement, times) in carried_out {
        let written = |statement: &str| {
            MIGRATIONS.iter().map(|migration| migration.sql.matches(statement).count() as u64).sum::<u64>()
        };
        // What makes a table anew has the time that the old one kept its rows.
        let without_ttl = || statement.lines().filter(|line| !line.starts_with("TTL ")).collect::<Vec<_>>().join("\n");
        let written = Some(written(&statement)).filter(|times| *times > 0).unwrap_or_else(|| written(&without_ttl()));
        assert_eq!(times, written, "{statement}");
    }
    let remembered: Vec<(u32, u64)> = client
        .query_raw("SELECT version, count() FROM migrations GROUP BY version ORDER BY version")
        .fetch_all()
        .await
        .unwrap();
    assert_eq!(remembered, MIGRATIONS.iter().map(|migration| (migration.version, 1)).collect::<Vec<_>>());
    assert_eq!(lock_holder(&client).await, "free");
    clickhouse.stop().await.unwrap();
}

#[tokio::test]
async fn a_run_that_died_is_taken_over_once_its_statement_has_ended() {
    let (clickhouse, client, directory) = server().await;
    let run = |client: Client| tokio::spawn(async move { apply_these(&client, DATABASE, &[SLOW]).await });
    let dies = run(client.clone());
    eventually("the slow statement runs", || is_running(&client)).await;
    dies.abort();
    assert!(dies.await.unwrap_err().is_cancelled());
    let died = lock_holder(&client).await;

    age_lock(&client, directory.path()).await;
    let heirs: Vec<_> = (0..4).map(|_| run(client.clone())).collect();
    eventually("the lock has another holder", async || lock_holder(&client).await != died).await;
    let mut applied = 0;
    for heir in heirs {
        applied += heir.await.unwrap().unwrap().now.len();
    }
    assert_eq!(applied, 1, "one of them migrated");

    // The statement whose outcome nobody knew was repeated by one of the heirs, after its first run had ended.
    for (statement, times) in carried_out(&client).await {
        assert_eq!(times, if statement.contains("sleepEachRow") { 2 } else { 1 }, "{statement}");
    }
    let overlap = "SELECT count() FROM system.query_log AS one JOIN system.query_log AS other ON one.query = other.query \
                   WHERE one.type = 'QueryFinish' AND other.type = 'QueryFinish' AND one.query LIKE '%sleepEachRow%' \
                   AND one.query_id LIKE 'held_by_%' AND one.query_id != other.query_id \
                   AND one.query_start_time_microseconds <= other.query_start_time_microseconds \
                   AND other.query_start_time_microseconds < one.event_time_microseconds";
    assert_eq!(client.query_raw(overlap).fetch_one::<u64>().await.unwrap(), 0);
    assert_eq!(client.query_raw("SELECT count() FROM c").fetch_one::<u64>().await.unwrap(), 4);
    clickhouse.stop().await.unwrap();
}

#[tokio::test]
async fn a_run_that_was_taken_for_dead_stops() {
    let (clickhouse, client, directory) = server().await;
    let slow = tokio::spawn({
        let client = client.clone();
        async move { apply_these(&client, DATABASE, &[SLOW]).await }
    });
    eventually("the slow statement runs", || is_running(&client)).await;
    // Somebody takes the lock over while the statement runs, as none of ours would.
    let held = lock_holder(&client).await;
    let steal = format!("ALTER TABLE migration_lock ADD COLUMN held_by_thief UInt8, DROP COLUMN {held}");
    client.query_raw(&steal).execute().await.unwrap();
    let stopped = slow.await.unwrap().unwrap_err();
    assert!(matches!(stopped, MigrateError::TakenOver { .. }), "{stopped}");
    assert_eq!(client.query_raw("EXISTS TABLE c").fetch_one::<u8>().await.unwrap(), 0);
    assert_eq!(lock_holder(&client).await, "held_by_thief", "it does not give back what is not its own");

    age_lock(&client, directory.path()).await;
    assert_eq!(apply_these(&client, DATABASE, &[SLOW]).await.unwrap().now.len(), 1);
    assert_eq!(client.query_raw("SELECT count() FROM c").fetch_one::<u64>().await.unwrap(), 4);
    clickhouse.stop().await.unwrap();
}
