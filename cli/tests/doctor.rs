//! `shardlake doctor` on an installation that is well, and on one that is broken in many ways at once.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod lake;

use std::{
    fs,
    net::TcpListener as StdListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use lake::{Lake, PASSWORD, said};
use serde_json::Value;
use shardlake_ingest::{Config, Recorder, Shards};
use shardlake_schema::users::Role;
use shardlake_simulator::{Scenario, Simulator};
use tokio::{net::TcpListener, time::sleep};

/// How often the test looks again.
const LOOK_EVERY: Duration = Duration::from_millis(200);

fn doctor(lake: &Lake, arguments: &[&str]) -> Command {
    let mut command = lake.shardlake(Role::Migrator, &["doctor"]);
    command.args(arguments).args(["--reader-user", "shardlake_reader", "--writer-user", "shardlake_writer"]);
    command.env("SHARDLAKE_READER_PASSWORD", PASSWORD).env("SHARDLAKE_WRITER_PASSWORD", PASSWORD);
    command
}

/// The findings as JSON, and the exit status.
fn found(command: &mut Command) -> (Value, Option<i32>) {
    let output = command.arg("--json").stderr(Stdio::inherit()).output().unwrap();
    (serde_json::from_slice(&output.stdout).unwrap(), output.status.code())
}

/// The level of the finding about `about` that says `what`, with its advice.
fn level<'a>(findings: &'a Value, about: &str, what: &str) -> (&'a str, Option<&'a str>) {
    let all = findings["findings"].as_array().unwrap();
    let fits = |finding: &&Value| finding["about"] == about && finding["what"].as_str().unwrap().contains(what);
    let finding = all.iter().find(fits).unwrap_or_else(|| panic!("nothing about {about} says {what}: {findings:#}"));
    (finding["level"].as_str().unwrap(), finding["advice"].as_str())
}

/// A cluster that has landed its first rows, and the address of its metrics.
async fn cluster(lake: &Lake) -> (Recorder, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut config = Config::new("0", Shards { first: 0, count: 4, total: 4 }, lake.clickhouse().url());
    config.clickhouse.user = "shardlake_writer".into();
    config.clickhouse.password = PASSWORD.into();
    config.metrics_address.clone_from(&address);
    let recorder = Recorder::start(config).unwrap();
    let serving = recorder.clone();
    tokio::spawn(async move { serving.serve_metrics(listener, std::future::pending()).await });
    while lake.count("SELECT count() FROM processes").await == 0 || lake.count("SELECT count() FROM batches").await == 0
    {
        sleep(LOOK_EVERY).await;
    }
    (recorder, address)
}

/// A Prometheus, which ends with the test.
struct Prometheus {
    process: Child,
    url: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended by itself
        let _ = self.process.wait();
    }
}

