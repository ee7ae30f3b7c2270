//! `shardlake import argus` as an operator types it, and what Argus's own questions find afterwards.
//!
//! The table is made from a list of interactions (`truth`) as Argus would have written them, so that what the import makes of
//! it can be compared row by row.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod lake;

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use lake::{Lake, said};
use shardlake_embedded::User;
use shardlake_schema::users::Role;
use tokio::time::sleep;

const INTERACTIONS: u64 = 90_000;
/// Two of them end after midnight, where the day that the rows belong to is decided.
const DAYS: u64 = 4;

/// One interaction every 3.84 s over four days that ended two days ago, in 15 guilds and outside of them, on three clusters.
/// Seven in ten are slash commands, one in ten of these fails. A success is told up to 40 µs after its duration has passed.
const TRUTH: &str = "
    CREATE TABLE argus.truth ENGINE = MergeTree ORDER BY at AS SELECT
        number AS id,
        toDateTime64(today() - 6, 6, 'UTC') + toIntervalMicrosecond(number * 3840000 + sipHash64(number, 1) % 3000000) AS at,
        sipHash64(number, 2) % 16 AS g,
        if(g = 0, 0, bitShiftLeft(g * 1000003, 22) + g) AS guild_id,
        toString(g % 3) AS cluster,
        ['application_command', 'application_command', 'application_command', 'application_command', 'application_command',
         'application_command', 'application_command', 'component', 'autocomplete', 'modal_submit'][number % 10 + 1] AS type,
        type = 'application_command' AND sipHash64(number, 3) % 10 > 0 AS is_success,
        if(is_success, concat('command ', toString(sipHash64(number, 4) % 12)), '') AS command,
        if(is_success, (sipHash64(number, 5) % 4000000) / 1000, 0) AS duration_ms
    FROM numbers(90000)";

const ARGUS: &str = "
    CREATE TABLE argus.argus_events (ts String, event LowCardinality(String), guild_id String, type LowCardinality(String),
        command String, duration_ms Float64, cluster_id LowCardinality(String)) ENGINE = MergeTree ORDER BY (guild_id, ts)";

/// `isoformat()` leaves the fraction out where it is zero.
const FILL: &str = "
    INSERT INTO argus.argus_events
    WITH (moment) -> concat(replaceOne(if(toUnixTimestamp64Micro(moment) % 1000000 = 0, toString(toDateTime(moment, 'UTC')), toString(moment)), ' ', 'T'), '+00:00') AS iso
    SELECT iso(at), 'interaction', if(guild_id = 0, '', toString(guild_id)), type, '', 0, cluster FROM argus.truth
    UNION ALL
    SELECT iso(at + toIntervalMicrosecond(toInt64(duration_ms * 1000) + id % 40)), 'app_command', if(guild_id = 0, '', toString(guild_id)), '', command, duration_ms, cluster
    FROM argus.truth WHERE is_success";

/// What should be there and is not, or the other way round.
const WRONG: &str = "
    SELECT count() FROM
    (
        SELECT cluster, time, guild_id, type, command, outcome, duration_ms, sum(sign) AS sum FROM
        (
            SELECT toString(cluster) AS cluster, time, toUInt64(guild_id) AS guild_id, toString(type) AS type, toString(command) AS command,
                toString(outcome) AS outcome, toUInt64(duration_ms) AS duration_ms, 1 AS sign
            FROM shardlake.interactions
            UNION ALL
            SELECT cluster, toDateTime64(at, 3, 'UTC'), guild_id, type, command, if(is_success, 'success', 'received'),
                if(is_success, greatest(1, toUInt64(ceil(duration_ms))), 0), -1
            FROM argus.truth WHERE at < {until:DateTime64(6, 'UTC')}
        )
        GROUP BY ALL HAVING sum != 0
    )";

async fn argus() -> Lake {
    let lake = Lake::start().await;
    for sql in ["CREATE DATABASE argus", TRUTH, ARGUS, FILL] {
        lake.execute(sql).await;
    }
    lake
}

/// The command; reads as the administrator, writes as the migrator.
fn import(lake: &Lake, arguments: &[&str]) -> Command {
    let url = lake.clickhouse().url();
    let mut command = lake.shardlake(Role::Migrator, &["import", "argus", "--from", url, "--from-database", "argus"]);
    command.args(["--from-user", "admin"]).args(arguments);
    command.env("SHARDLAKE_ARGUS_PASSWORD", lake.clickhouse().credentials(User::Admin).password);
    command
}

