-- Dispatches by minute, hour, day and week in one table, as 0013 has interactions.
ALTER TABLE gateway_counts ADD CONSTRAINT IF NOT EXISTS not_before_its_views CHECK time < toDateTime64(0, 3, 'UTC');

DROP VIEW IF EXISTS gateway_counts_1m_view;
DROP VIEW IF EXISTS gateway_counts_1h_view;
DROP VIEW IF EXISTS gateway_counts_1d_view;

CREATE OR REPLACE TABLE gateway_counts_rollup
(
    step       Enum8('1m' = 1, '1h' = 2, '1d' = 3, '1w' = 4) COMMENT 'Length of the bucket: a minute, an hour, a day or a week from Monday. All is counted once in each, so name one' CODEC(ZSTD(1)),
    time       DateTime('UTC') COMMENT 'Start of the bucket, UTC' CODEC(Delta, ZSTD(1)),
    event      LowCardinality(String) COMMENT 'Dispatch type as Discord names it' CODEC(ZSTD(1)),
    cluster    LowCardinality(String) COMMENT 'Cluster (process of the bot) that received them' CODEC(ZSTD(1)),
    dispatches SimpleAggregateFunction(sum, UInt64) COMMENT 'Dispatches received, replays included' CODEC(T64, ZSTD(1)),
    replayed   SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, replayed after a resume' CODEC(T64, ZSTD(1)),
    bytes      SimpleAggregateFunction(sum, UInt64) COMMENT 'Size of their JSON text after decompression, bytes' CODEC(T64, ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (if(step = '1w', '1d', toString(step)), if(step IN ('1m', '1h'), toYYYYMM(time), toYear(time)))
ORDER BY (step, time, event, cluster)
SETTINGS non_replicated_deduplication_window = 40000, ttl_only_drop_parts = 1, index_granularity = 256
COMMENT 'Dispatches per type, cluster and minute, hour, day or week; read gateway_counts_1m, gateway_counts_1h, gateway_counts_1d or gateway_counts_1w';

INSERT INTO gateway_counts_rollup (step, time, event, cluster, dispatches, replayed, bytes)
SELECT '1m' AS step, time, event, cluster, dispatches, replayed, bytes FROM gateway_counts_1m FINAL
WHERE (time, event, cluster) NOT IN (SELECT time, event, cluster FROM gateway_counts_rollup WHERE step = '1m');

INSERT INTO gateway_counts_rollup (step, time, event, cluster, dispatches, replayed, bytes)
SELECT '1h' AS step, time, event, cluster, dispatches, replayed, bytes FROM gateway_counts_1h FINAL
WHERE (time, event, cluster) NOT IN (SELECT time, event, cluster FROM gateway_counts_rollup WHERE step = '1h');

INSERT INTO gateway_counts_rollup (step, time, event, cluster, dispatches, replayed, bytes)
SELECT '1d' AS step, time, event, cluster, dispatches, replayed, bytes FROM gateway_counts_1d FINAL
WHERE (time, event, cluster) NOT IN (SELECT time, event, cluster FROM gateway_counts_rollup WHERE step = '1d');

INSERT INTO gateway_counts_rollup (step, time, event, cluster, dispatches, replayed, bytes)
SELECT '1w' AS step, toDateTime(toMonday(days.time), 'UTC') AS time,
    event, cluster, sum(days.dispatches) AS dispatches, sum(days.replayed) AS replayed, sum(days.bytes) AS bytes
FROM gateway_counts_1d AS days
WHERE (toDateTime(toMonday(days.time), 'UTC'), event, cluster) NOT IN (SELECT time, event, cluster FROM gateway_counts_rollup WHERE step = '1w')
GROUP BY time, event, cluster;

ALTER TABLE gateway_counts_rollup MODIFY TTL multiIf(step = '1m', time + toIntervalDay(90), step = '1h', time + toIntervalYear(2), toDateTime(4294967295));

DROP TABLE IF EXISTS gateway_counts_1m;

CREATE VIEW IF NOT EXISTS gateway_counts_1m
(
    event      LowCardinality(String) COMMENT 'Dispatch type as Discord names it',
    cluster    LowCardinality(String) COMMENT 'Cluster (process of the bot) that received them',
    time       DateTime('UTC') COMMENT 'Start of the minute, UTC',
    dispatches SimpleAggregateFunction(sum, UInt64) COMMENT 'Dispatches received, replays included',
    replayed   SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, replayed after a resume',
    bytes      SimpleAggregateFunction(sum, UInt64) COMMENT 'Size of their JSON text after decompression, bytes'
)
AS SELECT event, cluster, time, dispatches, replayed, bytes
FROM gateway_counts_rollup WHERE step = '1m'
COMMENT 'Dispatches per type, cluster and minute';

DROP TABLE IF EXISTS gateway_counts_1h;

CREATE VIEW IF NOT EXISTS gateway_counts_1h
(
    event      LowCardinality(String) COMMENT 'Dispatch type as Discord names it',
    cluster    LowCardinality(String) COMMENT 'Cluster (process of the bot) that received them',
    time       DateTime('UTC') COMMENT 'Start of the hour, UTC',
    dispatches SimpleAggregateFunction(sum, UInt64) COMMENT 'Dispatches received, replays included',
    replayed   SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, replayed after a resume',
    bytes      SimpleAggregateFunction(sum, UInt64) COMMENT 'Size of their JSON text after decompression, bytes'
)
AS SELECT event, cluster, time, dispatches, replayed, bytes
FROM gateway_counts_rollup WHERE step = '1h'
COMMENT 'Dispatches per type, cluster and hour';

DROP TABLE IF EXISTS gateway_counts_1d;

CREATE VIEW IF NOT EXISTS gateway_counts_1d
(
    event      LowCardinality(String) COMMENT 'Dispatch type as Discord names it',
    cluster    LowCardinality(String) COMMENT 'Cluster (process of the bot) that received them',
    time       DateTime('UTC') COMMENT 'Start of the day, UTC',
    dispatches SimpleAggregateFunction(sum, UInt64) COMMENT 'Dispatches received, replays included',
    replayed   SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, replayed after a resume',
    bytes      SimpleAggregateFunction(sum, UInt64) COMMENT 'Size of their JSON text after decompression, bytes'
)
AS SELECT event, cluster, time, dispatches, replayed, bytes
FROM gateway_counts_rollup WHERE step = '1d'
COMMENT 'Dispatches per type, cluster and day';

CREATE VIEW IF NOT EXISTS gateway_counts_1w
(
    event      LowCardinality(String) COMMENT 'Dispatch type as Discord names it',
    cluster    LowCardinality(String) COMMENT 'Cluster (process of the bot) that received them',
    time       DateTime('UTC') COMMENT 'Start of the week, UTC',
    dispatches SimpleAggregateFunction(sum, UInt64) COMMENT 'Dispatches received, replays included',
    replayed   SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, replayed after a resume',
    bytes      SimpleAggregateFunction(sum, UInt64) COMMENT 'Size of their JSON text after decompression, bytes'
)
AS SELECT event, cluster, time, dispatches, replayed, bytes
FROM gateway_counts_rollup WHERE step = '1w'
COMMENT 'Dispatches per type, cluster and week';

CREATE MATERIALIZED VIEW IF NOT EXISTS gateway_counts_rollup_view TO gateway_counts_rollup DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT
    bucket.1 AS step, bucket.2 AS time, event, cluster, sum(gateway_counts.dispatches) AS dispatches,
    sum(gateway_counts.replayed) AS replayed, sum(gateway_counts.bytes) AS bytes
FROM gateway_counts ARRAY JOIN [
    ('1m', toStartOfMinute(gateway_counts.time)),
    ('1h', toStartOfHour(gateway_counts.time)),
    ('1d', toStartOfDay(gateway_counts.time)),
    ('1w', toDateTime(toMonday(gateway_counts.time), 'UTC'))] AS bucket
GROUP BY step, time, event, cluster;

ALTER TABLE gateway_counts DROP CONSTRAINT IF EXISTS not_before_its_views;
