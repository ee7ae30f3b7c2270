-- One start ("boot") of a cluster process. The process writes its row again every so often: the newest `last_seen_at`
-- wins, so read it with FINAL or argMax. Kept for ever: deploys and fleet sizes are what old data is compared by.
CREATE TABLE IF NOT EXISTS processes
(
    cluster         LowCardinality(String) COMMENT 'Cluster (process of the bot)',
    boot            UInt64 COMMENT 'Identity of the start: milliseconds since 2015 (Discord''s epoch) in the upper 42 bits, random below',
    batch           UInt64 COMMENT 'Sequence of the insert that carried this row, per boot and table, from 1; see batches',
    time            DateTime64(3, 'UTC') COMMENT 'When the process started, UTC',
    last_seen_at    DateTime64(3, 'UTC') COMMENT 'When the process wrote this version of the row, UTC',
    stopped_at      DateTime64(3, 'UTC') COMMENT 'When it stopped in order, UTC; 1970: still running, or it died without a word',
    stop_reason     LowCardinality(String) COMMENT 'Why it stopped; empty: see stopped_at',
    host            LowCardinality(String) COMMENT 'Host name',
    pid             UInt32 COMMENT 'Process id on that host',
    version         LowCardinality(String) COMMENT 'Version of shardlake-ingest',
    shard_first     UInt16 COMMENT 'First shard of the cluster',
    shard_count     UInt16 COMMENT 'Shards of the cluster',
    shards_total    UInt16 COMMENT 'Shards of the whole bot',
    metrics_address LowCardinality(String) COMMENT 'Where the process serves /metrics; empty: it does not',
    rows_observed   UInt64 COMMENT 'Rows recorded by this process so far, in all tables',
    rows_landed     UInt64 COMMENT 'Of these, acknowledged by ClickHouse',
    rows_spooled    UInt64 COMMENT 'Of these, left in the spool',
    rows_dropped    UInt64 COMMENT 'Of these, dropped and counted'
)
ENGINE = ReplacingMergeTree(last_seen_at)
ORDER BY (cluster, boot)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One start of a cluster process, newest version by last_seen_at';
