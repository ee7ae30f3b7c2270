-- title: Pipeline freshness
-- description: Per cluster, when a batch last landed and how long that is ago: a cluster that is behind is spooling, dead or
--   cut off, not quiet, because every cluster sends its own metrics all the time. Clusters that were last heard of in the
--   day before the end of the range are there too, or the dead would drop out of a short one.
-- panel: table
-- table: batches
-- param: from    DateTime64(3, 'UTC') = -1h Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now End of the range, left out
-- param: cluster Array(String)        = []  Only these clusters; empty: all
-- column: cluster            id    Cluster
-- column: newest_landed_at   time  When its newest batch landed; null: none did
-- column: behind_ms          ms    From then to the end of the range, or to now if that is earlier; null: it
--   stopped in order, or nothing landed
-- column: newest_row_at      time  Time of the newest row that landed
-- column: landing_lag_p95_ms ms    From the newest row of a batch to its landing, 95th percentile of the range's batches;
--   for gateway_counts from the end of the row's window of 10 s; null: no batch in the range
-- column: batches            count Batches of the range
-- column: rows               count Rows in them
-- column: rows_spooled       count Rows waiting in the cluster's spool when it last reported
-- column: rows_dropped       count Rows dropped, when last reported, by those of its starts that were seen in the range
WITH
    least({to:DateTime64(3, 'UTC')}, now64(3, 'UTC')) AS until,
    least({from:DateTime64(3, 'UTC')}, until - toIntervalDay(1)) AS since,
    toDateTime64(0, 3, 'UTC') AS never
SELECT
    cluster,
    maxOrNullIf(landed, is_batch) AS newest_landed_at,
    if(newest_landed_at IS NULL OR (argMax(stopped, start) AS newest_stop) > never AND newest_stop <= until, NULL,
        greatest(0, dateDiff('millisecond', newest_landed_at, until))) AS behind_ms,
    maxOrNullIf(newest_row, is_batch) AS newest_row_at,
    quantileTDigestOrNullIf(0.95)(greatest(0, dateDiff('millisecond', recorded, landed)), is_batch AND in_range) AS landing_lag_p95_ms,
    countIf(is_batch AND in_range) AS batches,
    sumIf(landed_rows, in_range) AS rows,
    argMax(spooled, start) AS rows_spooled,
    sumIf(dropped, in_range) AS rows_dropped
FROM
(
    SELECT
        cluster,
        0 AS start,
        1 AS is_batch,
        last_time >= {from:DateTime64(3, 'UTC')} AS in_range,
        landed_at AS landed,
        last_time AS newest_row,
        last_time + toIntervalSecond(if(table = 'gateway_counts', 10, 0)) AS recorded,
        rows AS landed_rows,
        never AS stopped,
        0 AS spooled,
        0 AS dropped
    FROM batches
    WHERE last_time >= since AND last_time < {to:DateTime64(3, 'UTC')}
    UNION ALL
    SELECT cluster, boot, 0, last_seen_at >= {from:DateTime64(3, 'UTC')}, never, never, never, 0, stopped_at, rows_spooled, rows_dropped
    FROM processes FINAL
    WHERE time < {to:DateTime64(3, 'UTC')} AND last_seen_at >= since
)
WHERE empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)}
GROUP BY cluster
ORDER BY toUInt64OrZero(cluster), cluster
