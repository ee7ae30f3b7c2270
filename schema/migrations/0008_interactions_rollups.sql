-- Interactions by minute, hour and day: what is asked by cluster and what is asked by command in tables of their own, since
-- a table with both would hold nearly as many rows as there are interactions. Guilds by day, with counts and users only.
--
-- All states are exact to merge: whatever the order, the same rows give the same answer, so a rollup and the raw rows agree
-- to the last digit under the same functions. Sketches count values by their upper 16 bits as a float, so they are exact
-- below 256 ms and off by 1 % at most above; uniques are HyperLogLogs of 4,096 registers.
--
-- States take much memory until they are written, so tables are filled in small blocks.
--
-- Sorted by time first: reading a state means reading all states of its granule, and questions name a range of time.
--
-- Each table is filled from the rows that 0007 carried over, then each view is made, then the table opens.
CREATE OR REPLACE TABLE interactions_by_cluster_1m
(
    cluster      LowCardinality(String) COMMENT 'Cluster (process of the bot)',
    time         DateTime('UTC') COMMENT 'Start of the minute of the receipt, UTC' CODEC(Delta, ZSTD(1)),
    interactions SimpleAggregateFunction(sum, UInt64) COMMENT 'Interactions received' CODEC(T64, ZSTD(1)),
    succeeded    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome success' CODEC(T64, ZSTD(1)),
    failed       SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome error' CODEC(T64, ZSTD(1)),
    panicked     SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome panic' CODEC(T64, ZSTD(1)),
    timed_out    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome timed_out' CODEC(T64, ZSTD(1)),
    cancelled    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome cancelled' CODEC(T64, ZSTD(1)),
    tracked      UInt64 ALIAS succeeded + failed + panicked + timed_out + cancelled COMMENT 'With a known outcome',
    errors       UInt64 ALIAS failed + panicked + timed_out COMMENT 'Tracked ones that ended in error, panic or timed_out',
    response     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of response_ms where there was a response; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    duration     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of duration_ms where a handler was seen; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    delivery_lag AggregateFunction(quantileBFloat16(0.5), Int64) COMMENT 'Sketch of delivery_lag_ms; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    guilds       AggregateFunction(uniqCombined(12), UInt64) COMMENT 'Guilds; read it with uniqCombinedMerge(12), standard error 1.6 %' CODEC(ZSTD(1)),
    users        AggregateFunction(uniqCombined(12), UInt32) COMMENT 'Users by user_key; read it with uniqCombinedMerge(12), standard error 1.6 %; empty without a key' CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, cluster)
TTL time + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Interactions per cluster and minute'
AS SELECT
    cluster, toStartOfMinute(interactions.time) AS time, count() AS interactions,
    countIf(outcome = 'success') AS succeeded, countIf(outcome = 'error') AS failed, countIf(outcome = 'panic') AS panicked,
    countIf(outcome = 'timed_out') AS timed_out, countIf(outcome = 'cancelled') AS cancelled,
    quantileBFloat16StateIf(0.5)(response_ms, response_ms > 0) AS response,
    quantileBFloat16StateIf(0.5)(duration_ms, duration_ms > 0) AS duration,
    quantileBFloat16State(0.5)(delivery_lag_ms) AS delivery_lag,
    uniqCombinedStateIf(12)(guild_id, guild_id != 0) AS guilds,
    uniqCombinedStateIf(12)(user_key, user_key != 0) AS users
FROM interactions GROUP BY cluster, time
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192, max_bytes_before_external_group_by = 500000000;

