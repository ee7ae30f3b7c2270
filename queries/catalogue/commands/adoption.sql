-- title: Adoption of commands
-- description: How far each command has spread, per bucket: the guilds and users that used it, and what part they are of all that
--   used any command then. A new command that finds its users rises; one that nobody finds does not.
-- panel: timeseries
-- table: interactions
-- rollup: interactions_by_command without cluster, shard
-- limit_by: command
-- param: from    DateTime64(3, 'UTC') = -30d Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: step    UInt32               = 1d   Width of a bucket
-- param: command Array(String)        = []   Only these commands; empty: all
-- param: type    Array(String)        = application_command Only interactions of these types; empty: all
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []   Only these shards; empty: all
-- param: limit   UInt32               = 10   At most so many commands, the most used first
-- column: time         time  Start of the bucket
-- column: command      text  Command with subcommands, or the prefix of a custom id; (other): the rest of too many names
-- column: interactions count Interactions received
-- column: guilds       count Guilds that used it, estimated
-- column: guild_share  ratio Of all guilds that used any command of these types in the bucket; null: it was not used
-- column: users        count Users who used it, estimated; 0 without a user key
-- column: user_share   ratio Of all users who used any command of these types in the bucket; null: it was not used
WITH
    {edges:Array(Int64)} AS edges,
    used AS
    (
        SELECT
            roundDown(toUnixTimestamp64Milli(time), edges) AS edge,
            command,
            count() AS uses,
            uniqStateIf(guild_id, guild_id != 0) AS in_guilds,
            uniqStateIf(user_key, user_key != 0) AS by_users
        FROM interactions
        WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
            AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
            AND (empty({type:Array(String)}) OR type IN {type:Array(String)})
        GROUP BY command, edge
    )
SELECT fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time, command, uses AS interactions, guilds, guild_share, users, user_share
FROM
(
    SELECT transform(edge, edges, arrayEnumerate(edges), 0) AS bucket, command, uses, guilds, guild_share, users, user_share
    FROM
    (
        SELECT
            edge,
            command,
            uses,
            finalizeAggregation(in_guilds) AS guilds,
            guilds / nullIf(uniqMerge(in_guilds) OVER (PARTITION BY edge), 0) AS guild_share,
            finalizeAggregation(by_users) AS users,
            users / nullIf(uniqMerge(by_users) OVER (PARTITION BY edge), 0) AS user_share
        FROM used
    )
    WHERE command IN
    (
        SELECT command
        FROM used
        WHERE empty({command:Array(String)}) OR command IN {command:Array(String)}
        GROUP BY command
        ORDER BY sum(uses) DESC, command
        LIMIT {limit:UInt32} OFFSET {offset:UInt64}
    )
    ORDER BY command, bucket WITH FILL FROM 1 TO length(edges)
)
WHERE command != '' -- with no row at all, the fill makes a series without a name
ORDER BY time, command

-- from the rollup:
-- One reading for the commands that are shown and for all together: to read states takes as long as to merge them.
WITH
    {edges:Array(Int64)} AS edges
SELECT fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time, command, uses AS interactions, guilds, guild_share, users, user_share
FROM
(
    SELECT
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        command,
        uses,
        used.guilds AS guilds,
        used.guilds / nullIf(maxIf(used.guilds, everyone) OVER (PARTITION BY edge), 0) AS guild_share,
        used.users AS users,
        used.users / nullIf(maxIf(used.users, everyone) OVER (PARTITION BY edge), 0) AS user_share
    FROM
    (
        SELECT
            everyone,
            toLowCardinality(if(everyone, '', {rollup:Identifier}.command)) AS command,
            roundDown(1000 * toInt64(time), edges) AS edge,
            sum({rollup:Identifier}.interactions) AS uses,
            uniqCombinedMerge(12)({rollup:Identifier}.guilds) AS guilds,
            uniqCombinedMerge(12)({rollup:Identifier}.users) AS users
        FROM {rollup:Identifier}
        ARRAY JOIN if({rollup:Identifier}.command IN
            (
                SELECT command
                FROM {rollup:Identifier}
                WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
                    AND (empty({type:Array(String)}) OR type IN {type:Array(String)})
                    AND (empty({command:Array(String)}) OR command IN {command:Array(String)})
                GROUP BY command
                ORDER BY sum({rollup:Identifier}.interactions) DESC, command
                LIMIT {limit:UInt32} OFFSET {offset:UInt64}
            ), [true, false], [true]) AS everyone
        WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
            AND (empty({type:Array(String)}) OR type IN {type:Array(String)})
        GROUP BY everyone, command, edge
    ) AS used
    QUALIFY NOT everyone
    ORDER BY command, bucket WITH FILL FROM 1 TO length(edges)
)
WHERE command != '' -- with no row at all, the fill makes a series without a name
ORDER BY time, command
