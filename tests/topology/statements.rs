//! What the migrations become for replicas. The engine here parses every statement, and runs those that copy rows, on two
//! shards. It refuses `ON CLUSTER`, and its replicated tables would stay read-only: that Keeper carries the statements and that
//! replicas fetch each other's parts was not run.

use clickhouse::{Client, error::Error};
use shardlake_embedded::User;
use shardlake_schema::{
    answer,
    migrate::{self, MIGRATIONS, Migration},
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

/// The last schema whose rollups have a table per step: later copies are made of those.
const TABLE_PER_STEP: usize = 12;

/// The copies in our own migrations, of rows that both shards have: each shard's rollups are filled from its own rows.
#[tokio::test(flavor = "multi_thread")]
async fn each_shard_fills_its_own_rollups() {
    let servers = Servers::start(2, &[DATABASE]).await;
    let shards = [1, 2].map(|shard| servers.client(shard, User::Admin, DATABASE));
    for (admin, rows) in shards.iter().zip([100, 200]) {
        migrate::apply_these(admin, DATABASE, &MIGRATIONS[..TABLE_PER_STEP]).await.unwrap();
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
    let (mut filled, mut steps) = (0, 0);
    for (statement, rendered) in rendered() {
        if let [_, copy] = &rendered[..] {
            filled += usize::from(is_filled_as_by_its_view(&shards, statement, copy).await);
        } else if statement.contains("_rollup\n(") || changes_a_rollup(statement) {
            for admin in &shards {
                run(admin, statement).await.unwrap_or_else(|error| panic!("{error}\n{statement}"));
            }
        } else if statement.starts_with("INSERT INTO")
            && ["_rollup (step", "_rollup_next (step"].iter().any(|target| statement.contains(target))
        {
            let [copy] = &rendered[..] else { panic!("{statement}") };
            holds_what_its_source_does(&shards, statement, copy).await;
            steps += 1;
        }
    }
    assert!(filled > 12 && steps == 17, "{filled} rollups, {steps} steps");
    servers.stop().await;
}

/// What makes of one form of a rollup's table the next one, to which later statements copy.
fn changes_a_rollup(statement: &str) -> bool {
    statement.contains("_rollup")
        && ["ALTER TABLE", "DROP TABLE", "RENAME TABLE"].iter().any(|verb| statement.starts_with(verb))
}

/// Fills a rollup by `copy`, on both shards, and compares; `false` for a table that is no rollup.
async fn is_filled_as_by_its_view(shards: &[Client], statement: &str, copy: &str) -> bool {
    let words = statement.lines().find(|line| line.starts_with("CREATE OR REPLACE TABLE ")).unwrap();
    let target = words.split(' ').nth(4).unwrap();
    if target == "interactions_next" {
        return false; // made from a table that is gone
    }
    // A table that is to take the place of another is filled from that one, in which are the rows of its view.
    let by_views = target.strip_suffix("_next").unwrap_or("by_views");
    for admin in shards {
        if by_views == "by_views" {
            run(admin, &format!("CREATE OR REPLACE TABLE by_views AS {target}")).await.unwrap();
            run(admin, &format!("EXCHANGE TABLES by_views AND {target}")).await.unwrap();
        } else {
            run(admin, statement).await.unwrap();
            run(admin, &format!("TRUNCATE TABLE {target}")).await.unwrap();
        }
    }
    run(&shards[0], copy).await.unwrap_or_else(|error| panic!("{error}\n{copy}"));
    for admin in shards {
        let [copied, there] = [target, by_views].map(|table| format!("SELECT count() FROM {table}"));
        let (copied, there) = (number(admin, &copied).await, number(admin, &there).await);
        assert!(copied == there && copied > 0, "{target}: {copied} copied, {there} by its view");
    }
    true
}

/// Copies a step into a rollup, on both shards and twice, as an interrupted run would, and compares with what it is made of: the
/// table of the step, or another step of the table before.
async fn holds_what_its_source_does(shards: &[Client], statement: &str, copy: &str) {
    let word_after = |mark: &str| {
        let (_, rest) = statement.split_once(mark).unwrap_or_else(|| panic!("no {mark}in {statement}"));
        rest.split_whitespace().next().unwrap()
    };
    let (target, step, source) = (word_after("INSERT INTO "), word_after("SELECT "), word_after("FROM "));
    let counted = if source.starts_with("gateway") { "dispatches" } else { "interactions" };
    let (copied_step, there_step) = match step {
        "'1d'" if statement.contains("true AS in_guilds") => ("in_guilds".to_owned(), "guild_id != 0"),
        "'2w'" => ("step = '2w'".to_owned(), "step = '1w'"),
        "step," => ("step != '2w'".to_owned(), "true"),
        step => (format!("step = {step}"), "true"),
    };
    let kinds = [("true AS overall", " AND overall"), ("false AS overall", " AND NOT overall")];
    let kind = kinds.iter().find(|(said, _)| statement.contains(said)).map_or("", |(_, kind)| kind);
    for _ in 0..2 {
        run(&shards[0], copy).await.unwrap_or_else(|error| panic!("{error}\n{copy}"));
    }
    for admin in shards {
        let copied = number(admin, &format!("SELECT sum({counted}) FROM {target} WHERE {copied_step}{kind}")).await;
        let there = number(admin, &format!("SELECT sum({counted}) FROM {source} WHERE {there_step}")).await;
        assert!(copied == there && copied > 0, "{target} {step}: {copied} copied, {there} in {source}");
    }
}

async fn number(client: &Client, sql: &str) -> u64 {
    client.query_raw(sql).fetch_one().await.unwrap_or_else(|error| panic!("{error}\n{sql}"))
}

async fn run(client: &Client, sql: &str) -> Result<(), Error> {
    client.query_raw(sql).execute().await
}
