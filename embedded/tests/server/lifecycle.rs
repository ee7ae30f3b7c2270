//! Starting, stopping, and every other way in which a server or its parent can end.
//!
//! Where a test needs a parent that it can kill or misconfigure, it runs itself again in a process of its own ([`Parent`]).

use std::env;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::ask::{answers, ask, eventually, start};
use rustix::process::{Pid, Signal, getsid, kill_process, kill_process_group};
use shardlake_embedded::{Clickhouse, Error, Launcher, Options, User};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::test]
async fn data_logs_and_passwords_outlive_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let mut password = None;
    for run in 1..=4 {
        let server = start(directory.path()).await;
        if run == 1 {
            ask(&server, User::Admin, "CREATE DATABASE shardlake").await.rows();
            ask(&server, User::Admin, "CREATE TABLE shardlake.runs (run UInt32) ENGINE = MergeTree ORDER BY run")
                .await
                .rows();
        }
        ask(&server, User::Writer, &format!("INSERT INTO shardlake.runs VALUES ({run})")).await.rows();
        assert_eq!(ask(&server, User::Reader, "SELECT count() FROM shardlake.runs").await.rows(), run.to_string());

        ask(&server, User::Admin, "SYSTEM FLUSH LOGS").await.rows();
        let inserts = "SELECT count() FROM system.query_log WHERE user = 'writer' AND type = 'QueryFinish'";
        assert_eq!(ask(&server, User::Admin, inserts).await.rows(), run.to_string());
        let parts = "SELECT count() FROM system.part_log WHERE table = 'runs' AND event_type = 'NewPart'";
        assert_eq!(ask(&server, User::Admin, parts).await.rows(), run.to_string());

        assert_eq!(*password.get_or_insert(server.credentials(User::Reader)), server.credentials(User::Reader));
        // Once by dropping it, which kills it.
        if run != 2 {
            server.stop().await.unwrap();
        }
    }
}

#[tokio::test]
async fn two_servers_run_side_by_side() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = tokio::join!(start(one.path()), start(other.path()));
    assert_ne!(one.http_port(), other.http_port());
    ask(&one, User::Admin, "CREATE DATABASE only_in_one").await.rows();
    let exists = "SELECT count() FROM system.databases WHERE name = 'only_in_one'";
    assert_eq!(ask(&one, User::Admin, exists).await.rows(), "1");
    assert_eq!(ask(&other, User::Admin, exists).await.rows(), "0");
    one.stop().await.unwrap();
    assert!(answers(other.http_port()).await);
    other.stop().await.unwrap();
}

