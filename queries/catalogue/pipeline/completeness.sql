-- title: Missing batches
-- description: Gaps in what landed, per cluster, start and table. Batches are numbered from 1 without gaps, so a number that
--   did not land while a later one did is a batch that is lost or still in a spool. Shown are gaps whose rows may lie in the
--   range: they were recorded between their neighbours', give or take the 15 minutes for which an interaction stays open.
--   What was sent last and lost leaves no gap: see pipeline/freshness.
-- panel: table
-- table: batches
-- param: from       DateTime64(3, 'UTC') = -1h  Start of the range, included
-- param: to         DateTime64(3, 'UTC') = now  End of the range, left out
-- param: cluster    Array(String)        = []   Only these clusters; empty: all
-- param: table_name Array(String)        = []   Only these tables; empty: all
-- param: limit      UInt32               = 1000 Most rows
-- column: cluster     id    Cluster
-- column: boot        id    Start of its process, see processes.boot
-- column: table_name  text  Table
-- column: first_batch count First missing number
-- column: last_batch  count Last missing number
-- column: missing     count Batches missing
-- column: after       time  Newest row of the batch before; if there is none, the start of the process
-- column: before      time  Newest row of the batch behind
WITH
    toIntervalSecond(900) AS slack,
    ongoing AS
    (
        SELECT DISTINCT cluster, boot
        FROM batches
        WHERE last_time >= {from:DateTime64(3, 'UTC')} - slack
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
    ),
    with_gaps AS
    (
        SELECT cluster, boot, table
        FROM batches
        WHERE (cluster, boot) IN ongoing
            AND (empty({table_name:Array(String)}) OR table IN {table_name:Array(String)})
        GROUP BY cluster, boot, table
        HAVING groupBitmap(batch) < max(batch)
    )
SELECT
    cluster,
    toString(boot) AS boot,
    table AS table_name,
    previous + 1 AS first_batch,
    toUInt64(batch - 1) AS last_batch,
    toUInt64(batch - previous - 1) AS missing,
    previous_last_time AS after,
    last_time AS before
FROM
(
    SELECT
        cluster,
        boot,
        table,
        batch,
        last_time,
        lagInFrame(batch, 1, 0) OVER neighbours AS previous,
        lagInFrame(last_time, 1, snowflakeIDToDateTime64(boot, 1420070400000, 'UTC')) OVER neighbours AS previous_last_time
    FROM batches
    WHERE (cluster, boot, table) IN with_gaps
    WINDOW neighbours AS (PARTITION BY cluster, boot, table ORDER BY batch ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
WHERE batch > previous + 1
    AND previous_last_time - slack < {to:DateTime64(3, 'UTC')}
    AND last_time + slack >= {from:DateTime64(3, 'UTC')}
ORDER BY toUInt64OrZero(cluster), cluster, boot, table_name, first_batch
LIMIT {limit:UInt32} OFFSET {offset:UInt64}
