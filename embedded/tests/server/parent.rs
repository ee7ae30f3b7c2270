//! A parent that a test can kill, interrupt or misconfigure: this test program again, in a process of its own.

use std::env;
use std::path::Path;
use std::process::Stdio;

use shardlake_embedded::{Clickhouse, Options, User};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::ask::ask;

/// A process that starts a server: this program, running one test, by its full name. The test has to call [`be_parent`] first.
pub(crate) struct Parent {
    pub(crate) process: Child,
    stderr: Lines<BufReader<ChildStderr>>,
}

/// What a parent reports.
pub(crate) struct Up {
    pub(crate) engine_pid: u32,
    pub(crate) http_port: u16,
}

/// The variable that turns a test into a parent: the data directory.
const PARENT_PATH: &str = "SHARDLAKE_TEST_PARENT_PATH";

impl Parent {
    pub(crate) fn run(test: &str, path: &Path) -> Self {
        Self::run_with(test, path, &[])
    }

    pub(crate) fn run_with(test: &str, path: &Path, variables: &[(&str, &str)]) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(PARENT_PATH, path)
            .envs(variables.iter().copied())
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap()).lines();
        Self { process, stderr }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id().unwrap()
    }

    pub(crate) async fn line(&mut self) -> String {
        self.stderr.next_line().await.unwrap().expect("the parent ended without a word")
    }

    pub(crate) async fn up(&mut self) -> Up {
        let line = self.line().await;
        let (engine_pid, http_port) =
            line.strip_prefix("up ").and_then(|up| up.split_once(' ')).unwrap_or_else(|| panic!("{line}"));
        Up { engine_pid: engine_pid.parse().unwrap(), http_port: http_port.parse().unwrap() }
    }
}

/// In the other process: starts a server, says so, and stops it on Ctrl-C. Returns false in the test itself.
pub(crate) async fn be_parent() -> bool {
    let Some(path) = env::var_os(PARENT_PATH) else { return false };
    let server = match Clickhouse::start(Options::new(path)).await {
        Ok(server) => server,
        Err(error) => {
            eprintln!("{}", error.to_string().replace('\n', " "));
            return true;
        }
    };
    ask(&server, User::Admin, "CREATE TABLE started (a UInt8) ENGINE = MergeTree ORDER BY a").await.rows();
    ask(&server, User::Admin, "INSERT INTO started VALUES (1)").await.rows();
    let mut interrupted = signal(SignalKind::interrupt()).unwrap();
    eprintln!("up {} {}", server.pid(), server.http_port());
    interrupted.recv().await;
    ask(&server, User::Admin, "INSERT INTO started VALUES (2)").await.rows();
    eprintln!("drained");
    server.stop().await.unwrap();
    eprintln!("stopped");
    true
}