#[tokio::test]
async fn it_is_set_up_as_a_server() {
    let directory = tempfile::tempdir().unwrap();
    let drop_in = directory.path().join("config/config.d/macros.xml");
    std::fs::create_dir_all(drop_in.parent().unwrap()).unwrap();
    std::fs::write(drop_in, "<clickhouse><macros><shard>7</shard></macros></clickhouse>").unwrap();

    let options = Options::new(directory.path()).with_memory_limit_bytes(1 << 30).with_databases(["a", "b"]);
    let server = Clickhouse::start(options).await.unwrap();
    assert_eq!(server.tcp_port(), None);
    for (sql, expected) in [
        ("SELECT timezone()", "UTC"),
        ("SELECT currentDatabase()", "default"),
        ("SELECT engine FROM system.databases WHERE name IN ('default', 'system') ORDER BY name", "Atomic\nAtomic"),
        ("SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage'", "1073741824"),
        ("SELECT getMacro('shard')", "7"),
        ("SHOW GRANTS FOR reader", "GRANT SELECT ON a.* TO reader\nGRANT SELECT ON b.* TO reader"),
    ] {
        assert_eq!(ask(&server, User::Admin, sql).await.rows(), expected, "{sql}");
    }
    // A query without SELECT is a mistake, as everywhere else.
    assert_eq!(ask(&server, User::Admin, "1").await.status, 400);
    // Mutations and merges run by themselves.
    ask(&server, User::Admin, "CREATE TABLE t (a UInt8) ENGINE = ReplacingMergeTree ORDER BY a").await.rows();
    ask(&server, User::Admin, "INSERT INTO t SETTINGS async_insert = 0 VALUES (1), (2), (3)").await.rows();
    ask(&server, User::Admin, "ALTER TABLE t DELETE WHERE a = 2").await.rows();
    eventually("the rows are deleted", async || ask(&server, User::Admin, "SELECT a FROM t").await.rows() == "1\n3")
        .await;

    let log = std::fs::read_to_string(directory.path().join("log/clickhouse.log")).unwrap();
    assert!(log.contains("Syntax error") && !log.contains("<Information>"), "{log}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for options in
        [Options::new(directory.path()).with_http_port(port), Options::new(directory.path()).with_tcp_port(port)]
    {
        match Clickhouse::start(options).await {
            Err(error @ Error::Port { .. }) => assert!(error.to_string().contains(&port.to_string()), "{error}"),
            other => panic!("{other:?}"),
        }
    }
    // The port can be had again at once, with connections of the last run still in TIME_WAIT.
    drop(taken);
    for _ in 0..2 {
        let server = Clickhouse::start(Options::new(directory.path()).with_http_port(port)).await.unwrap();
        assert_eq!(server.url(), format!("http://127.0.0.1:{port}"));
        server.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_second_server_on_one_path_is_refused() {
    if be_parent().await {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let refused = async |holder: u32| match Clickhouse::start(Options::new(directory.path())).await {
        Err(error @ Error::PathInUse { .. }) => {
            let text = error.to_string();
            assert!(text.contains(directory.path().to_str().unwrap()) && text.contains(&holder.to_string()), "{text}");
        }
        other => panic!("{other:?}"),
    };

    let server = start(directory.path()).await;
    refused(std::process::id()).await;
    // The one that is up does not notice.
    assert!(answers(server.http_port()).await);
    server.stop().await.unwrap();

    let mut parent = Parent::run("a_second_server_on_one_path_is_refused", directory.path());
    let up = parent.up().await;
    refused(parent.pid()).await;
    assert!(answers(up.http_port).await);
}

#[tokio::test]
async fn the_engine_ends_with_its_parent() {
    if be_parent().await {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut parent = Parent::run("the_engine_ends_with_its_parent", directory.path());
    let up = parent.up().await;
    // What it was told to write is there, though nobody tells the engine to stop.
    parent.process.kill().await.unwrap();
    // Even while the engine is still on its way down, a new parent need not know.
    let server = start(directory.path()).await;
    eventually("the engine is gone", async || is_gone(up.engine_pid)).await;
    assert_eq!(ask(&server, User::Admin, "SELECT * FROM started").await.rows(), "1");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn ctrl_c_is_for_the_parent_alone() {
    if be_parent().await {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut parent = Parent::run("ctrl_c_is_for_the_parent_alone", directory.path());
    let up = parent.up().await;
    let (parent_pid, engine_pid) = (pid(parent.pid()), pid(up.engine_pid));
    assert_eq!(getsid(Some(engine_pid)), Ok(engine_pid), "a session of its own");
    // As a terminal does it: to all of the parent's process group.
    kill_process_group(parent_pid, Signal::INT).unwrap();
    // It could still write, and stop the engine in its own time.
    assert_eq!(parent.line().await, "drained");
    assert_eq!(parent.line().await, "stopped");
    assert!(parent.process.wait().await.unwrap().success());
    assert!(is_gone(up.engine_pid));
    let server = start(directory.path()).await;
    assert_eq!(ask(&server, User::Admin, "SELECT count() FROM started").await.rows(), "2");
}

#[tokio::test]
async fn sigterm_stops_the_engine_cleanly() {
    let directory = tempfile::tempdir().unwrap();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut server = start(directory.path()).await;
        kill_process(pid(server.pid()), signal).unwrap();
        match server.exited().await {
            Error::Ended { status, .. } => assert!(status.success(), "{status}"),
            other => panic!("{other}"),
        }
        assert!(is_gone(server.pid()));
        assert!(!answers(server.http_port()).await);
        // It had ended before, but well.
        server.stop().await.unwrap();
    }
    // The administrator may end it, too.
    let mut server = start(directory.path()).await;
    ask(&server, User::Admin, "SYSTEM SHUTDOWN").await;
    assert!(matches!(server.exited().await, Error::Ended { status, .. } if status.success()));
}

#[tokio::test]
async fn an_engine_that_dies_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = start(directory.path()).await;
    kill_process(pid(server.pid()), Signal::KILL).unwrap();
    match server.exited().await {
        Error::Ended { status, .. } => assert_eq!(status.signal(), Some(9)),
        other => panic!("{other}"),
    }
    assert!(matches!(server.stop().await, Err(Error::Ended { .. })));
    start(directory.path()).await.stop().await.unwrap();
}

#[tokio::test]
async fn stopping_does_not_wait_for_a_long_query() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path()).await;
    let sql = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000000)";
    let mut client = tokio::net::TcpStream::connect(("127.0.0.1", server.http_port())).await.unwrap();
    let password = server.credentials(User::Admin).password;
    let request = format!(
        "POST / HTTP/1.0\r\nX-ClickHouse-User: admin\r\nX-ClickHouse-Key: {password}\r\nContent-Length: {}\r\n\r\n{sql}",
        sql.len()
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let running = "SELECT count() FROM system.processes WHERE query LIKE '%sipHash64%'";
    eventually("the query runs", async || ask(&server, User::Admin, running).await.rows() == "2").await;
    server.stop().await.unwrap();
    let mut reply = String::new();
    let _ = client.read_to_string(&mut reply).await;
    assert!(!reply.contains("200 OK"), "{reply}");
}

#[tokio::test]
async fn an_engine_that_does_not_start_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let start_as = |script: &str| {
        let launcher = Launcher::new("/bin/sh").with_args(["-c", script]);
        Clickhouse::start(
            Options::new(directory.path()).with_launcher(launcher).with_start_timeout(Duration::from_millis(300)),
        )
    };
    let error = start_as("echo 'my last words' >&2; exit 3").await.unwrap_err().to_string();
    assert!(error.contains("my last words") && error.contains("exit status: 3"), "{error}");

    let error = start_as("echo $$ >&2; exec sleep 1000").await.unwrap_err();
    let Error::NotReady { stderr, .. } = error else { panic!("{error}") };
    eventually("it is killed", async || is_gone(stderr.parse().unwrap())).await;

    let missing = Launcher::new("/nonexistent/shardlake-engine");
    let error = Clickhouse::start(Options::new(directory.path()).with_launcher(missing)).await.unwrap_err();
    assert!(
        matches!(&error, Error::Process { .. }) && error.to_string().contains("/nonexistent/shardlake-engine"),
        "{error}"
    );

    // Given up half-way.
    let mut half = Box::pin(start_as("exec sleep 1000"));
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut half).await.is_err());
    drop(half);
    start(directory.path()).await.stop().await.unwrap();
}

