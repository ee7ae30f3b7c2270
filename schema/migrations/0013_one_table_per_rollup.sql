-- Interactions by minute, hour and day, and now by week, in one table per rollup, filled by one view. A view takes as long to
-- plan as to run, and an insert plans every one of them (benches/README.md).
--
-- Each row is counted in a bucket of every length, so whoever reads the table names a `step`; the views under the old names
-- do. A part holds one step (it is in the partition key; weeks lie with days and are kept as long), so what is past its time
-- still goes by whole parts. Weeks are for ranges of years: a state takes microseconds to merge, and there are few of them.
-- Granules are small, since reading one state means reading those of its whole granule. An insert leaves a token for each
-- part that it makes, three, or four in the first week of a year, so four times as many are remembered as before.
--
-- Writers try again meanwhile: the raw table is closed by a constraint, as in 0009 (code 469). An insert that was on its way
-- at that moment may be missing in the rollup, and one whose answer was lost shortly before may be counted twice: what a
-- table remembers of tokens cannot be carried over. How long a step is kept is (schema/src/retention/live.rs).
ALTER TABLE interactions ADD CONSTRAINT IF NOT EXISTS not_before_its_views CHECK time < toDateTime64(0, 3, 'UTC');

DROP VIEW IF EXISTS interactions_by_cluster_1m_view;
DROP VIEW IF EXISTS interactions_by_cluster_1h_view;
DROP VIEW IF EXISTS interactions_by_cluster_1d_view;
DROP VIEW IF EXISTS interactions_by_command_1m_view;
DROP VIEW IF EXISTS interactions_by_command_1h_view;
DROP VIEW IF EXISTS interactions_by_command_1d_view;

