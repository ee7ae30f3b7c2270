//! What a year costs: bytes per interaction, rows and bytes of each rollup, and what the catalogue's questions take from
//! rollups and from raw rows.
//!
//! The simulator's population has a year of interactions in 100 clusters of 16 shards. They are inserted by days through the
//! real tables and views, so every rollup is what the views made of it. Batches are numbered as clusters of this size would,
//! one each 25 s, but `batches` is not filled: at three interactions per second and 100 clusters it would have more rows than
//! `interactions`. Minutes are made of the last 30 days; they are kept for 90.
//!
//! `make bench BENCH="--bench years -- 100000000"`: so many interactions.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its result, and may panic")]

mod past;

#[path = "../../queries/tests/rolled_up/raw.rs"]
mod raw;

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use clickhouse::Client;
use past::{PastRow, SHARDS};
use raw::with_raw_questions;
use serde_json::Value;
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_queries::{Service, catalogue::Question, serve};
use shardlake_schema::{TimeMs, migrate};
use shardlake_simulator::History;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    time::sleep,
};

const INTERACTIONS: u64 = 100_000_000;
const DAYS: u64 = 365;
const DAY_MS: u64 = 86_400_000;
const GUILDS: u32 = 400_000;
const USERS: u32 = 4_000_000;
/// Minutes are made of so many days.
const MINUTES_DAYS: u64 = 30;
/// Inserts per day while minutes are made: a state takes kilobytes until it is written.
const PARTS_OF_DAY: usize = 4;
const SETTLE_LIMIT: Duration = Duration::from_mins(15);
const ASKED_OF_ROLLUPS: usize = 11;
const ASKED_OF_RAW: usize = 3;

/// How the header of a question begins that a rollup of interactions answers.
const ROLLED_UP: &str = "-- rollup: interactions";

/// Rollups with minutes.
const ROLLUPS: [&str; 2] = ["interactions_by_cluster_rollup", "interactions_by_command_rollup"];
/// What the views of the two make minutes of.
const MINUTES: [&str; 2] = ["('1m', together, false, minutes.minute), ", "('1m', minutes.minute), "];

/// Argus's table and its rows for the same traffic: one for each receipt, one more for each slash command that succeeded.
const ARGUS: [&str; 2] = [
    "CREATE TABLE argus_events (ts String, event LowCardinality(String), guild_id String, type LowCardinality(String),
        command String, duration_ms Float64, cluster_id LowCardinality(String)) ENGINE = MergeTree ORDER BY (guild_id, ts)",
    "INSERT INTO argus_events
     SELECT concat(formatDateTime(toDateTime64(at, 6, 'UTC'), '%Y-%m-%dT%H:%i:%S.%f'), '+00:00'), event, toString(guild_id),
        if(event = 'interaction', type, ''), if(event = 'interaction', '', command),
        if(event = 'interaction', 0, duration_ms + id_low % 1000 / 1000), cluster
     FROM (SELECT *, arrayJoin(if(type = 'application_command' AND outcome = 'success', ['interaction', 'app_command'], ['interaction'])) AS event,
        time + toIntervalMicrosecond(id_low % 1000) + toIntervalMillisecond(if(event = 'interaction', 0, duration_ms)) AS at
        FROM interactions WHERE time >= {from:DateTime64(3, 'UTC')})",
];

#[tokio::main]
async fn main() {
    let total = env::args().find_map(|argument| argument.parse().ok()).unwrap_or(INTERACTIONS);
    let directory = tempfile::tempdir().unwrap();
    let clickhouse = Clickhouse::start(Options::new(directory.path())).await.unwrap();
    let client = |user| {
        let credentials = clickhouse.credentials(user);
        let client = Client::default().with_url(clickhouse.url()).with_database("shardlake");
        client.with_user(credentials.user).with_password(credentials.password)
    };
    let admin = client(User::Admin);
    migrate::apply(&admin, "shardlake").await.unwrap();
    for table in ["interactions"].into_iter().chain(ROLLUPS) {
        run(&admin, &format!("ALTER TABLE {table} REMOVE TTL")).await;
    }
    let today_ms = TimeMs::now().0.cast_unsigned() / DAY_MS * DAY_MS;
    let start_ms = today_ms - DAYS * DAY_MS;

    let started = Instant::now();
    fill(&admin, total, start_ms).await;
    settle(&admin, "%").await;
    println!("filled and merged in {:.0} s", started.elapsed().as_secs_f64());
    sizes(&admin, today_ms).await;
    questions(client(User::Reader)).await;
    clickhouse.stop().await.unwrap();
}

