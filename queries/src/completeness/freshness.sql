-- When each cluster last landed a batch: the clusters with a batch around the end of the range, or with a process that was
-- seen since its start. The end of the range is never later than now.
WITH
    least({to:DateTime64(3, 'UTC')}, now64(3, 'UTC')) AS until,
    toDateTime64(0, 3, 'UTC') AS never
SELECT
    cluster,
    toUnixTimestamp64Milli(if(max(landed) > never, max(landed), max(seen)) AS newest) AS newest_landed_at,
    toUnixTimestamp64Milli(maxOrNullIf(landed, in_table)) AS newest_in_table_at,
    -- A cluster that stopped in order owes nothing after its stop.
    greatest(0, dateDiff('millisecond', newest, least(until, if(argMax(stopped, start) > never, argMax(stopped, start), until)))) AS behind_ms
FROM
(
    SELECT
        cluster,
        0 AS start,
        landed_at AS landed,
        table = {table:String} OR {table:String} = 'batches' AS in_table,
        never AS seen,
        never AS stopped
    FROM batches
    WHERE last_time >= until - toIntervalDay(1) AND last_time < until + toIntervalDay(1)
    UNION ALL
    SELECT cluster, boot, never, 0, last_seen_at, stopped_at
    FROM processes FINAL
    WHERE time < until AND last_seen_at >= least({from:DateTime64(3, 'UTC')}, until - toIntervalDay(1))
)
WHERE empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)}
GROUP BY cluster
ORDER BY toUInt64OrZero(cluster), cluster
