-- What landed, said by ClickHouse itself: a materialized view on each raw table adds one row per insert, so a gap in
-- the sequence is a lost batch. Its own deduplication window keeps a retried insert from being counted twice.
CREATE TABLE IF NOT EXISTS batches
(
    cluster    LowCardinality(String) COMMENT 'Cluster (process of the bot) that sent it',
    boot       UInt64 COMMENT 'Start of that process, see processes.boot',
    table      LowCardinality(String) COMMENT 'Raw table it went into',
    batch      UInt64 COMMENT 'Sequence per cluster, boot and table, from 1 without gaps',
    rows       UInt64 COMMENT 'Rows that landed',
    first_time DateTime64(3, 'UTC') COMMENT 'Earliest time among its rows, UTC',
    last_time  DateTime64(3, 'UTC') COMMENT 'Latest time among its rows, UTC',
    landed_at  DateTime64(3, 'UTC') COMMENT 'When it landed, clock of the server, UTC'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(last_time)
ORDER BY (cluster, boot, table, batch)
TTL toDateTime(last_time) + INTERVAL 2 YEAR
SETTINGS non_replicated_deduplication_window = 50000, ttl_only_drop_parts = 1
COMMENT 'One landed batch';

CREATE MATERIALIZED VIEW IF NOT EXISTS interactions_batches TO batches AS
SELECT cluster, boot, 'interactions' AS table, batch, count() AS rows, min(time) AS first_time, max(time) AS last_time, now64(3, 'UTC') AS landed_at
FROM interactions GROUP BY cluster, boot, batch;

CREATE MATERIALIZED VIEW IF NOT EXISTS shard_events_batches TO batches AS
SELECT cluster, boot, 'shard_events' AS table, batch, count() AS rows, min(time) AS first_time, max(time) AS last_time, now64(3, 'UTC') AS landed_at
FROM shard_events GROUP BY cluster, boot, batch;

CREATE MATERIALIZED VIEW IF NOT EXISTS gateway_counts_batches TO batches AS
SELECT cluster, boot, 'gateway_counts' AS table, batch, count() AS rows, min(time) AS first_time, max(time) AS last_time, now64(3, 'UTC') AS landed_at
FROM gateway_counts GROUP BY cluster, boot, batch;

CREATE MATERIALIZED VIEW IF NOT EXISTS samples_batches TO batches AS
SELECT cluster, boot, 'samples' AS table, batch, count() AS rows, min(time) AS first_time, max(time) AS last_time, now64(3, 'UTC') AS landed_at
FROM samples GROUP BY cluster, boot, batch;

CREATE MATERIALIZED VIEW IF NOT EXISTS processes_batches TO batches AS
SELECT cluster, boot, 'processes' AS table, batch, count() AS rows, min(last_seen_at) AS first_time, max(last_seen_at) AS last_time, now64(3, 'UTC') AS landed_at
FROM processes GROUP BY cluster, boot, batch;
