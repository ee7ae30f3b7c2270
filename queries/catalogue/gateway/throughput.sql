-- title: Gateway throughput
-- description: Dispatches and their JSON text per second, per bucket and cluster. Buckets without any are 0; a cluster
--   without a dispatch in the whole range has no rows. The last bucket is low while it lasts, and for some seconds more:
--   counts are kept by windows of 10 s and land when theirs is over.
-- panel: timeseries
-- table: gateway_counts
-- rollup: gateway_counts by 1m, 1h, 1d, 1w without shard
-- min_step: 10s
-- param: from    DateTime64(3, 'UTC') = -1h  Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: step    UInt32               = auto Width of a bucket
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []   Only these shards; empty: all
-- param: event   Array(String)        = []   Only these dispatch types, such as MESSAGE_CREATE; empty: all
-- column: time             time        Start of the bucket
-- column: cluster          id          Cluster
-- column: dispatches_per_s per_s       Dispatches received, replays included
-- column: replayed_per_s   per_s       Of these, replayed after a resume
-- column: bytes_per_s      bytes_per_s Their JSON text after decompression
WITH
    {edges:Array(Int64)} AS edges,
    (edges[bucket + 1] - edges[bucket]) / 1000 AS width_s
SELECT
    fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time,
    cluster,
    dispatches / width_s AS dispatches_per_s,
    replays / width_s AS replayed_per_s,
    text_bytes / width_s AS bytes_per_s
FROM
(
    SELECT
        roundDown(toUnixTimestamp64Milli(time), edges) AS edge,
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        cluster,
        sum(gateway_counts.dispatches) AS dispatches,
        sum(replayed) AS replays,
        sum(bytes) AS text_bytes
    FROM gateway_counts
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
        AND (empty({event:Array(String)}) OR event IN {event:Array(String)})
    GROUP BY cluster, edge
    ORDER BY cluster, bucket WITH FILL FROM 1 TO length(edges)
)
WHERE cluster != '' -- with no row at all, the fill makes a series without a name
ORDER BY time, toUInt64OrZero(cluster), cluster

-- from the rollup:
WITH
    {edges:Array(Int64)} AS edges,
    (edges[bucket + 1] - edges[bucket]) / 1000 AS width_s
SELECT
    fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time,
    cluster,
    dispatches / width_s AS dispatches_per_s,
    replays / width_s AS replayed_per_s,
    text_bytes / width_s AS bytes_per_s
FROM
(
    SELECT
        roundDown(1000 * toInt64(time), edges) AS edge,
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        cluster,
        sum({rollup:Identifier}.dispatches) AS dispatches,
        sum(replayed) AS replays,
        sum(bytes) AS text_bytes
    FROM {rollup:Identifier}
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        AND (empty({event:Array(String)}) OR event IN {event:Array(String)})
    GROUP BY cluster, edge
    ORDER BY cluster, bucket WITH FILL FROM 1 TO length(edges)
)
WHERE cluster != '' -- with no row at all, the fill makes a series without a name
ORDER BY time, toUInt64OrZero(cluster), cluster