async fn run(client: &Client, sql: &str) {
    client.query_raw(sql).execute().await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
}

async fn fill(admin: &Client, total: u64, start_ms: u64) {
    run(admin, "DETACH TABLE interactions_batches").await;
    let mut of_all_steps = Vec::new();
    for (rollup, minutes) in ROLLUPS.into_iter().zip(MINUTES) {
        let query = "SELECT as_select FROM system.tables WHERE database = 'shardlake' AND name = {name:String}";
        let query = admin.query_raw(query).param("name", format!("{rollup}_view"));
        let query: String = query.fetch_one().await.unwrap();
        let without = query.replace(minutes, "");
        assert_ne!(query, without, "a view makes no minutes");
        // A migration may not (see 0015); here no insert is ever repeated.
        run(admin, &format!("ALTER TABLE {rollup}_view MODIFY QUERY {without}")).await;
        of_all_steps.push(format!("ALTER TABLE {rollup}_view MODIFY QUERY {query}"));
    }
    let (days, mut drawn) = mpsc::channel(1);
    let drawing = tokio::task::spawn_blocking(move || {
        let history = History::new(1, GUILDS, USERS, SHARDS);
        for day in 0..DAYS {
            days.blocking_send((day, history.day(start_ms + day * DAY_MS, History::of_day(total, day)))).unwrap();
        }
    });
    while let Some((day, past)) = drawn.recv().await {
        if day == DAYS - MINUTES_DAYS {
            for view in &of_all_steps {
                run(admin, view).await;
            }
        }
        let parts = if day < DAYS - MINUTES_DAYS { 1 } else { PARTS_OF_DAY };
        for part in past.chunks(past.len().div_ceil(parts).max(1)) {
            let mut insert = admin.clone().with_validation(false).insert::<PastRow>("interactions").await.unwrap();
            for past in part {
                insert.write(&PastRow::of(past, start_ms)).await.unwrap();
            }
            insert.end().await.unwrap();
        }
    }
    drawing.await.unwrap();
}

/// Merges what quiet nights would have merged, in the tables whose names are `like` this.
async fn settle(admin: &Client, like: &str) {
    let tables = "SELECT name FROM system.tables WHERE database = 'shardlake' AND engine LIKE '%MergeTree' AND total_rows > 0 \
        AND name LIKE {like:String}";
    let tables: Vec<String> = admin.query_raw(tables).param("like", like).fetch_all().await.unwrap();
    let patient = admin.clone().with_setting("optimize_throw_if_noop", "0");
    for table in tables {
        run(&patient, &format!("OPTIMIZE TABLE {table} FINAL")).await;
    }
    let merging = "SELECT count() FROM system.merges";
    let started = Instant::now();
    while admin.query_raw(merging).fetch_one::<u64>().await.unwrap() > 0 && started.elapsed() < SETTLE_LIMIT {
        sleep(Duration::from_secs(1)).await;
    }
}

