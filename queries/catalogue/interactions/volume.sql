-- title: Interactions over time
-- description: Interactions per bucket and cluster. Buckets without any are 0; a cluster without one in the whole range
--   has no rows. The first and the last bucket hold what lies in the range.
-- panel: timeseries
-- table: interactions
-- rollup: interactions_by_cluster without shard, command
-- param: from    DateTime64(3, 'UTC') = -1h  Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: step    UInt32               = auto Width of a bucket
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []   Only these shards; empty: all
-- param: command Array(String)        = []   Only these commands; empty: all
-- column: time         time  Start of the bucket
-- column: cluster      id    Cluster
-- column: interactions count Interactions received
-- column: errors       count Of these, ended in error, panic or timed_out
WITH {edges:Array(Int64)} AS edges
SELECT fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time, cluster, interactions, errors
FROM
(
    SELECT
        roundDown(toUnixTimestamp64Milli(time), edges) AS edge,
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        cluster,
        count() AS interactions,
        countIf(outcome IN ('error', 'panic', 'timed_out')) AS errors
    FROM interactions
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
        AND (empty({command:Array(String)}) OR command IN {command:Array(String)})
    GROUP BY cluster, edge
    ORDER BY cluster, bucket WITH FILL FROM 1 TO length(edges)
)
WHERE cluster != '' -- with no row at all, the fill makes a series without a name
ORDER BY time, toUInt64OrZero(cluster), cluster

-- from the rollup:
WITH {edges:Array(Int64)} AS edges
SELECT fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time, cluster, interactions, errors
FROM
(
    SELECT
        roundDown(1000 * toInt64(time), edges) AS edge,
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        cluster,
        sum({rollup:Identifier}.interactions) AS interactions,
        sum({rollup:Identifier}.errors) AS errors
    FROM {rollup:Identifier}
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
    GROUP BY cluster, edge
    ORDER BY cluster, bucket WITH FILL FROM 1 TO length(edges)
)
WHERE cluster != '' -- with no row at all, the fill makes a series without a name
ORDER BY time, toUInt64OrZero(cluster), cluster
