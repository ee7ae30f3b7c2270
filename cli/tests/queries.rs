//! `shardlake queries` as a process: how much memory a large answer takes.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use shardlake_embedded::{Clickhouse, Options, User};

/// What a service may hold at most, whatever is asked of it.
const MOST_KB: u64 = 64 * 1024;

/// The service, which ends with the test.
struct Service {
    process: Child,
    address: String,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended by itself
        let _ = self.process.wait();
    }
}

impl Service {
    fn start(clickhouse: &Clickhouse, catalogue: &Path) -> Self {
        let reader = clickhouse.credentials(User::Reader);
        let mut process = Command::new(env!("CARGO_BIN_EXE_shardlake"))
            .args(["queries", "--listen", "127.0.0.1:0", "--clickhouse-url", clickhouse.url()])
            .args(["--clickhouse-database", "lake", "--clickhouse-user", &reader.user, "--catalogue"])
            .arg(catalogue)
            .env("SHARDLAKE_CLICKHOUSE_PASSWORD", &reader.password)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once("://").unwrap_or_else(|| panic!("no address: {line}")).1.to_owned();
        Self { process, address }
    }

    /// Length of what comes back for `path`, whose end must be that of a whole answer.
    fn length(&self, path: &str, encoding: &str) -> u64 {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nAccept-Encoding: {encoding}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut end = End::default();
        let length = io::copy(&mut stream, &mut end).unwrap();
        assert_eq!(end.last, b"0\r\n\r\n", "{path} {encoding}");
        length
    }

    /// Most memory that it ever had, KiB.
    fn peak_kb(&self) -> u64 {
        let mut status = String::new();
        fs::File::open(format!("/proc/{}/status", self.process.id())).unwrap().read_to_string(&mut status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// Keeps the last five bytes.
#[derive(Default)]
struct End {
    last: Vec<u8>,
}

impl io::Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.last.extend_from_slice(&bytes[bytes.len().saturating_sub(5)..]);
        self.last.drain(..self.last.len().saturating_sub(5));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_takes_no_more_memory_the_longer_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let clickhouse =
        Clickhouse::start(Options::new(folder.path().join("lake")).with_databases(["lake"])).await.unwrap();
    let admin = clickhouse.credentials(User::Admin);
    let client =
        clickhouse::Client::default().with_url(clickhouse.url()).with_user(admin.user).with_password(admin.password);
    shardlake_schema::migrate::apply(&client, "lake").await.unwrap();
    // A hundred megabytes as text. `EXPORT_ROWS` asks for more by hand.
    let rows = std::env::var("EXPORT_ROWS").unwrap_or_else(|_| "2000000".to_owned());
    let catalogue = folder.path().join("catalogue");
    fs::create_dir_all(catalogue.join("mine")).unwrap();
    let sql = format!("SELECT number AS n, lower(hex(sipHash128(number))) AS name FROM numbers({rows})");
    let header = "-- title: T\n-- description: D\n-- panel: table\n-- table: interactions\n-- column: n count N\n";
    fs::write(catalogue.join("mine/rows.sql"), format!("{header}{sql}\n")).unwrap();

    let service = Service::start(&clickhouse, &catalogue);
    for (suffix, encoding) in [("csv", "identity"), ("ndjson", "zstd"), ("arrow", "identity"), ("parquet", "identity")]
    {
        let started = std::time::Instant::now();
        let length = service.length(&format!("/v1/mine/rows.{suffix}"), encoding);
        let peak_kb = service.peak_kb();
        println!("{rows} rows as {suffix}, {encoding}: {length} bytes in {:?}, peak {peak_kb} KiB", started.elapsed());
        assert!(length > 20_000_000 && peak_kb < MOST_KB, "{suffix} {encoding}: {length} bytes, peak {peak_kb} KiB");
    }
    drop(service);
    clickhouse.stop().await.unwrap();
}

/// What the program says, and whether it was content.
fn shardlake(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_shardlake")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn nobody_is_served_from_elsewhere_without_keys() {
    let (served, _, said) = shardlake(&["queries", "--listen", "0.0.0.0:0"]);
    assert!(!served && said.contains("--allow-anonymous"), "{said}");
    let (served, _, said) = shardlake(&["queries", "--sql"]);
    assert!(!served && said.contains("--keys"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.toml");
    fs::write(&keys, "[[key]]\nname = 'n'\n").unwrap();
    let (served, _, said) = shardlake(&["queries", "--keys", keys.to_str().unwrap()]);
    assert!(!served && said.contains("keys.toml") && said.contains("sha256"), "{said}");
}

#[test]
fn a_key_is_shown_once_and_its_lines_let_it_in() {
    let (made, lines, said) = shardlake(&["queries", "key", "new", "grafana"]);
    let key = said.trim().rsplit_once(' ').unwrap().1;
    assert!(made && key.starts_with("shardlake_") && key.len() == 74 && !lines.contains(key), "{said}");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("keys.toml"), lines).unwrap();
    shardlake_queries::Keys::open(&folder.path().join("keys.toml")).unwrap();
    assert!(!shardlake(&["queries", "key", "new", "not a name"]).0);
}
