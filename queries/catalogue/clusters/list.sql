-- title: Clusters
-- description: Every cluster that ran in the range, by its newest start: which shards it holds, whether it runs, and what
--   became of the rows it recorded. Clusters that were last seen in the day before the end of the range are there too, or
--   the dead would drop out of a short one.
-- panel: table
-- table: processes
-- param: from           DateTime64(3, 'UTC') = -1h  Start of the range, included
-- param: to             DateTime64(3, 'UTC') = now  End of the range, left out
-- param: cluster        Array(String)        = []   Only these clusters; empty: all
-- param: silent_after_s UInt32               = 120  A cluster that was not seen for so long is called silent, seconds; beside the
--   age of its batches, which grows with the fleet to four minutes
-- column: cluster       id     Cluster
-- column: state         text   running, stopped (in order) or silent (no word from it: it died, or ClickHouse is out of its reach)
-- column: shards        text   First and last shard
-- column: shard_count   count  Shards of the cluster
-- column: shards_total  count  Shards of the whole bot
-- column: starts        count  Starts of the cluster in the range; 0: it began before and did not restart
-- column: started_at    time   When it started
-- column: last_seen_at  time   When it last reported
-- column: uptime_s      s      From the start to the last report
-- column: stop_reason   text   Why it stopped; empty: it did not say
-- column: host          text   Host it runs on
-- column: version       text   Version of shardlake-ingest
-- column: rows_observed count  Rows recorded since the start
-- column: rows_landed   count  Of these, acknowledged by ClickHouse
-- column: rows_spooled  count  Of these, waiting in the spool
-- column: rows_dropped  count  Of these, dropped and counted
WITH least({to:DateTime64(3, 'UTC')}, now64(3, 'UTC')) AS until
SELECT
    cluster,
    multiIf(
        stopped_at > 0 AND stopped_at < {to:DateTime64(3, 'UTC')}, 'stopped',
        last_seen_at < until - toIntervalSecond({silent_after_s:UInt32} + least(240, intDiv(shards_total, 4 * greatest(shard_count, 1)))), 'silent',
        'running'
    ) AS state,
    format('{} to {}', toString(shard_first), toString(shard_first + shard_count - 1)) AS shards,
    shard_count,
    shards_total,
    countIf(time >= {from:DateTime64(3, 'UTC')}) OVER (PARTITION BY cluster) AS starts,
    time AS started_at,
    last_seen_at,
    dateDiff('second', time, last_seen_at) AS uptime_s,
    stop_reason,
    host,
    version,
    rows_observed,
    rows_landed,
    rows_spooled,
    rows_dropped
FROM processes FINAL
WHERE time < {to:DateTime64(3, 'UTC')} AND last_seen_at >= least({from:DateTime64(3, 'UTC')}, until - toIntervalDay(1))
    AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
ORDER BY toUInt64OrZero(cluster), cluster, boot DESC
LIMIT 1 BY cluster
