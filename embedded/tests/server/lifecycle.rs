//! Starting, stopping, and every other way in which a server or its parent can end.
//!
//! Where a test needs a parent that it can kill or misconfigure, it runs itself again in a process of its own ([`Parent`]).

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use rustix::process::{Pid, Signal, getsid, kill_process, kill_process_group, test_kill_process};
use shardlake_embedded::{Clickhouse, Error, Launcher, Options, User};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::ask::{answers, ask, eventually, start};
use crate::parent::{Parent, be_parent};

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
async fn the_machine_is_left_as_it_was() {
    let mode = || std::fs::metadata("/dev/null").unwrap().permissions().mode();
    let before = mode();
    let directory = tempfile::tempdir().unwrap();
    start(directory.path()).await.stop().await.unwrap();
    assert_eq!(mode(), before, "as root the console would take /dev/null for its history, and keep it to itself");
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
    let pid = other.pid();
    drop(other);
    eventually("the dropped one is gone", async || is_gone(pid)).await;
}

#[tokio::test]
async fn it_is_set_up_as_a_server() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("names <are> \"not\" & 'always' é easy");
    for (drop_in, text) in [
        ("config/config.d/macros.xml", "<macros><shard>7</shard></macros>"),
        ("config/users.d/threads.xml", "<profiles><default><max_threads>3</max_threads></default></profiles>"),
    ] {
        let file = path.join(drop_in);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, format!("<clickhouse>{text}</clickhouse>")).unwrap();
    }

    let options = Options::new(&path).with_memory_limit_bytes(512 << 20).with_databases(["a", "b"]);
    let server = Clickhouse::start(options).await.unwrap();
    assert_eq!(server.tcp_port(), None);
    for (sql, expected) in [
        ("SELECT timezone()", "UTC"),
        ("SELECT currentDatabase()", "default"),
        ("SELECT engine FROM system.databases WHERE name IN ('default', 'system') ORDER BY name", "Atomic\nAtomic"),
        ("SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage'", "536870912"),
        ("SELECT getMacro('shard')", "7"),
        ("SELECT getSetting('max_threads')", "3"),
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

    let log = std::fs::read_to_string(path.join("log/clickhouse.log")).unwrap();
    assert!(log.contains("Syntax error") && !log.contains("<Information>"), "{log}");
    for private in ["config/config.xml", "config/users.xml", "config/start.sql", "passwords/admin", "lock"] {
        assert_eq!(path.join(private).metadata().unwrap().permissions().mode() & 0o077, 0, "{private}");
    }
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
    drop(taken);
    // Another test that is just starting a process may hold on to the listener for a moment.
    let mut started = None;
    eventually("the port is free", async || {
        started = Clickhouse::start(Options::new(directory.path()).with_http_port(port)).await.ok();
        started.is_some()
    })
    .await;
    let server = started.unwrap();
    assert_eq!(server.url(), format!("http://127.0.0.1:{port}"));
    assert!(answers(port).await);
    server.stop().await.unwrap();
    // And at once again, with connections of the last run still in TIME_WAIT.
    let server = Clickhouse::start(Options::new(directory.path()).with_http_port(port)).await.unwrap();
    server.stop().await.unwrap();
}

