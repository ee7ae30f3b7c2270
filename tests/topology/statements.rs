//! What the migrations become for replicas. The engine here parses every statement, and runs those that copy rows, on two
//! shards. It refuses `ON CLUSTER`, and its replicated tables would stay read-only: that Keeper carries the statements and that
//! replicas fetch each other's parts was not run.

use clickhouse::{Client, error::Error};
use shardlake_embedded::User;
use shardlake_schema::{
    answer,
    migrate::{MIGRATIONS, Migration},
    topology::Topology,
};

use crate::line::{DATABASE, servers::Servers};

const REPLICATED: &str = "cluster=lake";

/// `QUERY_IS_PROHIBITED`: no Keeper.
const NO_KEEPER: u32 = 392;

/// Every statement of every migration, and what it becomes.
fn rendered() -> Vec<(&'static str, Vec<String>)> {
    let topology: Topology = REPLICATED.parse().unwrap();
    let statements = MIGRATIONS.iter().flat_map(Migration::statements);
    statements
        .map(|statement| {
            let rendered = topology.render(DATABASE, statement);
            (statement, rendered.unwrap_or_else(|error| panic!("{error}")))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_migration_can_be_told_to_a_cluster() {
    let servers = Servers::start(1, &[DATABASE]).await;
    let admin = servers.client(1, User::Admin, "system");
    run(&admin, &format!("CREATE DATABASE {DATABASE}")).await.unwrap();
    let admin = admin.with_database(DATABASE);
    let (mut told, mut replicated) = (0, 0);
    for statement in rendered().into_iter().flat_map(|(_, rendered)| rendered) {
        run(&admin, &format!("EXPLAIN AST {statement}")).await.unwrap_or_else(|error| panic!("{error}\n{statement}"));
        if statement.contains("INSERT INTO FUNCTION cluster(") {
            continue;
        }
        assert!(statement.contains(" ON CLUSTER `lake`"), "{statement}");
        // What reads a table that is not there is refused for that.
        if !statement.contains("SELECT") {
            let refused = run(&admin, &statement).await.unwrap_err();
            assert_eq!(answer::code(&refused), Some(NO_KEEPER), "understood, up to the Keeper: {refused}\n{statement}");
        }
        told += 1;
        replicated += usize::from(statement.contains("ENGINE = Replicated"));
        assert!(!statement.contains("non_replicated_deduplication_window"), "{statement}");
        assert!(statement.contains("ENGINE = Replicated") || !statement.contains("ENGINE = "), "{statement}");
    }
    assert!(told > 10 && replicated >= 6, "{told} statements, {replicated} tables");
    servers.stop().await;
}

/// A copy of rows, in the words for a cluster, makes on each shard what the migration makes on one server.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_copied_on_their_own_shard() {
    let servers = Servers::with_schema(2).await;
    let shards = [1, 2].map(|shard| servers.client(shard, User::Admin, DATABASE));
    let cluster = |shard: usize| format!("shard-{shard}");
    for (shard, admin) in (1..).zip(&shards) {
        for statement in [
            "CREATE TABLE copied (cluster String, b UInt64, twice UInt64 ALIAS 2 * b) ENGINE = MergeTree ORDER BY b",
            "CREATE TABLE already (b UInt64) ENGINE = MergeTree ORDER BY b",
            "INSERT INTO already SELECT 5",
            "CREATE TABLE source (cluster LowCardinality(String), b UInt64, c UInt64 ALIAS b + 1) ENGINE = MergeTree ORDER BY b",
        ] {
            run(admin, statement).await.unwrap();
        }
        let rows = format!("INSERT INTO source SELECT '{}', number FROM numbers({})", cluster(shard), 10 * shard);
        run(admin, &rows).await.unwrap();
    }
    let topology: Topology = REPLICATED.parse().unwrap();
    for (statement, sums) in [
        // Columns by their table's name, an alias column, settings of its own.
        (
            "INSERT INTO copied SELECT cluster, sum(source.c) FROM source GROUP BY cluster SETTINGS max_block_size = 3",
            [55, 210],
        ),
        // What a shard has already is looked up on that shard.
        ("INSERT INTO copied (b) SELECT b FROM source WHERE b NOT IN (SELECT b FROM already)", [40, 185]),
        (
            "CREATE OR REPLACE TABLE copied (cluster String, b UInt64, twice UInt64 ALIAS 2 * b) ENGINE = MergeTree ORDER BY b \
             AS SELECT cluster, b FROM source",
            [45, 190],
        ),
    ] {
        let [.., copy] = &topology.render(DATABASE, statement).unwrap()[..] else { panic!("nothing") };
        for admin in &shards {
            run(admin, "TRUNCATE TABLE copied").await.unwrap();
        }
        run(&shards[0], copy).await.unwrap_or_else(|error| panic!("{error}\n{copy}"));
        for (admin, sum) in shards.iter().zip(sums) {
            let stored: u64 = admin.query_raw("SELECT sum(b) FROM copied").fetch_one().await.unwrap();
            assert_eq!(stored, sum, "{copy}");
        }
    }
    servers.stop().await;
}

/// The copies in our own migrations, of rows that both shards have: each shard's rollups are filled from its own rows.
#[tokio::test(flavor = "multi_thread")]
async fn each_shard_fills_its_own_rollups() {
    let servers = Servers::with_schema(2).await;
    let shards = [1, 2].map(|shard| servers.client(shard, User::Admin, DATABASE));
    for (admin, rows) in shards.iter().zip([100, 200]) {
        for (table, columns) in [
            ("interactions", "guild_id, shards_total, command) SELECT time, number, 16, toString(number % 7)"),
            ("gateway_counts", "event, dispatches) SELECT time, toString(number % 7), 3"),
            ("shard_events", "shard, event) SELECT time, number % 16, 'ready'"),
            ("samples", "name, labels, value) SELECT time, 'discord_shard_latency_seconds', map('shard', '3'), 0.5"),
        ] {
            let insert = format!(
                "INSERT INTO {table} (time, {columns} FROM (SELECT now64(3) - INTERVAL number HOUR AS time, number FROM numbers({rows}))"
            );
            run(admin, &insert).await.unwrap_or_else(|error| panic!("{error}\n{insert}"));
        }
    }
    let mut filled = 0;
    for (statement, rendered) in rendered() {
        let [_, copy] = &rendered[..] else { continue };
        let words = statement.lines().find(|line| line.starts_with("CREATE OR REPLACE TABLE ")).unwrap();
        let target = words.split(' ').nth(4).unwrap();
        if target == "interactions_next" {
            continue; // made from a table that is gone
        }
        let count = format!("SELECT count() FROM {target}");
        for admin in &shards {
            run(admin, &format!("CREATE OR REPLACE TABLE by_views AS {target}")).await.unwrap();
            run(admin, &format!("EXCHANGE TABLES by_views AND {target}")).await.unwrap();
        }
        run(&shards[0], copy).await.unwrap_or_else(|error| panic!("{error}\n{copy}"));
        for admin in &shards {
            let copied: u64 = admin.query_raw(&count).fetch_one().await.unwrap();
            let by_views: u64 = admin.query_raw("SELECT count() FROM by_views").fetch_one().await.unwrap();
            assert!(copied == by_views && copied > 0, "{target}: {copied} copied, {by_views} by its view");
        }
        filled += 1;
    }
    assert!(filled > 10, "{filled} rollups");
    servers.stop().await;
}

async fn run(client: &Client, sql: &str) -> Result<(), Error> {
    client.query_raw(sql).execute().await
}
