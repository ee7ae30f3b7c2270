-- Dispatches of one type on one shard in one window of 10 seconds, counted from the raw text of every message,
-- also of the types that the bot does not parse.
CREATE TABLE IF NOT EXISTS gateway_counts
(
    cluster   LowCardinality(String) COMMENT 'Cluster (process of the bot) that received them',
    boot      UInt64 COMMENT 'Start of that process, see processes.boot',
    batch     UInt64 COMMENT 'Sequence of the insert that carried this row, per boot and table, from 1; see batches',
    time      DateTime64(3, 'UTC') COMMENT 'Start of the window, a multiple of 10 s, UTC',
    shard     UInt16 COMMENT 'Shard id',
    event     LowCardinality(String) COMMENT 'Dispatch type as Discord names it, such as MESSAGE_CREATE; (other) past the limit of distinct names',
    dispatches UInt32 COMMENT 'Dispatches received in the window, replays included',
    replayed  UInt32 COMMENT 'Of these, dispatches replayed after a resume',
    bytes     UInt64 COMMENT 'Size of their JSON text after decompression, bytes'
)
ENGINE = MergeTree
PARTITION BY toYYYYMMDD(time)
ORDER BY (event, cluster, shard, time)
TTL toDateTime(time) + INTERVAL 30 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'Dispatches per shard, type and 10 s window';
