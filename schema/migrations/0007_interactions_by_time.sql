-- Interactions again, sorted by time, and without what follows from other columns.
--
-- Sorted by cluster and time, because nearly every question names a range of time: within a month the old order
-- (cluster, type, command, time) had to read all of it. What follows from other columns is stored no more: creation is
-- receipt minus lag, the id is creation plus its lower 22 bits, the shard follows from the guild. benches/README.md says
-- what each column costs, and what the encodings that lost cost.
--
-- Nothing lands meanwhile: the table goes away, so writers keep what they have (code 60 stops them), and comes back
-- closed by a constraint, which 0008 lifts when the rollups and views are there. Its rows are carried over.
RENAME TABLE IF EXISTS interactions TO interactions_0006;

DROP VIEW IF EXISTS interactions_batches;

CREATE OR REPLACE TABLE interactions_next
(
    cluster         LowCardinality(String) COMMENT 'Cluster (process of the bot) that received it',
    boot            UInt64 COMMENT 'Start of that process, see processes.boot' CODEC(ZSTD(1)),
    batch           UInt64 COMMENT 'Sequence of the insert that carried this row, per boot and table, from 1; see batches' CODEC(Delta, ZSTD(1)),
    time            DateTime64(3, 'UTC') COMMENT 'When the gateway event was received, UTC' CODEC(Delta, T64, ZSTD(1)),
    delivery_lag_ms LowCardinality(Int64) COMMENT 'Receipt minus creation at Discord, ms; carries the skew of both clocks, so it may be negative' CODEC(ZSTD(1)),
    created_at      DateTime64(3, 'UTC') ALIAS time - toIntervalMillisecond(delivery_lag_ms) COMMENT 'When Discord created it, from its snowflake, UTC',
    id_low          UInt32 COMMENT 'Lower 22 bits of its snowflake; the upper 42 are created_at' CODEC(T64, ZSTD(1)),
    interaction_id  UInt64 ALIAS bitShiftLeft(toUInt64(toUnixTimestamp64Milli(created_at) - 1420070400000), 22) + id_low COMMENT 'Snowflake of the interaction',
    guild_id        LowCardinality(UInt64) COMMENT 'Snowflake of the guild; 0: not in a guild' CODEC(ZSTD(1)),
    shards_total    UInt16 COMMENT 'Shards of the whole bot then; 65535: unknown, the row is older than this column' CODEC(ZSTD(1)),
    shard_offset    UInt16 COMMENT 'Shards between the one that (guild_id >> 22) % shards_total names and the one that received it; nearly always 0' CODEC(ZSTD(1)),
    shard           UInt16 ALIAS toUInt16((intDiv(guild_id, 4194304) + shard_offset) % shards_total) COMMENT 'Shard that received it',
    user_key        LowCardinality(UInt32) COMMENT 'Keyed hash of the user id, 32 bits; 0: no key is configured' CODEC(ZSTD(1)),
    type            LowCardinality(String) COMMENT 'ping, application_command, component, autocomplete or modal_submit' CODEC(ZSTD(1)),
    command         LowCardinality(String) COMMENT 'Command with subcommands, or the prefix of a custom id; (other) past the limit of distinct names' CODEC(ZSTD(1)),
    outcome         LowCardinality(String) COMMENT 'received (nobody tracks it here), success, error, panic, cancelled, timed_out or untracked' CODEC(ZSTD(1)),
    error_type      LowCardinality(String) COMMENT 'Kind of the error the handler reported; empty: none' CODEC(ZSTD(1)),
    response_ms     UInt32 COMMENT 'Receipt to first response, ms rounded up; 0: no response was seen' CODEC(T64, ZSTD(1)),
    duration_ms     UInt32 COMMENT 'Receipt to the end of the handler, ms rounded up; 0: no handler was seen' CODEC(T64, ZSTD(1)),
    locale          LowCardinality(String) COMMENT 'Locale of the user, as Discord names it; empty: unknown' CODEC(ZSTD(1)),
    context         LowCardinality(String) COMMENT 'guild, bot_dm or private_channel; empty: unknown' CODEC(ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (cluster, time)
TTL toDateTime(time) + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'One finished interaction, or one given up on'
AS SELECT
    cluster, boot, batch, time, delivery_lag_ms, bitAnd(interaction_id, 4194303) AS id_low, guild_id, 65535 AS shards_total,
    (shard + 65535 - intDiv(guild_id, 4194304) % 65535) % 65535 AS shard_offset,
    user_key, type, command, outcome, error_type, response_ms, duration_ms, locale, context
FROM interactions_0006
SETTINGS allow_suspicious_low_cardinality_types = 1;

ALTER TABLE interactions_next ADD CONSTRAINT IF NOT EXISTS not_before_its_views CHECK time < toDateTime64(0, 3, 'UTC');

RENAME TABLE IF EXISTS interactions_next TO interactions;
