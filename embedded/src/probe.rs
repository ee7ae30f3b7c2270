//! Asking a server whether it is up, and whether it is ours.
//!
//! Two requests on loopback are not worth an HTTP client: HTTP/1.0 says that a reply ends with its connection.

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::users::Credentials;

/// One attempt. On a busy machine a reply may be late; whatever else listens on the port may never reply.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// No reply that is asked for here is longer; whatever else listens on the port may send anything.
const MAX_REPLY_BYTES: u64 = 64 * 1024;

/// Whether something on `port` answers `/ping` the way ClickHouse does.
pub(crate) async fn ping(port: u16) -> bool {
    matches!(exchange(port, "GET /ping HTTP/1.0\r\n\r\n").await, Ok(body) if body == "Ok.\n")
}

/// Whether the server on `port` keeps its data in `path`. Another server that was quicker to take the port fails this: it has other
/// passwords, or at least another path.
pub(crate) async fn serves(port: u16, path: &Path, credentials: &Credentials) -> bool {
    let query = "SELECT path FROM system.disks WHERE name = 'default' FORMAT TSVRaw";
    let request = format!(
        "POST / HTTP/1.0\r\nX-ClickHouse-User: {}\r\nX-ClickHouse-Key: {}\r\nContent-Length: {}\r\n\r\n{query}",
        credentials.user,
        credentials.password,
        query.len(),
    );
    matches!(exchange(port, &request).await, Ok(body) if Path::new(body.trim_end_matches('\n')) == path)
}

/// The body of a 200 reply.
async fn exchange(port: u16, request: &str) -> io::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut reply = String::new();
        stream.take(MAX_REPLY_BYTES).read_to_string(&mut reply).await?;
        io::Result::Ok(reply)
    };
    let reply = timeout(ATTEMPT_TIMEOUT, exchange).await.unwrap_or_else(|late| Err(late.into()))?;
    match reply.split_once("\r\n\r\n") {
        Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
