-- title: Response times
-- description: How long people waited for the first response, and how long handlers ran, per bucket. Past 3,000 ms Discord has told
--   the user that there is no answer. Buckets without a response are null.
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
-- column: time            time Start of the bucket
-- column: response_p50_ms ms   Receipt to first response, median
-- column: response_p90_ms ms   The same, 90th percentile
-- column: response_p95_ms ms   The same, 95th percentile
-- column: response_p99_ms ms   The same, 99th percentile
-- column: duration_p50_ms ms   Receipt to the end of the handler, median
-- column: duration_p90_ms ms   The same, 90th percentile
-- column: duration_p95_ms ms   The same, 95th percentile
-- column: duration_p99_ms ms   The same, 99th percentile
WITH {edges:Array(Int64)} AS edges
SELECT fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time, response_p50_ms, response_p90_ms, response_p95_ms, response_p99_ms, duration_p50_ms, duration_p90_ms, duration_p95_ms, duration_p99_ms
FROM
(
    SELECT
        roundDown(toUnixTimestamp64Milli(time), edges) AS edge,
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        quantileTDigestOrNullIf(0.5)(response_ms, response_ms > 0) AS response_p50_ms,
        quantileTDigestOrNullIf(0.9)(response_ms, response_ms > 0) AS response_p90_ms,
        quantileTDigestOrNullIf(0.95)(response_ms, response_ms > 0) AS response_p95_ms,
        quantileTDigestOrNullIf(0.99)(response_ms, response_ms > 0) AS response_p99_ms,
        quantileTDigestOrNullIf(0.5)(duration_ms, duration_ms > 0) AS duration_p50_ms,
        quantileTDigestOrNullIf(0.9)(duration_ms, duration_ms > 0) AS duration_p90_ms,
        quantileTDigestOrNullIf(0.95)(duration_ms, duration_ms > 0) AS duration_p95_ms,
        quantileTDigestOrNullIf(0.99)(duration_ms, duration_ms > 0) AS duration_p99_ms
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
SELECT fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time, response_p50_ms, response_p90_ms, response_p95_ms, response_p99_ms, duration_p50_ms, duration_p90_ms, duration_p95_ms, duration_p99_ms
FROM
(
    SELECT
        roundDown(1000 * toInt64(time), edges) AS edge,
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        toNullable(toFloat32(quantilesBFloat16Merge(0.5, 0.9, 0.95, 0.99)(response)[1])) AS response_p50_ms,
        toNullable(toFloat32(quantilesBFloat16Merge(0.5, 0.9, 0.95, 0.99)(response)[2])) AS response_p90_ms,
        toNullable(toFloat32(quantilesBFloat16Merge(0.5, 0.9, 0.95, 0.99)(response)[3])) AS response_p95_ms,
        toNullable(toFloat32(quantilesBFloat16Merge(0.5, 0.9, 0.95, 0.99)(response)[4])) AS response_p99_ms,
        toNullable(toFloat32(quantilesBFloat16Merge(0.5, 0.9, 0.95, 0.99)(duration)[1])) AS duration_p50_ms,
        toNullable(toFloat32(quantilesBFloat16Merge(0.5, 0.9, 0.95, 0.99)(duration)[2])) AS duration_p90_ms,
        toNullable(toFloat32(quantilesBFloat16Merge(0.5, 0.9, 0.95, 0.99)(duration)[3])) AS duration_p95_ms,
        toNullable(toFloat32(quantilesBFloat16Merge(0.5, 0.9, 0.95, 0.99)(duration)[4])) AS duration_p99_ms
    FROM {rollup:Identifier}
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
    GROUP BY edge
    ORDER BY bucket WITH FILL FROM 1 TO length(edges)
)
ORDER BY time
