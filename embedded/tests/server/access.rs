//! Who may do what.

use shardlake_embedded::{Clickhouse, Credentials, User};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::ask::{Reply, answers, ask, ask_as, eventually, page, start};

// ClickHouse's numbers.
const UNKNOWN_TABLE: u32 = 60;
const CANNOT_OPEN_FILE: u32 = 76;
const TIMEOUT_EXCEEDED: u32 = 159;
const READONLY: u32 = 164;
const INTO_OUTFILE_NOT_ALLOWED: u32 = 358;
const TOO_MANY_ROWS_OR_BYTES: u32 = 396;
const SETTING_CONSTRAINT_VIOLATION: u32 = 452;
const ACCESS_DENIED: u32 = 497;
const AUTHENTICATION_FAILED: u32 = 516;
const USER_SESSION_LIMIT_EXCEEDED: u32 = 700;

/// Takes longer than any limit here.
const ENDLESS: &str = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000000)";

/// A server with a table that users are granted and one that they are not.
async fn server_with_tables() -> (TempDir, Clickhouse) {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path()).await;
    for sql in [
        "CREATE DATABASE shardlake",
        "CREATE TABLE shardlake.granted (a UInt32) ENGINE = MergeTree ORDER BY a",
        "INSERT INTO shardlake.granted VALUES (1)",
        "CREATE DATABASE other",
        "CREATE TABLE other.secret (a UInt32) ENGINE = MergeTree ORDER BY a",
        "SYSTEM FLUSH LOGS",
    ] {
        ask(&server, User::Admin, sql).await.rows();
    }
    (directory, server)
}

#[tokio::test]
async fn nobody_gets_in_without_a_password() {
    let (_directory, server) = server_with_tables().await;
    for user in ["admin", "writer", "reader", "nobody"] {
        for password in ["", "wrong"] {
            let reply = ask_as(&server, user, password, "/", "SELECT 1").await;
            assert_eq!((reply.status, code(&reply)), (403, AUTHENTICATION_FAILED), "{user}");
        }
    }

    // The engine's own console is logged in as `default`, and there is room for one. Over the native protocol, too.
    for user in ["", "default"] {
        let reply = ask_as(&server, user, "", "/", "SELECT 1").await;
        assert_eq!(code(&reply), USER_SESSION_LIMIT_EXCEEDED);
        let settings = "/?session_id=x&max_sessions_for_user=0";
        assert_eq!(
            code(&ask_as(&server, user, "", settings, "SYSTEM STOP LISTEN HTTP").await),
            USER_SESSION_LIMIT_EXCEEDED
        );
    }
    let port = server.tcp_port().unwrap();
    let native = |user: &str, password: &str| {
        format!("SELECT sum(a) FROM remote('127.0.0.1:{port}', shardlake.granted, '{user}', '{password}')")
    };
    assert_eq!(code(&ask(&server, User::Admin, &native("default", "")).await), USER_SESSION_LIMIT_EXCEEDED);
    assert_eq!(code(&ask(&server, User::Admin, &native("admin", "wrong")).await), AUTHENTICATION_FAILED);
    let Credentials { user, password } = server.credentials(User::Reader);
    assert_eq!(ask(&server, User::Admin, &native(&user, &password)).await.rows(), "1");

    // No pages that would run queries from a browser.
    for path in
        ["/play", "/dashboard", "/webterminal", "/binary", "/merges", "/jemalloc", "/replicas_status", "/metrics"]
    {
        assert_eq!(page(&server, path).await, 404, "{path}");
    }
    assert!(answers(server.http_port()).await);
}