CREATE OR REPLACE TABLE interactions_by_cluster_1h
(
    cluster      LowCardinality(String) COMMENT 'Cluster (process of the bot)',
    time         DateTime('UTC') COMMENT 'Start of the hour of the receipt, UTC' CODEC(Delta, ZSTD(1)),
    interactions SimpleAggregateFunction(sum, UInt64) COMMENT 'Interactions received' CODEC(T64, ZSTD(1)),
    succeeded    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome success' CODEC(T64, ZSTD(1)),
    failed       SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome error' CODEC(T64, ZSTD(1)),
    panicked     SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome panic' CODEC(T64, ZSTD(1)),
    timed_out    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome timed_out' CODEC(T64, ZSTD(1)),
    cancelled    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome cancelled' CODEC(T64, ZSTD(1)),
    tracked      UInt64 ALIAS succeeded + failed + panicked + timed_out + cancelled COMMENT 'With a known outcome',
    errors       UInt64 ALIAS failed + panicked + timed_out COMMENT 'Tracked ones that ended in error, panic or timed_out',
    response     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of response_ms where there was a response; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    duration     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of duration_ms where a handler was seen; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    delivery_lag AggregateFunction(quantileBFloat16(0.5), Int64) COMMENT 'Sketch of delivery_lag_ms; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    guilds       AggregateFunction(uniqCombined(12), UInt64) COMMENT 'Guilds; read it with uniqCombinedMerge(12), standard error 1.6 %' CODEC(ZSTD(1)),
    users        AggregateFunction(uniqCombined(12), UInt32) COMMENT 'Users by user_key; read it with uniqCombinedMerge(12), standard error 1.6 %; empty without a key' CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, cluster)
TTL time + INTERVAL 2 YEAR
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Interactions per cluster and hour'
AS SELECT
    cluster, toStartOfHour(interactions.time) AS time, count() AS interactions,
    countIf(outcome = 'success') AS succeeded, countIf(outcome = 'error') AS failed, countIf(outcome = 'panic') AS panicked,
    countIf(outcome = 'timed_out') AS timed_out, countIf(outcome = 'cancelled') AS cancelled,
    quantileBFloat16StateIf(0.5)(response_ms, response_ms > 0) AS response,
    quantileBFloat16StateIf(0.5)(duration_ms, duration_ms > 0) AS duration,
    quantileBFloat16State(0.5)(delivery_lag_ms) AS delivery_lag,
    uniqCombinedStateIf(12)(guild_id, guild_id != 0) AS guilds,
    uniqCombinedStateIf(12)(user_key, user_key != 0) AS users
FROM interactions GROUP BY cluster, time
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192, max_bytes_before_external_group_by = 500000000;

