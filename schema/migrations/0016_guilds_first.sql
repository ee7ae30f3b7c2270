-- Interactions per guild and day, sorted by guild in partitions of a month; before, by day in partitions of a year. What one guild
-- did lies together, and a row takes half the bytes (benches/README.md).
--
-- The table is closed meanwhile, as in 0009. An insert that was on its way at that moment may be missing here, and one whose
-- answer was lost shortly before may be counted twice: what a table remembers of tokens cannot be carried over. How long its
-- rows are kept is (schema/src/retention/live.rs).
ALTER TABLE interactions ADD CONSTRAINT IF NOT EXISTS not_before_its_views CHECK time < toDateTime64(0, 3, 'UTC');

CREATE OR REPLACE TABLE interactions_by_guild_1d_next
(
    guild_id     UInt64 COMMENT 'Snowflake of the guild; 0: not in a guild' CODEC(Delta, ZSTD(1)),
    time         DateTime('UTC') COMMENT 'Start of the day of the receipt, UTC' CODEC(Delta, ZSTD(1)),
    interactions SimpleAggregateFunction(sum, UInt64) COMMENT 'Interactions received' CODEC(T64, ZSTD(1)),
    succeeded    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome success' CODEC(T64, ZSTD(1)),
    failed       SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome error' CODEC(T64, ZSTD(1)),
    panicked     SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome panic' CODEC(T64, ZSTD(1)),
    timed_out    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome timed_out' CODEC(T64, ZSTD(1)),
    cancelled    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome cancelled' CODEC(T64, ZSTD(1)),
    tracked      UInt64 ALIAS succeeded + failed + panicked + timed_out + cancelled COMMENT 'With a known outcome',
    errors       UInt64 ALIAS failed + panicked + timed_out COMMENT 'Tracked ones that ended in error, panic or timed_out',
    users        AggregateFunction(uniqCombined(12), UInt32) COMMENT 'Users by user_key; read it with uniqCombinedMerge(12), standard error 1.6 %; empty without a key' CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (guild_id, time)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Interactions per guild and day'
AS SELECT guild_id, time, interactions, succeeded, failed, panicked, timed_out, cancelled, users
FROM interactions_by_guild_1d
SETTINGS max_block_size = 65536, min_insert_block_size_rows = 1048576;

DROP TABLE IF EXISTS interactions_by_guild_1d;

RENAME TABLE IF EXISTS interactions_by_guild_1d_next TO interactions_by_guild_1d;

ALTER TABLE interactions DROP CONSTRAINT IF EXISTS not_before_its_views;
