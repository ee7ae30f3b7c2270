-- title: Active users
-- description: How many users used the bot in each bucket: a step of 1d shows daily active users, 7d weekly and 30d monthly ones.
--   Users are counted once per bucket, however often they came. Without a user key there are none.
-- panel: timeseries
-- table: interactions
-- rollup: interactions_by_cluster without shard, command, guild; interactions without cluster
-- param: from    DateTime64(3, 'UTC') = -30d Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: step    UInt32               = 1d   Width of a bucket
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []   Only these shards; empty: all
-- param: command Array(String)        = []   Only these commands; empty: all
-- param: guild   Array(UInt64)        = []   Only these guilds; empty: all
-- column: time                  time  Start of the bucket
-- column: users                 count Users with an interaction, estimated; 0 without a user key
-- column: guilds                count Guilds with an interaction, estimated
-- column: interactions          count Interactions received, with a user key or without
-- column: interactions_per_user count Interactions over users; null: there are none
WITH {edges:Array(Int64)} AS edges
SELECT fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time, users, guilds, interactions, interactions / nullIf(users, 0) AS interactions_per_user
FROM
(
    SELECT
        roundDown(toUnixTimestamp64Milli(time), edges) AS edge,
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        uniqIf(user_key, user_key != 0) AS users,
        uniqIf(guild_id, guild_id != 0) AS guilds,
        count() AS interactions
    FROM interactions
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
        AND (empty({command:Array(String)}) OR command IN {command:Array(String)})
        AND (empty({guild:Array(UInt64)}) OR guild_id IN {guild:Array(UInt64)})
    GROUP BY edge
    ORDER BY bucket WITH FILL FROM 1 TO length(edges)
)
ORDER BY time

-- from the rollup:
WITH {edges:Array(Int64)} AS edges
SELECT fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time, users, guilds, interactions, interactions / nullIf(users, 0) AS interactions_per_user
FROM
(
    SELECT
        roundDown(1000 * toInt64(time), edges) AS edge,
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        uniqCombinedMerge(12)({rollup:Identifier}.users) AS users,
        uniqCombinedMerge(12)({rollup:Identifier}.guilds) AS guilds,
        sum({rollup:Identifier}.interactions) AS interactions
    FROM {rollup:Identifier}
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
    GROUP BY edge
    ORDER BY bucket WITH FILL FROM 1 TO length(edges)
)
ORDER BY time
