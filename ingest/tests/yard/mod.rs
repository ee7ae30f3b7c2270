//! Where recorders and ClickHouse are broken, for tests: a real engine, processes that record (`examples/steady.rs`), and
//! the comparison of what they promised with what is stored.
//!
//! Each test opens a yard of its own, so tests share nothing. `SHARDLAKE_SEED` repeats a run.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod damage;
pub mod mount;
pub mod proxy;
pub mod record;

use std::{
    collections::BTreeSet,
    env,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime},
};

use clickhouse::Client;
use rustix::process::{Pid, Signal, kill_process};
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_schema::migrate;
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use self::record::Record;

/// What a condition may take to come true before it counts as a hang. Longer than every limit of the inserter.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Ids of one process's interactions: more than any of them records.
const IDS_EACH: u64 = 10_000_000;
/// In the file of what was said: 19 digits and the end of the line.
const ID_BYTES: usize = 20;

/// How a process records.
#[derive(Clone, Copy)]
pub struct Pace {
    pub journal: &'static str,
    pub per_second: u64,
    /// How old a row may get before its batch is sealed.
    pub batch_ms: u64,
    /// Memory for sealed batches, per table.
    pub memory_bytes: usize,
}

/// Memory for batches as nobody set it.
pub const MEMORY_BYTES: usize = 16 << 20;

pub struct Yard {
    pub clickhouse: Option<Clickhouse>,
    pub port: u16,
    pub record: Record,
    directory: tempfile::TempDir,
    /// What processes share: a folder of the yard with their spool and what they said.
    case: String,
    processes: u64,
}

impl Yard {
    /// `fault`: what will be done to it, for the record.
    pub async fn open(fault: &'static str, seed: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let record = Record::new(fault, seed);
        let mut yard = Self { clickhouse: None, port: 0, record, directory, case: String::new(), processes: 0 };
        yard.begin("case");
        yard.start_clickhouse().await;
        migrate::apply(&yard.admin(), "shardlake").await.unwrap();
        yard
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// From now on processes record into another spool, and what was said before is not theirs.
    pub fn begin(&mut self, case: &str) {
        case.clone_into(&mut self.case);
        fs::create_dir(self.path(case)).unwrap();
    }

    pub fn spool(&self) -> PathBuf {
        self.path(&self.case).join("spool")
    }

    fn file_of_said(&self) -> PathBuf {
        self.path(&self.case).join("said")
    }

    pub async fn start_clickhouse(&mut self) {
        let options = self.options();
        self.start_with(options).await;
    }

    /// The same with the tokens that it noted without keeping their rows: nobody has taken them back.
    pub async fn start_unprepared_clickhouse(&mut self) {
        let options = self.options().with_spent_tokens();
        self.start_with(options).await;
    }

    fn options(&self) -> Options {
        Options::new(self.path("clickhouse")).with_http_port(self.port)
    }

    async fn start_with(&mut self, options: Options) {
        let clickhouse = Clickhouse::start(options).await.unwrap();
        self.port = clickhouse.http_port();
        self.clickhouse = Some(clickhouse);
    }

    pub async fn kill_clickhouse(&mut self) {
        let mut clickhouse = self.clickhouse.take().unwrap();
        kill(clickhouse.pid());
        clickhouse.exited().await;
    }

    pub fn admin(&self) -> Client {
        let admin = self.clickhouse.as_ref().unwrap().credentials(User::Admin);
        Client::default()
            .with_url(format!("http://127.0.0.1:{}", self.port))
            .with_database("shardlake")
            .with_user(admin.user)
            .with_password(admin.password)
    }

    /// Waits until ClickHouse has been up for so long.
    pub async fn up_for(&mut self, seconds: u64) {
        let admin = self.admin();
        let up = async {
            while admin.query_raw("SELECT toUInt64(uptime())").fetch_one::<u64>().await.unwrap() < seconds {
                sleep(Duration::from_millis(50)).await;
            }
        };
        self.record.in_time(PATIENCE, up).await;
    }

    /// Starts a process that records, over the spool that the one before left. It finds ClickHouse at `port`.
    pub fn record(&mut self, port: u16, pace: Pace) -> Child {
        self.processes += 1;
        let writer = self.clickhouse.as_ref().unwrap().credentials(User::Writer);
        // Ids like snowflakes of today, so that the rows look like any other.
        let first_id = (350_000_000_000 << 22) + self.processes * IDS_EACH;
        // What a process says that records nothing is no promise.
        let said = if pace.journal == "nothing" { "/dev/null".into() } else { self.file_of_said() };
        Command::new(example("steady"))
            .args([format!("http://127.0.0.1:{port}"), writer.user])
            .args([self.spool(), pace.journal.into(), said])
            .args([first_id, pace.per_second, pace.batch_ms, pace.memory_bytes as u64].map(|number| number.to_string()))
            .env("CLICKHOUSE_PASSWORD", writer.password)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("`cargo test` without `--test` builds the example too")
    }

    /// Ids that were promised: whole lines only, since a kill may have cut the last one.
    pub fn said(&self) -> BTreeSet<u64> {
        let said = fs::read_to_string(self.file_of_said()).unwrap_or_default();
        let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|id| id.parse().unwrap()).collect()
    }

