//! `shardlake schema` as somebody types it, or a script runs it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, SystemTime},
};

use clickhouse::Client;
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_ingest::{Config, Recorder, Shards};
use shardlake_schema::{Table, migrate::MIGRATIONS};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use twilight_model::application::interaction::Interaction;

/// What a condition may take to come true before it counts as a hang.
const PATIENCE: Duration = Duration::from_secs(90);
/// Nothing listens there.
const NOBODY: &str = "http://127.0.0.1:1";
const PASSWORD: &str = "a long password";

struct Server {
    clickhouse: Clickhouse,
    directory: TempDir,
}

impl Server {
    async fn start(directory: TempDir) -> Self {
        Self { clickhouse: Clickhouse::start(Options::new(directory.path())).await.unwrap(), directory }
    }

    /// `shardlake schema` as the administrator.
    fn schema(&self, arguments: &[&str]) -> Command {
        let admin = self.clickhouse.credentials(User::Admin);
        self.schema_as(&admin.user, &admin.password, arguments)
    }

    fn schema_as(&self, user: &str, password: &str, arguments: &[&str]) -> Command {
        let mut command = shardlake(arguments);
        command.args(["--clickhouse-url", self.clickhouse.url(), "--clickhouse-user", user]);
        command.env("SHARDLAKE_CLICKHOUSE_PASSWORD", password);
        command
    }

    /// Its exit status and standard output.
    fn run(&self, arguments: &[&str]) -> (i32, String) {
        said(&self.schema(arguments).output().unwrap())
    }

    /// In no database: ours may not be there.
    fn admin(&self) -> Client {
        let admin = self.clickhouse.credentials(User::Admin);
        Client::default().with_url(self.clickhouse.url()).with_user(admin.user).with_password(admin.password)
    }

    async fn count(&self, sql: &str) -> u64 {
        self.admin().query_raw(sql).fetch_one().await.unwrap()
    }

    /// Lets the lock of the migrations look as if its holder had been silent for an hour.
    async fn age_lock(&self) {
        let sql = "SELECT metadata_path FROM system.tables WHERE database = 'shardlake' AND name = 'migration_lock'";
        let file = self.admin().query_raw(sql).fetch_optional::<String>().await.unwrap();
        let Some(file) = file else { return }; // killed before it was made
        let file = File::options().append(true).open(self.directory.path().join("engine").join(file)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_hours(1)).unwrap();
    }
}

fn shardlake(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardlake"));
    command.arg("schema").args(arguments).env("SHARDLAKE_LOG", "warn");
    command
}

