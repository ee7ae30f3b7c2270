//! A real ClickHouse with our schema, and the command as it is typed.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::{
    fs,
    process::{Command, Output},
};

use clickhouse::{Client, RowOwned, RowRead};
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_schema::{
    migrate,
    users::{Role, Users},
};

/// Of every user but the server's own.
pub const PASSWORD: &str = "correct horse battery staple";

/// A user for bots with Argus: what Argus does when it starts, and for each event.
const ARGUS: &str = "<clickhouse><users><argus>
    <password>correct horse battery staple</password><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
    <grants>
        <query>GRANT CREATE TABLE, ALTER ADD COLUMN, INSERT, SELECT ON shardlake.argus_events</query>
        <query>GRANT TABLE ENGINE ON MergeTree</query>
    </grants>
</argus></users></clickhouse>";

fn users() -> Users {
    let users = Users::of("shardlake").unwrap();
    Role::ALL.into_iter().fold(users, |users, role| users.with_password(role, PASSWORD).unwrap())
}

pub struct Lake {
    /// `None` only while it is restarted.
    clickhouse: Option<Clickhouse>,
    pub admin: Client,
    directory: tempfile::TempDir,
}

impl Lake {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let users_d = directory.path().join("config/users.d");
        fs::create_dir_all(&users_d).unwrap();
        fs::write(users_d.join("shardlake.xml"), users().xml().unwrap()).unwrap();
        fs::write(users_d.join("argus.xml"), ARGUS).unwrap();
        let clickhouse = Clickhouse::start(Options::new(directory.path())).await.unwrap();
        let admin = clickhouse.credentials(User::Admin);
        let client = Client::default().with_url(clickhouse.url()).with_database("shardlake");
        let admin = client.with_user(admin.user).with_password(admin.password);
        migrate::apply(&admin, "shardlake").await.unwrap();
        Self { clickhouse: Some(clickhouse), admin, directory }
    }

    pub fn clickhouse(&self) -> &Clickhouse {
        self.clickhouse.as_ref().unwrap()
    }

    /// A client that may do what `user`, whose password is [`PASSWORD`], may.
    pub fn client(&self, user: &str) -> Client {
        let client = Client::default().with_url(self.clickhouse().url()).with_database("shardlake");
        client.with_user(user).with_password(PASSWORD)
    }

    /// `shardlake` with these arguments, as one of our users.
    pub fn shardlake(&self, role: Role, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shardlake"));
        command.args(arguments).args(["--clickhouse-url", self.clickhouse().url()]);
        command.args(["--clickhouse-user", &users().name(role)]);
        command.env("SHARDLAKE_CLICKHOUSE_PASSWORD", PASSWORD);
        command
    }

    pub async fn execute(&self, sql: &str) {
        self.admin.query_raw(sql).execute().await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
    }

    pub async fn rows<T: RowOwned + RowRead>(&self, sql: &str) -> Vec<T> {
        self.admin.query_raw(sql).fetch_all::<T>().await.unwrap_or_else(|error| panic!("{error}\n{sql}"))
    }

    pub async fn count(&self, sql: &str) -> u64 {
        self.rows::<u64>(sql).await[0]
    }

    /// `kill -9`, and a start on the same data and port.
    pub async fn kill_and_restart(&mut self) {
        let mut killed = self.clickhouse.take().unwrap();
        let port = killed.http_port();
        assert!(Command::new("kill").args(["-KILL", &killed.pid().to_string()]).status().unwrap().success());
        killed.exited().await;
        drop(killed); // and its lock
        let options = Options::new(self.directory.path()).with_http_port(port);
        self.clickhouse = Some(Clickhouse::start(options).await.unwrap());
    }

    pub async fn stop(self) {
        self.clickhouse.unwrap().stop().await.unwrap();
    }
}

/// Standard output and error, and the exit status.
pub fn said(output: &Output) -> (String, Option<i32>) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (text, output.status.code())
}