CREATE OR REPLACE TABLE interactions_by_cluster_rollup
(
    step         Enum8('1m' = 1, '1h' = 2, '1d' = 3, '1w' = 4) COMMENT 'Length of the bucket: a minute, an hour, a day or a week from Monday. All is counted once in each, so name one' CODEC(ZSTD(1)),
    time         DateTime('UTC') COMMENT 'Start of the bucket of the receipt, UTC' CODEC(Delta, ZSTD(1)),
    cluster      LowCardinality(String) COMMENT 'Cluster (process of the bot)' CODEC(ZSTD(1)),
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
PARTITION BY (if(step = '1w', '1d', toString(step)), if(step IN ('1m', '1h'), toYYYYMM(time), toYear(time)))
ORDER BY (step, time, cluster)
SETTINGS non_replicated_deduplication_window = 40000, ttl_only_drop_parts = 1, index_granularity = 256
COMMENT 'Interactions per cluster and minute, hour, day or week; read interactions_by_cluster_1m, interactions_by_cluster_1h, interactions_by_cluster_1d or interactions_by_cluster_1w';

INSERT INTO interactions_by_cluster_rollup (step, time, cluster, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users)
SELECT '1m' AS step, time, cluster, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users FROM interactions_by_cluster_1m FINAL
WHERE (time, cluster) NOT IN (SELECT time, cluster FROM interactions_by_cluster_rollup WHERE step = '1m')
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192;

INSERT INTO interactions_by_cluster_rollup (step, time, cluster, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users)
SELECT '1h' AS step, time, cluster, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users FROM interactions_by_cluster_1h FINAL
WHERE (time, cluster) NOT IN (SELECT time, cluster FROM interactions_by_cluster_rollup WHERE step = '1h')
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192;

INSERT INTO interactions_by_cluster_rollup (step, time, cluster, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users)
SELECT '1d' AS step, time, cluster, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users FROM interactions_by_cluster_1d FINAL
WHERE (time, cluster) NOT IN (SELECT time, cluster FROM interactions_by_cluster_rollup WHERE step = '1d')
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192;

INSERT INTO interactions_by_cluster_rollup (step, time, cluster, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users)
SELECT '1w' AS step, toDateTime(toMonday(days.time), 'UTC') AS time,
    cluster, sum(days.interactions) AS interactions, sum(days.succeeded) AS succeeded, sum(days.failed) AS failed,
    sum(days.panicked) AS panicked, sum(days.timed_out) AS timed_out, sum(days.cancelled) AS cancelled,
    quantileBFloat16MergeState(0.5)(days.response) AS response,
    quantileBFloat16MergeState(0.5)(days.duration) AS duration,
    quantileBFloat16MergeState(0.5)(days.delivery_lag) AS delivery_lag,
    uniqCombinedMergeState(12)(days.guilds) AS guilds, uniqCombinedMergeState(12)(days.users) AS users
FROM interactions_by_cluster_1d AS days
WHERE (toDateTime(toMonday(days.time), 'UTC'), cluster) NOT IN (SELECT time, cluster FROM interactions_by_cluster_rollup WHERE step = '1w')
GROUP BY time, cluster
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192;

ALTER TABLE interactions_by_cluster_rollup MODIFY TTL multiIf(step = '1m', time + toIntervalDay(90), step = '1h', time + toIntervalYear(2), toDateTime(4294967295));

DROP TABLE IF EXISTS interactions_by_cluster_1m;

CREATE VIEW IF NOT EXISTS interactions_by_cluster_1m
(
    cluster      LowCardinality(String) COMMENT 'Cluster (process of the bot)',
    time         DateTime('UTC') COMMENT 'Start of the minute of the receipt, UTC',
    interactions SimpleAggregateFunction(sum, UInt64) COMMENT 'Interactions received',
    succeeded    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome success',
    failed       SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome error',
    panicked     SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome panic',
    timed_out    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome timed_out',
    cancelled    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome cancelled',
    tracked      UInt64 COMMENT 'With a known outcome',
    errors       UInt64 COMMENT 'Tracked ones that ended in error, panic or timed_out',
    response     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of response_ms where there was a response; read it with quantileBFloat16Merge(level)',
    duration     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of duration_ms where a handler was seen; read it with quantileBFloat16Merge(level)',
    delivery_lag AggregateFunction(quantileBFloat16(0.5), Int64) COMMENT 'Sketch of delivery_lag_ms; read it with quantileBFloat16Merge(level)',
    guilds       AggregateFunction(uniqCombined(12), UInt64) COMMENT 'Guilds; read it with uniqCombinedMerge(12), standard error 1.6 %',
    users        AggregateFunction(uniqCombined(12), UInt32) COMMENT 'Users by user_key; read it with uniqCombinedMerge(12), standard error 1.6 %; empty without a key'
)
AS SELECT cluster, time, interactions, succeeded, failed, panicked, timed_out, cancelled, tracked, errors, response, duration, delivery_lag, guilds, users
FROM interactions_by_cluster_rollup WHERE step = '1m'
COMMENT 'Interactions per cluster and minute';

DROP TABLE IF EXISTS interactions_by_cluster_1h;

CREATE VIEW IF NOT EXISTS interactions_by_cluster_1h
(
    cluster      LowCardinality(String) COMMENT 'Cluster (process of the bot)',
    time         DateTime('UTC') COMMENT 'Start of the hour of the receipt, UTC',
    interactions SimpleAggregateFunction(sum, UInt64) COMMENT 'Interactions received',
    succeeded    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome success',
    failed       SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome error',
    panicked     SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome panic',
    timed_out    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome timed_out',
    cancelled    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome cancelled',
    tracked      UInt64 COMMENT 'With a known outcome',
    errors       UInt64 COMMENT 'Tracked ones that ended in error, panic or timed_out',
    response     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of response_ms where there was a response; read it with quantileBFloat16Merge(level)',
    duration     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of duration_ms where a handler was seen; read it with quantileBFloat16Merge(level)',
    delivery_lag AggregateFunction(quantileBFloat16(0.5), Int64) COMMENT 'Sketch of delivery_lag_ms; read it with quantileBFloat16Merge(level)',
    guilds       AggregateFunction(uniqCombined(12), UInt64) COMMENT 'Guilds; read it with uniqCombinedMerge(12), standard error 1.6 %',
    users        AggregateFunction(uniqCombined(12), UInt32) COMMENT 'Users by user_key; read it with uniqCombinedMerge(12), standard error 1.6 %; empty without a key'
)
AS SELECT cluster, time, interactions, succeeded, failed, panicked, timed_out, cancelled, tracked, errors, response, duration, delivery_lag, guilds, users
FROM interactions_by_cluster_rollup WHERE step = '1h'
COMMENT 'Interactions per cluster and hour';

DROP TABLE IF EXISTS interactions_by_cluster_1d;

CREATE VIEW IF NOT EXISTS interactions_by_cluster_1d
(
    cluster      LowCardinality(String) COMMENT 'Cluster (process of the bot)',
    time         DateTime('UTC') COMMENT 'Start of the day of the receipt, UTC',
    interactions SimpleAggregateFunction(sum, UInt64) COMMENT 'Interactions received',
    succeeded    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome success',
    failed       SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome error',
    panicked     SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome panic',
    timed_out    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome timed_out',
    cancelled    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome cancelled',
    tracked      UInt64 COMMENT 'With a known outcome',
    errors       UInt64 COMMENT 'Tracked ones that ended in error, panic or timed_out',
    response     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of response_ms where there was a response; read it with quantileBFloat16Merge(level)',
    duration     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of duration_ms where a handler was seen; read it with quantileBFloat16Merge(level)',
    delivery_lag AggregateFunction(quantileBFloat16(0.5), Int64) COMMENT 'Sketch of delivery_lag_ms; read it with quantileBFloat16Merge(level)',
    guilds       AggregateFunction(uniqCombined(12), UInt64) COMMENT 'Guilds; read it with uniqCombinedMerge(12), standard error 1.6 %',
    users        AggregateFunction(uniqCombined(12), UInt32) COMMENT 'Users by user_key; read it with uniqCombinedMerge(12), standard error 1.6 %; empty without a key'
)
AS SELECT cluster, time, interactions, succeeded, failed, panicked, timed_out, cancelled, tracked, errors, response, duration, delivery_lag, guilds, users
FROM interactions_by_cluster_rollup WHERE step = '1d'
COMMENT 'Interactions per cluster and day';

CREATE VIEW IF NOT EXISTS interactions_by_cluster_1w
(
    cluster      LowCardinality(String) COMMENT 'Cluster (process of the bot)',
    time         DateTime('UTC') COMMENT 'Start of the week of the receipt, UTC',
    interactions SimpleAggregateFunction(sum, UInt64) COMMENT 'Interactions received',
    succeeded    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome success',
    failed       SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome error',
    panicked     SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome panic',
    timed_out    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome timed_out',
    cancelled    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome cancelled',
    tracked      UInt64 COMMENT 'With a known outcome',
    errors       UInt64 COMMENT 'Tracked ones that ended in error, panic or timed_out',
    response     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of response_ms where there was a response; read it with quantileBFloat16Merge(level)',
    duration     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of duration_ms where a handler was seen; read it with quantileBFloat16Merge(level)',
    delivery_lag AggregateFunction(quantileBFloat16(0.5), Int64) COMMENT 'Sketch of delivery_lag_ms; read it with quantileBFloat16Merge(level)',
    guilds       AggregateFunction(uniqCombined(12), UInt64) COMMENT 'Guilds; read it with uniqCombinedMerge(12), standard error 1.6 %',
    users        AggregateFunction(uniqCombined(12), UInt32) COMMENT 'Users by user_key; read it with uniqCombinedMerge(12), standard error 1.6 %; empty without a key'
)
AS SELECT cluster, time, interactions, succeeded, failed, panicked, timed_out, cancelled, tracked, errors, response, duration, delivery_lag, guilds, users
FROM interactions_by_cluster_rollup WHERE step = '1w'
COMMENT 'Interactions per cluster and week';

CREATE MATERIALIZED VIEW IF NOT EXISTS interactions_by_cluster_rollup_view TO interactions_by_cluster_rollup DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT
    bucket.1 AS step, bucket.2 AS time, cluster, count() AS interactions,
    countIf(outcome = 'success') AS succeeded, countIf(outcome = 'error') AS failed, countIf(outcome = 'panic') AS panicked,
    countIf(outcome = 'timed_out') AS timed_out, countIf(outcome = 'cancelled') AS cancelled,
    quantileBFloat16StateIf(0.5)(response_ms, response_ms > 0) AS response,
    quantileBFloat16StateIf(0.5)(duration_ms, duration_ms > 0) AS duration,
    quantileBFloat16State(0.5)(delivery_lag_ms) AS delivery_lag,
    uniqCombinedStateIf(12)(guild_id, guild_id != 0) AS guilds,
    uniqCombinedStateIf(12)(user_key, user_key != 0) AS users
FROM interactions ARRAY JOIN [
    ('1m', toStartOfMinute(interactions.time)),
    ('1h', toStartOfHour(interactions.time)),
    ('1d', toStartOfDay(interactions.time)),
    ('1w', toDateTime(toMonday(interactions.time), 'UTC'))] AS bucket
GROUP BY step, time, cluster;

CREATE OR REPLACE TABLE interactions_by_command_rollup
(
    step         Enum8('1m' = 1, '1h' = 2, '1d' = 3, '1w' = 4) COMMENT 'Length of the bucket: a minute, an hour, a day or a week from Monday. All is counted once in each, so name one' CODEC(ZSTD(1)),
    time         DateTime('UTC') COMMENT 'Start of the bucket of the receipt, UTC' CODEC(Delta, ZSTD(1)),
    type         LowCardinality(String) COMMENT 'application_command, component, autocomplete, modal_submit or ping' CODEC(ZSTD(1)),
    command      LowCardinality(String) COMMENT 'Command with subcommands, or the prefix of a custom id' CODEC(ZSTD(1)),
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
PARTITION BY (if(step = '1w', '1d', toString(step)), if(step IN ('1m', '1h'), toYYYYMM(time), toYear(time)))
ORDER BY (step, time, type, command)
SETTINGS non_replicated_deduplication_window = 40000, ttl_only_drop_parts = 1, index_granularity = 256
COMMENT 'Interactions per command and minute, hour, day or week; read interactions_by_command_1m, interactions_by_command_1h, interactions_by_command_1d or interactions_by_command_1w';

INSERT INTO interactions_by_command_rollup (step, time, type, command, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users)
SELECT '1m' AS step, time, type, command, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users FROM interactions_by_command_1m FINAL
WHERE (time, type, command) NOT IN (SELECT time, type, command FROM interactions_by_command_rollup WHERE step = '1m')
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192;

INSERT INTO interactions_by_command_rollup (step, time, type, command, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users)
SELECT '1h' AS step, time, type, command, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users FROM interactions_by_command_1h FINAL
WHERE (time, type, command) NOT IN (SELECT time, type, command FROM interactions_by_command_rollup WHERE step = '1h')
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192;

INSERT INTO interactions_by_command_rollup (step, time, type, command, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users)
SELECT '1d' AS step, time, type, command, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users FROM interactions_by_command_1d FINAL
WHERE (time, type, command) NOT IN (SELECT time, type, command FROM interactions_by_command_rollup WHERE step = '1d')
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192;

INSERT INTO interactions_by_command_rollup (step, time, type, command, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users)
SELECT '1w' AS step, toDateTime(toMonday(days.time), 'UTC') AS time,
    type, command, sum(days.interactions) AS interactions, sum(days.succeeded) AS succeeded, sum(days.failed) AS failed,
    sum(days.panicked) AS panicked, sum(days.timed_out) AS timed_out, sum(days.cancelled) AS cancelled,
    quantileBFloat16MergeState(0.5)(days.response) AS response,
    quantileBFloat16MergeState(0.5)(days.duration) AS duration,
    quantileBFloat16MergeState(0.5)(days.delivery_lag) AS delivery_lag,
    uniqCombinedMergeState(12)(days.guilds) AS guilds, uniqCombinedMergeState(12)(days.users) AS users
FROM interactions_by_command_1d AS days
WHERE (toDateTime(toMonday(days.time), 'UTC'), type, command) NOT IN (SELECT time, type, command FROM interactions_by_command_rollup WHERE step = '1w')
GROUP BY time, type, command
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192;

ALTER TABLE interactions_by_command_rollup MODIFY TTL multiIf(step = '1m', time + toIntervalDay(90), step = '1h', time + toIntervalYear(2), toDateTime(4294967295));

DROP TABLE IF EXISTS interactions_by_command_1m;

CREATE VIEW IF NOT EXISTS interactions_by_command_1m
(
    type         LowCardinality(String) COMMENT 'application_command, component, autocomplete, modal_submit or ping',
    command      LowCardinality(String) COMMENT 'Command with subcommands, or the prefix of a custom id',
    time         DateTime('UTC') COMMENT 'Start of the minute of the receipt, UTC',
    interactions SimpleAggregateFunction(sum, UInt64) COMMENT 'Interactions received',
    succeeded    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome success',
    failed       SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome error',
    panicked     SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome panic',
    timed_out    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome timed_out',
    cancelled    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome cancelled',
    tracked      UInt64 COMMENT 'With a known outcome',
    errors       UInt64 COMMENT 'Tracked ones that ended in error, panic or timed_out',
    response     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of response_ms where there was a response; read it with quantileBFloat16Merge(level)',
    duration     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of duration_ms where a handler was seen; read it with quantileBFloat16Merge(level)',
    delivery_lag AggregateFunction(quantileBFloat16(0.5), Int64) COMMENT 'Sketch of delivery_lag_ms; read it with quantileBFloat16Merge(level)',
    guilds       AggregateFunction(uniqCombined(12), UInt64) COMMENT 'Guilds; read it with uniqCombinedMerge(12), standard error 1.6 %',
    users        AggregateFunction(uniqCombined(12), UInt32) COMMENT 'Users by user_key; read it with uniqCombinedMerge(12), standard error 1.6 %; empty without a key'
)
AS SELECT type, command, time, interactions, succeeded, failed, panicked, timed_out, cancelled, tracked, errors, response, duration, delivery_lag, guilds, users
FROM interactions_by_command_rollup WHERE step = '1m'
COMMENT 'Interactions per command and minute';

DROP TABLE IF EXISTS interactions_by_command_1h;

CREATE VIEW IF NOT EXISTS interactions_by_command_1h
(
    type         LowCardinality(String) COMMENT 'application_command, component, autocomplete, modal_submit or ping',
    command      LowCardinality(String) COMMENT 'Command with subcommands, or the prefix of a custom id',
    time         DateTime('UTC') COMMENT 'Start of the hour of the receipt, UTC',
    interactions SimpleAggregateFunction(sum, UInt64) COMMENT 'Interactions received',
    succeeded    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome success',
    failed       SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome error',
    panicked     SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome panic',
    timed_out    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome timed_out',
    cancelled    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome cancelled',
    tracked      UInt64 COMMENT 'With a known outcome',
    errors       UInt64 COMMENT 'Tracked ones that ended in error, panic or timed_out',
    response     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of response_ms where there was a response; read it with quantileBFloat16Merge(level)',
    duration     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of duration_ms where a handler was seen; read it with quantileBFloat16Merge(level)',
    delivery_lag AggregateFunction(quantileBFloat16(0.5), Int64) COMMENT 'Sketch of delivery_lag_ms; read it with quantileBFloat16Merge(level)',
    guilds       AggregateFunction(uniqCombined(12), UInt64) COMMENT 'Guilds; read it with uniqCombinedMerge(12), standard error 1.6 %',
    users        AggregateFunction(uniqCombined(12), UInt32) COMMENT 'Users by user_key; read it with uniqCombinedMerge(12), standard error 1.6 %; empty without a key'
)
AS SELECT type, command, time, interactions, succeeded, failed, panicked, timed_out, cancelled, tracked, errors, response, duration, delivery_lag, guilds, users
FROM interactions_by_command_rollup WHERE step = '1h'
COMMENT 'Interactions per command and hour';

DROP TABLE IF EXISTS interactions_by_command_1d;

CREATE VIEW IF NOT EXISTS interactions_by_command_1d
(
    type         LowCardinality(String) COMMENT 'application_command, component, autocomplete, modal_submit or ping',
    command      LowCardinality(String) COMMENT 'Command with subcommands, or the prefix of a custom id',
    time         DateTime('UTC') COMMENT 'Start of the day of the receipt, UTC',
    interactions SimpleAggregateFunction(sum, UInt64) COMMENT 'Interactions received',
    succeeded    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome success',
    failed       SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome error',
    panicked     SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome panic',
    timed_out    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome timed_out',
    cancelled    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome cancelled',
    tracked      UInt64 COMMENT 'With a known outcome',
    errors       UInt64 COMMENT 'Tracked ones that ended in error, panic or timed_out',
    response     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of response_ms where there was a response; read it with quantileBFloat16Merge(level)',
    duration     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of duration_ms where a handler was seen; read it with quantileBFloat16Merge(level)',
    delivery_lag AggregateFunction(quantileBFloat16(0.5), Int64) COMMENT 'Sketch of delivery_lag_ms; read it with quantileBFloat16Merge(level)',
    guilds       AggregateFunction(uniqCombined(12), UInt64) COMMENT 'Guilds; read it with uniqCombinedMerge(12), standard error 1.6 %',
    users        AggregateFunction(uniqCombined(12), UInt32) COMMENT 'Users by user_key; read it with uniqCombinedMerge(12), standard error 1.6 %; empty without a key'
)
AS SELECT type, command, time, interactions, succeeded, failed, panicked, timed_out, cancelled, tracked, errors, response, duration, delivery_lag, guilds, users
FROM interactions_by_command_rollup WHERE step = '1d'
COMMENT 'Interactions per command and day';

CREATE VIEW IF NOT EXISTS interactions_by_command_1w
(
    type         LowCardinality(String) COMMENT 'application_command, component, autocomplete, modal_submit or ping',
    command      LowCardinality(String) COMMENT 'Command with subcommands, or the prefix of a custom id',
    time         DateTime('UTC') COMMENT 'Start of the week of the receipt, UTC',
    interactions SimpleAggregateFunction(sum, UInt64) COMMENT 'Interactions received',
    succeeded    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome success',
    failed       SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome error',
    panicked     SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome panic',
    timed_out    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome timed_out',
    cancelled    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome cancelled',
    tracked      UInt64 COMMENT 'With a known outcome',
    errors       UInt64 COMMENT 'Tracked ones that ended in error, panic or timed_out',
    response     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of response_ms where there was a response; read it with quantileBFloat16Merge(level)',
    duration     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of duration_ms where a handler was seen; read it with quantileBFloat16Merge(level)',
    delivery_lag AggregateFunction(quantileBFloat16(0.5), Int64) COMMENT 'Sketch of delivery_lag_ms; read it with quantileBFloat16Merge(level)',
    guilds       AggregateFunction(uniqCombined(12), UInt64) COMMENT 'Guilds; read it with uniqCombinedMerge(12), standard error 1.6 %',
    users        AggregateFunction(uniqCombined(12), UInt32) COMMENT 'Users by user_key; read it with uniqCombinedMerge(12), standard error 1.6 %; empty without a key'
)
AS SELECT type, command, time, interactions, succeeded, failed, panicked, timed_out, cancelled, tracked, errors, response, duration, delivery_lag, guilds, users
FROM interactions_by_command_rollup WHERE step = '1w'
COMMENT 'Interactions per command and week';

CREATE MATERIALIZED VIEW IF NOT EXISTS interactions_by_command_rollup_view TO interactions_by_command_rollup DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT
    bucket.1 AS step, bucket.2 AS time, type, command, count() AS interactions,
    countIf(outcome = 'success') AS succeeded, countIf(outcome = 'error') AS failed, countIf(outcome = 'panic') AS panicked,
    countIf(outcome = 'timed_out') AS timed_out, countIf(outcome = 'cancelled') AS cancelled,
    quantileBFloat16StateIf(0.5)(response_ms, response_ms > 0) AS response,
    quantileBFloat16StateIf(0.5)(duration_ms, duration_ms > 0) AS duration,
    quantileBFloat16State(0.5)(delivery_lag_ms) AS delivery_lag,
    uniqCombinedStateIf(12)(guild_id, guild_id != 0) AS guilds,
    uniqCombinedStateIf(12)(user_key, user_key != 0) AS users
FROM interactions ARRAY JOIN [
    ('1m', toStartOfMinute(interactions.time)),
    ('1h', toStartOfHour(interactions.time)),
    ('1d', toStartOfDay(interactions.time)),
    ('1w', toDateTime(toMonday(interactions.time), 'UTC'))] AS bucket
GROUP BY step, time, type, command;

ALTER TABLE interactions DROP CONSTRAINT IF EXISTS not_before_its_views;
