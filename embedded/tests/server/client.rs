//! The `clickhouse` crate, which everything else here talks to ClickHouse with, finds nothing unusual.

use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};
use shardlake_embedded::{Clickhouse, User};

use crate::ask::{ask, start};

#[derive(Row, Serialize, Deserialize, Debug, PartialEq)]
struct Event {
    cluster: u16,
    name: String,
}

fn client(server: &Clickhouse, user: User) -> Client {
    let credentials = server.credentials(user);
    Client::default()
        .with_url(server.url())
        .with_user(credentials.user)
        .with_password(credentials.password)
        .with_database("shardlake")
}

#[tokio::test]
async fn the_rust_client_works() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path()).await;
    ask(&server, User::Admin, "CREATE DATABASE shardlake").await.rows();
    let admin = client(&server, User::Admin);
    let create =
        "CREATE TABLE events (cluster UInt16, name LowCardinality(String)) ENGINE = MergeTree ORDER BY cluster";
    admin.query(create).execute().await.unwrap();

    let mut insert = client(&server, User::Writer).insert::<Event>("events").await.unwrap();
    for cluster in 0..1000 {
        insert.write(&Event { cluster, name: format!("event {}", cluster % 7) }).await.unwrap();
    }
    insert.end().await.unwrap();

    let reader = client(&server, User::Reader);
    let sql = "SELECT ?fields FROM events WHERE cluster = {cluster:UInt16}";
    let event: Event = reader.query(sql).param("cluster", 13).fetch_one().await.unwrap();
    assert_eq!(event, Event { cluster: 13, name: "event 6".to_owned() });
    let limited = reader.query("SELECT ?fields FROM events ORDER BY cluster").with_setting("max_execution_time", "5");
    assert_eq!(limited.fetch_all::<Event>().await.unwrap().len(), 1000);

    let refused = reader.query("DROP TABLE events").execute().await.unwrap_err();
    assert!(refused.to_string().contains("ACCESS_DENIED"), "{refused}");
    server.stop().await.unwrap();
}
