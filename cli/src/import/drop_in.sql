-- Lets bots with Argus feed the table interactions, without a change to them: run it in the database of Shardlake, and point
-- Argus at that database. Running it again changes nothing.
--
-- An insert is seen row by row, so a receipt and its success cannot be matched, as `shardlake import argus` does:
-- - a command that succeeded is one interaction, from its 'app_command' row: received at its end minus its duration.
-- - components, autocompletions and modals are interactions with the outcome 'received'.
-- - receipts of slash commands are left out, or each would count twice: so commands that failed are not seen.
-- Rows whose time cannot be read are left out in silence. Shards are not known: all rows are of shard 0 of 1. An
-- insert that is sent again, to the byte, counts once.
--
-- Rows carry boot 0 and batch 0. Batches are numbered from 1, so these are no gap; but nothing here tells when one is lost,
-- and Argus drops what it cannot insert.
--
-- Run it as the migrator (`shardlake schema users`). The user of the bots needs no more than
--     GRANT CREATE TABLE, ALTER ADD COLUMN, INSERT, SELECT ON shardlake.argus_events TO argus
-- and, since Argus tries to make its table, TABLE ENGINE ON MergeTree.
--
-- If a table argus_events with rows is there, rename it first, and import it with `--from-table`. What Argus asks, it may ask
-- argus_events_view: this table answers nothing.
CREATE TABLE IF NOT EXISTS argus_events
(
    ts          String COMMENT 'ISO 8601, UTC',
    event       LowCardinality(String) COMMENT 'interaction or app_command',
    guild_id    String COMMENT 'Snowflake of the guild; empty: not in a guild',
    type        LowCardinality(String) COMMENT 'Type of the interaction; empty for app_command',
    command     String COMMENT 'Command with subcommands, of app_command only',
    duration_ms Float64 COMMENT 'Receipt to the end of the command, ms',
    cluster_id  LowCardinality(String) COMMENT 'Cluster (process of the bot)'
)
ENGINE = Null
COMMENT 'What Argus inserts; argus_events_interactions makes interactions of it';

CREATE MATERIALIZED VIEW IF NOT EXISTS argus_events_interactions TO interactions
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS SELECT
    source AS cluster,
    toUInt64(0) AS boot,
    toUInt64(0) AS batch,
    fromUnixTimestamp64Milli(intDiv(start_us, 1000), 'UTC') AS time,
    toInt64(0) AS delivery_lag_ms,
    toUInt32(bitShiftLeft(start_us % 1000, 12) + bitAnd(bitShiftRight(guild, 22), 4095)) AS id_low,
    guild AS guild_id,
    toUInt16(1) AS shards_total,
    toUInt16(0) AS shard_offset,
    toUInt32(0) AS user_key,
    if(is_command, 'application_command', kind) AS type,
    name AS command,
    if(is_command, 'success', 'received') AS outcome,
    '' AS error_type,
    toUInt32(0) AS response_ms,
    toUInt32(if(is_command, greatest(1, ceil(taken_ms)), 0)) AS duration_ms,
    '' AS locale,
    if(guild = 0, '', 'guild') AS context
FROM
(
    SELECT
        if(cluster_id = '', 'default', toString(cluster_id)) AS source,
        toUInt64OrZero(guild_id) AS guild,
        toString(type) AS kind,
        substringUTF8(command, 1, 100) AS name,
        event = 'app_command' AS is_command,
        if(is_command AND duration_ms > 0 AND duration_ms <= 3600000, duration_ms, 0) AS taken_ms,
        parseDateTime64BestEffortOrNull(ts, 6, 'UTC') AS said,
        toUInt64(toUnixTimestamp64Micro(assumeNotNull(said)) - toInt64(round(taken_ms * 1000))) AS start_us
    FROM argus_events
    WHERE ifNull(said >= '2015-01-01' AND said < '2100-01-01', 0) AND (is_command OR event = 'interaction' AND kind != 'application_command')
);
