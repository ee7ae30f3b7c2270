-- Missing batches whose rows may lie in the range. Sequences start at 1 and have no gaps, so a series (cluster, boot, table)
-- with fewer batches than its highest number has lost some; only those few are looked at one by one.
-- The rows of a missing batch were recorded between its neighbours'. A row may be recorded up to {slack_s} seconds after its
-- time, so that is how far the neighbours' times can mislead. Before the first batch comes the start of the process.
WITH
    toIntervalSecond({slack_s:UInt32}) AS slack,
    ongoing AS
    (
        SELECT DISTINCT cluster, boot
        FROM batches
        WHERE (table = {table:String} OR {table:String} = 'batches') AND last_time >= {from:DateTime64(3, 'UTC')} - slack
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
    ),
    with_gaps AS
    (
        SELECT cluster, boot, table
        FROM batches
        WHERE (table = {table:String} OR {table:String} = 'batches') AND (cluster, boot) IN ongoing
        GROUP BY cluster, boot, table
        HAVING groupBitmap(batch) < max(batch)
    )
SELECT
    cluster,
    boot,
    table,
    previous + 1 AS first_batch,
    toUInt64(batch - 1) AS last_batch,
    toUInt64(batch - previous - 1) AS missing,
    sum(missing) OVER () AS missing_in_total
FROM
(
    SELECT
        cluster,
        boot,
        table,
        batch,
        last_time,
        lagInFrame(batch, 1, 0) OVER neighbours AS previous,
        lagInFrame(last_time, 1, snowflakeIDToDateTime64(boot, {discord_epoch_ms:UInt64}, 'UTC')) OVER neighbours AS previous_last_time
    FROM batches
    WHERE (cluster, boot, table) IN with_gaps
    WINDOW neighbours AS (PARTITION BY cluster, boot, table ORDER BY batch ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
WHERE batch > previous + 1
    AND previous_last_time - slack < {to:DateTime64(3, 'UTC')}
    AND last_time + slack >= {from:DateTime64(3, 'UTC')}
ORDER BY toUInt64OrZero(cluster), cluster, boot, table, first_batch
LIMIT {limit:UInt32}
