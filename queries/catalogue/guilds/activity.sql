-- title: Active guilds
-- description: How many guilds used the bot in each bucket, and how much; with `guild`, how much that one did. Interactions outside
--   of guilds are left out. Buckets without any are 0.
-- panel: timeseries
-- table: interactions
-- rollup: interactions_by_guild by 1d without cluster, shard, command; interactions_in_guilds by 1d without guild
-- param: from    DateTime64(3, 'UTC') = -24h Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: step    UInt32               = auto Width of a bucket
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []   Only these shards; empty: all
-- param: command Array(String)        = []   Only these commands; empty: all
-- param: guild   Array(UInt64)        = []   Only these guilds; empty: all
-- column: time         time  Start of the bucket
-- column: guilds       count Guilds with an interaction, estimated
-- column: users        count Users there who used the bot, estimated; 0 without a user key
-- column: interactions count Interactions received
-- column: errors       count Of these, ended in error, panic or timed_out
WITH {edges:Array(Int64)} AS edges
SELECT fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time, guilds, users, interactions, errors
FROM
(
    SELECT
        roundDown(toUnixTimestamp64Milli(time), edges) AS edge,
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        uniq(guild_id) AS guilds,
        uniqIf(user_key, user_key != 0) AS users,
        count() AS interactions,
        countIf(outcome IN ('error', 'panic', 'timed_out')) AS errors
    FROM interactions
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
        AND (empty({command:Array(String)}) OR command IN {command:Array(String)})
        AND (empty({guild:Array(UInt64)}) OR guild_id IN {guild:Array(UInt64)})
        AND guild_id != 0
    GROUP BY edge
    ORDER BY bucket WITH FILL FROM 1 TO length(edges)
)
ORDER BY time

-- from the rollup:
-- Without `guild` its rows are of all guilds together, and name none.
WITH {edges:Array(Int64)} AS edges
SELECT fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time, guilds, users, interactions, errors
FROM
(
    SELECT
        roundDown(1000 * toInt64(time), edges) AS edge,
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        uniqCombinedMerge(12)({rollup:Identifier}.guilds) AS guilds,
        uniqCombinedMerge(12)({rollup:Identifier}.users) AS users,
        sum({rollup:Identifier}.interactions) AS interactions,
        sum({rollup:Identifier}.errors) AS errors
    FROM {rollup:Identifier}
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({guild:Array(UInt64)}) OR guild_id IN {guild:Array(UInt64)} AND guild_id != 0)
    GROUP BY edge
    ORDER BY bucket WITH FILL FROM 1 TO length(edges)
)
ORDER BY time
