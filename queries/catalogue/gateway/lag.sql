-- title: Delivery lag
-- description: How old interactions were when they arrived, from their creation at Discord, per bucket and cluster. It carries the
--   skew of both clocks and may be negative: look for change, and for clusters that differ. Buckets without an interaction are null.
-- panel: timeseries
-- table: interactions
-- rollup: interactions_by_cluster without shard
-- param: from    DateTime64(3, 'UTC') = -1h  Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: step    UInt32               = auto Width of a bucket, seconds
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []   Only these shards; empty: all
-- column: time       time Start of the bucket
-- column: cluster    id   Cluster
-- column: lag_p50_ms ms   Creation at Discord to receipt, median
-- column: lag_p95_ms ms   The same, 95th percentile
-- column: lag_p99_ms ms   The same, 99th percentile
SELECT bucket AS time, cluster, lag_p50_ms, lag_p95_ms, lag_p99_ms
FROM
(
    SELECT
        toStartOfInterval(time, toIntervalMillisecond(1000 * {step:UInt32})) AS bucket,
        cluster,
        toNullable(quantileTDigest(0.5)(delivery_lag_ms)) AS lag_p50_ms,
        toNullable(quantileTDigest(0.95)(delivery_lag_ms)) AS lag_p95_ms,
        toNullable(quantileTDigest(0.99)(delivery_lag_ms)) AS lag_p99_ms
    FROM interactions
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
    GROUP BY cluster, bucket
    ORDER BY cluster, bucket WITH FILL
        FROM toStartOfInterval({from:DateTime64(3, 'UTC')}, toIntervalMillisecond(1000 * {step:UInt32}))
        TO {to:DateTime64(3, 'UTC')}
        STEP toIntervalSecond({step:UInt32})
)
WHERE cluster != '' -- with no row at all, the fill makes a series without a name
ORDER BY time, toUInt64OrZero(cluster), cluster

-- from the rollup:
SELECT toDateTime64(bucket, 3, 'UTC') AS time, cluster, lag_p50_ms, lag_p95_ms, lag_p99_ms
FROM
(
    SELECT
        toStartOfInterval(time, toIntervalSecond({step:UInt32})) AS bucket,
        cluster,
        toNullable(toFloat32(quantilesBFloat16Merge(0.5, 0.95, 0.99)(delivery_lag)[1])) AS lag_p50_ms,
        toNullable(toFloat32(quantilesBFloat16Merge(0.5, 0.95, 0.99)(delivery_lag)[2])) AS lag_p95_ms,
        toNullable(toFloat32(quantilesBFloat16Merge(0.5, 0.95, 0.99)(delivery_lag)[3])) AS lag_p99_ms
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
