//! What a fleet costs the server: the same traffic over 1, 10, 100 and 1,000 clusters, or as many as are asked for.
//!
//! Each cluster is a recorder with its lanes, its thread and its connections; they live in a few child processes of this
//! program, which record interactions and nothing else. They run where the engine leaves them time (`nice`): a real fleet
//! has other machines. One real engine takes what they send. After every table's first
//! batch a window is measured, in the server's own words: what landed in it, how old its rows were by then, which parts it
//! made. At the end the whole fleet drains at once, and what was recorded is compared with what is stored.
//!
//! A round is `clusters` or `clusters@age_ms`: `make bench BENCH="--bench fleet -- 100 100@5000"`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its result, and may panic")]

use std::{
    env, fs,
    io::{self, BufRead as _, Read as _, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use clickhouse::{Client, Row, RowOwned, RowRead};
use serde::{Deserialize, Serialize};
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_ingest::{Config, Recorder, Shards};
use shardlake_schema::{Table, migrate};
use tokio::{
    task::JoinSet,
    time::{interval, sleep},
};
use twilight_model::application::interaction::Interaction;

/// Of the whole fleet, whatever its size.
const INTERACTIONS_PER_S: u64 = 2_000;
/// Of the window, unless a batch gets older than that.
const SHORTEST_WINDOW: Duration = Duration::from_secs(20);
/// Each process records this often.
const TICK: Duration = Duration::from_millis(20);
/// A cluster records a few interactions per second, so it needs no longer queue; a thousand of them share this machine.
const QUEUE_ROWS: usize = 1_024;
/// Before the window, on top of a batch's age: connections, and the first batches on their way.
const SETTLE: Duration = Duration::from_secs(5);
/// A fleet that stops all at once has a batch of each cluster and table to land, thousands of inserts.
const DRAIN: Duration = Duration::from_mins(10);
/// Each writer has a thread of its own and some files.
const WRITERS_PER_PROCESS: u16 = 250;
/// Ticks per second of `/proc/<pid>/stat` on every Linux that this runs on (`getconf CLK_TCK`).
const TICKS_PER_S: f64 = 100.0;
/// First argument of a child process.
const WRITERS: &str = "writers";

#[tokio::main]
async fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error means that there is one already
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|first| first == WRITERS) {
        return writers().await;
    }
    let mut rounds: Vec<Round> = arguments.iter().map(|argument| Round::parse(argument)).collect();
    if rounds.is_empty() {
        rounds = [1, 10, 100, 1_000].map(|clusters| Round { clusters, age_ms: None }).into();
    }
    println!("{}", HEADS.map(|head| format!("{head:>14}")).concat());
    for round in rounds {
        round.run().await;
    }
}

/// Prints figures of a line, which goes on.
fn go_on(figures: &[String]) {
    for figure in figures {
        print!("{figure:>14}");
    }
    io::stdout().flush().unwrap();
}

const HEADS: [&str; 15] = [
    "clusters",
    "age s",
    "rows/s",
    "inserts/s",
    "most in 1 s",
    "parts/s",
    "merges/s",
    "active",
    "CPU cores",
    "CPU s/M rows",
    "p50 s",
    "p99 s",
    "RSS MB",
    "drain s",
    "lost/twice",
];

#[derive(Clone, Copy)]
struct Round {
    clusters: u16,
    /// `None`: the default for that many clusters.
    age_ms: Option<u64>,
}

impl Round {
    fn parse(argument: &str) -> Self {
        let (clusters, age_ms) = argument.split_once('@').map_or((argument, None), |(c, age)| (c, Some(age)));
        Self { clusters: clusters.parse().unwrap(), age_ms: age_ms.map(|age| age.parse().unwrap()) }
    }

