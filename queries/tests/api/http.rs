//! A client that sees what is on the wire: whether an answer has its end.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// What came back until the connection closed.
#[derive(Debug)]
pub(crate) struct Reply {
    /// 0: the connection was closed without a word.
    pub(crate) status: u16,
    /// By lower-case name.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Whether the body has the end that its framing announces.
    pub(crate) is_whole: bool,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn read(wire: &[u8]) -> Self {
        if wire.is_empty() {
            return Self { status: 0, headers: BTreeMap::new(), body: Vec::new(), is_whole: false };
        }
        let end =
            wire.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or_else(|| panic!("no head: {wire:?}"));
        let head = std::str::from_utf8(&wire[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            let values = headers.entry(name.to_lowercase()).or_default();
            *values += if values.is_empty() { "" } else { ", " };
            *values += value;
        }
        let rest = &wire[end + 4..];
        let (body, is_whole) = match headers.get("content-length") {
            Some(length) => (rest.to_vec(), rest.len() == length.parse::<usize>().unwrap()),
            None => unchunked(rest),
        };
        Self { status, headers, body, is_whole }
    }
}

/// The chunks' content, and whether the last one is there.
fn unchunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        let chunk = &rest[end + 2..];
        if size == 0 {
            return (body, true);
        }
        body.extend_from_slice(&chunk[..size.min(chunk.len())]);
        rest = chunk.get(size + 2..).unwrap_or_default();
    }
    (body, false)
}

/// Sends `method path` with `headers` and `body`, and leaves the answer to the caller.
pub(crate) async fn send(address: SocketAddr, request: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let headers = headers.iter().map(|(name, value)| [name, ": ", value, "\r\n"].concat()).collect::<String>();
    let length = body.len();
    let head =
        format!("{request} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    stream
}

/// Reads what there is until the other side closes, which a test that hangs does not wait for.
pub(crate) async fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut wire = Vec::new();
    let read = timeout(Duration::from_mins(1), stream.read_to_end(&mut wire)).await;
    if let Err(error) = read.expect("the connection is closed") {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    wire
}

/// `GET path`.
pub(crate) async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Reply {
    Reply::read(&rest(send(address, &format!("GET {path}"), headers, "").await).await)
}

/// `POST path`.
pub(crate) async fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    Reply::read(&rest(send(address, &format!("POST {path}"), headers, body).await).await)
}

/// Sends `bytes` as they are, and reads until the other side closes.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    rest(stream).await
}
