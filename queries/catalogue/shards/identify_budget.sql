-- title: Session starts
-- description: How many of Discord's session starts each cluster used up, and how near the whole bot came to its limit. Each
--   IDENTIFY is one start, a RESUME is none; who exceeds the limit of a day has the bot's token reset. Discord counts
--   what we cannot see, too, such as a second bot with the same token.
-- panel: table
-- table: shard_events
-- param: from    DateTime64(3, 'UTC') = -24h Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: budget  UInt32               = 0    Session starts that Discord grants a day, as GET /gateway/bot says; 0: what its
--   documentation says for so many guilds: 1,000, or past 150,000 guilds 5 for every 1,000 and at least 2,000
-- column: cluster          id    Cluster
-- column: shards           count Shards that began a session in the range
-- column: identifies       count Sessions begun, or at least asked for
-- column: invalid_sessions count Sessions that Discord refused or ended as invalid
-- column: process_starts   count Starts of the cluster's process: each begins a session per shard
-- column: bot_peak_24h     count Most sessions that the whole bot began in any 24 hours that end in the range
-- column: budget           count Session starts that Discord grants a day
-- column: budget_used      ratio The peak over the budget
WITH
    least({to:DateTime64(3, 'UTC')}, now64(3, 'UTC')) AS until,
    (
        SELECT max(in_a_day)
        FROM
        (
            SELECT time, count() OVER (ORDER BY toUnixTimestamp64Milli(time) RANGE BETWEEN 86400000 PRECEDING AND CURRENT ROW) AS in_a_day
            FROM shard_events
            WHERE event = 'identifying'
                AND time >= {from:DateTime64(3, 'UTC')} - toIntervalDay(1) AND time < {to:DateTime64(3, 'UTC')}
        )
        WHERE time >= {from:DateTime64(3, 'UTC')}
    ) AS peak,
    (
        SELECT sum(guilds)
        FROM
        (
            SELECT argMax(value, time) AS guilds
            FROM samples
            WHERE name = 'discord_guilds' AND time >= until - toIntervalHour(1) AND time < until
            GROUP BY cluster
        )
    ) AS bot_guilds
SELECT
    cluster,
    uniqExactIf(shard, event = 'identifying') AS shards,
    countIf(event = 'identifying') AS identifies,
    countIf(event = 'invalid_session') AS invalid_sessions,
    countIf(event = 'process_start') AS process_starts,
    ifNull(peak, 0) AS bot_peak_24h,
    toUInt32(multiIf({budget:UInt32} > 0, {budget:UInt32}, bot_guilds > 150000, greatest(2000, intDiv(bot_guilds, 1000) * 5), 1000)) AS budget,
    bot_peak_24h / budget AS budget_used
FROM
(
    SELECT cluster, shard, event
    FROM shard_events
    WHERE event IN ('identifying', 'invalid_session')
        AND time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
    UNION ALL
    SELECT cluster, 0, 'process_start'
    FROM processes FINAL
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
)
WHERE empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)}
GROUP BY cluster
ORDER BY identifies DESC, toUInt64OrZero(cluster), cluster
