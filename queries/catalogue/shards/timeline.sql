-- title: Shard states
-- description: Every change of every shard's state in the range, after the state that each shard had when the range began.
--   A cluster that died without a word leaves its shards in their last state; clusters/list shows it as silent.
-- panel: state-timeline
-- table: shard_events
-- param: from    DateTime64(3, 'UTC') = -1h    Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now    End of the range, left out
-- param: cluster Array(String)        = []     Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []     Only these shards; empty: all
-- param: limit   UInt32               = 10000  At most so many rows, the earliest first
-- column: time        time  When the change was seen; the start of the range for the state a shard had then
-- column: cluster     id    Cluster
-- column: shard       id    Shard
-- column: state       text  State after the change: disconnected, identifying, resuming, active or fatally_closed
-- column: event       text  What changed it; empty: nothing yet, this is the state at the start of the range
-- column: cause       text  Why a connection was lost: server_close, op7, op9, zombied, reset or silent
-- column: close_code  count Close code of the WebSocket; 0: none
-- column: downtime_ms ms    On ready and resumed: how long the shard was not active
SELECT at AS time, cluster, toString(shard_id) AS shard, state, event, cause, close_code, downtime_ms
FROM
(
    SELECT
        {from:DateTime64(3, 'UTC')} AS at,
        cluster,
        shard AS shard_id,
        argMax(shard_events.state, shard_events.time) AS state,
        '' AS event,
        '' AS cause,
        0 AS close_code,
        0 AS downtime_ms
    FROM shard_events
    WHERE time < {from:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
    GROUP BY cluster, shard_id
    UNION ALL
    SELECT time AS at, cluster, shard AS shard_id, state, event, cause, close_code, downtime_ms
    FROM shard_events
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
)
ORDER BY at, toUInt64OrZero(cluster), cluster, shard_id
LIMIT {limit:UInt32}
