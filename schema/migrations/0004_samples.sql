-- The process's own /metrics, kept: one series at one moment. Histograms come as their _sum and _count only.
CREATE TABLE IF NOT EXISTS samples
(
    cluster LowCardinality(String) COMMENT 'Cluster (process of the bot) that was sampled',
    boot    UInt64 COMMENT 'Start of that process, see processes.boot',
    batch   UInt64 COMMENT 'Sequence of the insert that carried this row, per boot and table, from 1; see batches',
    time    DateTime64(3, 'UTC') COMMENT 'When the series was read, UTC',
    name    LowCardinality(String) COMMENT 'Name of the series, as on /metrics',
    kind    LowCardinality(String) COMMENT 'gauge or counter',
    labels  Map(String, String) COMMENT 'Labels of the series without cluster',
    value   Float64 COMMENT 'Value of the series, in the unit its name says'
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(time)
ORDER BY (name, cluster, time)
TTL toDateTime(time) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'One series of a process''s own metrics at one moment';
