-- title: Outcomes of interactions
-- description: How interactions ended, per bucket. Every interaction is in one of the columns from succeeded to unknown. Buckets
--   without any are 0; the first and the last bucket hold what lies in the range.
-- panel: timeseries
-- table: interactions
-- rollup: interactions_by_cluster without shard, command, type, guild; interactions without cluster
-- param: from    DateTime64(3, 'UTC') = -1h  Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: step    UInt32               = auto Width of a bucket
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []   Only these shards; empty: all
-- param: command Array(String)        = []   Only these commands; empty: all
-- param: type    Array(String)        = []   Only these types, such as application_command; empty: all
-- param: guild   Array(UInt64)        = []   Only these guilds; empty: all
-- column: time        time  Start of the bucket
-- column: succeeded   count Ended in success
-- column: failed      count Ended in error
-- column: panicked    count Ended in a panic of the handler
-- column: timed_out   count Never ended while they could be answered, 15 minutes
-- column: cancelled   count The handler was given up before its end, as when a process stops
-- column: unknown     count Nobody tracked them
-- column: error_ratio ratio Failed, panicked and timed out ones over all but the unknown; null: there are none
WITH {edges:Array(Int64)} AS edges
SELECT fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time, succeeded, failed, panicked, timed_out, cancelled, unknown, (failed + panicked + timed_out) / nullIf(succeeded + failed + panicked + timed_out + cancelled, 0) AS error_ratio
FROM
(
    SELECT
        roundDown(toUnixTimestamp64Milli(time), edges) AS edge,
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        countIf(outcome = 'success') AS succeeded,
        countIf(outcome = 'error') AS failed,
        countIf(outcome = 'panic') AS panicked,
        countIf(outcome = 'timed_out') AS timed_out,
        countIf(outcome = 'cancelled') AS cancelled,
        countIf(outcome IN ('received', 'untracked')) AS unknown
    FROM interactions
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
        AND (empty({command:Array(String)}) OR command IN {command:Array(String)})
        AND (empty({type:Array(String)}) OR type IN {type:Array(String)})
        AND (empty({guild:Array(UInt64)}) OR guild_id IN {guild:Array(UInt64)})
    GROUP BY edge
    ORDER BY bucket WITH FILL FROM 1 TO length(edges)
)
ORDER BY time

-- from the rollup:
WITH {edges:Array(Int64)} AS edges
SELECT fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time, succeeded, failed, panicked, timed_out, cancelled, unknown, (failed + panicked + timed_out) / nullIf(succeeded + failed + panicked + timed_out + cancelled, 0) AS error_ratio
FROM
(
    SELECT
        roundDown(1000 * toInt64(time), edges) AS edge,
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        sum({rollup:Identifier}.succeeded) AS succeeded,
        sum({rollup:Identifier}.failed) AS failed,
        sum({rollup:Identifier}.panicked) AS panicked,
        sum({rollup:Identifier}.timed_out) AS timed_out,
        sum({rollup:Identifier}.cancelled) AS cancelled,
        toUInt64(sum({rollup:Identifier}.interactions) - sum({rollup:Identifier}.tracked)) AS unknown
    FROM {rollup:Identifier}
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
    GROUP BY edge
    ORDER BY bucket WITH FILL FROM 1 TO length(edges)
)
ORDER BY time
