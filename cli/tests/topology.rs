//! `shardlake schema apply` on a ClickHouse cluster of two servers, as an operator types it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    net::{Ipv4Addr, TcpListener},
    process::Command,
};

use clickhouse::Client;
use shardlake_embedded::{Clickhouse, Cluster, Options, User};
use shardlake_schema::topology::readers_database;

/// Standard output and error, and whether it succeeded.
fn shardlake(arguments: &[&str]) -> (String, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_shardlake"))
        .args(arguments)
        .args(["--clickhouse-user", User::Admin.name()])
        .env("SHARDLAKE_CLICKHOUSE_PASSWORD", User::Admin.name())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (text, output.status.success())
}

async fn servers(directory: &tempfile::TempDir) -> [Clickhouse; 2] {
    // Below the ports that the system hands out by itself.
    let candidates = (10_000..30_000).cycle().skip((std::process::id() * 31 % 20_000) as usize);
    let free = candidates.filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    let ports: Vec<u16> = free.take(2).collect();
    let mut servers = Vec::new();
    for shard in [1, 2] {
        let options = Options::new(directory.path().join(shard.to_string()))
            .with_password(User::Admin, User::Admin.name())
            .with_cluster(Cluster::new("lake", "notasecret", ports.clone()), shard);
        servers.push(Clickhouse::start(options).await.unwrap());
    }
    servers.try_into().unwrap()
}

fn administrator(server: &Clickhouse) -> Client {
    Client::default().with_url(server.url()).with_user(User::Admin.name()).with_password(User::Admin.name())
}

async fn names(server: &Clickhouse, database: &str) -> Vec<String> {
    let client = administrator(server);
    let sql = "SELECT name FROM system.tables WHERE database = {database:String} ORDER BY name";
    client.query_raw(sql).param("database", database).fetch_all().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_server_gets_its_tables_and_the_readers_theirs() {
    let directory = tempfile::tempdir().unwrap();
    let [first, second] = servers(&directory).await;
    let both = format!("{},{}", first.url(), second.url());
    let schema = |command: &str, topology: &str, url: &str| {
        shardlake(&["schema", command, "--topology", topology, "--clickhouse-url", url])
    };
    let apply = |topology: &str, url: &str| schema("apply", topology, url);

    for (topology, url, why) in [
        ("cluster=lake,replicas=none", first.url(), "has 2 shards, and 1 are named"),
        ("cluster=sea,replicas=none", &both, "knows no ClickHouse cluster `sea`"),
        ("single", &both, "names 2 servers"),
        ("cluster=lake", &both, "names 2 servers"),
        ("cluster=lake", first.url(), "Replicated DDL queries are disabled"),
        ("cluster=lake,replicas=3", &both, "`replicas=3` is not known"),
    ] {
        let (said, succeeded) = apply(topology, url);
        assert!(!succeeded && said.contains(why), "{topology}: {said}");
    }
    assert_eq!(names(&first, "shardlake").await, [""; 0], "nothing was done");

    for again in [false, true] {
        let (said, succeeded) = apply("cluster=lake,replicas=none", &both);
        assert!(succeeded, "{said}");
        assert_eq!(said.matches("shardlake is at schema").count(), 2, "{said}");
        assert_eq!(said.contains("applied 0001_interactions"), !again, "{said}");
        let tables = names(&first, "shardlake").await;
        let read = names(&first, &readers_database("shardlake")).await;
        assert!(
            read.contains(&"interactions".to_owned()) && read.iter().all(|table| tables.contains(table)),
            "{read:?}"
        );
        assert!(said.contains(&format!("shardlake_all has {} tables over all shards", read.len())), "{said}");
        assert_eq!(names(&second, "shardlake").await, tables);
        assert_eq!(names(&second, &readers_database("shardlake")).await, read);
    }

    let (said, succeeded) = schema("plan", "cluster=lake,replicas=none", &both);
    assert!(succeeded && said.matches("nothing to do").count() == 2, "{said}");
    let (said, succeeded) = schema("verify", "cluster=lake,replicas=none", &both);
    assert!(succeeded && said.matches("shardlake is as this build makes it").count() == 2, "{said}");
    let drop = "DROP TABLE shardlake.samples_batches";
    administrator(&second).query_raw(drop).execute().await.unwrap();
    let (said, succeeded) = schema("verify", "cluster=lake,replicas=none", &both);
    assert!(!succeeded && said.matches("shardlake is as this build makes it").count() == 1, "{said}");
    let (said, succeeded) = schema("verify", "cluster=lake", first.url());
    assert!(!succeeded && said.contains("does not know replicated tables"), "{said}");

    first.stop().await.unwrap();
    second.stop().await.unwrap();
}
