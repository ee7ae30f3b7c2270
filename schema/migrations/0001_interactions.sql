-- One finished interaction, or one given up on.
-- `time` is the receipt, not the creation: it comes from our own clock, so a client's odd snowflake can never scatter
-- rows over partitions. Sorted for the two questions asked most: one cluster over time, one command over time.
CREATE TABLE IF NOT EXISTS interactions
(
    cluster        LowCardinality(String) COMMENT 'Cluster (process of the bot) that received it',
    boot           UInt64 COMMENT 'Start of that process, see processes.boot',
    batch          UInt64 COMMENT 'Sequence of the insert that carried this row, per boot and table, from 1; see batches',
    time           DateTime64(3, 'UTC') COMMENT 'When the gateway event was received, UTC',
    created_at     DateTime64(3, 'UTC') COMMENT 'When Discord created it, from its snowflake, UTC',
    delivery_lag_ms Int64 ALIAS dateDiff('millisecond', created_at, time) COMMENT 'Receipt minus creation, ms; carries the skew of both clocks, so it may be negative',
    interaction_id UInt64 COMMENT 'Snowflake of the interaction',
    shard          UInt16 COMMENT 'Shard that received it',
    guild_id       UInt64 COMMENT 'Snowflake of the guild; 0: not in a guild',
    user_key       UInt64 COMMENT 'Keyed hash of the user id; 0: no key is configured',
    type           LowCardinality(String) COMMENT 'ping, application_command, component, autocomplete or modal_submit',
    command        LowCardinality(String) COMMENT 'Command with subcommands, or the prefix of a custom id; (other) past the limit of distinct names',
    outcome        LowCardinality(String) COMMENT 'received (nobody tracks it here), success, error, panic, cancelled, timed_out or untracked',
    error_type     LowCardinality(String) COMMENT 'Kind of the error the handler reported; empty: none',
    response_ms    UInt32 COMMENT 'Receipt to first response, ms rounded up; 0: no response was seen',
    duration_ms    UInt32 COMMENT 'Receipt to the end of the handler, ms rounded up; 0: no handler was seen',
    locale         LowCardinality(String) COMMENT 'Locale of the user, as Discord names it; empty: unknown',
    context        LowCardinality(String) COMMENT 'guild, bot_dm or private_channel; empty: unknown'
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (cluster, type, command, time)
TTL toDateTime(time) + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'One finished interaction, or one given up on';
