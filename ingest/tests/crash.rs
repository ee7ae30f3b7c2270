//! `kill -9` of the process that records, and of ClickHouse, at random moments: nothing that was recorded is lost, and
//! nothing lands twice, in raw tables and in what materialized views made of them.
//!
//! `make test` runs the short form. `SHARDLAKE_KILLS=200` makes it long, `SHARDLAKE_SEED` repeats a run.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test may panic, and says its seed")]

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime},
};

use clickhouse::Client;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rustix::process::{Pid, Signal, kill_process};
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_schema::migrate;
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

const SHORT: usize = 6;
const PER_SECOND: u64 = 2_000;
const PATIENCE: Duration = Duration::from_mins(1);
/// Ids of one process's interactions: more than any of them records.
const IDS_EACH: u64 = 10_000_000;

fn kills() -> usize {
    env::var("SHARDLAKE_KILLS").map_or(SHORT, |kills| kills.parse().unwrap())
}

fn seed() -> u64 {
    let by_the_clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos().into();
    let seed = env::var("SHARDLAKE_SEED").map_or_else(|_| by_the_clock(), |seed| seed.parse().unwrap());
    println!("SHARDLAKE_SEED={seed}");
    seed
}

struct Yard {
    clickhouse: Option<Clickhouse>,
    port: u16,
    directory: tempfile::TempDir,
    processes: u64,
}

impl Yard {
    async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut yard = Self { clickhouse: None, port: 0, directory, processes: 0 };
        yard.start_clickhouse().await;
        migrate::apply(&yard.admin(), "shardlake").await.unwrap();
        yard
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn start_clickhouse(&mut self) {
        let options = Options::new(self.path("clickhouse")).with_http_port(self.port);
        let clickhouse = Clickhouse::start(options).await.unwrap();
        self.port = clickhouse.http_port();
        self.clickhouse = Some(clickhouse);
    }

    async fn kill_clickhouse(&mut self) {
        let mut clickhouse = self.clickhouse.take().unwrap();
        kill(clickhouse.pid());
        clickhouse.exited().await;
    }

    fn admin(&self) -> Client {
        let admin = self.clickhouse.as_ref().unwrap().credentials(User::Admin);
        Client::default()
            .with_url(format!("http://127.0.0.1:{}", self.port))
            .with_database("shardlake")
            .with_user(admin.user)
            .with_password(admin.password)
    }

    /// Starts a process that records, over the spool that the one before left.
    fn record(&mut self, journal: &str) -> Child {
        self.processes += 1;
        let writer = self.clickhouse.as_ref().unwrap().credentials(User::Writer);
        // Ids like snowflakes of today, so that the rows look like any other.
        let first_id = (350_000_000_000 << 22) + self.processes * IDS_EACH;
        Command::new(example("steady"))
            .args([format!("http://127.0.0.1:{}", self.port), writer.user])
            .args([self.path("spool"), journal.into(), self.path("said")])
            .args([first_id.to_string(), PER_SECOND.to_string()])
            .env("CLICKHOUSE_PASSWORD", writer.password)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("`cargo test` without `--test` builds the example too")
    }

    /// Ids that were promised: whole lines only, since a kill may have cut the last one.
    fn said(&self) -> BTreeSet<u64> {
        let said = fs::read_to_string(self.path("said")).unwrap_or_default();
        let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(|id| id.parse().unwrap()).collect()
    }

    /// Waits until a process has promised something more than `before`.
    async fn working(&self, before: usize) {
        let working = async {
            while self.said().len() <= before {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, working).await.unwrap();
    }

    /// Lets everything land, and compares.
    async fn settle(mut self, last: Option<Child>) {
        let mut last = last.unwrap_or_else(|| self.record("always"));
        drop(last.stdin.take());
        let ended = timeout(PATIENCE, last.wait_with_output()).await.unwrap().unwrap();
        let receipt = String::from_utf8(ended.stdout).unwrap();
        assert!(ended.status.success(), "{receipt}");

        let admin = self.admin();
        let stored: Vec<(u64, u64)> =
            admin.query_raw("SELECT interaction_id, count() FROM interactions GROUP BY ALL").fetch_all().await.unwrap();
        let twice = stored.iter().filter(|(_, rows)| *rows > 1).count();
        let stored: BTreeSet<u64> = stored.into_iter().map(|(id, _)| id).collect();
        let said = self.said();
        let lost = said.difference(&stored).count();
        println!("said {}, stored {}, lost {lost}, twice {twice}\n{receipt}", said.len(), stored.len());
        assert!(said.len() > 100, "there is something to compare");
        assert_eq!((lost, twice), (0, 0), "lost and twice, of {}", said.len());

        let by_raw = "SELECT boot, batch, count() FROM interactions GROUP BY ALL ORDER BY ALL";
        let by_view =
            "SELECT boot, batch, sum(rows) FROM batches WHERE table = 'interactions' GROUP BY ALL ORDER BY ALL";
        let raw: Vec<(u64, u64, u64)> = admin.query_raw(by_raw).fetch_all().await.unwrap();
        let view: Vec<(u64, u64, u64)> = admin.query_raw(by_view).fetch_all().await.unwrap();
        assert_eq!(raw, view, "raw rows, and what the materialized view counted");
        assert_eq!(left_in(&self.path("spool")), Vec::<String>::new(), "the spool is empty, and nothing was set aside");
        self.clickhouse.take().unwrap().stop().await.unwrap();
    }
}

/// Files of the spool that still hold something.
fn left_in(spool: &Path) -> Vec<String> {
    let mut left = Vec::new();
    for folder in ["", "journal", "quarantine"] {
        let entries = fs::read_dir(spool.join(folder)).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        left.extend(names.filter(|name| !["journal", "quarantine", "lock", "ledger"].contains(&name.as_str())));
    }
    left
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
}

/// Cargo builds examples beside the tests: `…/debug/deps/<test>` and `…/debug/examples/<example>`.
fn example(name: &str) -> PathBuf {
    let deps = env::current_exe().unwrap().parent().unwrap().to_owned();
    deps.parent().unwrap().join("examples").join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_nothing_that_it_recorded() {
    let mut yard = Yard::open().await;
    let mut random = StdRng::seed_from_u64(seed());
    for _ in 0..kills() {
        let before = yard.said().len();
        let mut process = yard.record("always");
        yard.working(before).await;
        sleep(Duration::from_millis(random.random_range(0..400))).await;
        kill(process.id().unwrap());
        process.wait().await.unwrap();
    }
    yard.settle(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_clickhouse_loses_nothing_and_doubles_nothing() {
    let mut yard = Yard::open().await;
    let mut random = StdRng::seed_from_u64(seed());
    let process = yard.record("spill");
    yard.working(0).await;
    for _ in 0..kills() {
        sleep(Duration::from_millis(random.random_range(50..500))).await;
        yard.kill_clickhouse().await;
        sleep(Duration::from_millis(random.random_range(0..200))).await;
        yard.start_clickhouse().await;
    }
    yard.settle(Some(process)).await;
}