    /// The first id that was promised, and how many there are: cheaper than [`Self::said`], for one process.
    pub fn first_and_number_said(&self) -> (u64, u64) {
        let path = self.file_of_said();
        let mut first = [0; ID_BYTES];
        File::open(&path).unwrap().read_exact(&mut first).unwrap();
        let first = String::from_utf8_lossy(&first).trim().parse().unwrap();
        (first, fs::metadata(&path).unwrap().len() / ID_BYTES as u64)
    }

    /// Waits until a process has promised more than `before` interactions.
    pub async fn working(&mut self, before: usize) {
        let said = self.file_of_said();
        let working = async {
            while fs::metadata(&said).map_or(0, |file| file.len()) <= (ID_BYTES * (before + 1)) as u64 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        self.record.in_time(PATIENCE, working).await;
    }

    /// Lets a process drain, and returns what it printed: its receipt, and a line about the bot's loop.
    pub async fn end(&mut self, mut process: Child) -> String {
        drop(process.stdin.take());
        let ended = self.record.in_time(PATIENCE, process.wait_with_output()).await.unwrap();
        let printed = String::from_utf8(ended.stdout).unwrap();
        self.record.crashes += u64::from(!ended.status.success());
        println!("{printed}");
        assert!(ended.status.success(), "{printed}");
        printed
    }

    /// What was promised beside what is stored.
    pub async fn compare(&self) -> Compared {
        let said = self.said();
        let ids = (said.first().copied().unwrap_or(0), said.last().copied().unwrap_or(0));
        let sql = "SELECT interaction_id, count() FROM interactions \
                   WHERE interaction_id BETWEEN {first:UInt64} AND {last:UInt64} GROUP BY ALL";
        let stored = self.admin().query_raw(sql).param("first", ids.0).param("last", ids.1);
        let stored: Vec<(u64, u64)> = stored.fetch_all().await.unwrap();
        let twice = stored.iter().filter(|(_, rows)| *rows > 1).count() as u64;
        let stored: BTreeSet<u64> = stored.into_iter().map(|(id, _)| id).collect();
        let missing = said.difference(&stored).count() as u64;
        Compared { said: said.len() as u64, missing, twice }
    }

    /// Lets last processes land what is left, as long as each of them leaves less than the one before, and compares what
    /// was promised with what is there.
    pub async fn settle(mut self, pace: Pace) {
        let mut left = u64::MAX;
        loop {
            let last = self.record(self.port, pace);
            let spooled = spooled(&self.end(last).await);
            if spooled == 0 || spooled >= left {
                break;
            }
            left = spooled;
        }

        let Compared { said, missing, twice } = self.compare().await;
        let mismatches = rollup_mismatches(&self.admin()).await;
        (self.record.lost, self.record.twice) = (missing, twice);
        self.record.rollup_mismatches = mismatches.len() as u64;
        println!("said {said}, {:?}", self.record);

        assert!(said > 100, "there is something to compare");
        assert_eq!((missing, twice), (0, 0), "lost and twice, of {said}");
        assert_eq!(mismatches, [], "batches of which raw rows and what the materialized view counted differ");
        assert_eq!(left_in(&self.spool()), [""; 0], "the spool is empty, and nothing was set aside");
        self.close().await;
    }

    pub async fn close(mut self) {
        timeout(PATIENCE, self.clickhouse.take().unwrap().stop()).await.unwrap().unwrap();
    }
}

/// Rows that a receipt says are still in the spool: its fifth column.
fn spooled(receipt: &str) -> u64 {
    let columns = |line: &str| line.split_whitespace().nth(4).and_then(|rows| rows.parse::<u64>().ok());
    receipt.lines().filter_map(columns).sum()
}

/// Tables that rollups lie in.
pub const ROLLUP_TABLES: [&str; 6] = [
    "interactions_by_cluster_rollup",
    "interactions_by_command_rollup",
    "interactions_by_guild_1d",
    "gateway_counts_rollup",
    "shard_events_1d",
    "shard_latency_1h",
];

/// Rollups, which column counts rows, and of which table.
const ROLLUPS: [(&str, &str, &str); 19] = [
    ("interactions_1m", "interactions", "interactions"),
    ("interactions_1h", "interactions", "interactions"),
    ("interactions_1d", "interactions", "interactions"),
    ("interactions_1w", "interactions", "interactions"),
    ("interactions_2w", "interactions", "interactions"),
    ("interactions_by_cluster_1m", "interactions", "interactions"),
    ("interactions_by_cluster_1h", "interactions", "interactions"),
    ("interactions_by_cluster_1d", "interactions", "interactions"),
    ("interactions_by_cluster_1w", "interactions", "interactions"),
    ("interactions_by_cluster_2w", "interactions", "interactions"),
    ("interactions_by_command_1m", "interactions", "interactions"),
    ("interactions_by_command_1h", "interactions", "interactions"),
    ("interactions_by_command_1d", "interactions", "interactions"),
    ("interactions_by_command_1w", "interactions", "interactions"),
    ("interactions_by_command_2w", "interactions", "interactions"),
    ("interactions_by_guild_1d", "interactions", "interactions"),
    ("interactions_in_guilds_1d", "interactions", "interactions WHERE guild_id != 0"),
    ("shard_events_1d", "events", "shard_events"),
    ("shard_latency_1h", "samples", "samples WHERE name = 'discord_shard_latency_seconds'"),
];

/// What was promised beside what is stored.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    pub said: u64,
    /// Promised, and not stored.
    pub missing: u64,
    /// Stored more than once.
    pub twice: u64,
}

