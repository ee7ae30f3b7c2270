//! The row structs against the real tables: the two must agree column by column, and what a struct writes must be what
//! a query reads.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod server;

use server::server;
use shardlake_schema::{Table, migrate, rows};

#[tokio::test]
async fn every_field_is_a_column_of_the_same_type_and_place() {
    let (clickhouse, client, _directory) = server().await;
    migrate::apply(&client, "shardlake").await.unwrap();
    for table in Table::ALL {
        let columns: Vec<(String, String)> = client
            .query_raw(
                "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String} \
                 AND default_kind = '' ORDER BY position",
            )
            .param("table", table.name())
            .fetch_all()
            .await
            .unwrap();
        let ours: Vec<(String, String)> = rows::insert_columns(table)
            .into_iter()
            .map(|(name, clickhouse_type)| (name.to_owned(), clickhouse_type.to_owned()))
            .collect();
        assert_eq!(ours, columns, "{table}");
    }
    clickhouse.stop().await.unwrap();
}

#[tokio::test]
async fn every_column_and_table_says_what_it_means() {
    let (clickhouse, client, _directory) = server().await;
    migrate::apply(&client, "shardlake").await.unwrap();
    let silent: Vec<String> = client
        .query_raw(
            "SELECT concat(table, '.', name) FROM system.columns WHERE database = currentDatabase() AND comment = '' \
             AND table IN (SELECT name FROM system.tables WHERE database = currentDatabase() AND engine NOT LIKE '%View' AND name != 'migrations') \
             UNION ALL SELECT name FROM system.tables WHERE database = currentDatabase() AND comment = '' AND engine NOT LIKE '%View'",
        )
        .fetch_all()
        .await
        .unwrap();
    assert_eq!(silent, Vec::<String>::new(), "without a COMMENT");
    clickhouse.stop().await.unwrap();
}

#[tokio::test]
async fn applying_twice_changes_nothing_and_an_edited_history_is_refused() {
    let (clickhouse, client, _directory) = server().await;
    let first = migrate::apply(&client, "shardlake").await.unwrap();
    assert_eq!((first.now.len(), first.before), (migrate::MIGRATIONS.len(), 0));
    let second = migrate::apply(&client, "shardlake").await.unwrap();
    assert_eq!((second.now.len(), second.before), (0, migrate::MIGRATIONS.len()));

    // An interrupted run: the last migration ran, but was not remembered.
    let forget = "DELETE FROM migrations WHERE version = (SELECT max(version) FROM migrations)";
    client.query_raw(forget).execute().await.unwrap();
    let resumed = migrate::apply(&client, "shardlake").await.unwrap();
    assert_eq!(resumed.now.len(), 1);

    let edit = "ALTER TABLE migrations UPDATE checksum = 'other' WHERE version = 1 SETTINGS mutations_sync = 1";
    client.query_raw(edit).execute().await.unwrap();
    let refused = migrate::apply(&client, "shardlake").await.unwrap_err();
    assert!(matches!(refused, migrate::MigrateError::Edited { version: 1, .. }), "{refused}");
    clickhouse.stop().await.unwrap();
}
