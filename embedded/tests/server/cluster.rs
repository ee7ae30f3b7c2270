//! Servers that know each other.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use shardlake_embedded::{Clickhouse, Cluster, Options, User};
use tempfile::TempDir;

use crate::ask::ask;

/// Free ports, below those that the system hands out by itself, and to one test only.
fn ports() -> [u16; 3] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let candidate = || 10_000 + (std::process::id() * 31 + NEXT.fetch_add(1, Relaxed)) % 20_000;
    let candidates = std::iter::repeat_with(|| u16::try_from(candidate()).unwrap());
    let free = candidates.filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.take(3).collect::<Vec<_>>().try_into().unwrap()
}

/// One shard, with rows of its number, and a table over those of all shards.
async fn server(directory: &TempDir, cluster: Cluster, shard: usize, databases: &[&str]) -> Clickhouse {
    let path = directory.path().join(shard.to_string());
    let options = Options::new(path).with_databases(databases.to_vec()).with_cluster(cluster, shard);
    let server = Clickhouse::start(options).await.unwrap();
    for sql in [
        "CREATE DATABASE inside".to_owned(),
        "CREATE DATABASE window".to_owned(),
        "CREATE TABLE inside.t (a UInt64) ENGINE = MergeTree ORDER BY a".to_owned(),
        format!("INSERT INTO inside.t SELECT {shard} FROM numbers(1000)"),
        "CREATE TABLE window.t AS inside.t ENGINE = Distributed('lake', 'inside', 't')".to_owned(),
    ] {
        ask(&server, User::Admin, &sql).await.rows();
    }
    server
}

/// All rows, and those of each shard.
const COUNT: &str = "SELECT count(), countIf(a = 1), countIf(a = 2) FROM window.t";

#[tokio::test]
async fn each_shard_asks_the_other_in_the_users_name() {
    let directory = tempfile::tempdir().unwrap();
    let [one, two, _] = ports();
    let cluster = Cluster::new("lake", "asecret", [one, two]);
    let first = server(&directory, cluster.clone(), 1, &["inside", "window"]).await;
    let second = server(&directory, cluster, 2, &["window"]).await;
    for (server, number) in [(&first, "1"), (&second, "2")] {
        assert_eq!(ask(server, User::Admin, COUNT).await.rows(), "2000\t1000\t1000");
        assert_eq!(ask(server, User::Admin, "SELECT getMacro('shard')").await.rows(), number);
    }
    let refused = ask(&first, User::Reader, COUNT).await;
    assert!(refused.body.contains("ACCESS_DENIED"), "to the second server's rows: {refused:?}");
    assert!(refused.body.contains(&format!("Received from 127.0.0.1:{two}")), "{refused:?}");
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_know_the_secret_gets_nothing() {
    let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [one, two, stranger] = ports();
    let databases = ["inside", "window"];
    let first = server(&directory, Cluster::new("lake", "asecret", [one, two]), 1, &databases).await;
    let stranger = server(&elsewhere, Cluster::new("lake", "guessed", [one, stranger]), 2, &databases).await;
    let refused = ask(&stranger, User::Admin, COUNT).await;
    assert!(refused.status != 200 && refused.body.contains("ALL_CONNECTION_TRIES_FAILED"), "{refused:?}");
    assert_eq!(ask(&first, User::Admin, "SELECT count() FROM inside.t").await.rows(), "1000", "it hung up, and lives");
    first.stop().await.unwrap();
    stranger.stop().await.unwrap();
}

#[tokio::test]
async fn a_subquery_is_asked_of_all_shards() {
    let directory = tempfile::tempdir().unwrap();
    let [one, two, _] = ports();
    let cluster = Cluster::new("lake", "asecret", [one, two]);
    let databases = ["inside", "window"];
    let first = server(&directory, cluster.clone(), 1, &databases).await;
    let second = server(&directory, cluster, 2, &databases).await;
    for (sql, expected) in [
        // More rows pass from shard to shard than an answer may have at least.
        ("SELECT count() FROM (SELECT a FROM window.t)", "2000"),
        ("SELECT count() FROM window.t WHERE a IN (SELECT a FROM window.t WHERE a = 2)", "1000"),
        ("SELECT count() FROM window.t AS l JOIN (SELECT DISTINCT a FROM window.t) AS r ON l.a = r.a", "2000"),
    ] {
        for server in [&first, &second] {
            assert_eq!(ask(server, User::Reader, sql).await.rows(), expected, "{sql}");
        }
    }
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}