#[tokio::test]
async fn the_writer_writes_and_reads_what_it_is_granted() {
    let (_directory, server) = server_with_tables().await;
    ask(&server, User::Writer, "INSERT INTO shardlake.granted VALUES (2)").await.rows();
    assert_eq!(ask(&server, User::Writer, "SELECT sum(a) FROM shardlake.granted").await.rows(), "3");
    // To see whether its insert is still running.
    assert_eq!(
        ask(&server, User::Writer, "SELECT count() FROM system.processes WHERE user = 'writer'").await.rows(),
        "1"
    );
    // But nobody else's queries.
    assert_eq!(
        ask(&server, User::Writer, "SELECT count() FROM system.processes WHERE user != 'writer'").await.rows(),
        "0"
    );

    for sql in [
        "DROP TABLE shardlake.granted",
        "TRUNCATE TABLE shardlake.granted",
        "ALTER TABLE shardlake.granted DELETE WHERE 1",
        "CREATE TABLE shardlake.more (a UInt8) ENGINE = Memory",
        "INSERT INTO other.secret VALUES (1)",
    ] {
        assert_eq!(code(&ask(&server, User::Writer, sql).await), ACCESS_DENIED, "{sql}");
    }
    refuses_what_no_user_may(&server, User::Writer).await;
}

#[tokio::test]
async fn the_reader_reads_what_it_is_granted() {
    let (_directory, server) = server_with_tables().await;
    assert_eq!(ask(&server, User::Reader, "SELECT sum(a) FROM shardlake.granted").await.rows(), "1");
    // Clients begin with this one, and Grafana fills its menus from the others.
    assert_ne!(ask(&server, User::Reader, "SELECT name, value, readonly FROM system.settings").await.rows(), "");
    assert_eq!(ask(&server, User::Reader, "SHOW DATABASES").await.rows(), "shardlake");
    assert_eq!(ask(&server, User::Reader, "SHOW TABLES FROM shardlake").await.rows(), "granted");
    assert_eq!(ask(&server, User::Reader, "SELECT name FROM system.columns").await.rows(), "a");

    for sql in [
        "INSERT INTO shardlake.granted VALUES (2)",
        "DROP TABLE shardlake.granted",
        "SELECT * FROM system.processes",
        "SELECT * FROM system.query_log",
    ] {
        assert_eq!(code(&ask(&server, User::Reader, sql).await), ACCESS_DENIED, "{sql}");
    }
    refuses_what_no_user_may(&server, User::Reader).await;
}

async fn refuses_what_no_user_may(server: &Clickhouse, user: User) {
    for (sql, expected) in [
        ("SELECT * FROM other.secret", ACCESS_DENIED),
        ("SELECT * FROM url('http://127.0.0.1:1/', LineAsString)", ACCESS_DENIED),
        ("SELECT * FROM s3('http://127.0.0.1:1/bucket/key', LineAsString)", ACCESS_DENIED),
        ("SELECT * FROM remote('127.0.0.1:1', system.one)", ACCESS_DENIED),
        ("SELECT * FROM file('/etc/hostname', LineAsString)", ACCESS_DENIED),
        ("INSERT INTO FUNCTION file('/tmp/shardlake.csv') SELECT 1", ACCESS_DENIED),
        ("SELECT * FROM executable('ls', TSV, 'a String')", ACCESS_DENIED),
        ("SELECT * FROM `/etc/hostname`", UNKNOWN_TABLE),
        ("SELECT * FROM default.`/etc/hostname`", UNKNOWN_TABLE),
        ("SELECT 1 INTO OUTFILE '/tmp/shardlake.csv'", INTO_OUTFILE_NOT_ALLOWED),
        ("BACKUP TABLE shardlake.granted TO File('/tmp/shardlake')", ACCESS_DENIED),
        ("CREATE TEMPORARY TABLE t (a UInt8)", ACCESS_DENIED),
        ("CREATE USER u", ACCESS_DENIED),
        ("SELECT * FROM system.users", ACCESS_DENIED),
        ("GRANT SELECT ON other.* TO reader", ACCESS_DENIED),
        ("SYSTEM SHUTDOWN", ACCESS_DENIED),
        ("SYSTEM STOP LISTEN HTTP", ACCESS_DENIED),
    ] {
        assert_eq!(code(&ask(server, user, sql).await), expected, "{user}: {sql}");
    }
}

