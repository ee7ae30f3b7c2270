//! What a month of interactions takes on disk under other sort keys and encodings than ours, and from other populations.
//!
//! `make bench BENCH="--bench encodings -- 8000000"`: so many rows. Each variant is our table with something changed, in one
//! partition, merged to one part.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its result, and may panic")]

#[path = "years/past.rs"]
mod past;

use std::{env, time::Instant};

use clickhouse::Client;
use past::{PastRow, SHARDS};
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_schema::migrate;
use shardlake_simulator::History;

const ROWS: u64 = 8_000_000;
/// The first of a month with 30 days, in Unix milliseconds.
const MONTH_MS: u64 = 1_788_220_800_000;
const DAY_MS: u64 = 86_400_000;
const DAYS: u64 = 30;
/// Guilds and users: more than the bot's traffic makes likely, and fewer.
const POPULATIONS: [(u32, u32); 2] = [(400_000, 4_000_000), (100_000, 500_000)];

/// The columns as the migrations make them; the first word of a change is the column that it changes.
const OURS: [&str; 18] = [
    "cluster LowCardinality(String)",
    "boot UInt64 CODEC(ZSTD(1))",
    "batch UInt64 CODEC(Delta, ZSTD(1))",
    "time DateTime64(3, 'UTC') CODEC(Delta, T64, ZSTD(1))",
    "delivery_lag_ms Int64 CODEC(T64, ZSTD(1))",
    "id_low UInt32 CODEC(T64, ZSTD(1))",
    "guild_id LowCardinality(UInt64) CODEC(ZSTD(1))",
    "shards_total UInt16 CODEC(ZSTD(1))",
    "shard_offset UInt16 CODEC(ZSTD(1))",
    "user_key LowCardinality(UInt32) CODEC(ZSTD(1))",
    "type LowCardinality(String) CODEC(ZSTD(1))",
    "command LowCardinality(String) CODEC(ZSTD(1))",
    "outcome LowCardinality(String) CODEC(ZSTD(1))",
    "error_type LowCardinality(String) CODEC(ZSTD(1))",
    "response_ms UInt32 CODEC(T64, ZSTD(1))",
    "duration_ms UInt32 CODEC(T64, ZSTD(1))",
    "locale LowCardinality(String) CODEC(ZSTD(1))",
    "context LowCardinality(String) CODEC(ZSTD(1))",
];

const BY_TIME: &str = "cluster, time";

/// Sort key and changed columns.
const VARIANTS: [(&str, &[&str]); 17] = [
    (BY_TIME, &[]),
    ("cluster, type, command, time", &[]),
    ("cluster, guild_id, time", &[]),
    ("cluster, toDate(time), guild_id, time", &[]),
    (BY_TIME, &["time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))"]),
    (BY_TIME, &["time DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1))"]),
    (BY_TIME, &["batch UInt64"]),
    (BY_TIME, &["delivery_lag_ms LowCardinality(Int64) CODEC(ZSTD(1))"]),
    (BY_TIME, &["guild_id UInt64 CODEC(ZSTD(1))"]),
    (BY_TIME, &["guild_id LowCardinality(UInt64) CODEC(ZSTD(6))"]),
    (BY_TIME, &["user_key UInt32 CODEC(ZSTD(1))"]),
    (BY_TIME, &["user_key LowCardinality(UInt32) CODEC(ZSTD(6))"]),
    // Blocks of 1 MiB, where ClickHouse ends one at the next mark after 64 KiB.
    (
        BY_TIME,
        &[
            "user_key LowCardinality(UInt32) CODEC(ZSTD(6)) SETTINGS (min_compress_block_size = 1048576, max_compress_block_size = 1048576)",
        ],
    ),
    (BY_TIME, &["id_low UInt32 CODEC(ZSTD(1))"]),
    (BY_TIME, &["response_ms UInt32 CODEC(ZSTD(1))", "duration_ms UInt32 CODEC(ZSTD(1))"]),
    (BY_TIME, &["response_ms UInt32 CODEC(T64, ZSTD(6))", "duration_ms UInt32 CODEC(T64, ZSTD(6))"]),
    (BY_TIME, &["type LowCardinality(String)", "command LowCardinality(String)", "locale LowCardinality(String)"]),
];