impl Prometheus {
    /// With our rules; scrapes `target`.
    fn start(folder: &Path, target: &str) -> Self {
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus/rules.yml");
        let config = format!(
            "global: {{ scrape_interval: 1s }}\nrule_files: [{}]\nscrape_configs: [{{ job_name: shardlake-cluster, static_configs: [{{ targets: ['{target}'] }}] }}]\n",
            rules.display()
        );
        fs::write(folder.join("prometheus.yml"), config).unwrap();
        let free = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
            .arg(format!("--web.listen-address={free}"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus: {error}; install Debian's package `prometheus`"));
        Self { process, url: format!("http://{free}") }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_well_is_called_so() {
    let lake = Lake::start().await;
    let (recorder, address) = cluster(&lake).await;
    let discord = Simulator::start(Scenario { shards: 4, ..Scenario::default() }).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(folder.path(), &address);
    let rest = discord.rest_url();
    let rest = rest.trim_start_matches("http://").split('/').next().unwrap();
    let command = || {
        let mut command = doctor(&lake, &["--prometheus-url", &prometheus.url, "--rest-proxy", rest]);
        command.arg("--spool-dir").arg(folder.path().join("spool")).env("DISCORD_TOKEN", discord.token());
        command
    };
    fs::create_dir(folder.path().join("spool")).unwrap();
    // Prometheus needs a moment to start and to scrape.
    let findings = loop {
        let (findings, _) = found(&mut command());
        let about = findings["findings"].as_array().unwrap().iter().filter(|finding| finding["about"] == "Prometheus");
        if about.clone().count() > 0 && about.clone().all(|finding| finding["level"] == "ok") {
            break findings;
        }
        sleep(LOOK_EVERY).await;
    };
    for (about, what) in [
        ("ClickHouse", "answers: version"),
        ("ClickHouse", "its clock is"),
        ("ClickHouse", "merges keep up"),
        ("ClickHouse", "no part is detached"),
        ("schema", "migrations are applied"),
        ("schema", "its tables are as this build makes them"),
        ("rights", "shardlake_reader reads every table"),
        ("rights", "shardlake_reader cannot write"),
        ("rights", "shardlake_writer can insert into every raw table"),
        ("rights", "shardlake_writer sees which batches have landed"),
        ("clusters", "1 cluster runs: 0"),
        ("clusters", "1 cluster is up to date"),
        ("clusters", "no batch of the last day is missing"),
        ("metrics", "1 cluster serves its metrics"),
        ("spool", "is empty"),
        ("Prometheus", "it scrapes 1 cluster"),
        ("Prometheus", "it has our alerts"),
        ("gateway", "Discord takes the token"),
        ("gateway", "session starts are left, for 4 shards"),
        ("gateway", "the bot runs 4 shards, Discord recommends 4"),
    ] {
        assert_eq!(level(&findings, about, what), ("ok", None), "{about}: {what}");
    }
    assert_eq!(
        (&findings["failed"], &findings["not_looked_at"]),
        (&0.into(), &Value::Array(Vec::new())),
        "{findings:#}"
    );
    let (text, code) = said(&command().output().unwrap());
    assert!(code == Some(0) && text.contains(" 0 failed") && !text.contains(discord.token()), "{text}");
    assert_eq!(lake.count("SELECT count() FROM interactions").await, 0, "rights are tried without leaving anything");
    assert_eq!(lake.count("SELECT count() FROM system.databases WHERE name LIKE '%_verify_%'").await, 0);
    recorder.shutdown("the test says so", Duration::from_secs(30)).await;
    discord.stop().await;
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_is_named_with_what_to_do() {
    let lake = Lake::start().await;
    let discord = Simulator::start(Scenario { shards: 4, session_starts: 2, ..Scenario::default() }).await.unwrap();
    lake.execute("ALTER TABLE samples MODIFY COLUMN value Float32").await;
    let process = "INSERT INTO processes (cluster, boot, batch, time, last_seen_at, host, metrics_address, shard_count, shards_total, rows_dropped) VALUES";
    lake.execute(&format!("{process} ('0', 7, 1, now64(3) - 3600, now64(3) - 1800, 'bot-1', '', 4, 4, 9)")).await;
    lake.execute(&format!("{process} ('1', 8, 1, now64(3) - 3600, now64(3), 'bot-2', '127.0.0.1:1', 2, 2, 0)")).await;
    for batch in [1, 4] {
        let row = format!(
            "INSERT INTO interactions (cluster, boot, batch, time, shards_total) VALUES ('0', 7, {batch}, now64(3) - 1900, 1)"
        );
        lake.execute(&row).await;
    }
    let rest = discord.rest_url();
    let rest = rest.trim_start_matches("http://").split('/').next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Each is told the other's work.
    let users = ["--reader-user", "shardlake_writer", "--writer-user", "shardlake_reader"];
    let mut command = lake.shardlake(Role::Migrator, &["doctor"]);
    command.args(users);
    command.args(["--rest-proxy", rest, "--prometheus-url", "http://127.0.0.1:1", "--spool-dir"]);
    command.arg(folder.path().join("missing")).env("DISCORD_TOKEN", discord.token());
    command.env("SHARDLAKE_READER_PASSWORD", PASSWORD).env("SHARDLAKE_WRITER_PASSWORD", PASSWORD);
    let (findings, code) = found(&mut command);
    for (about, what, expected) in [
        ("schema", "not as this build makes them", "failed"),
        ("rights", "shardlake_writer may write", "failed"),
        ("rights", "shardlake_reader cannot insert into interactions (not allowed)", "failed"),
        ("clusters", "cluster 0 is silent, last seen on bot-1", "failed"),
        ("clusters", "cluster 0 dropped 9 rows", "warning"),
        ("clusters", "2 batches of interactions of cluster 0 did not land: 2 to 3", "failed"),
        ("metrics", "cluster 1 at http://127.0.0.1:1/metrics", "warning"),
        ("spool", "cannot be read", "failed"),
        ("Prometheus", "does not answer", "failed"),
        ("gateway", "2 of 2 session starts are left", "warning"),
        ("gateway", "the bot runs 2 shards, Discord recommends 4", "warning"),
    ] {
        let (level, advice) = level(&findings, about, what);
        assert!(level == expected && advice.is_some_and(|advice| advice.len() > 10), "{what}: {level}, {advice:?}");
    }
    assert_eq!(code, Some(1));
    assert!(!findings.to_string().contains(discord.token()) && !findings.to_string().contains(PASSWORD));

    let (findings, code) = found(doctor(&lake, &[]).env("SHARDLAKE_CLICKHOUSE_PASSWORD", "wrong"));
    assert_eq!((level(&findings, "ClickHouse", "does not answer").0, code), ("failed", Some(1)));
    discord.stop().await;
    lake.stop().await;
}
