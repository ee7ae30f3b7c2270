-- title: Resumed sessions and replays
-- description: How lost sessions came back, per bucket and cluster: resumed, with what was missed sent again, or begun anew, with what
--   was missed lost. A bucket without either has no row. The first and the last bucket hold what lies in the range.
-- panel: timeseries
-- table: shard_events
-- rollup: shard_events by 1d
-- param: from    DateTime64(3, 'UTC') = -24h Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: step    UInt32               = auto Width of a bucket
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []   Only these shards; empty: all
-- column: time         time  Start of the bucket
-- column: cluster      id    Cluster
-- column: resumes      count Sessions resumed
-- column: replayed     count Dispatches that Discord sent again for them
-- column: new_sessions count Sessions begun anew; the first ones of a process are among them
-- column: down_s       s     Time that the shards of both were not active before, in all
SELECT fromUnixTimestamp64Milli(edge, 'UTC') AS time, cluster, resumes, replays AS replayed, new_sessions, down_s
FROM
(
    SELECT
        roundDown(toUnixTimestamp64Milli(time), {edges:Array(Int64)}) AS edge,
        cluster,
        countIf(event = 'resumed') AS resumes,
        sum(shard_events.replayed) AS replays,
        countIf(event = 'ready') AS new_sessions,
        sum(downtime_ms) / 1000 AS down_s
    FROM shard_events
    WHERE event IN ('ready', 'resumed')
        AND time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
    GROUP BY edge, cluster
)
ORDER BY time, toUInt64OrZero(cluster), cluster

-- from the rollup:
SELECT fromUnixTimestamp64Milli(edge, 'UTC') AS time, cluster, resumes, replays AS replayed, new_sessions, down_s
FROM
(
    SELECT
        roundDown(1000 * toInt64(time), {edges:Array(Int64)}) AS edge,
        cluster,
        sumIf(events, event = 'resumed') AS resumes,
        sum({rollup:Identifier}.replayed) AS replays,
        sumIf(events, event = 'ready') AS new_sessions,
        sum(downtime_ms) / 1000 AS down_s
    FROM {rollup:Identifier}
    WHERE event IN ('ready', 'resumed')
        AND time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
    GROUP BY edge, cluster
)
ORDER BY time, toUInt64OrZero(cluster), cluster