CREATE OR REPLACE TABLE interactions_by_cluster_1d
(
    cluster      LowCardinality(String) COMMENT 'Cluster (process of the bot)',
    time         DateTime('UTC') COMMENT 'Start of the day of the receipt, UTC' CODEC(Delta, ZSTD(1)),
    interactions SimpleAggregateFunction(sum, UInt64) COMMENT 'Interactions received' CODEC(T64, ZSTD(1)),
    succeeded    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome success' CODEC(T64, ZSTD(1)),
    failed       SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome error' CODEC(T64, ZSTD(1)),
    panicked     SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome panic' CODEC(T64, ZSTD(1)),
    timed_out    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome timed_out' CODEC(T64, ZSTD(1)),
    cancelled    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome cancelled' CODEC(T64, ZSTD(1)),
    tracked      UInt64 ALIAS succeeded + failed + panicked + timed_out + cancelled COMMENT 'With a known outcome',
    errors       UInt64 ALIAS failed + panicked + timed_out COMMENT 'Tracked ones that ended in error, panic or timed_out',
    response     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of response_ms where there was a response; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    duration     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of duration_ms where a handler was seen; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    delivery_lag AggregateFunction(quantileBFloat16(0.5), Int64) COMMENT 'Sketch of delivery_lag_ms; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    guilds       AggregateFunction(uniqCombined(12), UInt64) COMMENT 'Guilds; read it with uniqCombinedMerge(12), standard error 1.6 %' CODEC(ZSTD(1)),
    users        AggregateFunction(uniqCombined(12), UInt32) COMMENT 'Users by user_key; read it with uniqCombinedMerge(12), standard error 1.6 %; empty without a key' CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYear(time)
ORDER BY (time, cluster)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Interactions per cluster and day'
AS SELECT
    cluster, toStartOfDay(interactions.time) AS time, count() AS interactions,
    countIf(outcome = 'success') AS succeeded, countIf(outcome = 'error') AS failed, countIf(outcome = 'panic') AS panicked,
    countIf(outcome = 'timed_out') AS timed_out, countIf(outcome = 'cancelled') AS cancelled,
    quantileBFloat16StateIf(0.5)(response_ms, response_ms > 0) AS response,
    quantileBFloat16StateIf(0.5)(duration_ms, duration_ms > 0) AS duration,
    quantileBFloat16State(0.5)(delivery_lag_ms) AS delivery_lag,
    uniqCombinedStateIf(12)(guild_id, guild_id != 0) AS guilds,
    uniqCombinedStateIf(12)(user_key, user_key != 0) AS users
FROM interactions GROUP BY cluster, time
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192, max_bytes_before_external_group_by = 500000000;

CREATE OR REPLACE TABLE interactions_by_command_1m
(
    type         LowCardinality(String) COMMENT 'application_command, component, autocomplete, modal_submit or ping' CODEC(ZSTD(1)),
    command      LowCardinality(String) COMMENT 'Command with subcommands, or the prefix of a custom id' CODEC(ZSTD(1)),
    time         DateTime('UTC') COMMENT 'Start of the minute of the receipt, UTC' CODEC(Delta, ZSTD(1)),
    interactions SimpleAggregateFunction(sum, UInt64) COMMENT 'Interactions received' CODEC(T64, ZSTD(1)),
    succeeded    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome success' CODEC(T64, ZSTD(1)),
    failed       SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome error' CODEC(T64, ZSTD(1)),
    panicked     SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome panic' CODEC(T64, ZSTD(1)),
    timed_out    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome timed_out' CODEC(T64, ZSTD(1)),
    cancelled    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome cancelled' CODEC(T64, ZSTD(1)),
    tracked      UInt64 ALIAS succeeded + failed + panicked + timed_out + cancelled COMMENT 'With a known outcome',
    errors       UInt64 ALIAS failed + panicked + timed_out COMMENT 'Tracked ones that ended in error, panic or timed_out',
    response     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of response_ms where there was a response; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    duration     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of duration_ms where a handler was seen; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    delivery_lag AggregateFunction(quantileBFloat16(0.5), Int64) COMMENT 'Sketch of delivery_lag_ms; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    guilds       AggregateFunction(uniqCombined(12), UInt64) COMMENT 'Guilds; read it with uniqCombinedMerge(12), standard error 1.6 %' CODEC(ZSTD(1)),
    users        AggregateFunction(uniqCombined(12), UInt32) COMMENT 'Users by user_key; read it with uniqCombinedMerge(12), standard error 1.6 %; empty without a key' CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, type, command)
TTL time + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Interactions per command and minute'
AS SELECT
    type, command, toStartOfMinute(interactions.time) AS time, count() AS interactions,
    countIf(outcome = 'success') AS succeeded, countIf(outcome = 'error') AS failed, countIf(outcome = 'panic') AS panicked,
    countIf(outcome = 'timed_out') AS timed_out, countIf(outcome = 'cancelled') AS cancelled,
    quantileBFloat16StateIf(0.5)(response_ms, response_ms > 0) AS response,
    quantileBFloat16StateIf(0.5)(duration_ms, duration_ms > 0) AS duration,
    quantileBFloat16State(0.5)(delivery_lag_ms) AS delivery_lag,
    uniqCombinedStateIf(12)(guild_id, guild_id != 0) AS guilds,
    uniqCombinedStateIf(12)(user_key, user_key != 0) AS users
FROM interactions GROUP BY type, command, time
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192, max_bytes_before_external_group_by = 500000000;

CREATE OR REPLACE TABLE interactions_by_command_1h
(
    type         LowCardinality(String) COMMENT 'application_command, component, autocomplete, modal_submit or ping' CODEC(ZSTD(1)),
    command      LowCardinality(String) COMMENT 'Command with subcommands, or the prefix of a custom id' CODEC(ZSTD(1)),
    time         DateTime('UTC') COMMENT 'Start of the hour of the receipt, UTC' CODEC(Delta, ZSTD(1)),
    interactions SimpleAggregateFunction(sum, UInt64) COMMENT 'Interactions received' CODEC(T64, ZSTD(1)),
    succeeded    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome success' CODEC(T64, ZSTD(1)),
    failed       SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome error' CODEC(T64, ZSTD(1)),
    panicked     SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome panic' CODEC(T64, ZSTD(1)),
    timed_out    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome timed_out' CODEC(T64, ZSTD(1)),
    cancelled    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome cancelled' CODEC(T64, ZSTD(1)),
    tracked      UInt64 ALIAS succeeded + failed + panicked + timed_out + cancelled COMMENT 'With a known outcome',
    errors       UInt64 ALIAS failed + panicked + timed_out COMMENT 'Tracked ones that ended in error, panic or timed_out',
    response     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of response_ms where there was a response; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    duration     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of duration_ms where a handler was seen; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    delivery_lag AggregateFunction(quantileBFloat16(0.5), Int64) COMMENT 'Sketch of delivery_lag_ms; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    guilds       AggregateFunction(uniqCombined(12), UInt64) COMMENT 'Guilds; read it with uniqCombinedMerge(12), standard error 1.6 %' CODEC(ZSTD(1)),
    users        AggregateFunction(uniqCombined(12), UInt32) COMMENT 'Users by user_key; read it with uniqCombinedMerge(12), standard error 1.6 %; empty without a key' CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, type, command)
TTL time + INTERVAL 2 YEAR
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Interactions per command and hour'
AS SELECT
    type, command, toStartOfHour(interactions.time) AS time, count() AS interactions,
    countIf(outcome = 'success') AS succeeded, countIf(outcome = 'error') AS failed, countIf(outcome = 'panic') AS panicked,
    countIf(outcome = 'timed_out') AS timed_out, countIf(outcome = 'cancelled') AS cancelled,
    quantileBFloat16StateIf(0.5)(response_ms, response_ms > 0) AS response,
    quantileBFloat16StateIf(0.5)(duration_ms, duration_ms > 0) AS duration,
    quantileBFloat16State(0.5)(delivery_lag_ms) AS delivery_lag,
    uniqCombinedStateIf(12)(guild_id, guild_id != 0) AS guilds,
    uniqCombinedStateIf(12)(user_key, user_key != 0) AS users
FROM interactions GROUP BY type, command, time
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192, max_bytes_before_external_group_by = 500000000;

CREATE OR REPLACE TABLE interactions_by_command_1d
(
    type         LowCardinality(String) COMMENT 'application_command, component, autocomplete, modal_submit or ping' CODEC(ZSTD(1)),
    command      LowCardinality(String) COMMENT 'Command with subcommands, or the prefix of a custom id' CODEC(ZSTD(1)),
    time         DateTime('UTC') COMMENT 'Start of the day of the receipt, UTC' CODEC(Delta, ZSTD(1)),
    interactions SimpleAggregateFunction(sum, UInt64) COMMENT 'Interactions received' CODEC(T64, ZSTD(1)),
    succeeded    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome success' CODEC(T64, ZSTD(1)),
    failed       SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome error' CODEC(T64, ZSTD(1)),
    panicked     SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome panic' CODEC(T64, ZSTD(1)),
    timed_out    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome timed_out' CODEC(T64, ZSTD(1)),
    cancelled    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome cancelled' CODEC(T64, ZSTD(1)),
    tracked      UInt64 ALIAS succeeded + failed + panicked + timed_out + cancelled COMMENT 'With a known outcome',
    errors       UInt64 ALIAS failed + panicked + timed_out COMMENT 'Tracked ones that ended in error, panic or timed_out',
    response     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of response_ms where there was a response; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    duration     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of duration_ms where a handler was seen; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    delivery_lag AggregateFunction(quantileBFloat16(0.5), Int64) COMMENT 'Sketch of delivery_lag_ms; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    guilds       AggregateFunction(uniqCombined(12), UInt64) COMMENT 'Guilds; read it with uniqCombinedMerge(12), standard error 1.6 %' CODEC(ZSTD(1)),
    users        AggregateFunction(uniqCombined(12), UInt32) COMMENT 'Users by user_key; read it with uniqCombinedMerge(12), standard error 1.6 %; empty without a key' CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYear(time)
ORDER BY (time, type, command)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Interactions per command and day'
AS SELECT
    type, command, toStartOfDay(interactions.time) AS time, count() AS interactions,
    countIf(outcome = 'success') AS succeeded, countIf(outcome = 'error') AS failed, countIf(outcome = 'panic') AS panicked,
    countIf(outcome = 'timed_out') AS timed_out, countIf(outcome = 'cancelled') AS cancelled,
    quantileBFloat16StateIf(0.5)(response_ms, response_ms > 0) AS response,
    quantileBFloat16StateIf(0.5)(duration_ms, duration_ms > 0) AS duration,
    quantileBFloat16State(0.5)(delivery_lag_ms) AS delivery_lag,
    uniqCombinedStateIf(12)(guild_id, guild_id != 0) AS guilds,
    uniqCombinedStateIf(12)(user_key, user_key != 0) AS users
FROM interactions GROUP BY type, command, time
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192, max_bytes_before_external_group_by = 500000000;

CREATE OR REPLACE TABLE interactions_by_guild_1d
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
PARTITION BY toYear(time)
ORDER BY (time, guild_id)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Interactions per guild and day'
AS SELECT
    guild_id, toStartOfDay(interactions.time) AS time, count() AS interactions,
    countIf(outcome = 'success') AS succeeded, countIf(outcome = 'error') AS failed, countIf(outcome = 'panic') AS panicked,
    countIf(outcome = 'timed_out') AS timed_out, countIf(outcome = 'cancelled') AS cancelled,
    uniqCombinedStateIf(12)(user_key, user_key != 0) AS users
FROM interactions GROUP BY guild_id, time
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192, max_bytes_before_external_group_by = 500000000;

CREATE MATERIALIZED VIEW IF NOT EXISTS interactions_by_cluster_1m_view TO interactions_by_cluster_1m DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT
    cluster, toStartOfMinute(interactions.time) AS time, count() AS interactions,
    countIf(outcome = 'success') AS succeeded, countIf(outcome = 'error') AS failed, countIf(outcome = 'panic') AS panicked,
    countIf(outcome = 'timed_out') AS timed_out, countIf(outcome = 'cancelled') AS cancelled,
    quantileBFloat16StateIf(0.5)(response_ms, response_ms > 0) AS response,
    quantileBFloat16StateIf(0.5)(duration_ms, duration_ms > 0) AS duration,
    quantileBFloat16State(0.5)(delivery_lag_ms) AS delivery_lag,
    uniqCombinedStateIf(12)(guild_id, guild_id != 0) AS guilds,
    uniqCombinedStateIf(12)(user_key, user_key != 0) AS users
FROM interactions GROUP BY cluster, time;

CREATE MATERIALIZED VIEW IF NOT EXISTS interactions_by_cluster_1h_view TO interactions_by_cluster_1h DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT
    cluster, toStartOfHour(interactions.time) AS time, count() AS interactions,
    countIf(outcome = 'success') AS succeeded, countIf(outcome = 'error') AS failed, countIf(outcome = 'panic') AS panicked,
    countIf(outcome = 'timed_out') AS timed_out, countIf(outcome = 'cancelled') AS cancelled,
    quantileBFloat16StateIf(0.5)(response_ms, response_ms > 0) AS response,
    quantileBFloat16StateIf(0.5)(duration_ms, duration_ms > 0) AS duration,
    quantileBFloat16State(0.5)(delivery_lag_ms) AS delivery_lag,
    uniqCombinedStateIf(12)(guild_id, guild_id != 0) AS guilds,
    uniqCombinedStateIf(12)(user_key, user_key != 0) AS users
FROM interactions GROUP BY cluster, time;

CREATE MATERIALIZED VIEW IF NOT EXISTS interactions_by_cluster_1d_view TO interactions_by_cluster_1d DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT
    cluster, toStartOfDay(interactions.time) AS time, count() AS interactions,
    countIf(outcome = 'success') AS succeeded, countIf(outcome = 'error') AS failed, countIf(outcome = 'panic') AS panicked,
    countIf(outcome = 'timed_out') AS timed_out, countIf(outcome = 'cancelled') AS cancelled,
    quantileBFloat16StateIf(0.5)(response_ms, response_ms > 0) AS response,
    quantileBFloat16StateIf(0.5)(duration_ms, duration_ms > 0) AS duration,
    quantileBFloat16State(0.5)(delivery_lag_ms) AS delivery_lag,
    uniqCombinedStateIf(12)(guild_id, guild_id != 0) AS guilds,
    uniqCombinedStateIf(12)(user_key, user_key != 0) AS users
FROM interactions GROUP BY cluster, time;

CREATE MATERIALIZED VIEW IF NOT EXISTS interactions_by_command_1m_view TO interactions_by_command_1m DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT
    type, command, toStartOfMinute(interactions.time) AS time, count() AS interactions,
    countIf(outcome = 'success') AS succeeded, countIf(outcome = 'error') AS failed, countIf(outcome = 'panic') AS panicked,
    countIf(outcome = 'timed_out') AS timed_out, countIf(outcome = 'cancelled') AS cancelled,
    quantileBFloat16StateIf(0.5)(response_ms, response_ms > 0) AS response,
    quantileBFloat16StateIf(0.5)(duration_ms, duration_ms > 0) AS duration,
    quantileBFloat16State(0.5)(delivery_lag_ms) AS delivery_lag,
    uniqCombinedStateIf(12)(guild_id, guild_id != 0) AS guilds,
    uniqCombinedStateIf(12)(user_key, user_key != 0) AS users
FROM interactions GROUP BY type, command, time;

CREATE MATERIALIZED VIEW IF NOT EXISTS interactions_by_command_1h_view TO interactions_by_command_1h DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT
    type, command, toStartOfHour(interactions.time) AS time, count() AS interactions,
    countIf(outcome = 'success') AS succeeded, countIf(outcome = 'error') AS failed, countIf(outcome = 'panic') AS panicked,
    countIf(outcome = 'timed_out') AS timed_out, countIf(outcome = 'cancelled') AS cancelled,
    quantileBFloat16StateIf(0.5)(response_ms, response_ms > 0) AS response,
    quantileBFloat16StateIf(0.5)(duration_ms, duration_ms > 0) AS duration,
    quantileBFloat16State(0.5)(delivery_lag_ms) AS delivery_lag,
    uniqCombinedStateIf(12)(guild_id, guild_id != 0) AS guilds,
    uniqCombinedStateIf(12)(user_key, user_key != 0) AS users
FROM interactions GROUP BY type, command, time;

CREATE MATERIALIZED VIEW IF NOT EXISTS interactions_by_command_1d_view TO interactions_by_command_1d DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT
    type, command, toStartOfDay(interactions.time) AS time, count() AS interactions,
    countIf(outcome = 'success') AS succeeded, countIf(outcome = 'error') AS failed, countIf(outcome = 'panic') AS panicked,
    countIf(outcome = 'timed_out') AS timed_out, countIf(outcome = 'cancelled') AS cancelled,
    quantileBFloat16StateIf(0.5)(response_ms, response_ms > 0) AS response,
    quantileBFloat16StateIf(0.5)(duration_ms, duration_ms > 0) AS duration,
    quantileBFloat16State(0.5)(delivery_lag_ms) AS delivery_lag,
    uniqCombinedStateIf(12)(guild_id, guild_id != 0) AS guilds,
    uniqCombinedStateIf(12)(user_key, user_key != 0) AS users
FROM interactions GROUP BY type, command, time;

CREATE MATERIALIZED VIEW IF NOT EXISTS interactions_by_guild_1d_view TO interactions_by_guild_1d DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT
    guild_id, toStartOfDay(interactions.time) AS time, count() AS interactions,
    countIf(outcome = 'success') AS succeeded, countIf(outcome = 'error') AS failed, countIf(outcome = 'panic') AS panicked,
    countIf(outcome = 'timed_out') AS timed_out, countIf(outcome = 'cancelled') AS cancelled,
    uniqCombinedStateIf(12)(user_key, user_key != 0) AS users
FROM interactions GROUP BY guild_id, time;

CREATE MATERIALIZED VIEW IF NOT EXISTS interactions_batches TO batches AS
SELECT cluster, boot, 'interactions' AS table, batch, count() AS rows, min(time) AS first_time, max(time) AS last_time, now64(3, 'UTC') AS landed_at
FROM interactions GROUP BY cluster, boot, batch;

ALTER TABLE interactions DROP CONSTRAINT IF EXISTS not_before_its_views;

-- An insert that was on its way when 0007 took the old table away landed in it all the same.
INSERT INTO interactions (cluster, boot, batch, time, delivery_lag_ms, id_low, guild_id, shards_total, shard_offset,
    user_key, type, command, outcome, error_type, response_ms, duration_ms, locale, context)
SELECT
    cluster, boot, batch, time, delivery_lag_ms, bitAnd(interaction_id, 4194303) AS id_low, guild_id, 65535 AS shards_total,
    (shard + 65535 - intDiv(guild_id, 4194304) % 65535) % 65535 AS shard_offset,
    user_key, type, command, outcome, error_type, response_ms, duration_ms, locale, context
FROM interactions_0006
WHERE (cluster, boot, batch) NOT IN (SELECT DISTINCT cluster, boot, batch FROM interactions);

DROP TABLE IF EXISTS interactions_0006;