async fn sizes(admin: &Client, today_ms: u64) {
    let parts = "SELECT if(endsWith(table, '_rollup'), concat(table, ' ', extract(partition, '\\\\w+')), table) AS name, sum(rows), sum(bytes_on_disk) \
        FROM system.parts WHERE active AND database = 'shardlake' AND table LIKE 'interactions%' GROUP BY name ORDER BY name";
    let tables: Vec<(String, u64, u64)> = admin.query_raw(parts).fetch_all().await.unwrap();
    let interactions = tables.iter().find(|(table, ..)| table == "interactions").map_or(1, |(_, rows, _)| *rows);
    println!("\n{:<36}{:>14}{:>12}{:>12}{:>22}", "table", "rows", "MB", "bytes/row", "bytes/interaction");
    for (table, rows, bytes) in &tables {
        let per = |rows: u64| as_f64(*bytes) / as_f64(rows.max(1));
        println!("{table:<36}{rows:>14}{:>12}{:>12.1}{:>22.2}", bytes / 1_000_000, per(*rows), per(interactions));
    }
    let columns = "SELECT name, data_compressed_bytes FROM system.columns WHERE database = 'shardlake' \
        AND table = 'interactions' AND data_compressed_bytes > 0 ORDER BY data_compressed_bytes DESC";
    let columns: Vec<(String, u64)> = admin.query_raw(columns).fetch_all().await.unwrap();
    println!("\nbytes per interaction, by column");
    for (column, bytes) in columns {
        println!("{column:<32}{:>12.2}", as_f64(bytes) / as_f64(interactions));
    }

    run(admin, ARGUS[0]).await;
    let from = format!("{}.000", (today_ms - 30 * DAY_MS) / 1_000);
    admin.query_raw(ARGUS[1]).param("from", &from).execute().await.unwrap();
    settle(admin, "argus_events").await;
    let sql = "SELECT (SELECT count() FROM interactions WHERE time >= {from:DateTime64(3, 'UTC')}), sum(rows), sum(bytes_on_disk) \
        FROM system.parts WHERE active AND table = 'argus_events'";
    let (ours, rows, bytes): (Option<u64>, u64, u64) =
        admin.query_raw(sql).param("from", &from).fetch_one().await.unwrap();
    let per = as_f64(bytes) / as_f64(ours.unwrap_or(1));
    println!(
        "\nArgus's table, the last 30 days: {rows} rows for {} interactions, {per:.2} bytes per interaction",
        ours.unwrap_or(0)
    );
}

async fn questions(reader: Client) {
    let (catalogue, ids) = with_raw_questions();
    let is_of_interactions = |question: &&Arc<Question>| question.sql.lines().any(|line| line.starts_with(ROLLED_UP));
    let asked: Vec<Arc<Question>> =
        ids.iter().filter_map(|id| catalogue.get(id)).filter(is_of_interactions).cloned().collect();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let service = Service::new(reader, catalogue);
    let served = tokio::spawn(serve(listener, None, service, async {
        let _ = stopped.await;
    }));
    println!("\n{:<26}{:>8}{:<34}{:>10}{:>10}{:>8}", "question", "range", "  table", "ms", "raw ms", "ratio");
    for question in &asked {
        let id = &question.id();
        for (range, step) in [("-2d", "15m"), ("-30d", "6h"), ("-365d", "7d")] {
            let step = question.parameter("step").map_or_else(String::new, |_| format!("&step={step}"));
            let ask = |id: &str| {
                format!("GET /v1/{id}?from={range}&to=now{step} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            };
            let (table, rollup_ms) = median(address, &ask(id), ASKED_OF_ROLLUPS).await;
            if table == "interactions" {
                continue; // no rollup is made of days as short as these
            }
            let (_, raw_ms) = median(address, &ask(&format!("raw_{id}")), ASKED_OF_RAW).await;
            println!("{id:<26}{range:>8}  {table:<32}{rollup_ms:>10.1}{raw_ms:>10.1}{:>8.1}", raw_ms / rollup_ms);
        }
    }
    stop.send(()).unwrap();
    served.await.unwrap();
}

/// The table that answers, and the median of ClickHouse's own time for it; not a number where the reader's limits do not
/// allow the question. The first answer warms caches and is left out.
async fn median(address: std::net::SocketAddr, request: &str, times: usize) -> (String, f64) {
    let mut all_ms = Vec::new();
    let mut table = String::new();
    for _ in 0..=times {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        if head.starts_with("HTTP/1.1 422") {
            return (String::new(), f64::NAN); // the reader's limits on time or memory
        }
        assert!(head.contains(" 200 "), "{reply}");
        let answer: Value = serde_json::from_str(body).unwrap();
        all_ms.push(answer["meta"]["elapsed_ms"].as_f64().unwrap());
        answer["meta"]["table"].as_str().unwrap().clone_into(&mut table);
    }
    all_ms.remove(0);
    all_ms.sort_by(f64::total_cmp);
    (table, all_ms[times / 2])
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
