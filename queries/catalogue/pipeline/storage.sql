-- title: Storage
-- description: What each table takes on disk, and by how much it grows: rows that landed in the range, at the size that its rows
--   have now. On a ClickHouse cluster sizes are those of the server that answers.
-- panel: table
-- table: batches
-- param: from       DateTime64(3, 'UTC') = -7d Start of the range, included
-- param: to         DateTime64(3, 'UTC') = now End of the range, left out
-- param: cluster    Array(String)        = []  Rows that landed: only of these clusters; empty: all
-- param: table_name Array(String)        = []  Only these tables; empty: all
-- column: table_name         text  Table
-- column: rows               count Rows it holds
-- column: disk_bytes         bytes Compressed, on disk
-- column: uncompressed_bytes bytes The same before compression
-- column: bytes_per_row      bytes On disk, per row; null: it is empty
-- column: parts              count Parts it lies in; hundreds mean that merges do not keep up
-- column: rows_per_day       count Rows that landed, per day of the range; null: no cluster writes into it, as a rollup
-- column: bytes_per_day      bytes What they add on disk, until they expire; null where rows_per_day or bytes_per_row is
-- column: kept               text  Age at which rows expire, such as 90 day, or that of each step; empty: never
WITH
    greatest(1, dateDiff('second', {from:DateTime64(3, 'UTC')}, least({to:DateTime64(3, 'UTC')}, now64(3, 'UTC')))) / 86400 AS days,
    landed AS
    (
        SELECT table AS table_name, toNullable(sum(batches.rows)) AS rows
        FROM batches
        WHERE last_time >= {from:DateTime64(3, 'UTC')} AND last_time < {to:DateTime64(3, 'UTC')}
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        GROUP BY table
    ),
    -- Of a rollup of several steps `multiIf(step = '1m', time + toIntervalDay(90), step = '1h', …, …)`, of others the plain sum.
    if(engine_full LIKE '%TTL multiIf(step = %', '1d: ', '') AS of_days,
    extractAllGroupsVertical(engine_full, '(?:TTL |step = .(\\w+)., |, )\\S+ \\+ toInterval(\\w+)\\((\\d+)\\)') AS times
SELECT
    name AS table_name,
    assumeNotNull(total_rows) AS rows,
    assumeNotNull(total_bytes) AS disk_bytes,
    assumeNotNull(total_bytes_uncompressed) AS uncompressed_bytes,
    disk_bytes / nullIf(rows, 0) AS bytes_per_row,
    assumeNotNull(active_parts) AS parts,
    landed.rows / days AS rows_per_day,
    rows_per_day * bytes_per_row AS bytes_per_day,
    arrayStringConcat(arrayMap(found -> concat(if(found[1] = '', of_days, concat(found[1], ': ')), found[3], ' ', lower(found[2])), times), ', ') AS kept
FROM system.tables AS tables
LEFT JOIN landed ON landed.table_name = tables.name
-- The tables of a ClickHouse cluster's readers are `Distributed`, and the ones that hold rows lie in the database beside theirs.
WHERE currentDatabase() IN (database, concat(database, '_all'))
    AND engine LIKE '%MergeTree' AND name NOT LIKE 'migration%'
    AND (empty({table_name:Array(String)}) OR name IN {table_name:Array(String)})
ORDER BY disk_bytes DESC, table_name
