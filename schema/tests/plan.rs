//! A plan says what applying does, and does nothing.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod server;

use clickhouse::Client;
use server::server;
use shardlake_schema::{
    migrate::{self, MIGRATIONS, Migration, apply_these},
    plan::{PlanError, plan, plan_these},
    retention::Retention,
};

const DATABASE: &str = "shardlake";

fn wanted(text: &str) -> Vec<Retention> {
    text.split(',').map(|one| one.parse().unwrap()).collect()
}

/// Everything that a plan could have changed: how every table of ours was made, and when that last changed.
async fn state(client: &Client) -> Vec<(String, String, u32)> {
    let sql = "SELECT * FROM (SELECT name, toString(cityHash64(create_table_query)), toUInt32(metadata_modification_time) FROM system.tables \
               WHERE database = 'shardlake' UNION ALL SELECT name, engine, 0 FROM system.databases) ORDER BY ALL";
    client.clone().with_database("system").query_raw(sql).fetch_all().await.unwrap()
}

#[tokio::test]
async fn planning_an_install_makes_nothing() {
    let (clickhouse, client, _directory) = server().await;
    let before = state(&client).await;
    let install = plan(&client, DATABASE, &wanted("interactions=90d,processes=forever")).await.unwrap();
    assert_eq!(install.migrations.len(), MIGRATIONS.len());
    assert!(install.migrations.iter().all(|pending| pending.done == 0 && pending.rewrites.is_empty()));
    assert_eq!(install.migrations[0].statements, ["CREATE TABLE IF NOT EXISTS interactions"]);
    assert_eq!((install.retention.len(), install.retention_to_come.len()), (0, 2));
    let unknown = plan(&client, DATABASE, &wanted("nonsense=90d")).await.unwrap_err();
    assert!(matches!(unknown, PlanError::Retention(_)), "{unknown}");
    assert_eq!(state(&client).await, before);

    migrate::apply(&client, DATABASE).await.unwrap();
    let before = state(&client).await;
    assert!(plan(&client, DATABASE, &[]).await.unwrap().is_empty());
    let shorter = plan(&client, DATABASE, &wanted("interactions=90d,processes=forever")).await.unwrap();
    assert_eq!((shorter.retention.len(), shorter.retention_to_come.len(), shorter.is_empty()), (1, 0, false));
    assert_eq!(state(&client).await, before);
    clickhouse.stop().await.unwrap();
}

#[tokio::test]
async fn an_upgrade_says_what_it_goes_through() {
    let (clickhouse, client, _directory) = server().await;
    apply_these(&client, DATABASE, &MIGRATIONS[..6]).await.unwrap();
    let rows = "INSERT INTO interactions (cluster, boot, batch, time) SELECT '0', 1, 1, now() FROM numbers(1000)";
    client.query_raw(rows).execute().await.unwrap();
    let upgrade = plan(&client, DATABASE, &[]).await.unwrap();
    let rewrites = |version: u32| {
        let pending = upgrade.migrations.iter().find(|pending| pending.version == version).unwrap();
        pending.rewrites.iter().map(|rewrite| (rewrite.table.as_str(), rewrite.rows)).collect::<Vec<_>>()
    };
    assert_eq!(rewrites(7), [("interactions", 1000)], "it is renamed before it is read");
    assert_eq!(rewrites(8), [("interactions", 1000)]);
    clickhouse.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_left_of_an_interrupted_migration_is_planned_with_what_it_rewrites() {
    let (clickhouse, client, _directory) = server().await;
    let first = Migration {
        version: 1,
        name: "first",
        sql: "CREATE TABLE IF NOT EXISTS a (x UInt8) ENGINE = MergeTree ORDER BY x;",
    };
    apply_these(&client, DATABASE, &[first]).await.unwrap();
    client.query_raw("INSERT INTO a SELECT number % 256 FROM numbers(1000)").execute().await.unwrap();
    let sql = "RENAME TABLE IF EXISTS a TO old_a;\n\nCREATE OR REPLACE TABLE a ENGINE = MergeTree ORDER BY x AS\nSELECT x, y FROM old_a;\nDROP TABLE IF EXISTS old_a;\n";
    let rebuild = Migration { version: 2, name: "rebuild", sql };
    apply_these(&client, DATABASE, &[first, rebuild]).await.unwrap_err(); // there is no y

    let rest = plan_these(&client, DATABASE, &[first, rebuild], &[]).await.unwrap();
    let [pending] = &rest.migrations[..] else { panic!("{rest:?}") };
    assert_eq!((pending.version, pending.done), (2, 1));
    assert_eq!(
        pending.statements,
        ["CREATE OR REPLACE TABLE a ENGINE = MergeTree ORDER BY x AS", "DROP TABLE IF EXISTS old_a"]
    );
    let [rewrite] = &pending.rewrites[..] else { panic!("{rest:?}") };
    assert_eq!((rewrite.table.as_str(), rewrite.rows, rewrite.bytes > 0), ("old_a", 1000, true));

    let edited = Migration { sql: "SELECT 1;\n", ..rebuild };
    let refused = plan_these(&client, DATABASE, &[first, edited], &[]).await.unwrap_err();
    assert!(matches!(refused, PlanError::Migrate(migrate::MigrateError::Edited { version: 2, .. })), "{refused}");
    clickhouse.stop().await.unwrap();
}
