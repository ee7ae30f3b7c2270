//! Migrations that were interrupted: the next run goes on with the statement that is not known to be done, and repeats none
//! that is.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod server;

use clickhouse::Client;
use server::server;
use shardlake_embedded::Clickhouse;
use shardlake_schema::migrate::{MigrateError, Migration, apply_these};

const DATABASE: &str = "shardlake";

const FIRST: Migration = Migration {
    version: 1,
    name: "first",
    sql: "CREATE TABLE IF NOT EXISTS a (x UInt8) ENGINE = MergeTree ORDER BY x;\n",
};

/// None of its statements may be repeated once the next one ran. The third cannot succeed before there is `elsewhere`.
const REBUILD: Migration = Migration {
    version: 2,
    name: "rebuild",
    sql: "
-- The old one steps aside.
RENAME TABLE IF EXISTS a TO old_a;

CREATE OR REPLACE TABLE a (x UInt16, y String) ENGINE = MergeTree ORDER BY x
AS SELECT x, 'once' AS y FROM old_a;

CREATE VIEW IF NOT EXISTS needs_elsewhere AS SELECT x FROM elsewhere;

DROP TABLE IF EXISTS old_a;
",
};

const ELSEWHERE: &str = "CREATE TABLE elsewhere (x UInt8) ENGINE = Null";

async fn execute(client: &Client, sql: &str) {
    client.query_raw(sql).execute().await.unwrap();
}

/// A server with rows in `a` at version 1 and version 2 failed at its third statement.
async fn failed_midway() -> (Clickhouse, Client, tempfile::TempDir) {
    let (clickhouse, client, directory) = server().await;
    apply_these(&client, DATABASE, &[FIRST]).await.unwrap();
    execute(&client, "INSERT INTO a VALUES (1), (2)").await;
    let failed = apply_these(&client, DATABASE, &[FIRST, REBUILD]).await.unwrap_err();
    assert!(matches!(failed, MigrateError::Statement { version: 2, statement: 3, .. }), "{failed}");
    (clickhouse, client, directory)
}

#[tokio::test]
async fn a_run_goes_on_where_the_last_one_failed() {
    let (clickhouse, client, _directory) = failed_midway().await;
    // Rows that came meanwhile would be gone if the second statement ran again.
    execute(&client, "INSERT INTO a VALUES (3, 'meanwhile')").await;
    execute(&client, ELSEWHERE).await;

    let resumed = apply_these(&client, DATABASE, &[FIRST, REBUILD]).await.unwrap();
    assert_eq!((resumed.now, resumed.before), (vec![(2, "rebuild")], 1));
    let rows: Vec<(u16, String)> = client.query_raw("SELECT x, y FROM a ORDER BY x").fetch_all().await.unwrap();
    assert_eq!(rows, [(1, "once".to_owned()), (2, "once".to_owned()), (3, "meanwhile".to_owned())]);
    let old: u8 = client.query_raw("EXISTS TABLE old_a").fetch_one().await.unwrap();
    assert_eq!(old, 0);

    let again = apply_these(&client, DATABASE, &[FIRST, REBUILD]).await.unwrap();
    assert_eq!((again.now, again.before), (vec![], 2));
    clickhouse.stop().await.unwrap();
}

#[tokio::test]
async fn a_statement_that_ran_but_was_not_remembered_is_repeated() {
    for forgotten in [1, 2] {
        let (clickhouse, client, _directory) = server().await;
        apply_these(&client, DATABASE, &[FIRST]).await.unwrap();
        execute(&client, "INSERT INTO a VALUES (1), (2)").await;
        // As if it had been killed between the statement and the note of it.
        execute(&client, "RENAME TABLE a TO old_a").await;
        if forgotten == 2 {
            let remember = "INSERT INTO migration_statements (version, statement, checksum) \
                            SELECT 2, 1, lower(hex(SHA256({sql:String})))";
            client.query_raw(remember).param("sql", REBUILD.sql).execute().await.unwrap();
            let half = "CREATE TABLE a (x UInt16, y String) ENGINE = MergeTree ORDER BY x AS SELECT x, 'half' AS y FROM old_a LIMIT 1";
            execute(&client, half).await;
        }
        execute(&client, ELSEWHERE).await;
        apply_these(&client, DATABASE, &[FIRST, REBUILD]).await.unwrap();
        let rows: Vec<(u16, String)> = client.query_raw("SELECT x, y FROM a ORDER BY x").fetch_all().await.unwrap();
        assert_eq!(rows, [(1, "once".to_owned()), (2, "once".to_owned())], "statement {forgotten}");
        clickhouse.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_migration_that_was_edited_while_it_was_half_applied_is_refused() {
    let (clickhouse, client, _directory) = failed_midway().await;
    let edited = Migration { sql: "CREATE TABLE IF NOT EXISTS b (x UInt8) ENGINE = Null;\n", ..REBUILD };
    let refused = apply_these(&client, DATABASE, &[FIRST, edited]).await.unwrap_err();
    assert!(matches!(refused, MigrateError::Edited { version: 2, .. }), "{refused}");
    // Nor does a build that never heard of it go on beside it.
    let refused = apply_these(&client, DATABASE, &[FIRST]).await.unwrap_err();
    assert!(matches!(refused, MigrateError::Newer { applied: 2, known: 1 }), "{refused}");
    clickhouse.stop().await.unwrap();
}

#[tokio::test]
async fn a_database_of_an_earlier_build_is_taken_as_it_is() {
    let (clickhouse, client, _directory) = server().await;
    apply_these(&client, DATABASE, &[FIRST]).await.unwrap();
    execute(&client, "INSERT INTO a VALUES (1)").await;
    // Earlier builds remembered whole migrations only.
    execute(&client, "DROP TABLE migration_statements SYNC").await;
    execute(&client, ELSEWHERE).await;
    let applied = apply_these(&client, DATABASE, &[FIRST, REBUILD]).await.unwrap();
    assert_eq!((applied.now, applied.before), (vec![(2, "rebuild")], 1));
    let rows: Vec<(u16, String)> = client.query_raw("SELECT x, y FROM a").fetch_all().await.unwrap();
    assert_eq!(rows, [(1, "once".to_owned())]);
    clickhouse.stop().await.unwrap();
}