/// The engine finds its port taken though it was free a moment ago.
#[tokio::test]
async fn a_port_that_is_taken_meanwhile_is_named_or_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let (ready, go) = (directory.path().join("ready"), directory.path().join("go"));
    // Waits between the choice of the port and the engine.
    let script = format!(
        "touch {}; until [ -e {} ]; do sleep 0.01; done; exec {} \"$@\"",
        ready.display(),
        go.display(),
        env!("CARGO_BIN_EXE_shardlake-engine")
    );
    let launcher = Launcher::new("/bin/sh").with_args(["-c", &script, "sh"]);
    let config = directory.path().join("config/config.xml");
    for (kind, named) in [("http_port", true), ("tcp_port", true), ("http_port", false), ("tcp_port", false)] {
        for file in [&ready, &go] {
            let _ = std::fs::remove_file(file);
        }
        let mut options = Options::new(directory.path()).with_tcp_port(0).with_launcher(launcher.clone());
        if named {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            options = if kind == "http_port" { options.with_http_port(free) } else { options.with_tcp_port(free) };
        }
        let take_the_port = async {
            eventually("the engine is about to start", async || ready.exists()).await;
            let config = std::fs::read_to_string(&config).unwrap();
            let port = config.split_once(&format!("<{kind}>")).unwrap().1.split_once('<').unwrap().0;
            let taken = std::net::TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
            std::fs::write(&go, "").unwrap();
            taken
        };
        let (started, taken) = tokio::join!(Clickhouse::start(options), take_the_port);
        let taken_port = taken.local_addr().unwrap().port();
        match started {
            // The other port is a free choice, so it is tried again; the named one stays taken.
            Err(Error::Port { port, .. }) => assert_eq!((port, named), (taken_port, true)),
            Ok(server) => {
                assert!(
                    !named && server.http_port() != taken_port && server.tcp_port() != Some(taken_port),
                    "{server:?}"
                );
                server.stop().await.unwrap();
            }
            Err(error) => panic!("{error}"),
        }
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

    let mut parent = Parent::run("lifecycle::a_second_server_on_one_path_is_refused", directory.path());
    let up = parent.up().await;
    refused(parent.pid()).await;
    assert!(answers(up.http_port).await);
    parent.process.kill().await.unwrap();
    eventually("the engine is gone", async || is_gone(up.engine_pid)).await;
}

#[tokio::test]
async fn the_engine_ends_with_its_parent() {
    if be_parent().await {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut parent = Parent::run("lifecycle::the_engine_ends_with_its_parent", directory.path());
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
    let mut parent = Parent::run("lifecycle::ctrl_c_is_for_the_parent_alone", directory.path());
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
    let start_as = |script: &str, patience: Duration| {
        let launcher = Launcher::new("/bin/sh").with_args(["-c", script]);
        Clickhouse::start(Options::new(directory.path()).with_launcher(launcher).with_start_timeout(patience))
    };
    let error = start_as("echo 'my last words' >&2; exit 3", Duration::from_mins(1)).await.unwrap_err().to_string();
    assert!(error.contains("my last words") && error.contains("exit status: 3"), "{error}");

    let error = start_as("echo $$ >&2; exec sleep 1000", Duration::from_secs(3)).await.unwrap_err();
    let Error::NotReady { stderr, .. } = error else { panic!("{error}") };
    eventually("it is killed", async || is_gone(stderr.parse().unwrap())).await;

    let missing = Launcher::new("/nonexistent/shardlake-engine");
    let error = Clickhouse::start(Options::new(directory.path()).with_launcher(missing)).await.unwrap_err();
    assert!(
        matches!(&error, Error::Process { .. }) && error.to_string().contains("/nonexistent/shardlake-engine"),
        "{error}"
    );

    // Given up half-way.
    let mut half = Box::pin(start_as("exec sleep 1000", Duration::from_hours(1)));
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
            "lifecycle::a_library_that_is_not_there_or_not_one_is_named",
            directory.path(),
            &[("SHARDLAKE_ENGINE", path)],
        )
    };
    let said = with_library("/nonexistent/libchdb.so").line().await;
    assert!(said.contains("/nonexistent/libchdb.so") && said.contains("make engine"), "{said}");
    let said = with_library("/bin/sh").line().await;
    assert!(said.contains("exit status: 1") && said.contains("/bin/sh"), "{said}");
}

fn pid(process: u32) -> Pid {
    Pid::from_raw(process.try_into().unwrap()).unwrap()
}

/// Whether a process has ended. One that nobody has collected counts, too: an orphan's new parent may take its time.
fn is_gone(process: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{process}/stat")) {
        Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')),
        Err(_) => test_kill_process(pid(process)).is_err(),
    }
}
