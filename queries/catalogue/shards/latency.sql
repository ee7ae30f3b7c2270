-- title: Heartbeat latency by shard
-- description: Round trip of the heartbeat, per bucket and shard, of the shards that were slowest in the range. Samples
--   are taken every 30 s by default; a bucket without one is null, not 0.
-- panel: timeseries
-- table: samples
-- rollup: shard_latency by 1h
-- min_step: 30s
-- limit_by: cluster, shard
-- param: from    DateTime64(3, 'UTC') = -1h  Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: step    UInt32               = auto Width of a bucket
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []   Only these shards; empty: all
-- param: limit   UInt32               = 50   At most so many shards, the slowest first
-- column: time           time Start of the bucket
-- column: cluster        id   Cluster
-- column: shard          id   Shard
-- column: latency_ms     ms   Mean of the samples
-- column: latency_max_ms ms   Highest sample
WITH {edges:Array(Int64)} AS edges, latencies AS
(
    SELECT cluster, labels['shard'] AS shard, time AS sampled_at, value * 1000 AS sample_ms
    FROM samples
    WHERE name = 'discord_shard_latency_seconds'
        AND time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        AND (empty({shard:Array(UInt16)}) OR toUInt16OrNull(labels['shard']) IN {shard:Array(UInt16)})
)
SELECT fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time, cluster, shard, latency_ms, latency_max_ms
FROM
(
    SELECT
        roundDown(toUnixTimestamp64Milli(sampled_at), edges) AS edge,
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        cluster,
        shard,
        toNullable(avg(sample_ms)) AS latency_ms,
        toNullable(max(sample_ms)) AS latency_max_ms
    FROM latencies
    WHERE (cluster, shard) IN
    (
        SELECT cluster, shard FROM latencies GROUP BY cluster, shard ORDER BY max(sample_ms) DESC, cluster, shard LIMIT {limit:UInt32} OFFSET {offset:UInt64}
    )
    GROUP BY cluster, shard, edge
    ORDER BY cluster, shard, bucket WITH FILL FROM 1 TO length(edges)
)
WHERE cluster != '' -- with no row at all, the fill makes a series without a name
ORDER BY time, toUInt64OrZero(cluster), cluster, toUInt16OrZero(shard)

-- from the rollup:
WITH {edges:Array(Int64)} AS edges
SELECT fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time, cluster, toString(shard_id) AS shard, latency_ms, latency_max_ms
FROM
(
    SELECT
        roundDown(1000 * toInt64(time), edges) AS edge,
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        cluster,
        {rollup:Identifier}.shard AS shard_id,
        toNullable(1000 * sum(latency_sum_s) / sum(samples)) AS latency_ms,
        toNullable(1000 * max(latency_max_s)) AS latency_max_ms
    FROM {rollup:Identifier}
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (cluster, shard_id) IN
        (
            SELECT cluster, {rollup:Identifier}.shard
            FROM {rollup:Identifier}
            WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
                AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
                AND (empty({shard:Array(UInt16)}) OR {rollup:Identifier}.shard IN {shard:Array(UInt16)})
            GROUP BY cluster, {rollup:Identifier}.shard
            ORDER BY max(latency_max_s) DESC, cluster, toString({rollup:Identifier}.shard)
            LIMIT {limit:UInt32} OFFSET {offset:UInt64}
        )
    GROUP BY cluster, shard_id, edge
    ORDER BY cluster, shard_id, bucket WITH FILL FROM 1 TO length(edges)
)
WHERE cluster != '' -- with no row at all, the fill makes a series without a name
ORDER BY time, toUInt64OrZero(cluster), cluster, shard_id
