//! Nothing that a client sends, or stops sending, ends the server.
//!
//! Without a terminal on its standard input the engine aborts on the first exception that leaves a connection, so that each of the
//! attacks marked "deadly" ends it in the first round. `child.rs` gives it a terminal; this is the test that it works.

mod server;

use std::io::ErrorKind;

use server::{answers, ask, eventually, start};
use shardlake_embedded::{Clickhouse, User};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Of every attack. Together some 700 connections, in a few seconds.
const ROUNDS: usize = 30;

/// How a client leaves.
#[derive(Clone, Copy)]
enum Goodbye {
    /// FIN: no more from here, and nobody reads the answer.
    Close,
    /// RST: gone, with what was still on its way.
    Reset,
    /// Sends no more, and waits for the server to have had enough.
    Wait,
}

#[tokio::test]
async fn http_survives() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path()).await;
    let headers = "X-A: aaaaaaaa\r\n".repeat(20_000);
    let chunk = "POST /?query=INSERT HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nhalf of it";
    let attacks: &[(&str, &[u8], Goodbye)] = &[
        ("nothing", b"", Goodbye::Close),
        ("nothing, reset", b"", Goodbye::Reset),
        ("half a request line (deadly)", b"GET /pi", Goodbye::Close),
        ("half a header (deadly)", b"GET /ping HTTP/1.1\r\nHos", Goodbye::Close),
        ("half a header, reset", b"GET /ping HTTP/1.1\r\nHos", Goodbye::Reset),
        ("no end of the headers (deadly)", b"GET /ping HTTP/1.1\r\nHost: x\r\n", Goodbye::Close),
        ("an empty line (deadly)", b"\r\n", Goodbye::Close),
        ("a method (deadly)", b"GET", Goodbye::Close),
        ("HTTP/0.9 (deadly)", b"GET /ping\r\n", Goodbye::Close),
        ("garbage", b"\x00\xff\x80garbage\r\n\r\n", Goodbye::Wait),
        ("TLS", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\x00\x01\x02\x03", Goodbye::Close),
        ("a length beyond all numbers (deadly)", b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\nx", Goodbye::Wait),
        ("a negative length", b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\nx", Goodbye::Wait),
        ("a body that stays away", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nSELECT", Goodbye::Reset),
        ("half a chunk, reset (deadly)", chunk.as_bytes(), Goodbye::Reset),
        ("a chunk of no size", b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Goodbye::Wait),
        ("a wrong password", b"GET /?query=SELECT+1&user=admin&password=x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", Goodbye::Wait),
        ("a wrong header of a password", b"GET /?query=SELECT+1 HTTP/1.1\r\nHost: x\r\nAuthorization: Basic !!\r\nConnection: close\r\n\r\n", Goodbye::Wait),
        ("an upgrade", b"GET /webterminal HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", Goodbye::Reset),
    ];
    for (name, bytes, goodbye) in attacks {
        for _ in 0..ROUNDS {
            attack(server.http_port(), bytes, *goodbye).await;
        }
        still_serves(&server, name).await;
    }
    let many = format!("GET /ping HTTP/1.1\r\n{headers}");
    for _ in 0..ROUNDS {
        attack(server.http_port(), many.as_bytes(), Goodbye::Reset).await;
    }
    still_serves(&server, "20,000 headers, reset (deadly)").await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn leaving_in_the_middle_of_an_answer_is_survived() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path()).await;
    let password = server.credentials(User::Reader).password;
    let sql = "SELECT number, repeat('x', 1000) FROM numbers(1000000)";
    let request = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nX-ClickHouse-User: reader\r\nX-ClickHouse-Key: {password}\r\nContent-Length: {}\r\n\r\n{sql}",
        sql.len()
    );
    for _ in 0..ROUNDS {
        let mut client = TcpStream::connect(("127.0.0.1", server.http_port())).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let mut beginning = [0; 1000];
        client.read_exact(&mut beginning).await.unwrap();
        assert!(beginning.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&beginning));
        client.set_zero_linger().unwrap();
    }
    let running = "SELECT count() FROM system.processes WHERE user = 'reader'";
    eventually("no query is left", async || ask(&server, User::Admin, running).await.rows() == "0").await;
    still_serves(&server, "leaving").await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_native_protocol_survives() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path()).await;
    let port = server.tcp_port().unwrap();
    for user in ["admin", "nobody", "default"] {
        for _ in 0..ROUNDS {
            let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            client.write_all(&hello(user, "wrong")).await.unwrap();
            let mut answer = Vec::new();
            // The packet of an exception, and AUTHENTICATION_FAILED or REQUIRED_PASSWORD in it.
            client.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer[0], 2);
            assert!(matches!(i32::from_le_bytes(answer[1..5].try_into().unwrap()), 516 | 194), "{answer:?}");
        }
        still_serves(&server, "a wrong login (deadly)").await;
    }
    let half = hello("admin", "wrong")[..5].to_vec();
    let attacks: &[(&str, &[u8], Goodbye)] = &[
        ("nothing", b"", Goodbye::Close),
        ("half a hello", &half, Goodbye::Close),
        ("half a hello, reset", &half, Goodbye::Reset),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n", Goodbye::Close),
        ("an endless name", b"\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7f", Goodbye::Wait),
    ];
    for (name, bytes, goodbye) in attacks {
        for _ in 0..ROUNDS {
            attack(port, bytes, *goodbye).await;
        }
        still_serves(&server, name).await;
    }
    server.stop().await.unwrap();
}

/// One connection. The server may cut it at any moment, which is its right.
async fn attack(port: u16, bytes: &[u8], goodbye: Goodbye) {
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    if let Err(error) = client.write_all(bytes).await {
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    }
    match goodbye {
        Goodbye::Close => drop(client.shutdown().await),
        Goodbye::Reset => client.set_zero_linger().unwrap(),
        Goodbye::Wait => {
            drop(client.shutdown().await);
            drop(client.read_to_end(&mut Vec::new()).await);
        }
    }
}

/// The same process answers health checks and queries, in both protocols.
async fn still_serves(server: &Clickhouse, after: &str) {
    assert!(answers(server.http_port()).await, "after: {after}");
    let password = server.credentials(User::Reader).password;
    let port = server.tcp_port().unwrap();
    let sql = format!("SELECT count() FROM remote('127.0.0.1:{port}', view(SELECT 1), 'reader', '{password}')");
    assert_eq!(ask(server, User::Admin, &sql).await.rows(), "1", "after: {after}");
}

/// The first packet of the native protocol.
fn hello(user: &str, password: &str) -> Vec<u8> {
    let mut packet = vec![0];
    let text = |packet: &mut Vec<u8>, text: &str| {
        packet.push(text.len().try_into().unwrap());
        packet.extend(text.as_bytes());
    };
    text(&mut packet, "test");
    // Version 20.1, protocol revision 54,400.
    packet.extend([20, 1, 0x80, 0xa9, 0x03]);
    text(&mut packet, "");
    text(&mut packet, user);
    text(&mut packet, password);
    packet
}
