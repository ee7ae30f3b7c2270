//! A database of every earlier schema, with rows in all of its tables, becomes one of this build: nothing is lost, nothing
//! changes its meaning, and rollups hold what was there before them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use clickhouse::Client;
use shardlake_embedded::{Clickhouse, Options, User};
use shardlake_schema::{
    migrate::{self, MIGRATIONS},
    retention,
};

/// Rows for a table as it was made by the migration of this number, in the last days: older ones would expire.
const ROWS: [(u32, &str); 5] = [
    (
        1,
        "INSERT INTO interactions (cluster, boot, batch, time, created_at, interaction_id, shard, guild_id, user_key, type, command, outcome, error_type, response_ms, duration_ms, locale, context)
         SELECT toString(number % 3), 1, 1 + number % 3, now64(3) - toIntervalMinute(7 * number) AS at, at - toIntervalMillisecond(number % 500) AS created, bitShiftLeft(toUInt64(toUnixTimestamp64Milli(created) - 1420070400000), 22) + number,
            number % 16, bitShiftLeft(cityHash64(number) % 1000000000, 22), cityHash64(number, 1), 'application_command', concat('c', toString(number % 5)), if(number % 9 = 0, 'error', 'success'), '', 1 + number % 700, 5 + number % 900, 'de', 'guild' FROM numbers(2000)",
    ),
    (2, "INSERT INTO shard_events (cluster, boot, batch, time, shard, event, downtime_ms) SELECT '0', 1, 1, now64(3) - toIntervalMinute(number), number % 4, 'resumed', number FROM numbers(500)"),
    (3, "INSERT INTO gateway_counts (cluster, boot, batch, time, shard, event, dispatches, replayed, bytes) SELECT '0', 1, 1, now64(3) - toIntervalMinute(number), number % 4, 'TYPING_START', number, 1, 9 * number FROM numbers(500)"),
    (4, "INSERT INTO samples (cluster, boot, batch, time, name, kind, labels, value) SELECT '0', 1, 1, now64(3) - toIntervalMinute(number), 'discord_shard_latency_seconds', 'gauge', map('shard', toString(number % 4)), number / 1000 FROM numbers(500)"),
    (5, "INSERT INTO processes (cluster, boot, batch, time, last_seen_at) SELECT '0', number, 1, now64(3), now64(3) FROM numbers(50)"),
];

/// What the raw tables say, whatever the schema: `user_key` has been the lower half of itself since 0007.
const RAW: [(u32, &str); 5] = [
    (
        1,
        "SELECT toString((count(), sum(cityHash64(cluster, boot, batch, time, created_at, delivery_lag_ms, interaction_id, shard, guild_id, toUInt64(bitAnd(user_key, 4294967295)), type, command, outcome, error_type, response_ms, duration_ms, locale, context)))) FROM interactions",
    ),
    (
        2,
        "SELECT toString((count(), sum(cityHash64(cluster, boot, batch, time, shard, event, downtime_ms)))) FROM shard_events",
    ),
    (
        3,
        "SELECT toString((count(), sum(cityHash64(cluster, boot, batch, time, shard, event, dispatches, replayed, bytes)))) FROM gateway_counts",
    ),
    (
        4,
        "SELECT toString((count(), sum(cityHash64(cluster, boot, batch, time, name, kind, labels, value)))) FROM samples",
    ),
    (5, "SELECT toString((count(), sum(cityHash64(cluster, boot, batch, time, last_seen_at)))) FROM processes FINAL"),
];

/// Of the rollups that a raw table's migration number brings with it: what they hold, and what the raw rows do.
const ROLLUPS: [(u32, &str, &str); 10] = [
    (
        1,
        "SELECT toString((sum(interactions), uniqCombinedMerge(12)(users), quantileBFloat16Merge(0.9)(response), uniqExact(time))) FROM interactions_by_cluster_1w",
        "SELECT toString((count(), uniqCombined(12)(user_key), quantileBFloat16(0.9)(response_ms), uniqExact(toMonday(time)))) FROM interactions",
    ),
    (
        1,
        "SELECT toString((sum(interactions), uniqCombinedMerge(12)(users), quantileBFloat16Merge(0.9)(duration), min(time))) FROM interactions_by_command_2w",
        "SELECT toString((count(), uniqCombined(12)(user_key), quantileBFloat16(0.9)(duration_ms), toDateTime(toMonday(min(time)) - 7 * (dateDiff('day', toDate('1970-01-05'), toMonday(min(time))) / 7 % 2), 'UTC'))) FROM interactions",
    ),
    (
        1,
        "SELECT toString((sum(interactions), uniqCombinedMerge(12)(guilds), quantileBFloat16Merge(0.9)(response), uniqExact(time), count())) FROM interactions_1m FINAL",
        "SELECT toString((count(), uniqCombinedIf(12)(guild_id, guild_id != 0), quantileBFloat16(0.9)(response_ms), uniqExact(toStartOfMinute(time)), uniqExact(toStartOfMinute(time)))) FROM interactions",
    ),
    (
        1,
        "SELECT toString((sum(interactions), sum(errors), uniqCombinedMerge(12)(users), quantileBFloat16Merge(0.9)(response))) FROM interactions_by_cluster_1h",
        "SELECT toString((count(), countIf(outcome = 'error'), uniqCombined(12)(user_key), quantileBFloat16(0.9)(response_ms))) FROM interactions",
    ),
    (
        1,
        "SELECT toString((sum(interactions), uniqCombinedMerge(12)(guilds))) FROM interactions_by_command_1m",
        "SELECT toString((count(), uniqCombinedIf(12)(guild_id, guild_id != 0))) FROM interactions",
    ),
    (
        1,
        "SELECT toString((sum(interactions), uniq(guild_id))) FROM interactions_by_guild_1d",
        "SELECT toString((count(), uniq(guild_id))) FROM interactions",
    ),
    (
        1,
        "SELECT toString((sum(interactions), sum(errors), uniqCombinedMerge(12)(guilds), uniqCombinedMerge(12)(users), uniqExact(time), count())) FROM interactions_in_guilds_1d FINAL",
        "SELECT toString((count(), countIf(outcome = 'error'), uniqCombined(12)(guild_id), uniqCombined(12)(user_key), uniqExact(toDate(time)) AS days, days)) FROM interactions WHERE guild_id != 0",
    ),
    (
        2,
        "SELECT toString((sum(events), sum(downtime_ms))) FROM shard_events_1d",
        "SELECT toString((count(), sum(downtime_ms))) FROM shard_events",
    ),
    (
        3,
        "SELECT toString((sum(dispatches), sum(bytes))) FROM gateway_counts_1d",
        "SELECT toString((sum(dispatches), sum(bytes))) FROM gateway_counts",
    ),
    (
        4,
        "SELECT toString((sum(samples), max(latency_max_s))) FROM shard_latency_1h",
        "SELECT toString((count(), max(value))) FROM samples",
    ),
];

