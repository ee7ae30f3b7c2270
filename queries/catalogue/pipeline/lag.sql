-- title: Landing lag
-- description: How long rows took from being recorded to being in ClickHouse, per bucket and cluster: the newest row of each batch,
--   so that the time for which a batch is gathered is not in it. Buckets in which nothing was recorded are null.
-- panel: timeseries
-- table: batches
-- param: from       DateTime64(3, 'UTC') = -1h  Start of the range, included
-- param: to         DateTime64(3, 'UTC') = now  End of the range, left out
-- param: step       UInt32               = auto Width of a bucket
-- param: cluster    Array(String)        = []   Only these clusters; empty: all
-- param: table_name Array(String)        = []   Only these tables; empty: all
-- column: time       time  Start of the bucket, by the time of the newest row
-- column: cluster    id    Cluster
-- column: lag_p50_ms ms    Recording to landing, median of the batches
-- column: lag_p95_ms ms    The same, 95th percentile; for gateway_counts from the end of the row's window of 10 s
-- column: lag_max_ms ms    The longest
-- column: batches    count Batches that landed
-- column: rows       count Rows in them
WITH {edges:Array(Int64)} AS edges
SELECT fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time, cluster, lag_p50_ms, lag_p95_ms, lag_max_ms, landed AS batches, landed_rows AS rows
FROM
(
    SELECT
        roundDown(toUnixTimestamp64Milli(last_time), edges) AS edge,
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        cluster,
        toNullable(quantileTDigest(0.5)(lag_ms)) AS lag_p50_ms,
        toNullable(quantileTDigest(0.95)(lag_ms)) AS lag_p95_ms,
        toNullable(max(lag_ms)) AS lag_max_ms,
        count() AS landed,
        sum(rows) AS landed_rows
    FROM
    (
        SELECT
            cluster,
            last_time,
            rows,
            greatest(0, dateDiff('millisecond', last_time + toIntervalSecond(if(table = 'gateway_counts', 10, 0)), landed_at)) AS lag_ms
        FROM batches
        WHERE last_time >= {from:DateTime64(3, 'UTC')} AND last_time < {to:DateTime64(3, 'UTC')}
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
            AND (empty({table_name:Array(String)}) OR table IN {table_name:Array(String)})
    )
    GROUP BY cluster, edge
    ORDER BY cluster, bucket WITH FILL FROM 1 TO length(edges)
)
WHERE cluster != '' -- with no row at all, the fill makes a series without a name
ORDER BY time, toUInt64OrZero(cluster), cluster
