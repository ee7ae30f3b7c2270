-- title: Pipeline freshness
-- description: Per cluster, when a batch last landed and how long that is ago: a cluster that is behind is spooling, dead or
--   cut off, not quiet, because every cluster sends its own metrics all the time.
-- panel: table
-- table: batches
-- param: from    DateTime64(3, 'UTC') = -1h Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now End of the range, left out
-- param: cluster Array(String)        = []  Only these clusters; empty: all
-- column: cluster            id    Cluster
-- column: newest_landed_at   time  When its newest batch landed; null: none landed in the range
-- column: behind_ms          ms    From then to the end of the range, or to now if that is earlier
-- column: newest_row_at      time  Time of the newest row that landed
-- column: landing_lag_p95_ms ms    From the newest row of a batch to its landing, 95th percentile
-- column: batches            count Batches that landed
-- column: rows               count Rows in them
-- column: rows_spooled       count Rows waiting in the cluster's spool when it last reported
-- column: rows_dropped       count Rows that its newest start has dropped, when it last reported
SELECT
    cluster,
    maxOrNullIf(landed_at, is_batch) AS newest_landed_at,
    greatest(0, dateDiff('millisecond', newest_landed_at, least({to:DateTime64(3, 'UTC')}, now64(3)))) AS behind_ms,
    maxOrNullIf(last_time, is_batch) AS newest_row_at,
    quantileTDigestOrNullIf(0.95)(dateDiff('millisecond', last_time, landed_at), is_batch) AS landing_lag_p95_ms,
    countIf(is_batch) AS batches,
    sum(landed_rows) AS rows,
    argMax(spooled, boot) AS rows_spooled,
    argMax(dropped, boot) AS rows_dropped
FROM
(
    SELECT cluster, 0 AS boot, 1 AS is_batch, landed_at, last_time, rows AS landed_rows, 0 AS spooled, 0 AS dropped
    FROM batches
    WHERE last_time >= {from:DateTime64(3, 'UTC')} AND last_time < {to:DateTime64(3, 'UTC')}
    UNION ALL
    SELECT cluster, boot, 0, time, time, 0, rows_spooled, rows_dropped
    FROM processes FINAL
    WHERE time < {to:DateTime64(3, 'UTC')} AND last_seen_at >= {from:DateTime64(3, 'UTC')}
)
WHERE empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)}
GROUP BY cluster
ORDER BY toUInt64OrZero(cluster), cluster