#[tokio::main]
async fn main() {
    let rows = env::args().find_map(|argument| argument.parse().ok()).unwrap_or(ROWS);
    let directory = tempfile::tempdir().unwrap();
    let clickhouse = Clickhouse::start(Options::new(directory.path())).await.unwrap();
    let admin = clickhouse.credentials(User::Admin);
    let client = Client::default().with_url(clickhouse.url()).with_database("shardlake");
    let client = client.with_user(admin.user).with_password(admin.password);
    migrate::apply(&client, "shardlake").await.unwrap();
    run(&client, &create("month", "tuple()", &[])).await;
    for (guilds, users) in POPULATIONS {
        fill(&client, rows, guilds, users).await;
        println!(
            "\n{guilds} guilds, {users} users: bytes/row, seconds to insert and merge, sort key, changes, bytes/row of the changed columns or of all"
        );
        let last = if (guilds, users) == POPULATIONS[0] { 1 } else { VARIANTS.len() };
        for (key, changes) in &VARIANTS[..last] {
            measure(&client, key, changes).await;
        }
    }
    clickhouse.stop().await.unwrap();
}

async fn run(client: &Client, sql: &str) {
    client.query_raw(sql).execute().await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
}

fn name(column: &str) -> &str {
    column.split_once(' ').unwrap().0
}

fn create(table: &str, key: &str, changes: &[&str]) -> String {
    let changed = |ours: &'static str| *changes.iter().find(|change| name(change) == name(ours)).unwrap_or(&ours);
    format!(
        "CREATE OR REPLACE TABLE {table} ({}) ENGINE = MergeTree ORDER BY ({key}) SETTINGS allow_suspicious_low_cardinality_types = 1",
        OURS.map(changed).join(", ")
    )
}

async fn fill(client: &Client, rows: u64, guilds: u32, users: u32) {
    run(client, "TRUNCATE TABLE month").await;
    let history = History::new(1, guilds, users, SHARDS);
    for day in 0..DAYS {
        let mut insert = client.clone().with_validation(false).insert::<PastRow>("month").await.unwrap();
        for past in history.day(MONTH_MS + day * DAY_MS, rows / DAYS) {
            insert.write(&PastRow::of(&past, MONTH_MS)).await.unwrap();
        }
        insert.end().await.unwrap();
    }
}

async fn measure(client: &Client, key: &str, changes: &[&str]) {
    run(client, &create("variant", key, changes)).await;
    let started = Instant::now();
    run(client, "INSERT INTO variant SELECT * FROM month").await;
    run(client, "OPTIMIZE TABLE variant FINAL").await;
    let seconds = started.elapsed().as_secs_f64();
    let sql = "SELECT sum(bytes_on_disk) / sum(rows) FROM system.parts WHERE active AND table = 'variant'";
    let bytes: f64 = client.query_raw(sql).fetch_one().await.unwrap();
    let sql = "SELECT name, data_compressed_bytes / (SELECT count() FROM variant) FROM system.columns \
        WHERE table = 'variant' AND database = 'shardlake' ORDER BY data_compressed_bytes DESC";
    let columns: Vec<(String, Option<f64>)> = client.query_raw(sql).fetch_all().await.unwrap();
    let is_shown = |column: &str| changes.is_empty() || changes.iter().any(|change| name(change) == column);
    let shown = columns.iter().filter(|(column, bytes)| is_shown(column) && bytes.unwrap_or(0.0) >= 0.01);
    let shown: Vec<_> = shown.map(|(column, bytes)| format!("{column} {:.2}", bytes.unwrap_or(0.0))).collect();
    println!("{bytes:>6.2} {seconds:>6.1}  ({key})  {}  [{}]", changes.join("; "), shown.join(", "));
}
