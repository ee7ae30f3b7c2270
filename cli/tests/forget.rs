//! `shardlake forget` as an operator types it: who is forgotten is gone from every table, everybody else stays.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod lake;

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use lake::{Lake, said};
use serde_json::Value;
use shardlake_embedded::User;
use shardlake_ingest::{Config, Recorder, Shards, user_key};
use shardlake_schema::users::Role;
use tokio::time::sleep;
use twilight_model::application::interaction::Interaction;

/// Guilds 1,001 to 1,020, users with the keys 1 to 50, over three months.
const ROWS: &str = "
    INSERT INTO interactions (cluster, boot, batch, time, id_low, guild_id, shards_total, user_key, type, command, outcome)
    SELECT toString(number % 3), 7, 1, toDateTime64(today(), 3, 'UTC') - toIntervalMinute(number * 6), number, 1001 + number % 20, 1,
        1 + sipHash64(number) % 50, 'application_command', 'play', 'success'
    FROM numbers(20000)";

/// Tables with rows of a guild of their own.
const OF_GUILDS: [&str; 2] = ["interactions", "interactions_by_guild_1d"];

fn forget(lake: &Lake, arguments: &[&str]) -> Command {
    let mut command = lake.shardlake(Role::Migrator, &["forget"]);
    command.args(arguments).env_remove("SHARDLAKE_USER_KEY");
    command
}

fn json(command: &mut Command) -> (Value, Option<i32>) {
    let output = command.arg("--json").stderr(Stdio::inherit()).output().unwrap();
    (serde_json::from_slice(&output.stdout).unwrap(), output.status.code())
}

/// What the receipt says of a table.
fn figures(receipt: &Value, table: &str) -> (u64, u64, u64) {
    let tables = receipt["tables"].as_array().unwrap();
    let row = tables.iter().find(|row| row["table"] == table).unwrap_or_else(|| panic!("no {table}: {receipt}"));
    let figure = |name: &str| row[name].as_u64().unwrap();
    (figure("rows_found"), figure("rows_deleted"), figure("rows_left"))
}

