//! A server in a directory of its own, and questions to it the way a plain HTTP client asks them.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use shardlake_embedded::{Clickhouse, Credentials, Options, User};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Duration, Instant, sleep};

/// What the server answered to one query.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Reply {
    /// The body of a success, without the line end.
    #[track_caller]
    pub(crate) fn rows(&self) -> &str {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body.trim_end()
    }
}

/// A server on free ports, the native one included, with its data in `path`.
pub(crate) async fn start(path: &Path) -> Clickhouse {
    Clickhouse::start(Options::new(path).with_tcp_port(0)).await.unwrap()
}

/// Runs `sql` as `user`.
pub(crate) async fn ask(server: &Clickhouse, user: User, sql: &str) -> Reply {
    let Credentials { user, password } = server.credentials(user);
    ask_as(server, &user, &password, "/", sql).await
}

/// Runs `sql` as anybody, with a path that may carry settings.
pub(crate) async fn ask_as(server: &Clickhouse, user: &str, password: &str, path: &str, sql: &str) -> Reply {
    let length = sql.len();
    let request = format!(
        "POST {path} HTTP/1.0\r\nX-ClickHouse-User: {user}\r\nX-ClickHouse-Key: {password}\r\nContent-Length: {length}\r\n\r\n{sql}"
    );
    exchange(server.http_port(), &request).await.unwrap()
}

/// The status of a page.
pub(crate) async fn page(server: &Clickhouse, path: &str) -> u16 {
    exchange(server.http_port(), &format!("GET {path} HTTP/1.0\r\n\r\n")).await.unwrap().status
}

/// Whether `/ping` answers on the port.
pub(crate) async fn answers(port: u16) -> bool {
    exchange(port, "GET /ping HTTP/1.0\r\n\r\n").await.is_ok_and(|reply| reply.body == "Ok.\n")
}

async fn exchange(port: u16, request: &str) -> io::Result<Reply> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Reply { status, body: body.to_owned() })
}

/// Waits until the condition holds, for as long as a busy machine may need.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !condition().await {
        assert!(Instant::now() < deadline, "after a minute still not: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
