//! Clients that hang, that disappear and that talk nonsense; more of them than there is room for; and TLS.

use std::{fs, sync::Arc};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;
use shardlake_embedded::User;
use shardlake_queries::{Catalogue, Service, Tls, serve};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

use crate::{
    access::{code, guarded, opened},
    eventually,
    formats::catalogue_with,
    http::{get, raw, rest, send},
    lake::{Api, Lake},
};

fn nowhere() -> clickhouse::Client {
    clickhouse::Client::default().with_url("http://127.0.0.1:9")
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_turned_away() {
    let api = Api::start(nowhere(), Catalogue::builtin()).await;
    let long = format!("GET /v1?{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(70 << 10));
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(101));
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0\r\n\r\n",
        b"hello?\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v1/sql HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/sql HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nzz",
        long.as_bytes(),
        many.as_bytes(),
    ] {
        let wire = raw(api.address, bytes).await;
        let shown = String::from_utf8_lossy(&wire[..wire.len().min(60)]).into_owned();
        assert!(wire.is_empty() || shown.starts_with("HTTP/1.1 4"), "{:?}: {shown}", &bytes[..bytes.len().min(40)]);
    }
    for (name, value) in [("Accept", "\u{1}"), ("Accept", ";;q=,,/"), ("Accept-Encoding", "gzip;q=x, ,")] {
        assert!(matches!(get(api.address, "/v1", &[(name, value)]).await.status, 200 | 400), "{name}: {value}");
    }
    assert_eq!(api.text("/healthz").await.0, 200);
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let key = opened("sql", &[("sql", "true")]);
    let api = guarded(&folder.path().join("keys.toml"), &[&key]).await;
    let silent = raw(api.address, b"");
    let half = raw(api.address, b"GET /v1 HTTP/1.1\r\nHost: ");
    let body = format!(
        "POST /v1/sql HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Length: 9\r\n\r\nSELECT",
        key.key
    );
    let (silent, half, body) = tokio::join!(silent, half, raw(api.address, body.as_bytes()));
    assert!(silent.is_empty() || silent.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&silent));
    assert!(half.is_empty() || half.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&half));
    assert!(body.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&body));
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_does_not_hold_a_query() {
    let lake = Lake::start(["lake"]).await;
    let admin = lake.with_schema("lake").await;
    let large = "SELECT number AS n, repeat('x', 1000) AS name FROM numbers(19000000)";
    let api = Api::start(lake.client(User::Reader, "lake"), catalogue_with(&[("large", large)])).await;
    let running = async || {
        let sql = "SELECT count() FROM system.processes WHERE query LIKE '%numbers(19000000)%' AND user = 'reader'";
        admin.query_raw(sql).fetch_one::<u64>().await.unwrap()
    };
    let stream = send(api.address, "GET /v1/mine/large.ndjson", &[], "").await;
    eventually("it runs", async || running().await == 1).await;
    let cancelled = r#"shardlake_queries_requests_total{question="mine/large",status="cancelled"} 1"#;
    eventually("it ends", async || running().await == 0 && api.text("/metrics").await.1.contains(cancelled)).await;
    drop(stream);
    api.stop().await;
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_room_for_so_many_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let key = opened("sql", &[("sql", "true"), ("concurrent", "1000"), ("per_second", "1000")]);
    let api = guarded(&folder.path().join("keys.toml"), &[&key]).await;
    let authorization = format!("Bearer {}", key.key);
    let headers = [("Authorization", authorization.as_str())];
    // Each waits for a body that does not come.
    let head =
        format!("POST /v1/sql HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nContent-Length: 9\r\n\r\n");
    let mut waiting = Vec::new();
    for _ in 0..shardlake_queries::limits::MAX_AT_ONCE {
        let mut stream = TcpStream::connect(api.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    let all = format!("shardlake_queries_in_flight {}\n", waiting.len());
    eventually("all are in", async || api.text("/metrics").await.1.contains(&all)).await;
    let refused = get(api.address, "/v1", &headers).await;
    assert_eq!((code(&refused), refused.header("retry-after")), ((503, json!("full")), "1"));
    drop(waiting);
    eventually("there is room", async || get(api.address, "/v1", &headers).await.status == 200).await;
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (cert_file, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&cert_file, cert.pem()).unwrap();
    assert!(Tls::open(&cert_file, &key_file).unwrap_err().to_string().contains("private key"));
    fs::write(&key_file, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(Tls::open(&cert_file, &key_file).unwrap_err().to_string().contains("do not fit together"));
    fs::write(&key_file, signing_key.serialize_pem()).unwrap();
    let tls = Tls::open(&cert_file, &key_file).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let service = Service::new(nowhere(), Catalogue::builtin());
    let served = tokio::spawn(serve(listener, Some(tls), service, async {
        let _ = stopped.await;
    }));
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config =
        config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots).with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let plain = TcpStream::connect(address).await.unwrap();
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), plain).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 200") && reply.ends_with("ok\n"), "{reply}");

    let plain = send(address, "GET /healthz", &[], "").await;
    assert!(!rest(plain).await.starts_with(b"HTTP/1.1 200"), "nothing is said in the clear");
    stop.send(()).unwrap();
    served.await.unwrap();
}
