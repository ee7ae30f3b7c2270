//! A deduplication token alone does not keep the promise, and looking before each retry does.
//!
//! ClickHouse notes a token before it keeps the rows. Killed in between, it answers the retry with 200 and stores nothing.
//! Here that moment is made by hand: the data is put back to before the insert, the notes of tokens are not. Then the
//! very bytes of the insert are sent again, and a recording process takes up the spool of the one that had sent them.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test may panic")]

mod yard;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use clickhouse::Client;
use tokio::time::sleep;
use yard::{
    MEMORY_BYTES, PATIENCE, Pace, ROLLUP_TABLES, Yard, kill,
    proxy::{Fault, Message, Proxy},
    rollup_mismatches,
};

const SAFE: Pace = Pace { journal: "always", per_second: 2_000, batch_ms: 100, memory_bytes: MEMORY_BYTES };
/// Where a MergeTree table notes the tokens it has seen.
const TOKENS: &str = "deduplication_logs";

/// A yard whose ClickHouse has noted a token without keeping its rows.
struct Hole {
    yard: Yard,
    /// The insert that this happened to, as it went over the wire.
    insert: Message,
    before: Snapshot,
}

/// The data of a table and of its rollups, before the insert, and the tokens of the table, after it.
struct Snapshot {
    tables: Vec<(PathBuf, PathBuf)>,
    tokens: (PathBuf, PathBuf),
}

impl Hole {
    async fn open(fault: &'static str) -> Self {
        let mut yard = Yard::open(fault, 0).await;
        let mut folders = vec![folder(&yard.admin(), "interactions").await, folder(&yard.admin(), "batches").await];
        for rollup in ROLLUP_TABLES {
            folders.push(folder(&yard.admin(), rollup).await);
        }
        let tokens = (folders[0].join(TOKENS), yard.path("tokens"));
        let kept = folders.into_iter().enumerate().map(|(at, folder)| (folder, yard.path(&format!("before-{at}"))));
        let before = Snapshot { tables: kept.collect(), tokens };
        yard.clickhouse.take().unwrap().stop().await.unwrap();
        before.tables.iter().for_each(|(folder, kept)| copy(folder, kept));
        yard.start_clickhouse().await;

        let insert = insert_whose_answer_is_lost(&mut yard).await;
        assert!(rows(&yard).await > 0, "it has landed");
        yard.kill_clickhouse().await;
        copy(&before.tokens.0, &before.tokens.1);
        let mut hole = Self { yard, insert, before };
        hole.dig().await;
        hole
    }

    /// ClickHouse as it is after a kill between the two: the token is noted, the rows are not there. It must be down.
    async fn dig(&mut self) {
        for (folder, kept) in &self.before.tables {
            fs::remove_dir_all(folder).unwrap();
            copy(kept, folder);
        }
        let (noted, kept) = &self.before.tokens;
        let _ = fs::remove_dir_all(noted); // of a table that never had a row it is not there
        copy(kept, noted);
        self.yard.start_unprepared_clickhouse().await;
        assert_eq!(rows(&self.yard).await, 0);
        self.yard.record.count += 1;
    }
}

/// A process records, and is killed before it hears that its first batch has landed.
async fn insert_whose_answer_is_lost(yard: &mut Yard) -> Message {
    let seen = Arc::new(Mutex::new(None));
    let seeing = Arc::clone(&seen);
    let proxy = Proxy::start(yard.port, move |request| {
        let mut seen = seeing.lock().unwrap();
        let is_it = seen.is_none() && is_insert_of_interactions(request);
        if is_it {
            *seen = Some(Message { head: request.head.clone(), body: request.body.clone() });
        }
        Some(if is_it { Fault::AnswerLost } else { Fault::BlackHole(Duration::ZERO) })
    })
    .await;
    let mut process = yard.record(proxy.port, SAFE);
    let (admin, mut landed) = (yard.admin(), 0_u64);
    let landing = async {
        while landed == 0 {
            landed = admin.query_raw("SELECT count() FROM batches").fetch_one().await.unwrap();
            sleep(Duration::from_millis(20)).await;
        }
    };
    yard.record.in_time(PATIENCE, landing).await;
    kill(process.id().unwrap());
    process.wait().await.unwrap();
    seen.lock().unwrap().take().unwrap()
}

fn is_insert_of_interactions(request: &Message) -> bool {
    let line = String::from_utf8_lossy(&request.head).lines().next().unwrap_or_default().to_owned();
    line.contains("INSERT") && line.contains("interactions")
}

async fn rows(yard: &Yard) -> u64 {
    yard.admin().query_raw("SELECT count() FROM interactions").fetch_one().await.unwrap()
}

/// Where the data of a table lies.
async fn folder(admin: &Client, table: &str) -> PathBuf {
    let sql = "SELECT data_paths[1] FROM system.tables WHERE database = currentDatabase() AND name = {table:String}";
    let path: String = admin.query_raw(sql).param("table", table).fetch_one().await.unwrap();
    path.into()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_with_the_same_token_is_acknowledged_and_stores_nothing() {
    let hole = Hole::open("a token without its rows, and no looking").await;
    let answer = hole.insert.ask(hole.yard.port).await.unwrap();
    let answer = String::from_utf8_lossy(&answer.head).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(rows(&hole.yard).await, 0, "acknowledged, and lost");
    let counted = rollup_mismatches(&hole.yard.admin()).await;
    assert!(counted.len() > 1, "the rollups count what is not there: {counted:?}");
    hole.yard.clickhouse.unwrap().stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_looked_for_first_is_stored_exactly_once() {
    Hole::open("a token without its rows").await.yard.settle(SAFE).await;
}
