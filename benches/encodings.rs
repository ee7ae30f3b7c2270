//! What interactions take on disk under other sort keys and encodings than ours, and from other populations.
//!
//! `make bench BENCH="--bench encodings -- 8000000"`: so many rows. Each variant is our table with something changed, in one
//! partition, merged to one part. `-- 100000000 quiet`: only our table, with the traffic of that name. `dictionary=8192`: with
//! dictionaries of so many values.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its result, and may panic")]

#[path = "years/past.rs"]
mod past;

use std::{env, fs, time::Instant};

use clickhouse::Client;
use past::{PastRow, SHARDS};
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_schema::migrate;
use shardlake_simulator::History;

const ROWS: u64 = 8_000_000;
/// The first of a month with 30 days, in Unix milliseconds.
const MONTH_MS: u64 = 1_788_220_800_000;
const DAY_MS: u64 = 86_400_000;

/// A population, and how much of it 100 clusters see.
struct Traffic {
    name: &'static str,
    guilds: u32,
    users: u32,
    /// Of the whole bot; `None`: all rows are of one month.
    per_s: Option<u64>,
}

/// The first two are of bots with fewer interactions than their guilds make likely: 8 million a month are two a minute
/// and cluster. `quiet` has 0.05 a second and shard, an interaction for each 20 s.
const TRAFFIC: [Traffic; 3] = [
    Traffic { name: "rare", guilds: 400_000, users: 4_000_000, per_s: None },
    Traffic { name: "few", guilds: 100_000, users: 500_000, per_s: None },
    Traffic { name: "quiet", guilds: 400_000, users: 4_000_000, per_s: Some(80) },
];
/// The one that all variants are measured with.
const COMPARED: &str = "few";
const DAYS_OF_MONTH: u64 = 30;

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

const DICTIONARY: &str = "<clickhouse><profiles><default><low_cardinality_max_dictionary_size>SIZE\
    </low_cardinality_max_dictionary_size></default></profiles></clickhouse>";

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
    let asked = |traffic: &&Traffic| env::args().any(|argument| argument == traffic.name);
    let asked: Vec<&Traffic> = TRAFFIC.iter().filter(asked).collect();
    let directory = tempfile::tempdir().unwrap();
    if let Some(size) = env::args().find_map(|argument| argument.strip_prefix("dictionary=").map(str::to_owned)) {
        let drop_ins = directory.path().join("config/users.d");
        fs::create_dir_all(&drop_ins).unwrap();
        fs::write(drop_ins.join("dictionary.xml"), DICTIONARY.replace("SIZE", &size)).unwrap();
    }
    let clickhouse = Clickhouse::start(Options::new(directory.path())).await.unwrap();
    let admin = clickhouse.credentials(User::Admin);
    let client = Client::default().with_url(clickhouse.url()).with_database("shardlake");
    let client = client.with_user(admin.user).with_password(admin.password);
    migrate::apply(&client, "shardlake").await.unwrap();
    run(&client, &create("drawn", "tuple()", &[])).await;
    for traffic in if asked.is_empty() { TRAFFIC.iter().collect() } else { asked.clone() } {
        let days = fill(&client, rows, traffic).await;
        let Traffic { name, guilds, users, .. } = traffic;
        println!(
            "\n{name}, {guilds} guilds, {users} users, {days} days: bytes/row, seconds to insert and merge, sort key, changes, bytes/row of the changed columns or of all"
        );
        let last = if asked.is_empty() && *name == COMPARED { VARIANTS.len() } else { 1 };
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

/// Returns how many days the rows are of.
async fn fill(client: &Client, rows: u64, traffic: &Traffic) -> u64 {
    run(client, "TRUNCATE TABLE drawn").await;
    let history = History::new(1, traffic.guilds, traffic.users, SHARDS);
    let days = traffic.per_s.map_or(DAYS_OF_MONTH, |per_s| rows.div_ceil(per_s * DAY_MS / 1_000));
    for day in 0..days {
        let mut insert = client.clone().with_validation(false).insert::<PastRow>("drawn").await.unwrap();
        for past in history.day(MONTH_MS + day * DAY_MS, rows / days) {
            insert.write(&PastRow::of(&past, MONTH_MS)).await.unwrap();
        }
        insert.end().await.unwrap();
    }
    days
}

async fn measure(client: &Client, key: &str, changes: &[&str]) {
    run(client, &create("variant", key, changes)).await;
    let started = Instant::now();
    run(client, "INSERT INTO variant SELECT * FROM drawn").await;
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
