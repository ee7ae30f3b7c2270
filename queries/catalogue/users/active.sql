-- title: Active users
-- description: How many users used the bot in each bucket: a step of 1d shows daily active users, 7d weekly and 30d monthly ones.
--   Users are counted once per bucket, however often they came. Without a user key there are none.
-- panel: timeseries
-- table: interactions
-- rollup: interactions_by_cluster without shard, command, guild
-- param: from    DateTime64(3, 'UTC') = -30d Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: step    UInt32               = 1d   Width of a bucket, seconds
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []   Only these shards; empty: all
-- param: command Array(String)        = []   Only these commands; empty: all
-- param: guild   Array(UInt64)        = []   Only these guilds; empty: all
-- column: time                  time  Start of the bucket
-- column: users                 count Users with an interaction, estimated; 0 without a user key
-- column: guilds                count Guilds with an interaction, estimated
-- column: interactions          count Interactions received, with a user key or without
-- column: interactions_per_user count Interactions over users; null: there are none
SELECT bucket AS time, users, guilds, interactions, interactions / nullIf(users, 0) AS interactions_per_user
FROM
(
    SELECT
        toStartOfInterval(time, toIntervalMillisecond(1000 * {step:UInt32})) AS bucket,
        uniqIf(user_key, user_key != 0) AS users,
        uniqIf(guild_id, guild_id != 0) AS guilds,
        count() AS interactions
    FROM interactions
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
        AND (empty({command:Array(String)}) OR command IN {command:Array(String)})
        AND (empty({guild:Array(UInt64)}) OR guild_id IN {guild:Array(UInt64)})
    GROUP BY bucket
    ORDER BY bucket WITH FILL
        FROM toStartOfInterval({from:DateTime64(3, 'UTC')}, toIntervalMillisecond(1000 * {step:UInt32}))
        TO {to:DateTime64(3, 'UTC')}
        STEP toIntervalSecond({step:UInt32})
)
ORDER BY time

-- from the rollup:
SELECT toDateTime64(bucket, 3, 'UTC') AS time, users, guilds, interactions, interactions / nullIf(users, 0) AS interactions_per_user
FROM
(
    SELECT
        toStartOfInterval(time, toIntervalSecond({step:UInt32})) AS bucket,
        uniqCombinedMerge(12)({rollup:Identifier}.users) AS users,
        uniqCombinedMerge(12)({rollup:Identifier}.guilds) AS guilds,
        sum({rollup:Identifier}.interactions) AS interactions
    FROM {rollup:Identifier}
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
    GROUP BY bucket
    ORDER BY bucket WITH FILL
        FROM toStartOfInterval(toDateTime({from:DateTime64(3, 'UTC')}), toIntervalSecond({step:UInt32}))
        TO toDateTime({to:DateTime64(3, 'UTC')})
        STEP toIntervalSecond({step:UInt32})
)
ORDER BY time