/// The function `file` asks for no privilege in this engine, so the kernel has to refuse.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn no_query_reads_the_machines_files() {
    let (directory, server) = server_with_tables().await;
    let password = directory.path().join("passwords/admin");
    let log = directory.path().join("log/clickhouse.log");
    let parent = format!("/proc/{}/environ", std::process::id());
    for user in User::ALL {
        for path in
            ["/etc/hostname", "/proc/self/root/etc/passwd", &parent, password.to_str().unwrap(), log.to_str().unwrap()]
        {
            let reply = ask(&server, user, &format!("SELECT file('{path}')")).await;
            assert_eq!(code(&reply), CANNOT_OPEN_FILE, "{user}: {path}: {}", reply.body);
        }
        // The engine's own environment holds nothing of its parent's.
        assert_eq!(ask(&server, user, "SELECT file('/proc/self/environ')").await.rows(), r"TZ=UTC\0");
    }
}

#[tokio::test]
async fn the_reader_has_limits_and_may_tighten_them() {
    let (_directory, server) = server_with_tables().await;
    let Credentials { user, password } = server.credentials(User::Reader);
    let read = |path: &'static str, sql: &'static str| {
        let (server, user, password) = (&server, &user, &password);
        async move { ask_as(server, user, password, path, sql).await }
    };
    let count = "SELECT count() FROM shardlake.granted";
    assert_eq!(read("/?max_execution_time=64", count).await.rows(), "1");
    assert_eq!(read("/?limit=1&log_comment=panel&max_rows_to_read=5", count).await.rows(), "1");
    assert_eq!(read("/?additional_table_filters=%7B%27shardlake.granted%27:%27a=7%27%7D", count).await.rows(), "0");
    assert_eq!(code(&read("/?max_execution_time=1", ENDLESS).await), TIMEOUT_EXCEEDED);
    assert_eq!(code(&read("/?max_result_rows=10", "SELECT * FROM numbers(11)").await), TOO_MANY_ROWS_OR_BYTES);
    assert_eq!(code(&read("/", "SELECT * FROM numbers(1000001) FORMAT Null").await), TOO_MANY_ROWS_OR_BYTES);

    // No limit is the same as too much.
    for path in ["/?max_execution_time=0", "/?max_execution_time=301", "/?max_result_rows=0", "/?max_memory_usage=0"] {
        assert_eq!(code(&read(path, count).await), SETTING_CONSTRAINT_VIOLATION, "{path}");
    }
    for path in ["/?readonly=0", "/?readonly=2", "/?max_threads=64"] {
        assert_eq!(code(&read(path, count).await), READONLY, "{path}");
    }
}

#[tokio::test]
async fn a_readers_query_ends_when_the_reader_goes_away() {
    let (_directory, server) = server_with_tables().await;
    let Credentials { user, password } = server.credentials(User::Reader);
    let sql = ENDLESS;
    let mut client = TcpStream::connect(("127.0.0.1", server.http_port())).await.unwrap();
    let length = sql.len();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nX-ClickHouse-User: {user}\r\nX-ClickHouse-Key: {password}\r\nContent-Length: {length}\r\n\r\n{sql}"
    );
    client.write_all(request.as_bytes()).await.unwrap();
    eventually("the query runs", async || running(&server).await == "1").await;
    drop(client);
    eventually("the query has ended", async || running(&server).await == "0").await;
    let why = "SELECT exception_code FROM system.query_log WHERE user = 'reader' AND type = 'ExceptionWhileProcessing'";
    ask(&server, User::Admin, "SYSTEM FLUSH LOGS").await.rows();
    // Cancelled, and not because its 60 seconds were over.
    assert_eq!(ask(&server, User::Admin, why).await.rows(), "394");
}

async fn running(server: &Clickhouse) -> String {
    ask(server, User::Admin, "SELECT count() FROM system.processes WHERE user = 'reader'").await.rows().to_owned()
}

/// ClickHouse's number for the error.
#[track_caller]
fn code(reply: &Reply) -> u32 {
    let number = reply.body.strip_prefix("Code: ").and_then(|text| text.split_once('.'));
    number.and_then(|(number, _)| number.parse().ok()).unwrap_or_else(|| panic!("not an error: {reply:?}"))
}
