-- What is kept longer than its raw rows: dispatches by type and cluster, changes of shards by day, heartbeats by hour. A shard
-- has a column where it is few rows: 1,600 shards with 30 types of dispatches would be 420 million rows a year by the hour.
--
-- A raw table is closed by a constraint while its rollups are filled and its views made: writers try again (code 469).
-- An insert that was on its way at that moment may be missing in the rollups.
ALTER TABLE gateway_counts ADD CONSTRAINT IF NOT EXISTS not_before_its_views CHECK time < toDateTime64(0, 3, 'UTC');

CREATE OR REPLACE TABLE gateway_counts_1m
(
    event      LowCardinality(String) COMMENT 'Dispatch type as Discord names it' CODEC(ZSTD(1)),
    cluster    LowCardinality(String) COMMENT 'Cluster (process of the bot) that received them' CODEC(ZSTD(1)),
    time       DateTime('UTC') COMMENT 'Start of the minute, UTC' CODEC(Delta, ZSTD(1)),
    dispatches SimpleAggregateFunction(sum, UInt64) COMMENT 'Dispatches received, replays included' CODEC(T64, ZSTD(1)),
    replayed   SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, replayed after a resume' CODEC(T64, ZSTD(1)),
    bytes      SimpleAggregateFunction(sum, UInt64) COMMENT 'Size of their JSON text after decompression, bytes' CODEC(T64, ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, event, cluster)
TTL time + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Dispatches per type, cluster and minute'
AS SELECT event, cluster, toStartOfMinute(gateway_counts.time) AS time, sum(gateway_counts.dispatches) AS dispatches, sum(gateway_counts.replayed) AS replayed, sum(gateway_counts.bytes) AS bytes
FROM gateway_counts GROUP BY event, cluster, time;

CREATE OR REPLACE TABLE gateway_counts_1h
(
    event      LowCardinality(String) COMMENT 'Dispatch type as Discord names it' CODEC(ZSTD(1)),
    cluster    LowCardinality(String) COMMENT 'Cluster (process of the bot) that received them' CODEC(ZSTD(1)),
    time       DateTime('UTC') COMMENT 'Start of the hour, UTC' CODEC(Delta, ZSTD(1)),
    dispatches SimpleAggregateFunction(sum, UInt64) COMMENT 'Dispatches received, replays included' CODEC(T64, ZSTD(1)),
    replayed   SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, replayed after a resume' CODEC(T64, ZSTD(1)),
    bytes      SimpleAggregateFunction(sum, UInt64) COMMENT 'Size of their JSON text after decompression, bytes' CODEC(T64, ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, event, cluster)
TTL time + INTERVAL 2 YEAR
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Dispatches per type, cluster and hour'
AS SELECT event, cluster, toStartOfHour(gateway_counts.time) AS time, sum(gateway_counts.dispatches) AS dispatches, sum(gateway_counts.replayed) AS replayed, sum(gateway_counts.bytes) AS bytes
FROM gateway_counts GROUP BY event, cluster, time;

CREATE OR REPLACE TABLE gateway_counts_1d
(
    event      LowCardinality(String) COMMENT 'Dispatch type as Discord names it' CODEC(ZSTD(1)),
    cluster    LowCardinality(String) COMMENT 'Cluster (process of the bot) that received them' CODEC(ZSTD(1)),
    time       DateTime('UTC') COMMENT 'Start of the day, UTC' CODEC(Delta, ZSTD(1)),
    dispatches SimpleAggregateFunction(sum, UInt64) COMMENT 'Dispatches received, replays included' CODEC(T64, ZSTD(1)),
    replayed   SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, replayed after a resume' CODEC(T64, ZSTD(1)),
    bytes      SimpleAggregateFunction(sum, UInt64) COMMENT 'Size of their JSON text after decompression, bytes' CODEC(T64, ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYear(time)
ORDER BY (time, event, cluster)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Dispatches per type, cluster and day'
AS SELECT event, cluster, toStartOfDay(gateway_counts.time) AS time, sum(gateway_counts.dispatches) AS dispatches, sum(gateway_counts.replayed) AS replayed, sum(gateway_counts.bytes) AS bytes
FROM gateway_counts GROUP BY event, cluster, time;

CREATE MATERIALIZED VIEW IF NOT EXISTS gateway_counts_1m_view TO gateway_counts_1m DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT event, cluster, toStartOfMinute(gateway_counts.time) AS time, sum(gateway_counts.dispatches) AS dispatches, sum(gateway_counts.replayed) AS replayed, sum(gateway_counts.bytes) AS bytes
FROM gateway_counts GROUP BY event, cluster, time;

CREATE MATERIALIZED VIEW IF NOT EXISTS gateway_counts_1h_view TO gateway_counts_1h DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT event, cluster, toStartOfHour(gateway_counts.time) AS time, sum(gateway_counts.dispatches) AS dispatches, sum(gateway_counts.replayed) AS replayed, sum(gateway_counts.bytes) AS bytes
FROM gateway_counts GROUP BY event, cluster, time;

CREATE MATERIALIZED VIEW IF NOT EXISTS gateway_counts_1d_view TO gateway_counts_1d DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT event, cluster, toStartOfDay(gateway_counts.time) AS time, sum(gateway_counts.dispatches) AS dispatches, sum(gateway_counts.replayed) AS replayed, sum(gateway_counts.bytes) AS bytes
FROM gateway_counts GROUP BY event, cluster, time;

ALTER TABLE gateway_counts DROP CONSTRAINT IF EXISTS not_before_its_views;

ALTER TABLE shard_events ADD CONSTRAINT IF NOT EXISTS not_before_its_views CHECK time < toDateTime64(0, 3, 'UTC');

CREATE OR REPLACE TABLE shard_events_1d
(
    cluster             LowCardinality(String) COMMENT 'Cluster (process of the bot) that held the shard' CODEC(ZSTD(1)),
    shard               UInt16 COMMENT 'Shard id' CODEC(ZSTD(1)),
    event               LowCardinality(String) COMMENT 'As in shard_events' CODEC(ZSTD(1)),
    cause               LowCardinality(String) COMMENT 'As in shard_events' CODEC(ZSTD(1)),
    time                DateTime('UTC') COMMENT 'Start of the day, UTC' CODEC(Delta, ZSTD(1)),
    events              SimpleAggregateFunction(sum, UInt64) COMMENT 'Such changes' CODEC(T64, ZSTD(1)),
    downtime_ms         SimpleAggregateFunction(sum, UInt64) COMMENT 'On ready and resumed: time that shards were not active before, ms in all; otherwise 0' CODEC(T64, ZSTD(1)),
    longest_downtime_ms SimpleAggregateFunction(max, UInt32) COMMENT 'The longest of these, ms' CODEC(T64, ZSTD(1)),
    replayed            SimpleAggregateFunction(sum, UInt64) COMMENT 'On resumed: dispatches that Discord sent again; otherwise 0' CODEC(T64, ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYear(time)
ORDER BY (time, cluster, shard, event, cause)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Changes in the life of shards per day'
AS SELECT cluster, shard, event, cause, toStartOfDay(shard_events.time) AS time, count() AS events,
    sum(shard_events.downtime_ms) AS downtime_ms, max(shard_events.downtime_ms) AS longest_downtime_ms, sum(shard_events.replayed) AS replayed
FROM shard_events GROUP BY cluster, shard, event, cause, time;

CREATE MATERIALIZED VIEW IF NOT EXISTS shard_events_1d_view TO shard_events_1d DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT cluster, shard, event, cause, toStartOfDay(shard_events.time) AS time, count() AS events,
    sum(shard_events.downtime_ms) AS downtime_ms, max(shard_events.downtime_ms) AS longest_downtime_ms, sum(shard_events.replayed) AS replayed
FROM shard_events GROUP BY cluster, shard, event, cause, time;

ALTER TABLE shard_events DROP CONSTRAINT IF EXISTS not_before_its_views;

ALTER TABLE samples ADD CONSTRAINT IF NOT EXISTS not_before_its_views CHECK time < toDateTime64(0, 3, 'UTC');

CREATE OR REPLACE TABLE shard_latency_1h
(
    cluster       LowCardinality(String) COMMENT 'Cluster (process of the bot) that held the shard' CODEC(ZSTD(1)),
    shard         UInt16 COMMENT 'Shard id' CODEC(ZSTD(1)),
    time          DateTime('UTC') COMMENT 'Start of the hour, UTC' CODEC(Delta, ZSTD(1)),
    samples       SimpleAggregateFunction(sum, UInt64) COMMENT 'Samples of discord_shard_latency_seconds' CODEC(T64, ZSTD(1)),
    latency_sum_s SimpleAggregateFunction(sum, Float64) COMMENT 'Their sum, seconds; over samples it is their mean' CODEC(ZSTD(1)),
    latency_min_s SimpleAggregateFunction(min, Float64) COMMENT 'The shortest heartbeat round trip among them, seconds' CODEC(ZSTD(1)),
    latency_max_s SimpleAggregateFunction(max, Float64) COMMENT 'The longest, seconds' CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, cluster, shard)
TTL time + INTERVAL 2 YEAR
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Heartbeat round trips per shard and hour'
AS SELECT cluster, toUInt16OrZero(labels['shard']) AS shard, toStartOfHour(samples.time) AS time,
    count() AS samples, sum(value) AS latency_sum_s, min(value) AS latency_min_s, max(value) AS latency_max_s
FROM samples WHERE name = 'discord_shard_latency_seconds' GROUP BY cluster, shard, time;

CREATE MATERIALIZED VIEW IF NOT EXISTS shard_latency_1h_view TO shard_latency_1h DEFINER = CURRENT_USER SQL SECURITY DEFINER AS
SELECT cluster, toUInt16OrZero(labels['shard']) AS shard, toStartOfHour(samples.time) AS time,
    count() AS samples, sum(value) AS latency_sum_s, min(value) AS latency_min_s, max(value) AS latency_max_s
FROM samples WHERE name = 'discord_shard_latency_seconds' GROUP BY cluster, shard, time;

ALTER TABLE samples DROP CONSTRAINT IF EXISTS not_before_its_views;
