//! A server in a directory of its own, and questions to it the way a plain HTTP client asks them.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use shardlake_embedded::{Clickhouse, Credentials, Options, User};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What the server answered to one query.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub body: String,
}

impl Reply {
    /// The body of a success, without the line end.
    #[track_caller]
    pub fn rows(&self) -> &str {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body.trim_end()
    }

    /// ClickHouse's number for the error.
    #[track_caller]
    pub fn code(&self) -> u32 {
        assert_ne!(self.status, 200, "{}", self.body);
        let number = self.body.strip_prefix("Code: ").and_then(|text| text.split_once('.')).unwrap_or_else(|| panic!("{self:?}")).0;
        number.parse().unwrap()
    }
}

/// A server on a free port, with its data in `path`.
pub async fn start(path: &Path) -> Clickhouse {
    Clickhouse::start(Options::new(path)).await.unwrap()
}

/// Runs `sql` as `user`.
pub async fn ask(server: &Clickhouse, user: User, sql: &str) -> Reply {
    ask_with(server, &server.credentials(user), "/", sql).await
}

/// Runs `sql` with any credentials and any path, which may carry settings.
pub async fn ask_with(server: &Clickhouse, credentials: &Credentials, path: &str, sql: &str) -> Reply {
    let request = format!(
        "POST {path} HTTP/1.0\r\nX-ClickHouse-User: {}\r\nX-ClickHouse-Key: {}\r\nContent-Length: {}\r\n\r\n{sql}",
        credentials.user,
        credentials.password,
        sql.len()
    );
    exchange(server.http_port(), &request).await.unwrap()
}

/// Whether `/ping` answers.
pub async fn answers(port: u16) -> bool {
    exchange(port, "GET /ping HTTP/1.0\r\n\r\n").await.is_ok_and(|reply| reply.status == 200 && reply.body == "Ok.\n")
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