#[tokio::test]
async fn a_library_that_is_not_there_or_not_one_is_named() {
    if be_parent().await {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let with_library = |path: &'static str| {
        Parent::run_with(
            "a_library_that_is_not_there_or_not_one_is_named",
            directory.path(),
            &[("SHARDLAKE_ENGINE", path)],
        )
    };
    let said = with_library("/nonexistent/libchdb.so").line().await;
    assert!(said.contains("/nonexistent/libchdb.so") && said.contains("make engine"), "{said}");
    let said = with_library("/bin/sh").line().await;
    assert!(said.contains("exit status: 1") && said.contains("/bin/sh"), "{said}");
}

/// A process of its own that starts a server: this test program, running one test, which calls [`be_parent`] first.
struct Parent {
    process: Child,
    stderr: Lines<BufReader<ChildStderr>>,
}

/// What a parent reports.
struct Up {
    engine_pid: u32,
    http_port: u16,
}

/// The variable that turns a test into a parent: the data directory.
const PARENT_PATH: &str = "SHARDLAKE_TEST_PARENT_PATH";

impl Parent {
    fn run(test: &str, path: &Path) -> Self {
        Self::run_with(test, path, &[])
    }

    fn run_with(test: &str, path: &Path, variables: &[(&str, &str)]) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", &format!("lifecycle::{test}"), "--nocapture"])
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

    fn pid(&self) -> u32 {
        self.process.id().unwrap()
    }

    async fn line(&mut self) -> String {
        self.stderr.next_line().await.unwrap().expect("the parent ended without a word")
    }

    async fn up(&mut self) -> Up {
        let line = self.line().await;
        let (engine_pid, http_port) =
            line.strip_prefix("up ").and_then(|up| up.split_once(' ')).unwrap_or_else(|| panic!("{line}"));
        Up { engine_pid: engine_pid.parse().unwrap(), http_port: http_port.parse().unwrap() }
    }
}

/// In the other process: starts a server, says so, and stops it on Ctrl-C. Returns false in the test itself.
async fn be_parent() -> bool {
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

fn pid(process: u32) -> Pid {
    Pid::from_raw(process.try_into().unwrap()).unwrap()
}

/// Whether a process has ended. One that nobody has collected counts, too: an orphan's new parent may take its time.
fn is_gone(process: u32) -> bool {
    let state = std::process::Command::new("ps").args(["-o", "stat=", "-p", &process.to_string()]).output().unwrap();
    matches!(state.stdout.first(), None | Some(b'Z'))
}
