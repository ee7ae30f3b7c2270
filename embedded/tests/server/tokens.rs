//! A server that was killed after it had noted a token and before it had kept the rows: the moment is made by hand.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use shardlake_embedded::{Clickhouse, Error, Options, User, take_back_spent_tokens};

use crate::ask::{ask, ask_as, start};

/// Rows of the raw table, and what its rollup counted by day and by month.
const COUNTED: &str = "SELECT (SELECT count() FROM raw), (SELECT sumIf(rows, step = 'day') FROM rollup), \
     (SELECT sumIf(rows, step = 'month') FROM rollup)";

#[tokio::test]
async fn a_retry_stores_what_a_killed_server_had_noted_only() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = start(directory.path()).await;
    for sql in [
        "CREATE TABLE raw (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100",
        "CREATE TABLE rollup (step LowCardinality(String), rows UInt64) ENGINE = SummingMergeTree PARTITION BY step ORDER BY step \
         SETTINGS non_replicated_deduplication_window = 100",
        "CREATE MATERIALIZED VIEW view TO rollup AS SELECT step, count() AS rows FROM raw ARRAY JOIN ['day', 'month'] AS step \
         GROUP BY step",
    ] {
        ask(&server, User::Admin, sql).await.rows();
    }
    insert(&server, "first").await;
    insert(&server, "second").await;
    assert_eq!(ask(&server, User::Admin, COUNTED).await.rows(), "2\t2\t2");
    let lost = newest_part(&server, "rollup").await;

    kill(&mut server).await;
    drop(server);
    fs::remove_dir_all(&lost).unwrap();
    let options = || Options::new(directory.path());
    let server = Clickhouse::start(options().with_spent_tokens()).await.unwrap();
    insert(&server, "second").await;
    let short = ask(&server, User::Admin, COUNTED).await;
    assert!(["2\t1\t2", "2\t2\t1"].contains(&short.rows()), "acknowledged, and not stored: {short:?}");
    server.stop().await.unwrap();

    // A server that is up keeps its notes in memory: nobody may write among them.
    let mut server = Clickhouse::start(options()).await.unwrap();
    let engine = directory.path().join("engine");
    assert!(matches!(take_back_spent_tokens(&engine), Err(Error::PathInUse { .. })));
    for token in ["first", "second", "second"] {
        insert(&server, token).await;
    }
    assert_eq!(ask(&server, User::Admin, COUNTED).await.rows(), "2\t2\t2", "what was missing, once, and nothing else");

    // Merged, or in a table that may have it on another disk: it is there.
    ask(&server, User::Admin, "OPTIMIZE TABLE rollup FINAL").await.rows();
    let elsewhere = "CREATE TABLE elsewhere (n UInt64) ENGINE = MergeTree ORDER BY n \
         SETTINGS non_replicated_deduplication_window = 100, storage_policy = 'default'";
    ask(&server, User::Admin, elsewhere).await.rows();
    ask(&server, User::Admin, "INSERT INTO elsewhere VALUES (1)").await.rows();
    let moved = newest_part(&server, "elsewhere").await;
    kill(&mut server).await;
    fs::remove_dir_all(moved).unwrap();
    assert_eq!(take_back_spent_tokens(&engine).unwrap(), 0);
}

/// Inserts a row, which lies in the same block however often it comes.
async fn insert(server: &Clickhouse, token: &str) {
    let admin = server.credentials(User::Admin);
    let path = format!("/?async_insert=0&insert_deduplication_token={token}");
    ask_as(server, &admin.user, &admin.password, &path, "INSERT INTO raw VALUES (1)").await.rows();
}

async fn newest_part(server: &Clickhouse, table: &str) -> PathBuf {
    let sql = format!(
        "SELECT path FROM system.parts WHERE active AND table = '{table}' ORDER BY max_block_number DESC LIMIT 1"
    );
    Path::new(ask(server, User::Admin, &sql).await.rows()).to_owned()
}

async fn kill(server: &mut Clickhouse) {
    let pid = Pid::from_raw(server.pid().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    server.exited().await;
}