/// Number and contents of all rows that `condition` is true for.
async fn print_of(lake: &Lake, table: &str, condition: &str) -> (u64, u64) {
    let sql = format!("SELECT count(), sum(cityHash64(*)) FROM {table} WHERE {condition}");
    lake.rows::<(u64, u64)>(&sql).await[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guild_is_forgotten_and_all_others_stay() {
    let lake = Lake::start().await;
    lake.execute(ROWS).await;
    lake.execute("OPTIMIZE TABLE interactions_by_guild_1d FINAL").await;
    lake.execute("CREATE TABLE mine (guild_id String, x UInt8) ENGINE = MergeTree ORDER BY x AS SELECT toString(1001 + number % 20), 1 FROM numbers(100)").await;
    let others = async |lake: &Lake| {
        let mut prints = Vec::new();
        for table in OF_GUILDS.iter().chain(&["mine"]) {
            prints.push(print_of(lake, table, "toString(guild_id) != '1005'").await);
        }
        let totals = "SELECT sum(interactions), count() FROM interactions_by_cluster_1d";
        prints.push(lake.rows::<(u64, u64)>(totals).await[0]);
        prints
    };
    let before = others(&lake).await;

    let (dry, code) = json(&mut forget(&lake, &["--guild", "1005", "--dry-run"]));
    assert_eq!((code, &dry["dry_run"]), (Some(0), &Value::Bool(true)));
    assert_eq!(figures(&dry, "interactions"), (1_000, 0, 1_000));
    assert_eq!(lake.count("SELECT count() FROM system.mutations WHERE command LIKE '%DELETE%'").await, 0);
    assert_eq!(lake.count("SELECT count() FROM interactions WHERE guild_id = 1005").await, 1_000);

    let (receipt, code) = json(&mut forget(&lake, &["--guild", "1005"]));
    assert_eq!(code, Some(0), "{receipt}");
    assert_eq!(figures(&receipt, "interactions"), (1_000, 1_000, 0));
    assert_eq!(figures(&receipt, "mine"), (5, 5, 0));
    let (found, deleted, left) = figures(&receipt, "interactions_by_guild_1d");
    assert!(found >= 80 && found == deleted && left == 0, "{receipt}");
    assert_eq!(receipt["forgotten"]["guild_id"], "1005");
    let states = receipt["states_left"].as_array().unwrap();
    assert!(states.iter().any(|table| table["table"] == "interactions_by_cluster_rollup"), "{receipt}");
    assert!(states.iter().all(|table| table["table"] != "interactions_by_guild_1d"), "its rows are gone: {receipt}");
    for table in OF_GUILDS {
        assert_eq!(print_of(&lake, table, "guild_id = 1005").await.0, 0, "{table}");
    }
    assert_eq!(others(&lake).await, before);
    let in_files =
        "SELECT sum(rows) FROM system.parts WHERE database = 'shardlake' AND table = 'interactions' AND active";
    assert_eq!(lake.count(in_files).await, 19_000, "gone from the files, not only hidden");

    let (text, code) = said(&forget(&lake, &["--guild", "1005"]).output().unwrap());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("forgot guild 1005") && text.contains("spools"), "{text}");
    assert_eq!(others(&lake).await, before, "again, and nothing changed");
    lake.stop().await;
}

fn interaction(id: u64, user: u64) -> Interaction {
    serde_json::from_value(serde_json::json!({
        "id": ((350_000_000_000 << 22) + id).to_string(), "type": 2, "token": "t", "version": 1, "application_id": "1",
        "attachment_size_limit": 1, "authorizing_integration_owners": {}, "entitlements": [], "guild_id": "77",
        "locale": "en-GB", "context": 0, "app_permissions": "0", "data": { "id": "5", "name": "play", "type": 1 },
        "user": { "id": user.to_string(), "username": "a", "discriminator": "0", "avatar": null },
    }))
    .unwrap()
}

/// Users 1 to 5, 4 interactions each, recorded as a bot does it, with this key.
async fn record(lake: &Lake, cluster: &str, key: &str) {
    let mut config = Config::new(cluster, Shards { first: 0, count: 1, total: 1 }, lake.clickhouse().url());
    let writer = lake.clickhouse().credentials(User::Writer);
    (config.clickhouse.user, config.clickhouse.password) = (writer.user, writer.password.into());
    config.user_key = Some(key.into());
    let recorder = Recorder::start(config).unwrap();
    for id in 0..20 {
        recorder.timer(&interaction(id, 1 + id % 5)).success();
    }
    let receipt = recorder.shutdown("the test says so", Duration::from_secs(30)).await;
    assert_eq!(receipt.dropped(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_forgotten_under_each_key() {
    let lake = Lake::start().await;
    record(&lake, "0", "old").await;
    record(&lake, "1", "new").await;
    let user = |key: &str, arguments: &[&str]| {
        let mut command = forget(&lake, &["--user", "3"]);
        command.env("SHARDLAKE_USER_KEY", key).args(arguments);
        command
    };
    let (text, code) = said(&forget(&lake, &["--user", "3"]).output().unwrap());
    assert!(code == Some(1) && text.contains("SHARDLAKE_USER_KEY"), "{text}");
    let (receipt, _) = json(&mut user("a third key", &[]));
    assert_eq!(figures(&receipt, "interactions"), (0, 0, 0));
    let (receipt, _) = json(&mut user("new", &["--dry-run"]));
    assert_eq!(figures(&receipt, "interactions"), (4, 0, 4));

    for (key, left) in [("new", 36), ("old", 32)] {
        let (receipt, code) = json(&mut user(key, &[]));
        assert_eq!((code, figures(&receipt, "interactions")), (Some(0), (4, 4, 0)));
        assert_eq!(receipt["forgotten"]["user_key"], user_key(key, 3));
        assert!(receipt["forgotten"]["shared_key_chance"].as_f64().unwrap() < 1e-8);
        let states = receipt["states_left"].as_array().unwrap();
        let by_guild = states.iter().find(|table| table["table"] == "interactions_by_guild_1d").unwrap();
        assert_eq!(
            by_guild["columns"],
            serde_json::json!(["users"]),
            "what is computed when it is read keeps nothing: {receipt}"
        );
        assert_eq!(lake.count("SELECT count() FROM interactions").await, left);
        // The lower bits of the ids are their numbers, see `record`.
        let cluster = u8::from(key == "new");
        let gone = format!(
            "SELECT count() FROM interactions WHERE cluster = '{cluster}' AND interaction_id % 4194304 % 5 = 2"
        );
        assert_eq!(lake.count(&gone).await, 0);
    }
    let others = "SELECT uniqExact(user_key), min(rows), max(rows) FROM (SELECT user_key, count() AS rows FROM interactions GROUP BY user_key)";
    assert_eq!(lake.rows::<(u64, u64, u64)>(others).await, [(8, 4, 4)], "four users, under two keys");
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_come_meanwhile_are_not_called_forgotten() {
    let lake = Lake::start().await;
    lake.execute(ROWS).await;
    lake.execute("SYSTEM STOP MERGES interactions").await;
    let mut child = forget(&lake, &["--guild", "1005"]);
    let child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deletes = "SELECT count() FROM system.mutations WHERE table = 'interactions' AND command LIKE '%DELETE%'";
    while lake.count(deletes).await == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    lake.execute("INSERT INTO interactions (cluster, time, guild_id, shards_total) VALUES ('1', now64(3), 1005, 1)")
        .await;
    lake.execute("SYSTEM START MERGES interactions").await;
    let (text, code) = said(&child.wait_with_output().unwrap());
    let line = text.lines().find(|line| line.starts_with("interactions ")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["interactions", "raw", "1000", "999", "1"], "{text}");
    assert_eq!(code, Some(3), "{text}");

    let (_, code) = said(&forget(&lake, &["--guild", "1005"]).output().unwrap());
    assert_eq!((code, lake.count("SELECT count() FROM interactions WHERE guild_id = 1005").await), (Some(0), 0));
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_command_deletes_nothing() {
    let lake = Lake::start().await;
    for (arguments, expected) in [
        (&[][..], 2),
        (&["--guild", "5", "--user", "5"], 2),
        (&["--guild", "0"], 2), // rows outside of guilds are of many
        (&["--guild", "5", "--clickhouse-database", "default"], 1),
    ] {
        let (text, code) = said(&forget(&lake, arguments).output().unwrap());
        assert_eq!(code, Some(expected), "{arguments:?}: {text}");
    }
    let mut reader = lake.shardlake(Role::Reader, &["forget", "--guild", "1005"]);
    lake.execute(ROWS).await;
    let (text, code) = said(&reader.output().unwrap());
    assert!(code == Some(1) && text.contains("rows cannot be deleted"), "{text}");
    assert_eq!(lake.count("SELECT count() FROM interactions").await, 20_000);
    lake.stop().await;
}