/// Batches of which the raw table and `batches` do not hold the same number of rows: `(table, boot, batch, raw rows minus
/// counted rows)`; and rollups that count other than all rows of their table, with 0 for boot and batch. Of `processes`
/// merges keep the newest row only, so it is left out.
pub async fn rollup_mismatches(admin: &Client) -> Vec<(String, u64, u64, i64)> {
    let raw = ["interactions", "shard_events", "gateway_counts", "guild_events", "samples"]
        .map(|table| {
            format!("SELECT '{table}' AS name, boot, batch, toInt64(count()) AS rows FROM {table} GROUP BY ALL")
        })
        .join(" UNION ALL ");
    let view =
        "SELECT table AS name, boot, batch, -toInt64(sum(rows)) FROM batches WHERE name != 'processes' GROUP BY ALL";
    let differ =
        format!("SELECT name, boot, batch, sum(rows) FROM ({raw} UNION ALL {view}) GROUP BY ALL HAVING sum(rows) != 0");
    let mut mismatches: Vec<(String, u64, u64, i64)> = admin.query_raw(&differ).fetch_all().await.unwrap();
    for (rollup, counted, table) in ROLLUPS {
        let sql =
            format!("SELECT toInt64((SELECT count() FROM {table})) - toInt64((SELECT sum({counted}) FROM {rollup}))");
        let difference = admin.query_raw(&sql).fetch_one::<Option<i64>>().await.unwrap().unwrap_or(0);
        if difference != 0 {
            mismatches.push((rollup.to_owned(), 0, 0, difference));
        }
    }
    mismatches
}

/// Files of the spool that still hold something.
pub fn left_in(spool: &Path) -> Vec<String> {
    let mut left = Vec::new();
    for folder in ["", "journal", "quarantine"] {
        let entries = fs::read_dir(spool.join(folder)).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let kept = ["journal", "quarantine", "lock", "ledger", "placement"];
        left.extend(names.filter(|name| !kept.contains(&name.as_str())));
    }
    left
}

pub fn kill(pid: u32) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
}

/// Cargo builds examples beside the tests: `…/debug/deps/<test>` and `…/debug/examples/<example>`.
fn example(name: &str) -> PathBuf {
    let deps = env::current_exe().unwrap().parent().unwrap().to_owned();
    deps.parent().unwrap().join("examples").join(name)
}

/// How often to do it: from the environment, or the short form.
pub fn count(variable: &str, short: usize) -> usize {
    env::var(variable).map_or(short, |count| count.parse().unwrap())
}

pub fn seed() -> u64 {
    let by_the_clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos().into();
    let seed = env::var("SHARDLAKE_SEED").map_or_else(|_| by_the_clock(), |seed| seed.parse().unwrap());
    println!("SHARDLAKE_SEED={seed}");
    seed
}
