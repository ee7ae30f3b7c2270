-- title: Top guilds
-- description: The guilds that use the bot most, and what share of all interactions in guilds they are. Interactions outside
--   of guilds are left out.
-- panel: table
-- table: interactions
-- rollup: interactions_by_guild by 1d without cluster, shard, command
-- param: from    DateTime64(3, 'UTC') = -24h Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []   Only these shards; empty: all
-- param: command Array(String)        = []   Only these commands; empty: all
-- param: limit   UInt32               = 50   At most so many guilds
-- column: guild_id     id    Snowflake of the guild
-- column: interactions count Interactions received
-- column: share        ratio Of all interactions in guilds that the filters let through
-- column: tracked      count Of these, with a known outcome
-- column: errors       count Tracked ones that ended in error, panic or timed_out
-- column: error_ratio  ratio Errors over tracked; null: none was tracked
-- column: users        count Users there who used the bot, estimated; 0 without a user key
SELECT
    CAST(guild_id, 'String') AS guild_id, -- not LowCardinality, as in the rollup
    count() AS interactions,
    interactions / sum(count()) OVER () AS share,
    countIf(outcome NOT IN ('received', 'untracked')) AS tracked,
    countIf(outcome IN ('error', 'panic', 'timed_out')) AS errors,
    errors / nullIf(tracked, 0) AS error_ratio,
    uniqIf(user_key, user_key != 0) AS users
FROM interactions
WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
    AND interactions.guild_id != 0
    AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
    AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
    AND (empty({command:Array(String)}) OR command IN {command:Array(String)})
GROUP BY interactions.guild_id
ORDER BY interactions DESC, interactions.guild_id
LIMIT {limit:UInt32} OFFSET {offset:UInt64}

-- from the rollup:
-- Ranked by a number first, which also says what all are: users are states, and to merge those of every guild would take most
-- of the time.
WITH
    (
        SELECT (groupArray(guild_id), any(total))
        FROM
        (
            SELECT {rollup:Identifier}.guild_id AS guild_id, sum(sum({rollup:Identifier}.interactions)) OVER () AS total
            FROM {rollup:Identifier}
            WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')} AND {rollup:Identifier}.guild_id != 0
            GROUP BY {rollup:Identifier}.guild_id
            ORDER BY sum({rollup:Identifier}.interactions) DESC, {rollup:Identifier}.guild_id
            LIMIT {limit:UInt32} OFFSET {offset:UInt64}
        )
    ) AS ranked
SELECT
    toString({rollup:Identifier}.guild_id) AS guild_id,
    sum({rollup:Identifier}.interactions) AS interactions,
    interactions / assumeNotNull(ranked.2) AS share,
    sum({rollup:Identifier}.tracked) AS tracked,
    sum({rollup:Identifier}.errors) AS errors,
    errors / nullIf(tracked, 0) AS error_ratio,
    uniqCombinedMerge(12)({rollup:Identifier}.users) AS users
FROM {rollup:Identifier}
WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
    AND {rollup:Identifier}.guild_id IN ranked.1
GROUP BY {rollup:Identifier}.guild_id
ORDER BY interactions DESC, {rollup:Identifier}.guild_id
