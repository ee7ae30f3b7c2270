//! Nothing that a client sends, or stops sending, ends the server.
//!
//! Without a terminal on its standard input the engine aborts on the first exception that leaves a connection: a single round of
//! most of these attacks, with [`Goodbye::Wait`], is then enough. `child.rs` gives it a terminal; this is the test that it works.

use shardlake_embedded::{Clickhouse, User};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::ask::{answers, ask, eventually, start};

/// Of every attack, with every way to leave. Some 900 connections together.
const ROUNDS: usize = 10;

/// How a client leaves.
#[derive(Clone, Copy)]
enum Goodbye {
    /// Sends no more, and reads what the server has to say until it hangs up.
    Wait,
    /// Sends no more, and reads nothing.
    Close,
    /// Gone, with whatever was on its way: a TCP reset.
    Reset,
}

#[tokio::test]
async fn http_survives() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path()).await;
    let headers = format!("GET /ping HTTP/1.1\r\n{}", "X-A: aaaaaaaa\r\n".repeat(20_000));
    let post = |rest: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{rest}").into_bytes();
    let attacks: &[(&str, &[u8])] = &[
        ("nothing", b""),
        ("half a request line", b"GET /pi"),
        ("a method", b"GET"),
        ("an empty line", b"\r\n"),
        ("HTTP/0.9", b"GET /ping\r\n"),
        ("half a header", b"GET /ping HTTP/1.1\r\nHos"),
        ("headers without an end", b"GET /ping HTTP/1.1\r\nHost: x\r\n"),
        ("20,000 headers", headers.as_bytes()),
        ("garbage", b"\x00\xff\x80garbage\r\n\r\n"),
        ("TLS", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\x00\x01\x02\x03"),
        ("a length beyond all numbers", &post("Content-Length: 99999999999999999999999\r\n\r\nx")),
        ("a negative length", &post("Content-Length: -1\r\n\r\nx")),
        ("a body that stays away", &post("Content-Length: 1000\r\n\r\nSELECT")),
        ("half a chunk", &post("Transfer-Encoding: chunked\r\n\r\nffff\r\nhalf of it")),
        ("a chunk of no size", &post("Transfer-Encoding: chunked\r\n\r\nzz\r\n")),
        (
            "a wrong password",
            &post("X-ClickHouse-User: admin\r\nX-ClickHouse-Key: x\r\nContent-Length: 8\r\n\r\nSELECT 1"),
        ),
        ("a wrong header of a password", &post("Authorization: Basic !!\r\nContent-Length: 8\r\n\r\nSELECT 1")),
        ("an upgrade", &post("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n\r\n")),
    ];
    for (name, bytes) in attacks {
        attack(&server, server.http_port(), name, bytes).await;
    }
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
    for _ in 0..3 * ROUNDS {
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
        still_serves(&server, "a wrong login").await;
    }
    let attacks: &[(&str, &[u8])] = &[
        ("nothing", b""),
        ("half a hello", &hello("admin", "wrong")[..5]),
        ("a name without an end", b"\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n"),
    ];
    for (name, bytes) in attacks {
        attack(&server, port, name, bytes).await;
    }
    server.stop().await.unwrap();
}

/// All rounds of one attack, and a look at the server afterwards.
async fn attack(server: &Clickhouse, port: u16, name: &str, bytes: &[u8]) {
    for goodbye in [Goodbye::Wait, Goodbye::Close, Goodbye::Reset] {
        for _ in 0..ROUNDS {
            let mut client =
                TcpStream::connect(("127.0.0.1", port)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            // The server may hang up at any moment, which is its right.
            drop(client.write_all(bytes).await);
            match goodbye {
                Goodbye::Wait => {
                    drop(client.shutdown().await);
                    drop(client.read_to_end(&mut Vec::new()).await);
                }
                Goodbye::Close => drop(client.shutdown().await),
                Goodbye::Reset => client.set_zero_linger().unwrap(),
            }
        }
    }
    still_serves(server, name).await;
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
