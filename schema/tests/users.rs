//! What the three users may do, and may not. The embedded engine keeps users in files only, so the rights are tried with
//! those of the XML; the SQL says the same words, and the engine's own parser reads it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;

use clickhouse::Client;
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_schema::{
    Table, answer, migrate, plan, retention,
    users::{Role, Users},
    verify::{Verified, verify},
};

const DATABASE: &str = "shardlake";
const PASSWORD: &str = "a long password";

// ClickHouse's numbers.
const TIMEOUT_EXCEEDED: u32 = 159;
const READONLY: u32 = 164;
const SETTING_CONSTRAINT_VIOLATION: u32 = 452;
const ACCESS_DENIED: u32 = 497;
const AUTHENTICATION_FAILED: u32 = 516;

fn users() -> Users {
    Role::ALL.into_iter().fold(Users::of(DATABASE).unwrap(), |users, role| users.with_password(role, PASSWORD).unwrap())
}

struct Server {
    clickhouse: Clickhouse,
    _directory: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let users_d = directory.path().join("config/users.d");
        fs::create_dir_all(&users_d).unwrap();
        fs::write(users_d.join("shardlake.xml"), users().xml().unwrap()).unwrap();
        let clickhouse = Clickhouse::start(Options::new(directory.path())).await.unwrap();
        Self { clickhouse, _directory: directory }
    }

    /// Without a database, since not all of them may see each.
    fn client(&self) -> Client {
        Client::default().with_url(self.clickhouse.url())
    }

    fn admin(&self) -> Client {
        let admin = self.clickhouse.credentials(User::Admin);
        self.client().with_user(admin.user).with_password(admin.password)
    }

    fn user(&self, role: Role) -> Client {
        self.client().with_user(users().name(role)).with_password(PASSWORD).with_database(DATABASE)
    }

    async fn stop(self) {
        self.clickhouse.stop().await.unwrap();
    }
}

