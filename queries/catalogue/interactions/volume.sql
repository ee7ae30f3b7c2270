-- title: Interactions over time
-- description: Interactions per bucket and cluster. Buckets without any are 0; a cluster without one in the whole range
--   has no rows. The first and the last bucket hold what lies in the range.
-- panel: timeseries
-- table: interactions
-- rollup: interactions_by_cluster without shard, command
-- param: from    DateTime64(3, 'UTC') = -1h  Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: step    UInt32               = auto Width of a bucket, seconds
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []   Only these shards; empty: all
-- param: command Array(String)        = []   Only these commands; empty: all
-- column: time         time  Start of the bucket
-- column: cluster      id    Cluster
-- column: interactions count Interactions received
-- column: errors       count Of these, ended in error, panic or timed_out
SELECT bucket AS time, cluster, interactions, errors
FROM
(
    SELECT
        toStartOfInterval(time, toIntervalMillisecond(1000 * {step:UInt32})) AS bucket,
        cluster,
        count() AS interactions,
        countIf(outcome IN ('error', 'panic', 'timed_out')) AS errors
    FROM interactions
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
        AND (empty({command:Array(String)}) OR command IN {command:Array(String)})
    GROUP BY cluster, bucket
    ORDER BY cluster, bucket WITH FILL
        FROM toStartOfInterval({from:DateTime64(3, 'UTC')}, toIntervalMillisecond(1000 * {step:UInt32}))
        TO {to:DateTime64(3, 'UTC')}
        STEP toIntervalSecond({step:UInt32})
)
WHERE cluster != '' -- with no row at all, the fill makes a series without a name
ORDER BY time, toUInt64OrZero(cluster), cluster

-- from the rollup:
SELECT toDateTime64(bucket, 3, 'UTC') AS time, cluster, interactions, errors
FROM
(
    SELECT
        toStartOfInterval(time, toIntervalSecond({step:UInt32})) AS bucket,
        cluster,
        sum({rollup:Identifier}.interactions) AS interactions,
        sum({rollup:Identifier}.errors) AS errors
    FROM {rollup:Identifier}
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
    GROUP BY cluster, bucket
    ORDER BY cluster, bucket WITH FILL
        FROM toStartOfInterval(toDateTime({from:DateTime64(3, 'UTC')}), toIntervalSecond({step:UInt32}))
        TO toDateTime({to:DateTime64(3, 'UTC')})
        STEP toIntervalSecond({step:UInt32})
)
WHERE cluster != '' -- with no row at all, the fill makes a series without a name
ORDER BY time, toUInt64OrZero(cluster), cluster