/// The number in a line of the summary.
fn figure(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}: {text}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}

async fn wrong(lake: &Lake, until: &str) -> u64 {
    lake.admin.query_raw(WRONG).param("until", until).fetch_one().await.unwrap()
}

/// Raw rows, rollups and batches agree, and no batch is missing.
async fn all_is_counted_once(lake: &Lake, expected: u64) {
    let rollups = "SELECT table FROM system.columns WHERE database = 'shardlake' AND name = 'interactions' AND table LIKE 'interactions%' AND table NOT LIKE '%_rollup%'";
    let rollups = lake.rows::<String>(rollups).await;
    assert!(rollups.len() >= 9, "{rollups:?}");
    let in_guilds = lake.count("SELECT count() FROM interactions WHERE guild_id != 0").await;
    for rollup in rollups {
        let expected = if rollup == "interactions_in_guilds_1d" { in_guilds } else { expected };
        let sum = lake.count(&format!("SELECT toUInt64(sum(interactions)) FROM {rollup}")).await;
        assert_eq!(sum, expected, "{rollup}");
    }
    assert_eq!(lake.count("SELECT count() FROM interactions").await, expected);
    assert_eq!(lake.count("SELECT toUInt64(sum(rows)) FROM batches WHERE table = 'interactions'").await, expected);
    let gaps = "SELECT count() FROM (SELECT cluster, boot FROM batches GROUP BY ALL HAVING max(batch) != uniqExact(batch) OR min(batch) != 1 OR count() != uniqExact(batch))";
    assert_eq!(lake.count(gaps).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_again_and_again_ends_with_the_same_rows() {
    let lake = argus().await;
    let mut killed = 0;
    for stop_at in [1, 9_000, 20_000, 31_000, 40_000, 52_000] {
        let mut child = import(&lake, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while lake.count("SELECT count() FROM interactions").await < stop_at {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed at {stop_at}");
            sleep(Duration::from_millis(2)).await;
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        killed += u32::from(lake.count("SELECT count() FROM interactions").await < INTERACTIONS);
    }
    assert_eq!(killed, 6, "each time there was something left to do");

    let (text, code) = said(&import(&lake, &[]).output().unwrap());
    assert_eq!(code, Some(0), "{text}");
    assert!(figure(&text, "already there") > 50_000 && figure(&text, "written") > 0, "{text}");
    assert_eq!(wrong(&lake, "2100-01-01 00:00:00").await, 0);
    all_is_counted_once(&lake, INTERACTIONS).await;

    let (text, code) = said(&import(&lake, &[]).output().unwrap());
    assert_eq!((code, figure(&text, "written"), figure(&text, "already there")), (Some(0), 0, INTERACTIONS), "{text}");
    all_is_counted_once(&lake, INTERACTIONS).await;

    // What was forgotten is not brought back.
    lake.execute("ALTER TABLE interactions DELETE WHERE guild_id != 0 SETTINGS mutations_sync = 1").await;
    let left = lake.count("SELECT count() FROM interactions").await;
    assert!(import(&lake, &[]).output().unwrap().status.success());
    assert_eq!(lake.count("SELECT count() FROM interactions").await, left);
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_survives_a_server_that_is_killed() {
    let mut lake = argus().await;
    for stop_at in [1, 20_000, 40_000] {
        let mut child = import(&lake, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while lake.count("SELECT count() FROM interactions").await < stop_at {
            assert!(child.try_wait().unwrap().is_none(), "it ended before the server could be killed at {stop_at}");
            sleep(Duration::from_millis(2)).await;
        }
        lake.kill_and_restart().await;
        child.wait().unwrap(); // ended well, or with an error because it could not read on
    }
    let (text, code) = said(&import(&lake, &[]).output().unwrap());
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(wrong(&lake, "2100-01-01 00:00:00").await, 0);
    all_is_counted_once(&lake, INTERACTIONS).await;
    lake.stop().await;
}

/// A server that dies between noting a token and keeping its rows answers the next attempt with 200, and stores nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_spent_without_its_rows_is_not_believed() {
    let lake = argus().await;
    let day = lake.rows::<String>("SELECT toString(today() - 5)").await.remove(0);
    assert!(import(&lake, &["--until", &day]).output().unwrap().status.success());
    let rows = lake.count("SELECT count() FROM interactions").await;
    for table in ["interactions", "batches"] {
        lake.execute(&format!("ALTER TABLE {table} DELETE WHERE 1 SETTINGS mutations_sync = 1")).await;
        assert_eq!(lake.count(&format!("SELECT count() FROM {table}")).await, 0);
    }
    let (text, code) = said(&import(&lake, &["--until", &day]).output().unwrap());
    assert_eq!((code, figure(&text, "written")), (Some(0), rows), "{text}");
    assert_eq!(wrong(&lake, &format!("{day} 00:00:00")).await, 0);
    assert_eq!(lake.count("SELECT toUInt64(sum(rows)) FROM batches").await, rows);
    lake.stop().await;
}

/// A server that dies between two views leaves a batch in `batches` that another rollup lacks.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_batch_of_a_run_is_completed_by_the_next() {
    let lake = argus().await;
    let day = lake.rows::<String>("SELECT toString(today() - 4)").await.remove(0);
    lake.execute("DETACH TABLE interactions_by_cluster_rollup_view").await;
    assert!(import(&lake, &["--until", &day]).output().unwrap().status.success());
    lake.execute("ATTACH TABLE interactions_by_cluster_rollup_view").await;
    let rolled_up = "SELECT toUInt64(sum(interactions)) FROM interactions_by_cluster_1d";
    assert_eq!(lake.count(rolled_up).await, 0);

    let last = lake.count("SELECT rows FROM batches ORDER BY landed_at DESC, boot DESC, batch DESC LIMIT 1").await;
    for _ in 0..2 {
        let (text, code) = said(&import(&lake, &["--until", &day]).output().unwrap());
        assert_eq!((code, figure(&text, "written")), (Some(0), 0), "{text}");
        assert_eq!(lake.count(rolled_up).await, last);
    }
    assert_eq!(wrong(&lake, &format!("{day} 00:00:00")).await, 0);
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_added_since_is_imported_and_bad_rows_are_counted() {
    let lake = argus().await;
    let day = lake.rows::<String>("SELECT toString(today() - 4)").await.remove(0);
    lake.execute(&format!(
        "INSERT INTO argus.argus_events VALUES ('yesterday', 'interaction', '1', 'ping', '', 0, '0'), ('', 'interaction', '1', 'ping', '', 0, '0'), \
         ('1970-01-01T00:00:00+00:00', 'interaction', '1', 'ping', '', 0, '0'), \
         ('{day}T05:00:00+00:00', 'interaction', 'abc', 'ping', '', 0, '0'), \
         ('{day}T00:00:00.3+00:00', 'guild_join', '1', 'ping', '', 0, '0'), \
         ('{day}T23:59:59.999999+00:00', 'app_command', '1', '', 'x', -1, '0'), ('{day}T05:00:00+00:00', 'app_command', '1', '', 'x', nan, '0')"
    ))
    .await;

    let (text, code) = said(&import(&lake, &["--until", &day]).output().unwrap());
    assert_eq!(code, Some(0), "{text}");
    // The rows of what began before midnight are imported with that day.
    assert_eq!(wrong(&lake, &format!("{day} 00:00:00")).await, 0, "{text}");
    let first = figure(&text, "written");

    let (text, code) = said(&import(&lake, &["--shards-total", "7"]).output().unwrap());
    assert_eq!((code, figure(&text, "already there")), (Some(0), first), "{text}");
    assert_eq!(figure(&text, "written"), INTERACTIONS - first);
    let bad = ["bad: ts", "bad: guild_id", "bad: event", "bad: duration_ms"].map(|reason| figure(&text, reason));
    assert_eq!(bad, [3, 1, 1, 2], "{text}");
    let events = lake.count("SELECT count() FROM argus.argus_events").await;
    assert_eq!(figure(&text, "read"), events - 3);
    assert_eq!(figure(&text, "matched"), lake.count("SELECT countIf(is_success) FROM argus.truth").await);
    assert_eq!(wrong(&lake, "2100-01-01 00:00:00").await, 0);
    all_is_counted_once(&lake, INTERACTIONS).await;

    // Shards follow from guilds where their number was said; ids are of their time.
    let odd = "SELECT count() FROM interactions WHERE created_at != time OR interaction_id < bitShiftLeft(1, 22) \
               OR shard != if(shards_total = 7, intDiv(guild_id, 4194304) % 7, 0) OR user_key != 0 OR boot = 0";
    assert_eq!(lake.count(odd).await, 0);
    let ids = lake.count("SELECT uniqExact(interaction_id) FROM interactions").await;
    assert_eq!(ids, INTERACTIONS, "no two in one guild and microsecond");
    assert_eq!(lake.count("SELECT uniqExact(shards_total) FROM interactions").await, 2);
    lake.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changed_is_refused() {
    let lake = argus().await;
    assert!(import(&lake, &[]).output().unwrap().status.success());
    lake.execute("INSERT INTO argus.argus_events SELECT ts, event, guild_id, type, command, duration_ms, '0' FROM argus.argus_events WHERE type = 'component' LIMIT 5").await;
    let (text, code) = said(&import(&lake, &[]).output().unwrap());
    assert!(code == Some(1) && text.contains("the source has changed since it was imported"), "{text}");
    assert_eq!(lake.count("SELECT count() FROM interactions").await, INTERACTIONS, "nothing was added");

    let (text, code) = said(&import(&lake, &["--until", "2100-01-01"]).output().unwrap());
    assert!(code == Some(1) && text.contains("may still come"), "{text}");
    lake.stop().await;
}

/// What Argus asks, of `table`: volume by day, top commands, their means, and the mean of all. One text per guild.
async fn answers(
    lake: &Lake,
    table: &str,
    guild: &str,
    cluster: &str,
) -> (Vec<(String, u64)>, Vec<(String, u64, f64)>, f64) {
    let filter = format!("FROM {table} WHERE guild_id = {{guild:String}} AND cluster_id = {{cluster:String}}");
    let ask = |sql: String| lake.admin.query_raw(&sql).param("guild", guild).param("cluster", cluster);
    let volume = ask(format!(
        "SELECT toString(toDate(parseDateTimeBestEffort(ts)) AS day), count() AS count {filter} \
         AND parseDateTimeBestEffort(ts) >= now() - INTERVAL 30 DAY GROUP BY day ORDER BY day"
    ));
    let stats = ask(format!(
        "SELECT command, count() AS count, avg(duration_ms) AS avg_ms {filter} AND event = 'app_command' \
         GROUP BY command ORDER BY count DESC, command LIMIT 50"
    ));
    let mean = ask(format!("SELECT avg(duration_ms) {filter} AND event = 'app_command'"));
    (volume.fetch_all().await.unwrap(), stats.fetch_all().await.unwrap(), mean.fetch_one().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_answers_argus_s_questions_as_argus_s_table_does() {
    let lake = argus().await;
    assert!(import(&lake, &[]).output().unwrap().status.success());
    let columns = "SELECT name, type FROM system.columns WHERE database = {database:String} AND table = {table:String} ORDER BY position";
    let columns = |database: &str, table: &str| {
        let query = lake.admin.query_raw(columns).param("database", database).param("table", table);
        query.fetch_all::<(String, String)>()
    };
    assert_eq!(
        columns("shardlake", "argus_events_view").await.unwrap(),
        columns("argus", "argus_events").await.unwrap()
    );

    let guilds = "SELECT DISTINCT guild_id, toString(cluster_id) FROM argus.argus_events ORDER BY guild_id";
    let guilds = lake.rows::<(String, String)>(guilds).await;
    assert_eq!(guilds.len(), 16);
    for (guild, cluster) in guilds {
        let (volume, stats, mean) = answers(&lake, "argus.argus_events", &guild, &cluster).await;
        let (our_volume, our_stats, our_mean) = answers(&lake, "shardlake.argus_events_view", &guild, &cluster).await;
        assert!(volume.len() as u64 >= DAYS && stats.len() == 12);
        assert_eq!(our_volume, volume, "{guild}");
        // Our durations are rounded up to whole milliseconds.
        let rounded_up = |ours: f64, theirs: f64| (0.0..=1.0).contains(&(ours - theirs));
        assert!(rounded_up(our_mean, mean), "{guild}: {our_mean} {mean}");
        for (ours, theirs) in our_stats.iter().zip(&stats) {
            assert!((&ours.0, ours.1) == (&theirs.0, theirs.1) && rounded_up(ours.2, theirs.2), "{ours:?} {theirs:?}");
        }
        assert_eq!(our_stats.len(), stats.len());
    }
    lake.stop().await;
}

/// What a bot with Argus does when it starts, and then for each event.
#[tokio::test(flavor = "multi_thread")]
async fn running_bots_feed_our_tables_by_ddl_alone() {
    let lake = Lake::start().await;
    let printed =
        Command::new(env!("CARGO_BIN_EXE_shardlake")).args(["import", "argus", "--drop-in"]).output().unwrap();
    let sql = String::from_utf8(printed.stdout).unwrap();
    for _ in 0..2 {
        for statement in sql.split(";\n").filter(|statement| !statement.trim().is_empty()) {
            lake.client("shardlake_migrator").query_raw(statement).execute().await.unwrap();
        }
    }
    let argus = lake.client("argus");
    let execute =
        async |sql: &str| argus.query_raw(sql).execute().await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
    execute(&ARGUS.replace("CREATE TABLE argus.", "CREATE TABLE IF NOT EXISTS ")).await;
    execute("ALTER TABLE argus_events ADD COLUMN IF NOT EXISTS cluster_id LowCardinality(String) DEFAULT 'default'")
        .await;
    assert_eq!(
        lake.count("SELECT count() FROM system.tables WHERE name = 'argus_events' AND engine = 'Null'").await,
        1
    );

    let day = lake.rows::<String>("SELECT toString(today() - 1)").await.remove(0);
    let row = |ts: &str, event: &str, guild: &str, kind: &str, command: &str, duration_ms: f64| {
        format!(
            r#"INSERT INTO argus_events (ts, event, guild_id, type, command, duration_ms, cluster_id) FORMAT JSONEachRow
            {{"ts":"{day}T{ts}","event":"{event}","guild_id":"{guild}","type":"{kind}","command":"{command}","duration_ms":{duration_ms},"cluster_id":"3"}}"#
        )
    };
    for insert in [
        row("10:00:00.000100+00:00", "interaction", "77", "application_command", "", 0.0),
        row("10:00:01.250500+00:00", "app_command", "77", "", "play now", 1250.4),
        row("10:00:05+00:00", "interaction", "", "component", "", 0.0),
        // Two events of one millisecond, and an insert that a client sends again.
        row("10:00:06.000001+00:00", "interaction", "77", "autocomplete", "", 0.0),
        row("10:00:06.000002+00:00", "interaction", "77", "autocomplete", "", 0.0),
        row("10:00:06.000002+00:00", "interaction", "77", "autocomplete", "", 0.0),
        row("at noon", "interaction", "77", "component", "", 0.0),
    ] {
        execute(&insert).await;
    }
    let rows = "SELECT toString(time), toUInt64(guild_id), toString(type), toString(command), toString(outcome), duration_ms, toString(context) FROM interactions ORDER BY time, id_low";
    let rows = lake.rows::<(String, u64, String, String, String, u32, String)>(rows).await;
    let row = |time: &str, guild: u64, kind: &str, command: &str, outcome: &str, ms: u32, context: &str| {
        let [kind, command, outcome, context] = [kind, command, outcome, context].map(str::to_owned);
        (format!("{day} {time}"), guild, kind, command, outcome, ms, context)
    };
    assert_eq!(
        rows,
        [
            row("10:00:00.000", 77, "application_command", "play now", "success", 1251, "guild"),
            row("10:00:05.000", 0, "component", "", "received", 0, ""),
            row("10:00:06.000", 77, "autocomplete", "", "received", 0, "guild"),
            row("10:00:06.000", 77, "autocomplete", "", "received", 0, "guild"),
        ]
    );
    let odd = "SELECT count() FROM interactions WHERE cluster != '3' OR boot != 0 OR batch != 0 OR shard != 0 OR user_key != 0 OR created_at != time";
    assert_eq!(lake.count(odd).await, 0);

    no_batch_is_reported_missing(&lake).await;
    assert_eq!(lake.count("SELECT sum(rows) FROM batches WHERE batch = 0").await, 4);
    lake.stop().await;
}

/// As the query service asks.
async fn no_batch_is_reported_missing(lake: &Lake) {
    let gaps = include_str!("../../queries/src/completeness/gaps.sql");
    let gaps = lake.admin.query_raw(gaps).param("slack_s", 900).param("table", "interactions").param("limit", 100);
    let gaps = gaps
        .param("from", "2015-01-01 00:00:00")
        .param("to", "2100-01-01 00:00:00")
        .param("cluster", Vec::<String>::new());
    let gaps =
        gaps.param("discord_epoch_ms", 1_420_070_400_000_u64).fetch_all::<(String, u64, String, u64, u64, u64, u64)>();
    assert_eq!(gaps.await.unwrap(), []);
}
