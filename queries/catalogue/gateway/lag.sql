-- title: Delivery lag
-- description: How old interactions were when they arrived, from their creation at Discord, per bucket and cluster. It carries the
--   skew of both clocks and may be negative: look for change, and for clusters that differ. Buckets without an interaction are null.
-- panel: timeseries
-- table: interactions
-- rollup: interactions_by_cluster without shard
-- param: from    DateTime64(3, 'UTC') = -1h  Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: step    UInt32               = auto Width of a bucket
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []   Only these shards; empty: all
-- column: time       time Start of the bucket
-- column: cluster    id   Cluster
-- column: lag_p50_ms ms   Creation at Discord to receipt, median
-- column: lag_p95_ms ms   The same, 95th percentile
-- column: lag_p99_ms ms   The same, 99th percentile
WITH {edges:Array(Int64)} AS edges
SELECT fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time, cluster, lag_p50_ms, lag_p95_ms, lag_p99_ms
FROM
(
    SELECT
        roundDown(toUnixTimestamp64Milli(time), edges) AS edge,
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        cluster,
        toNullable(quantileTDigest(0.5)(delivery_lag_ms)) AS lag_p50_ms,
        toNullable(quantileTDigest(0.95)(delivery_lag_ms)) AS lag_p95_ms,
        toNullable(quantileTDigest(0.99)(delivery_lag_ms)) AS lag_p99_ms
    FROM interactions
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
    GROUP BY cluster, edge
    ORDER BY cluster, bucket WITH FILL FROM 1 TO length(edges)
)
WHERE cluster != '' -- with no row at all, the fill makes a series without a name
ORDER BY time, toUInt64OrZero(cluster), cluster

-- from the rollup:
WITH {edges:Array(Int64)} AS edges
SELECT fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time, cluster, lag_p50_ms, lag_p95_ms, lag_p99_ms
FROM
(
    SELECT
        roundDown(1000 * toInt64(time), edges) AS edge,
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        cluster,
        toNullable(toFloat32(quantilesBFloat16Merge(0.5, 0.95, 0.99)(delivery_lag)[1])) AS lag_p50_ms,
        toNullable(toFloat32(quantilesBFloat16Merge(0.5, 0.95, 0.99)(delivery_lag)[2])) AS lag_p95_ms,
        toNullable(toFloat32(quantilesBFloat16Merge(0.5, 0.95, 0.99)(delivery_lag)[3])) AS lag_p99_ms
    FROM {rollup:Identifier}
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
    GROUP BY cluster, edge
    ORDER BY cluster, bucket WITH FILL FROM 1 TO length(edges)
)
WHERE cluster != '' -- with no row at all, the fill makes a series without a name
ORDER BY time, toUInt64OrZero(cluster), cluster