async fn execute(client: &Client, sql: &str) {
    client.query_raw(sql).execute().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// The server's number for what it refuses.
async fn refused(client: &Client, sql: &str) -> Option<u32> {
    // As text, so that a query and a statement without an answer are asked for alike.
    client.query_raw(sql).execute().await.err().and_then(|error| answer::code(&error))
}

/// What nobody but an administrator may do.
const OUTSIDE: [&str; 13] = [
    "SELECT * FROM other.secret",
    "INSERT INTO other.secret VALUES (1)",
    "CREATE TABLE other.more (x UInt8) ENGINE = Null",
    "SELECT * FROM url('http://127.0.0.1:1/', LineAsString)",
    "SELECT * FROM s3('http://127.0.0.1:1/bucket/key', LineAsString)",
    "SELECT * FROM remote('127.0.0.1:1', system.one)",
    "SELECT * FROM file('/etc/hostname', LineAsString)",
    "INSERT INTO FUNCTION file('/tmp/shardlake.csv') SELECT 1",
    "SELECT * FROM system.users",
    "SELECT * FROM system.query_log",
    "CREATE USER u",
    "GRANT SELECT ON other.* TO shardlake_reader",
    "SYSTEM SHUTDOWN",
];

async fn refuses_what_is_outside(server: &Server, role: Role) {
    for sql in OUTSIDE {
        let code = refused(&server.user(role), sql).await;
        // Read-only users are refused for that first.
        assert!(matches!(code, Some(ACCESS_DENIED | READONLY)), "{role:?}: {sql}: {code:?}");
    }
}

/// A server with the schema, made by the migrator, and a table that is nobody's business.
async fn migrated() -> Server {
    let server = Server::start().await;
    for sql in [
        "CREATE DATABASE other",
        "CREATE TABLE other.secret (x UInt8) ENGINE = MergeTree ORDER BY x",
        "SYSTEM FLUSH LOGS query_log",
    ] {
        execute(&server.admin(), sql).await;
    }
    migrate::apply(&server.user(Role::Migrator), DATABASE).await.unwrap();
    server
}

#[tokio::test]
async fn the_migrator_does_all_of_its_work_and_nothing_else() {
    let server = migrated().await;
    let migrator = server.user(Role::Migrator);
    let wanted = ["samples=14d".parse().unwrap(), "processes=1y".parse().unwrap(), "batches=forever".parse().unwrap()];
    assert_eq!(plan::plan(&migrator, DATABASE, &wanted).await.unwrap().retention.len(), 3);
    assert_eq!(retention::set(&migrator, DATABASE, &wanted).await.unwrap().len(), 3);
    assert_eq!(verify(&migrator, DATABASE).await.unwrap(), Verified::default());
    for sql in [
        // What a migration may say.
        "CREATE OR REPLACE TABLE copy ENGINE = MergeTree ORDER BY boot AS SELECT * FROM samples",
        "RENAME TABLE IF EXISTS copy TO old_copy",
        "CREATE TABLE IF NOT EXISTS copy (boot UInt64) ENGINE = MergeTree ORDER BY boot",
        "EXCHANGE TABLES copy AND old_copy",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS copier TO copy AS SELECT boot FROM samples",
        "CREATE OR REPLACE VIEW some AS SELECT boot FROM samples",
        "ALTER TABLE copy ADD COLUMN IF NOT EXISTS extra UInt8",
        "ALTER TABLE copy DELETE WHERE boot = 1",
        "DROP VIEW IF EXISTS copier",
        "DROP VIEW IF EXISTS some",
        "DROP TABLE IF EXISTS old_copy",
        "DROP TABLE IF EXISTS copy",
    ] {
        execute(&migrator, sql).await;
    }
    refuses_what_is_outside(&server, Role::Migrator).await;
    server.stop().await;
}

#[tokio::test]
async fn the_writer_inserts_and_sees_whether_it_landed() {
    let server = migrated().await;
    let writer = server.user(Role::Writer);
    let at_a_time = "SELECT value FROM system.settings WHERE name = 'max_concurrent_queries_for_user'";
    assert_eq!(writer.query_raw(at_a_time).fetch_one::<String>().await.unwrap(), "32");
    for table in Table::ALL {
        // When a process was seen is what counts as its time in `batches`, and nothing from 1970 stays there for long.
        let seen = if table == Table::Processes { ", last_seen_at" } else { "" };
        let row = format!("INSERT INTO {table} (cluster, boot, batch, time{seen}) SELECT '0', 7, 1, now()");
        execute(&writer, &if seen.is_empty() { row } else { row + ", now()" }).await;
        // The question of ingest/src/insert/look.rs.
        let this = "cluster = '0' AND boot = 7 AND batch = 1";
        let look = format!(
            "SELECT assumeNotNull((SELECT count() FROM {table} WHERE {this} AND time <= now())), \
             assumeNotNull((SELECT sum(rows) FROM batches WHERE {this} AND table = '{table}')), toUInt64(uptime() >= 0)"
        );
        assert_eq!(writer.query_raw(&look).fetch_one::<(u64, u64, u64)>().await.unwrap(), (1, 1, 1), "{table}");
        for sql in [
            format!("SELECT * FROM {table}"),
            format!("DROP TABLE {table}"),
            format!("TRUNCATE TABLE {table}"),
            format!("ALTER TABLE {table} DELETE WHERE 1"),
            format!("OPTIMIZE TABLE {table}"),
        ] {
            assert_eq!(refused(&writer, &sql).await, Some(ACCESS_DENIED), "{sql}");
        }
    }
    for sql in [
        "SELECT user_key FROM interactions",
        "SELECT guild_id, command FROM interactions",
        "SELECT host FROM processes",
        "SELECT landed_at FROM batches",
        "SELECT * FROM migrations",
        "INSERT INTO migrations (version) VALUES (1)",
        "INSERT INTO batches (boot) VALUES (1)",
        "CREATE TABLE more (x UInt8) ENGINE = Null",
        "SELECT * FROM executable('ls', TSV, 'a String')",
    ] {
        assert_eq!(refused(&writer, sql).await, Some(ACCESS_DENIED), "{sql}");
    }
    refuses_what_is_outside(&server, Role::Writer).await;
    server.stop().await;
}

#[tokio::test]
async fn a_rollup_is_filled_from_what_the_writer_may_not_read() {
    let server = migrated().await;
    let (migrator, writer) = (server.user(Role::Migrator), server.user(Role::Writer));
    execute(
        &migrator,
        "CREATE TABLE by_guild (guild_id UInt64, rows SimpleAggregateFunction(sum, UInt64), users AggregateFunction(uniq, UInt64)) \
         ENGINE = AggregatingMergeTree ORDER BY guild_id SETTINGS non_replicated_deduplication_window = 100",
    )
    .await;
    let view = |security: &str| {
        format!(
            "CREATE MATERIALIZED VIEW by_guild_view TO by_guild {security} AS \
             SELECT guild_id, count() AS rows, uniqState(toUInt64(user_key)) AS users FROM interactions GROUP BY guild_id"
        )
    };
    execute(&migrator, &view("DEFINER = CURRENT_USER SQL SECURITY DEFINER")).await;
    let insert =
        "INSERT INTO interactions (cluster, boot, batch, time, guild_id, user_key) VALUES ('0', 7, 1, now(), 5, 9)";
    let token = |token: &str| {
        let writer = writer.clone().with_setting("async_insert", "0").with_setting("insert_deduplicate", "1");
        writer
            .with_setting("deduplicate_blocks_in_dependent_materialized_views", "1")
            .with_setting("insert_deduplication_token", token)
    };
    execute(&token("a"), insert).await;
    execute(&token("a"), insert).await; // a retry adds nothing, in the rollup either
    execute(&token("b"), insert).await;
    let rolled_up = "SELECT sum(rows), uniqMerge(users) FROM by_guild";
    assert_eq!(migrator.query_raw(rolled_up).fetch_one::<(u64, u64)>().await.unwrap(), (2, 1));
    assert_eq!(refused(&writer, rolled_up).await, Some(ACCESS_DENIED));

    execute(&migrator, "DROP VIEW by_guild_view").await;
    execute(&migrator, &view("")).await;
    assert_eq!(refused(&token("c"), insert).await, Some(ACCESS_DENIED), "a view without a definer");
    server.stop().await;
}

#[tokio::test]
async fn the_reader_reads_within_its_limits() {
    let server = migrated().await;
    let reader = server.user(Role::Reader);
    execute(&reader, "SELECT * FROM interactions").await;
    execute(&reader, "SELECT * FROM batches").await;
    execute(&reader, "SELECT name, value, readonly FROM system.settings").await; // clients begin with this one
    let databases: Vec<String> = reader.query_raw("SELECT name FROM system.databases").fetch_all().await.unwrap();
    assert_eq!(databases, [DATABASE]);
    for sql in [
        "INSERT INTO samples (boot) VALUES (1)",
        "DROP TABLE samples",
        "ALTER TABLE samples DELETE WHERE 1",
        "CREATE TEMPORARY TABLE t (x UInt8)",
        "SELECT * FROM executable('ls', TSV, 'a String')",
        "SELECT * FROM system.processes",
    ] {
        let code = refused(&reader, sql).await;
        assert!(matches!(code, Some(ACCESS_DENIED | READONLY)), "{sql}: {code:?}");
    }
    refuses_what_is_outside(&server, Role::Reader).await;

    let with = |name: &str, value: &str| reader.clone().with_setting(name, value);
    let endless = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000000)";
    for (name, value) in
        [("max_execution_time", "300"), ("max_execution_time", "5"), ("max_rows_to_read", "9"), ("limit", "1")]
    {
        assert_eq!(refused(&with(name, value), "SELECT 1").await, None, "{name} = {value}");
    }
    assert_eq!(refused(&with("max_execution_time", "1"), endless).await, Some(TIMEOUT_EXCEEDED));
    // No limit is the same as too much.
    for (name, value) in [
        ("max_execution_time", "0"),
        ("max_execution_time", "301"),
        ("max_memory_usage", "0"),
        ("max_memory_usage", "5000000000"),
        ("max_result_rows", "20000001"),
    ] {
        assert_eq!(
            refused(&with(name, value), "SELECT 1").await,
            Some(SETTING_CONSTRAINT_VIOLATION),
            "{name} = {value}"
        );
    }
    for (name, value) in
        [("readonly", "0"), ("readonly", "2"), ("max_threads", "64"), ("max_concurrent_queries_for_user", "0")]
    {
        assert_eq!(refused(&with(name, value), "SELECT 1").await, Some(READONLY), "{name} = {value}");
    }
    server.stop().await;
}