async fn text(client: &Client, sql: &str) -> String {
    client.query_raw(sql).fetch_one().await.unwrap_or_else(|error| panic!("{error}\n{sql}"))
}

#[tokio::test]
async fn every_earlier_schema_with_data_in_it_is_brought_up_to_date() {
    let directory = tempfile::tempdir().unwrap();
    let clickhouse = Clickhouse::start(Options::new(directory.path())).await.unwrap();
    let admin = clickhouse.credentials(User::Admin);
    let client = Client::default().with_url(clickhouse.url()).with_user(admin.user).with_password(admin.password);
    for earlier in MIGRATIONS[..MIGRATIONS.len() - 1].iter().map(|migration| migration.version) {
        let database = format!("from_{earlier}");
        let client = client.clone().with_database(&database);
        let is_there = |version: u32| version <= earlier;
        // Later schemas are filled on the way: the rows are those of the first tables.
        let filled_at = earlier.min(6) as usize;
        migrate::apply_these(&client, &database, &MIGRATIONS[..filled_at]).await.unwrap();
        for (_, rows) in ROWS.into_iter().filter(|(version, _)| is_there(*version)) {
            client.query_raw(rows).execute().await.unwrap_or_else(|error| panic!("{error}\n{rows}"));
        }
        migrate::apply_these(&client, &database, &MIGRATIONS[..earlier as usize]).await.unwrap();
        let mut before = Vec::new();
        for (_, raw) in RAW.into_iter().filter(|(version, _)| is_there(*version)) {
            before.push((raw, text(&client, raw).await));
        }
        migrate::apply(&client, &database).await.unwrap();

        for (raw, before) in before {
            assert_eq!(text(&client, raw).await, before, "from {earlier}: {raw}");
        }
        for (_, rollup, raw) in ROLLUPS.into_iter().filter(|(version, ..)| is_there(*version)) {
            assert_eq!(text(&client, rollup).await, text(&client, raw).await, "from {earlier}: {rollup}");
        }
    }
    clickhouse.stop().await.unwrap();
}

/// The last schema with a table per step.
const TABLE_PER_STEP: usize = 12;

#[tokio::test]
async fn how_long_somebody_keeps_a_table_stays_when_it_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let clickhouse = Clickhouse::start(Options::new(directory.path())).await.unwrap();
    let admin = clickhouse.credentials(User::Admin);
    let client = Client::default().with_url(clickhouse.url()).with_user(admin.user).with_password(admin.password);
    let client = client.with_database("shardlake");
    migrate::apply_these(&client, "shardlake", &MIGRATIONS[..TABLE_PER_STEP]).await.unwrap();
    let wanted: Vec<retention::Retention> =
        ["interactions_by_cluster_1h=forever", "gateway_counts_1m=1y", "interactions_by_guild_1d=400d"]
            .map(|one| one.parse().unwrap())
            .into();
    retention::set(&client, "shardlake", &wanted).await.unwrap();
    for old in [
        "INSERT INTO interactions_by_cluster_1h (cluster, time, interactions) VALUES ('0', now() - INTERVAL 5 YEAR, 1)",
        "INSERT INTO gateway_counts_1m (cluster, time, dispatches) VALUES ('0', now() - INTERVAL 200 DAY, 1)",
    ] {
        client.query_raw(old).execute().await.unwrap();
    }
    migrate::apply(&client, "shardlake").await.unwrap();

    assert_eq!(retention::plan(&client, "shardlake", &wanted).await.unwrap(), [], "nothing is left to change");
    // What is past its time goes in a merge, and in one of a whole table at once.
    let rows = |table| format!("SELECT toString(count()) FROM {table} WHERE time < now() - INTERVAL 199 DAY");
    for (rollup, view) in [
        ("interactions_by_cluster_rollup", "interactions_by_cluster_1h"),
        ("gateway_counts_rollup", "gateway_counts_1m"),
    ] {
        client.query_raw(&format!("OPTIMIZE TABLE {rollup} FINAL")).execute().await.unwrap();
        assert_eq!(text(&client, &rows(view)).await, "1", "{view}");
    }
    let others: Vec<retention::Retention> =
        ["interactions_by_cluster_1m=90d", "interactions_by_cluster_1d=forever", "gateway_counts_1h=2y"]
            .map(|one| one.parse().unwrap())
            .into();
    assert_eq!(retention::plan(&client, "shardlake", &others).await.unwrap(), [], "as ever");
    clickhouse.stop().await.unwrap();
}