fn said(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_apply_and_verify_agree() {
    let server = Server::start(tempfile::tempdir().unwrap()).await;
    let newest = MIGRATIONS.last().unwrap();
    let (code, text) = server.run(&["plan", "--retention", "samples=14d"]);
    assert!(code == 2 && text.contains("apply 0001_interactions\n    CREATE TABLE"), "{text}");
    assert!(text.contains("samples will keep its rows for 14d"), "{text}");
    assert_eq!(server.count("SELECT count() FROM system.databases WHERE name = 'shardlake'").await, 0);
    let (code, text) = server.run(&["verify"]);
    assert!(code == 1 && text.contains("migration 0001_interactions is not applied"), "{text}");

    let refused = server.schema(&["apply", "--retention", "sample=14d"]).output().unwrap();
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && complaint.contains("no table `sample`"), "{complaint}");
    assert_eq!(server.count("SELECT count() FROM system.databases WHERE name = 'shardlake'").await, 0);

    let (code, text) = server.run(&["apply", "--retention", "samples=14d,interactions=7d"]);
    assert_eq!(code, 0);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "applied 0001_interactions", "{text}");
    assert_eq!(lines[MIGRATIONS.len()], format!("shardlake is at schema {:04}", newest.version), "{text}");
    assert_eq!(lines[MIGRATIONS.len() + 1], "samples keeps its rows for 14d, before 30d", "{text}");
    assert!(text.contains("    note: a part of interactions goes once"), "{text}");

    assert_eq!(server.run(&["plan"]), (0, "nothing to do: shardlake is as it should be\n".to_owned()));
    assert_eq!(server.run(&["plan", "--retention", "samples=2w"]).0, 2);
    assert_eq!(server.run(&["apply"]), (0, format!("shardlake is at schema {:04}\n", newest.version)));
    assert_eq!(server.run(&["verify"]), (0, "shardlake is as this build makes it\n".to_owned()));
    server.admin().query_raw("ALTER TABLE shardlake.samples DROP COLUMN labels").execute().await.unwrap();
    let (code, text) = server.run(&["verify"]);
    assert!(code == 1 && text.starts_with("samples.labels is missing\n"), "{text}");
    server.clickhouse.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_apply_is_continued() {
    let server = Server::start(tempfile::tempdir().unwrap()).await;
    let statements = "SELECT count() FROM system.tables WHERE database = 'shardlake'";
    let mut midway = 0;
    // Killed as soon as so many tables are there: early, in the middle, late.
    for tables in [1, 5, 8, 11] {
        let mut apply = server.schema(&["apply"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let reached = async { while server.count(statements).await < tables && apply.try_wait().unwrap().is_none() {} };
        timeout(PATIENCE, reached).await.expect("apply makes tables");
        apply.kill().unwrap();
        apply.wait().unwrap();
        server.age_lock().await;
        midway += u32::from(server.run(&["plan"]).0 == 2);
    }
    assert!(midway > 0, "something was left to do");
    assert_eq!(server.run(&["apply"]).0, 0);
    assert_eq!(server.run(&["verify"]).0, 0);
    let twice = "SELECT count() FROM (SELECT 1 FROM shardlake.migrations GROUP BY version HAVING count() != 1 \
                 UNION ALL SELECT 1 FROM shardlake.migration_statements GROUP BY version, statement HAVING count() != 1)";
    assert_eq!(server.count(twice).await, 0, "each is remembered once");
    assert_eq!(server.count("SELECT count() FROM shardlake.migrations").await, MIGRATIONS.len() as u64);
    server.clickhouse.stop().await.unwrap();
}

fn interaction(id: u64) -> Interaction {
    serde_json::from_value(serde_json::json!({
        "id": id.to_string(), "type": 2, "token": "t", "version": 1, "application_id": "1", "attachment_size_limit": 1,
        "authorizing_integration_owners": {}, "entitlements": [], "guild_id": "77", "locale": "en-GB", "context": 0,
        "app_permissions": "0", "data": { "id": "5", "name": "play", "type": 1 },
        "user": { "id": "9", "username": "a", "discriminator": "0", "avatar": null },
    }))
    .unwrap()
}

/// Records one interaction over `spool` and ends.
async fn record(spool: &Path, url: &str, id: u64) -> String {
    let mut config = Config::new("7", Shards { first: 0, count: 1, total: 1 }, url);
    "shardlake_writer".clone_into(&mut config.clickhouse.user);
    config.clickhouse.password = PASSWORD.into();
    config.spool.directory = Some(spool.to_owned());
    let recorder = Recorder::start(config).unwrap();
    recorder.timer(&interaction((350_000_000_000 << 22) + id)).success();
    recorder.shutdown("the test says so", Duration::from_secs(30)).await.to_string()
}

fn passwords() -> [(&'static str, &'static str); 3] {
    ["SHARDLAKE_WRITER_PASSWORD", "SHARDLAKE_READER_PASSWORD", "SHARDLAKE_MIGRATOR_PASSWORD"]
        .map(|name| (name, PASSWORD))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_line_works_with_the_users() {
    let directory = tempfile::tempdir().unwrap();
    let users_d = directory.path().join("config/users.d");
    fs::create_dir_all(&users_d).unwrap();
    let file = shardlake(&["users", "--xml"]).envs(passwords()).output().unwrap();
    assert!(file.status.success());
    fs::write(users_d.join("shardlake.xml"), file.stdout).unwrap();
    let server = Server::start(directory).await;
    let apply = server.schema_as("shardlake_migrator", PASSWORD, &["apply"]).output().unwrap();
    assert_eq!(said(&apply).0, 0, "{}", String::from_utf8_lossy(&apply.stderr));

    // The first finds nobody and leaves its batches; the second looks for them before it sends them.
    let spool = server.directory.path().join("spool");
    record(&spool, NOBODY, 1).await;
    let receipt = record(&spool, server.clickhouse.url(), 2).await;
    let landed = async {
        while server.count("SELECT count() FROM shardlake.interactions").await < 2 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, landed).await.unwrap_or_else(|_| panic!("{receipt}"));
    server.admin().query_raw("SYSTEM FLUSH LOGS query_log").execute().await.unwrap();
    let by_kind =
        "SELECT query_kind, toString(type), count() FROM system.query_log WHERE user = 'shardlake_writer' GROUP BY ALL";
    let by_kind: Vec<(String, String, u64)> = server.admin().query_raw(by_kind).fetch_all().await.unwrap();
    let by_kind: BTreeMap<_, _> = by_kind.into_iter().map(|(kind, end, times)| ((kind, end), times)).collect();
    let times = |kind: &str| by_kind.get(&(kind.to_owned(), "QueryFinish".to_owned())).copied().unwrap_or(0);
    assert!(times("Insert") > 2 && times("Select") > 0, "{by_kind:?}");
    assert!(
        by_kind.keys().all(|(_, end)| end == "QueryStart" || end == "QueryFinish"),
        "nothing was refused: {by_kind:?}"
    );
    assert!(Table::ALL.iter().all(|table| receipt.contains(table.name())), "{receipt}");
    server.clickhouse.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_printed_without_their_passwords() {
    let (code, sql) = said(&shardlake(&["users"]).envs(passwords()).output().unwrap());
    assert_eq!(code, 0);
    assert!(sql.contains("CREATE USER IF NOT EXISTS `shardlake_reader` IDENTIFIED WITH sha256_hash BY '"), "{sql}");
    assert!(sql.lines().all(|line| line.ends_with(';')) && !sql.contains(PASSWORD), "{sql}");
    let (code, sql) = said(&shardlake(&["users", "--clickhouse-database", "other"]).output().unwrap());
    assert!(
        code == 0 && !sql.contains("IDENTIFIED") && sql.contains("GRANT SELECT ON `other`.* TO `other_reader`"),
        "{sql}"
    );
    let no_password = shardlake(&["users", "--xml"]).output().unwrap();
    assert_eq!(said(&no_password), (1, String::new()));

    // The embedded server keeps users in files, and says so.
    let server = Server::start(tempfile::tempdir().unwrap()).await;
    let refused = server.schema(&["users", "--apply"]).envs(passwords()).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--xml"));
    server.clickhouse.stop().await.unwrap();
}
