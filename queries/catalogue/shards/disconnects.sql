-- title: Lost connections
-- description: Connections that shards lost, per bucket, cluster and cause. A bucket without a loss has no row: most have
--   none, and in an outage every cluster has several causes. The first and the last bucket hold what lies in the range.
-- panel: timeseries
-- table: shard_events
-- rollup: shard_events by 1d
-- param: from    DateTime64(3, 'UTC') = -1h  Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: step    UInt32               = auto Width of a bucket
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []   Only these shards; empty: all
-- param: cause   Array(String)        = []   Only these causes; empty: all
-- column: time        time  Start of the bucket
-- column: cluster     id    Cluster
-- column: cause       text  server_close, client_close (we closed it, as when a process stops), op7, op9, zombied, reset,
--   protocol or silent
-- column: disconnects count Connections lost
-- column: shards      count Different shards among them: one that flaps, or many that went at once
SELECT fromUnixTimestamp64Milli(edge, 'UTC') AS time, cluster, cause, disconnects, shards
FROM
(
    SELECT
        roundDown(toUnixTimestamp64Milli(time), {edges:Array(Int64)}) AS edge,
        cluster,
        cause,
        count() AS disconnects,
        uniqExact(shard) AS shards
    FROM shard_events
    WHERE event = 'disconnected'
        AND time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
        AND (empty({cause:Array(String)}) OR cause IN {cause:Array(String)})
    GROUP BY edge, cluster, cause
)
ORDER BY time, toUInt64OrZero(cluster), cluster, cause

-- from the rollup:
SELECT fromUnixTimestamp64Milli(edge, 'UTC') AS time, cluster, cause, disconnects, shards
FROM
(
    SELECT
        roundDown(1000 * toInt64(time), {edges:Array(Int64)}) AS edge,
        cluster,
        cause,
        sum(events) AS disconnects,
        uniqExact({rollup:Identifier}.shard) AS shards
    FROM {rollup:Identifier}
    WHERE event = 'disconnected'
        AND time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        AND (empty({shard:Array(UInt16)}) OR {rollup:Identifier}.shard IN {shard:Array(UInt16)})
        AND (empty({cause:Array(String)}) OR cause IN {cause:Array(String)})
    GROUP BY edge, cluster, cause
)
ORDER BY time, toUInt64OrZero(cluster), cluster, cause
