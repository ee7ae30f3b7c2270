-- title: Growth in guilds
-- description: How many guilds the bot is in at the end of each bucket, and how many joined and left in it. The total follows the
--   counts of each shard, so it is right even where no process was there to see a guild come or go. When the bot gets fewer
--   shards, those that are gone keep their last count until the range starts two days later.
-- panel: timeseries
-- table: guild_events
-- param: from    DateTime64(3, 'UTC') = -30d Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: step    UInt32               = auto Width of a bucket
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []   Only these shards; empty: all
-- column: time    time  Start of the bucket
-- column: guilds  count Guilds at its end, unavailable ones included; null: none was counted yet
-- column: joined  count Guilds that added the bot
-- column: left    count Guilds that removed it
-- column: members count Members of all guilds as counted last, once a day; who is in several counts in each; null: not counted yet
WITH
    {edges:Array(Int64)} AS edges,
    -- Of each shard its latest count before the range, and what changed since.
    changes AS
    (
        SELECT
            greatest(time, {from:DateTime64(3, 'UTC')}) AS at,
            time >= {from:DateTime64(3, 'UTC')} AND event = 'joined' AS is_join,
            time >= {from:DateTime64(3, 'UTC')} AND event = 'left' AS is_leave,
            if(guilds = 0, 0, toInt64(guilds) - lagInFrame(guilds, 1, 0) OVER
                (PARTITION BY shard, guilds > 0 ORDER BY time ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)) AS more_guilds,
            if(event != 'counted', 0, toInt64(member_count) - lagInFrame(member_count, 1, 0) OVER
                (PARTITION BY shard, event = 'counted' ORDER BY time ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)) AS more_members
        FROM guild_events
        WHERE time >= {from:DateTime64(3, 'UTC')} - toIntervalDay(2) AND time < {to:DateTime64(3, 'UTC')}
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
            AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
    )
SELECT
    fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time,
    nullIf(sum(more_guilds) OVER (ORDER BY bucket), 0) AS guilds,
    joined,
    left,
    nullIf(sum(more_members) OVER (ORDER BY bucket), 0) AS members
FROM
(
    SELECT
        roundDown(toUnixTimestamp64Milli(at), edges) AS edge,
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        sum(changes.more_guilds) AS more_guilds,
        sum(is_join) AS joined,
        sum(is_leave) AS left,
        sum(changes.more_members) AS more_members
    FROM changes
    GROUP BY edge
    ORDER BY bucket WITH FILL FROM 1 TO length(edges)
)
ORDER BY time