    /// Prints its line: the window's figures when it is over, the rest when the fleet has drained.
    async fn run(self) {
        let directory = tempfile::tempdir().unwrap();
        let clickhouse = Clickhouse::start(Options::new(directory.path())).await.unwrap();
        let admin = clickhouse.credentials(User::Admin);
        let client = Client::default().with_url(clickhouse.url()).with_database("shardlake");
        let client = client.with_user(admin.user).with_password(admin.password);
        migrate::apply(&client, "shardlake").await.unwrap();
        let fleet = Fleet::start(self, &clickhouse);

        let age = self.config("0", 0).batch.max_age;
        let window = age.max(SHORTEST_WINDOW);
        sleep(age + SETTLE).await;
        let engine = clickhouse.pid().to_string();
        let cpu_s = process_cpu_s(&engine);
        let from: i64 = one(&client, "SELECT toUnixTimestamp64Milli(now64(3))").await;
        sleep(window).await;
        let cpu_s = process_cpu_s(&engine) - cpu_s;
        let server = Server::look(&client, from, window).await;

        let per_s = |count: u64| as_f64(count) / window.as_secs_f64();
        go_on(&[
            self.clusters.to_string(),
            format!("{:.1}", age.as_secs_f64()),
            format!("{:.0}", per_s(server.rows)),
            format!("{:.1}", per_s(server.inserts)),
            server.most_inserts_in_1_s.to_string(),
            format!("{:.1}", per_s(server.parts)),
            format!("{:.1}", per_s(server.merges)),
            server.active_parts.to_string(),
            format!("{:.2}", cpu_s / window.as_secs_f64()),
            format!("{:.1}", cpu_s / as_f64(server.rows) * 1e6),
            format!("{:.1}", server.age_p50_s),
            format!("{:.1}", server.age_p99_s),
            resident_mb(&engine).to_string(),
        ]);

        let started = Instant::now();
        let (observed, landed) = fleet.stop();
        let drain_s = started.elapsed().as_secs_f64();
        let (rows, distinct): (u64, u64) =
            one(&client, "SELECT count(), uniqExact(interaction_id) FROM interactions").await;
        assert_eq!(observed, landed, "a receipt does not add up to the rows that landed");
        go_on(&[format!("{drain_s:.1}"), format!("{}/{}\n", observed - distinct, rows - distinct)]);
        clickhouse.stop().await.unwrap();
    }

    fn config(self, url: &str, cluster: u16) -> Config {
        let shards = Shards { first: cluster, count: 1, total: self.clusters };
        let mut config = Config::new(cluster.to_string(), shards, url);
        config.queue_rows = QUEUE_ROWS;
        if let Some(age_ms) = self.age_ms {
            config.batch.max_age = Duration::from_millis(age_ms);
        }
        config
    }
}

/// What the server says of the window.
#[derive(Row, Deserialize)]
struct Server {
    rows: u64,
    inserts: u64,
    most_inserts_in_1_s: u64,
    /// New ones, in raw tables and in `batches`.
    parts: u64,
    merges: u64,
    active_parts: u64,
    age_p50_s: f64,
    age_p99_s: f64,
}

impl Server {
    async fn look(client: &Client, from: i64, window: Duration) -> Self {
        client.query_raw("SYSTEM FLUSH LOGS").execute().await.unwrap();
        let window = format!(
            "BETWEEN fromUnixTimestamp64Milli({from}) AND fromUnixTimestamp64Milli({})",
            from + i64::try_from(window.as_millis()).unwrap()
        );
        let parts = format!("FROM system.part_log WHERE database = 'shardlake' AND event_time_microseconds {window}");
        let raw = Table::ALL.map(|table| format!("'{table}'")).join(", "); // their views insert too
        let inserts = format!("{parts} AND event_type = 'NewPart' AND table IN ({raw})");
        let ages = format!(
            "FROM (SELECT cluster, boot, batch, time FROM interactions) AS rows \
             INNER JOIN (SELECT * FROM batches WHERE table = 'interactions' AND landed_at {window}) AS batches \
             USING (cluster, boot, batch)"
        );
        let age = |level: f64| {
            format!(
                "quantileExact({level})(toUnixTimestamp64Milli(landed_at) - toUnixTimestamp64Milli(rows.time)) / 1000 {ages}"
            )
        };
        let figures = [
            ("rows", format!("sum(rows) {inserts}")),
            ("inserts", format!("count() {inserts}")),
            (
                "most_inserts_in_1_s",
                format!("max(inserts) FROM (SELECT count() AS inserts {inserts} GROUP BY event_time)"),
            ),
            ("parts", format!("count() {parts} AND event_type = 'NewPart'")),
            ("merges", format!("count() {parts} AND event_type = 'MergeParts'")),
            ("active_parts", "count() FROM system.parts WHERE active AND database = 'shardlake'".to_owned()),
            ("age_p50_s", age(0.5)),
            ("age_p99_s", age(0.99)),
        ];
        let figures = figures.map(|(name, figure)| format!("assumeNotNull((SELECT {figure})) AS {name}"));
        let sql = format!("SELECT {}", figures.join(", "));
        one(client, &sql).await
    }
}

async fn one<T: RowOwned + RowRead>(client: &Client, sql: &str) -> T {
    client.query_raw(sql).fetch_one().await.unwrap_or_else(|error| panic!("{error}\n{sql}"))
}

