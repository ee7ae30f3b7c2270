//! The server that contestants write to, and what can be read off it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clickhouse::{Client, query::Query};
use rustix::process::{Pid, Signal, kill_process};
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_schema::migrate;
use tokio::time::sleep;

use crate::contestant::{Job, Lane};

/// Ticks per second of `/proc/<pid>/stat` on every Linux that this runs on (`getconf CLK_TCK`).
const TICKS_PER_S: f64 = 100.0;
/// Merges that have not ended by then are left out of the bill.
const MERGES_LIMIT: Duration = Duration::from_secs(20);
/// Nothing has merged for so long: no merge follows from the last one.
const QUIET: Duration = Duration::from_millis(500);

pub(crate) struct Server {
    clickhouse: Option<Clickhouse>,
    directory: tempfile::TempDir,
    port: u16,
    /// Contestants so far: each has a spool of its own.
    contestants: u64,
}

/// What is stored after a race.
pub(crate) struct Stored {
    pub(crate) rows: u64,
    pub(crate) distinct: u64,
    /// Rows that the materialized view counted.
    pub(crate) counted: u64,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Self { clickhouse: None, directory, port: 0, contestants: 0 };
        server.start_clickhouse().await;
        migrate::apply(&server.admin(), "shardlake").await.unwrap();
        server
    }

    async fn start_clickhouse(&mut self) {
        let options = Options::new(self.path().join("clickhouse")).with_http_port(self.port);
        let clickhouse = Clickhouse::start(options).await.unwrap();
        self.port = clickhouse.http_port();
        self.clickhouse = Some(clickhouse);
    }

    /// Kills ClickHouse and starts it again.
    pub(crate) async fn kill_and_restart(&mut self) {
        let mut clickhouse = self.clickhouse.take().unwrap();
        let pid = Pid::from_raw(clickhouse.pid().cast_signed()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        clickhouse.exited().await;
        drop(clickhouse);
        self.start_clickhouse().await;
    }

    pub(crate) async fn stop(mut self) {
        self.clickhouse.take().unwrap().stop().await.unwrap();
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A job for a contestant that reaches the server at `port`.
    pub(crate) fn job(&mut self, lane: Lane, port: u16, rows: u64, per_second: u64, batch_rows: usize) -> Job {
        let writer = self.clickhouse.as_ref().unwrap().credentials(User::Writer);
        self.contestants += 1;
        Job {
            lane,
            url: format!("http://127.0.0.1:{port}"),
            user: writer.user,
            password: writer.password,
            spool: self.spool(),
            rows,
            per_second,
            batch_rows,
        }
    }

    fn spool(&self) -> PathBuf {
        self.path().join(format!("spool-{}", self.contestants))
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn admin(&self) -> Client {
        let admin = self.clickhouse.as_ref().unwrap().credentials(User::Admin);
        Client::default()
            .with_url(format!("http://127.0.0.1:{}", self.port))
            .with_database("shardlake")
            .with_user(admin.user)
            .with_password(admin.password)
    }

    fn query(&self, sql: &str) -> Query {
        self.admin().query_raw(sql)
    }

    /// Takes away what earlier contestants wrote, and what was logged of it.
    pub(crate) async fn clear(&self) {
        self.flush_logs().await;
        for table in ["interactions", "batches", "system.query_log", "system.part_log"] {
            self.query(&format!("TRUNCATE TABLE IF EXISTS {table}")).execute().await.unwrap();
        }
        self.merged().await;
    }

    /// CPU time of the inserts into `interactions`, with their views, and of the merges, by ClickHouse's own books.
    pub(crate) async fn bill_s(&self) -> (f64, f64) {
        self.flush_logs().await;
        let cpu = "sum(ProfileEvents['OSCPUVirtualTimeMicroseconds']) / 1e6";
        let inserts = format!(
            "SELECT {cpu} FROM system.query_log WHERE type = 'QueryFinish' AND query LIKE 'INSERT%' \
             AND has(tables, 'shardlake.interactions')"
        );
        let merges =
            format!("SELECT {cpu} FROM system.part_log WHERE event_type = 'MergeParts' AND database = 'shardlake'");
        let inserts = self.query(&inserts).fetch_one::<f64>().await.unwrap();
        (inserts, self.query(&merges).fetch_one::<f64>().await.unwrap())
    }

    async fn flush_logs(&self) {
        self.query("SYSTEM FLUSH LOGS").execute().await.unwrap();
    }

    /// Waits until the merges have ended that the inserts so far caused.
    pub(crate) async fn merged(&self) {
        let limit = Instant::now() + MERGES_LIMIT;
        let mut quiet_since = Instant::now();
        while quiet_since.elapsed() < QUIET && Instant::now() < limit {
            if self.query("SELECT count() FROM system.merges").fetch_one::<u64>().await.unwrap() > 0 {
                quiet_since = Instant::now();
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) async fn stored(&self) -> Stored {
        let rows = "SELECT count(), uniqExact(interaction_id) FROM interactions";
        let (rows, distinct) = self.query(rows).fetch_one::<(u64, u64)>().await.unwrap();
        let counted = "SELECT sum(rows) FROM batches WHERE table = 'interactions'";
        let counted = self.query(counted).fetch_one::<u64>().await.unwrap();
        Stored { rows, distinct, counted }
    }

    /// Bytes that ClickHouse has received over the network since it started.
    pub(crate) async fn received_bytes(&self) -> u64 {
        let sql = "SELECT sum(value) FROM system.events WHERE event = 'NetworkReceiveBytes'";
        self.query(sql).fetch_one::<u64>().await.unwrap()
    }

    /// User and system time of the engine's process so far.
    pub(crate) fn cpu_s(&self) -> f64 {
        let pid = self.clickhouse.as_ref().unwrap().pid();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // The name in parentheses may hold spaces; utime and stime are the 12th and 13th fields after it.
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
        (ticks(11) + ticks(12)) / TICKS_PER_S
    }
}
