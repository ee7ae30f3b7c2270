-- One change in a shard's life. Every loss of a connection is exactly one `disconnected` row, whatever its cause and
-- however silent; every recovery exactly one `ready` or `resumed` row that carries the downtime.
CREATE TABLE IF NOT EXISTS shard_events
(
    cluster      LowCardinality(String) COMMENT 'Cluster (process of the bot) that holds the shard',
    boot         UInt64 COMMENT 'Start of that process, see processes.boot',
    batch        UInt64 COMMENT 'Sequence of the insert that carried this row, per boot and table, from 1; see batches',
    time         DateTime64(3, 'UTC') COMMENT 'When the change was seen, UTC',
    shard        UInt16 COMMENT 'Shard id',
    event        LowCardinality(String) COMMENT 'connecting, identifying, resuming, ready, resumed, reconnect_requested, invalid_session, closed, disconnected, connect_failed, stuck or fatal',
    state        LowCardinality(String) COMMENT 'State after the change: disconnected, identifying, resuming, active or fatally_closed',
    cause        LowCardinality(String) COMMENT 'Why a connection was lost: server_close, client_close, op7, op9, zombied, reset, protocol or silent; what a stuck shard waits for: connection, hello, ready, resumed or close; otherwise empty',
    initiator    LowCardinality(String) COMMENT 'Who sent the close frame: server, client or network (no frame at all); empty where it does not apply',
    close_code   UInt16 COMMENT 'Close code of the WebSocket; 0: none',
    close_reason LowCardinality(String) COMMENT 'Reason in the close frame, at most 64 bytes; empty: none',
    resumable    UInt8 COMMENT '1: the session can be resumed; 0: it cannot, or it does not apply',
    in_state_ms  UInt32 COMMENT 'Time spent in the state that this change ends (for stuck: so far), ms',
    downtime_ms  UInt32 COMMENT 'On ready and resumed: time since the shard was last active (or since its start), ms; otherwise 0',
    replayed     UInt32 COMMENT 'On resumed: dispatches that Discord sent again from its backlog; otherwise 0',
    latency_ms   Float32 COMMENT 'Latest heartbeat round trip, ms; 0: none was measured yet'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (cluster, shard, time)
TTL toDateTime(time) + INTERVAL 2 YEAR
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'One change in the life of a shard';