/// What a child is told, on its standard input: not everybody may read the password.
#[derive(Serialize, Deserialize)]
struct Task {
    first: u16,
    count: u16,
    clusters: u16,
    age_ms: Option<u64>,
    clickhouse_url: String,
    user: String,
    password: String,
}

/// The processes that the writers live in.
struct Fleet(Vec<(Child, ChildStdin)>);

impl Fleet {
    fn start(round: Round, clickhouse: &Clickhouse) -> Self {
        let writer = clickhouse.credentials(User::Writer);
        let firsts = (0..round.clusters).step_by(WRITERS_PER_PROCESS.into());
        let start = |first| {
            let task = Task {
                first,
                count: WRITERS_PER_PROCESS.min(round.clusters - first),
                clusters: round.clusters,
                age_ms: round.age_ms,
                clickhouse_url: clickhouse.url().to_owned(),
                user: writer.user.clone(),
                password: writer.password.clone(),
            };
            let mut child = Command::new("nice")
                .arg("--adjustment=10")
                .arg(env::current_exe().unwrap())
                .arg(WRITERS)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            writeln!(stdin, "{}", serde_json::to_string(&task).unwrap()).unwrap();
            (child, stdin)
        };
        Self(firsts.map(start).collect())
    }

    /// Drains all writers at once; the interactions that they observed and landed.
    fn stop(self) -> (u64, u64) {
        let (children, inputs): (Vec<Child>, Vec<ChildStdin>) = self.0.into_iter().unzip();
        drop(inputs); // the signal
        let mut sums = (0, 0);
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", output.status);
            let (observed, landed): (u64, u64) = serde_json::from_slice(&output.stdout).unwrap();
            sums = (sums.0 + observed, sums.1 + landed);
        }
        sums
    }
}

/// A child: runs its writers until its standard input ends.
async fn writers() {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).unwrap();
    let task: Task = serde_json::from_str(&line).unwrap();
    let round = Round { clusters: task.clusters, age_ms: task.age_ms };
    let mut recorders = Vec::new();
    for cluster in task.first..task.first + task.count {
        let mut config = round.config(&task.clickhouse_url, cluster);
        config.clickhouse.user.clone_from(&task.user);
        config.clickhouse.password = task.password.clone().into();
        recorders.push(Recorder::start(config).unwrap());
    }
    let recording = tokio::spawn(record(task.first, task.clusters, recorders.clone()));
    tokio::task::spawn_blocking(|| io::stdin().lock().read_to_end(&mut Vec::new()).unwrap()).await.unwrap();
    recording.abort();

    let mut draining = JoinSet::new();
    for recorder in recorders {
        draining.spawn(async move { recorder.shutdown("bench is over", DRAIN).await });
    }
    let mut sums = (0, 0);
    for receipt in draining.join_all().await {
        assert!(receipt.holds() && receipt.dropped() == 0, "{receipt}");
        let interactions = receipt.accounts.iter().find(|account| account.table == Table::Interactions).unwrap();
        sums = (sums.0 + interactions.observed, sums.1 + interactions.landed);
    }
    println!("{}", serde_json::to_string(&sums).unwrap());
}

/// Records this process's share of the fleet's traffic, one cluster after the other.
async fn record(first: u16, clusters: u16, recorders: Vec<Recorder>) {
    let here = recorders.len() as u64;
    let share_per_s = INTERACTIONS_PER_S * here / u64::from(clusters);
    let mut ticks = interval(TICK);
    let started = Instant::now();
    for id in 0_u64.. {
        while started.elapsed().as_millis() * u128::from(share_per_s) < u128::from(id) * 1_000 {
            ticks.tick().await;
        }
        let recorder = &recorders[usize::try_from(id % here).unwrap()];
        recorder.timer(&interaction((350_000_000_000 << 22) + (u64::from(first) << 32) + id)).success();
    }
}

fn interaction(id: u64) -> Interaction {
    serde_json::from_value(serde_json::json!({
        "id": id.to_string(), "type": 2, "token": "t", "version": 1, "application_id": "1", "attachment_size_limit": 1,
        "authorizing_integration_owners": {}, "entitlements": [], "guild_id": (1 + id % 9_973).to_string(), "locale": "en-GB",
        "context": 0, "app_permissions": "0",
        "data": { "id": "5", "name": format!("command{}", id % 40), "type": 1 },
        "user": { "id": "9", "username": "a", "discriminator": "0", "avatar": null },
    }))
    .unwrap()
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

/// User and system time of a process so far.
fn process_cpu_s(pid: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th fields after it.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / TICKS_PER_S
}

/// Memory of a process now.
fn resident_mb(pid: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1_000
}
