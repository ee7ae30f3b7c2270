-- A guild joined, left, became unavailable or available again; and once a day and session the count of each shard's
-- guilds and members, which the changes add up to. Kept for ever, raw: changes are rare, and counts are one row per shard and
-- day, so a year is small enough to be read as it is, and there is no rollup.
--
-- Sorted by cluster and guild: one guild's history is a few granules in each year, one cluster's is its own, and the columns
-- that follow from the guild take next to nothing. By (cluster, time) a guild's history would be a scan.
--
-- A guild's stay is (guild_id, joined_at): two processes that run one shard at the same time, as during a rolling deploy,
-- may both tell of a join or a farewell, and that pair says that it is one. What happened while no process ran shows in
-- the next `counted` only.
--
-- The table is closed until its view is there, so that no batch lands uncounted: writers try again (code 469).
CREATE TABLE IF NOT EXISTS guild_events
(
    cluster      LowCardinality(String) COMMENT 'Cluster (process of the bot) that saw it',
    boot         UInt64 COMMENT 'Start of that process, see processes.boot' CODEC(ZSTD(1)),
    batch        UInt64 COMMENT 'Sequence of the insert that carried this row, per boot and table, from 1; see batches' CODEC(T64, ZSTD(1)),
    time         DateTime64(3, 'UTC') COMMENT 'When it was seen, UTC; what happened while the shard was away is seen with its next session' CODEC(T64, ZSTD(1)),
    shard        UInt16 COMMENT 'Shard id' CODEC(T64, ZSTD(1)),
    guild_id     UInt64 COMMENT 'Snowflake of the guild; 0: all guilds of the shard (counted)' CODEC(ZSTD(1)),
    event        LowCardinality(String) COMMENT 'joined; left; unavailable (an outage at Discord; told again by every boot that meets it); available (again); counted: the shard''s guilds and members, once all guilds of a session are there and then once a day' CODEC(ZSTD(1)),
    member_count UInt32 COMMENT 'Members of the guild as Discord last said, on joined and available now, otherwise up to a session old; on counted of all guilds together; 0: unknown' CODEC(ZSTD(1)),
    guilds       UInt32 COMMENT 'Guilds of the shard after the event, unavailable ones included; 0 where the shard resumed the session of an earlier process, which says nothing of them' CODEC(T64, ZSTD(1)),
    joined_at    DateTime64(3, 'UTC') COMMENT 'When the bot joined the guild, by Discord''s clock, UTC; on left the stay is time - joined_at; 1970: unknown, or counted' CODEC(ZSTD(1)),
    CONSTRAINT not_before_its_views CHECK time < toDateTime64(0, 3, 'UTC')
)
ENGINE = MergeTree
PARTITION BY toYear(time)
ORDER BY (cluster, guild_id, time)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'A guild that joined, left, became unavailable or available again; and the daily count of each shard''s guilds';

CREATE MATERIALIZED VIEW IF NOT EXISTS guild_events_batches TO batches AS
SELECT cluster, boot, 'guild_events' AS table, batch, count() AS rows, min(time) AS first_time, max(time) AS last_time, now64(3, 'UTC') AS landed_at
FROM guild_events GROUP BY cluster, boot, batch;

ALTER TABLE guild_events DROP CONSTRAINT IF EXISTS not_before_its_views;