#[tokio::test]
async fn nobody_gets_in_without_the_password() {
    let server = Server::start().await;
    for role in Role::ALL {
        for password in ["", "wrong"] {
            let client = server.client().with_user(users().name(role)).with_password(password);
            assert_eq!(refused(&client, "SELECT 1").await, Some(AUTHENTICATION_FAILED));
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn the_servers_parser_reads_the_statements() {
    let server = Server::start().await;
    let without_passwords = Users::of(DATABASE).unwrap().sql();
    let statements = users().sql();
    assert_eq!((statements.len(), without_passwords.len()), (15, 9));
    for statement in statements.iter().chain(&without_passwords) {
        let format = "SELECT formatQuerySingleLine({sql:String})";
        let parsed: String = server.admin().query_raw(format).param("sql", statement).fetch_one().await.unwrap();
        // Known by its first words, so that nothing was taken for something else.
        let verb: Vec<&str> = statement.split(' ').take(2).collect();
        assert!(parsed.starts_with(verb[0]), "{parsed}");
    }
    // What was asked for survives the parser's own spelling.
    let reads = &statements[statements.len() - 4];
    assert_eq!(reads, "GRANT SELECT ON `shardlake`.* TO `shardlake_reader` WITH REPLACE OPTION");
    let xml = users().xml().unwrap();
    for grant in statements.iter().filter_map(|statement| statement.strip_prefix("GRANT ")) {
        let (rights, _) = grant.split_once(" TO ").unwrap();
        let in_file: Vec<&str> =
            xml.split("<query>GRANT ").skip(1).map(|rest| rest.split("</query>").next().unwrap()).collect();
        assert!(in_file.join(", ").contains(rights), "{rights} is in the file, too");
    }
    server.stop().await;
}
