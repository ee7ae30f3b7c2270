-- title: Shard states
-- description: Every change of every shard's state in the range, after the state that each shard had when the range began.
--   When a cluster stops or goes silent, its shards do too, until a later start of it says otherwise.
-- panel: state-timeline
-- table: shard_events
-- limit_by: time, cluster, shard, event
-- param: from           DateTime64(3, 'UTC') = -1h   Start of the range, included
-- param: to             DateTime64(3, 'UTC') = now   End of the range, left out
-- param: cluster        Array(String)        = []    Only these clusters; empty: all
-- param: shard          Array(UInt16)        = []    Only these shards; empty: all
-- param: silent_after_s UInt32               = 120   A cluster that was not seen for so long is called silent, seconds
-- param: limit          UInt32               = 10000 At most so many rows, the newest
-- column: time        time When the change was seen; the start of the range for the state a shard had then
-- column: cluster     id   Cluster
-- column: shard       id   Shard
-- column: state       text State after the change: disconnected, identifying, resuming, active or fatally_closed; stopped
--   (in order) or silent (no word from it) when that is what its cluster is
-- column: event       text What changed it; empty: no event, but the start of the range or the end of its cluster's process
-- column: cause       text Why a connection was lost: server_close, client_close, op7, op9, zombied, reset, protocol or
--   silent; what a stuck shard waits for: connection, hello, ready, resumed or close
-- column: close_code  id   Close code of the WebSocket; empty: none
-- column: downtime_ms ms   On ready and resumed: how long the shard was not active
WITH
    least({to:DateTime64(3, 'UTC')}, now64(3, 'UTC')) AS until,
    starts AS
    (
        SELECT
            cluster,
            boot,
            time AS started_at,
            range(shard_first, shard_first + shard_count) AS shards,
            if(stopped_at > 0, 'stopped', 'silent') AS ended,
            if(stopped_at > 0, stopped_at, last_seen_at + toIntervalSecond({silent_after_s:UInt32})) AS ended_at,
            leadInFrame(time, 1, until) OVER
                (PARTITION BY cluster ORDER BY boot ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS next_started_at
        FROM processes FINAL
        WHERE time < {to:DateTime64(3, 'UTC')}
            AND last_seen_at >= {from:DateTime64(3, 'UTC')} - toIntervalSecond({silent_after_s:UInt32})
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
    ),
    -- Only these can have had a state then: it is not searched for in years of rows, and what is long gone has none.
    running AS
    (
        SELECT cluster, boot, started_at
        FROM starts
        WHERE started_at < {from:DateTime64(3, 'UTC')} AND ended_at > {from:DateTime64(3, 'UTC')}
    )
SELECT at AS time, cluster, toString(shard_id) AS shard, state, event, cause, if(code = 0, '', toString(code)) AS close_code, downtime_ms
FROM
(
    SELECT at, cluster, shard_id, state, event, cause, code, downtime_ms
    FROM
    (
        SELECT
            {from:DateTime64(3, 'UTC')} AS at,
            cluster,
            shard AS shard_id,
            argMax(shard_events.state, shard_events.time) AS state,
            '' AS event,
            '' AS cause,
            0 AS code,
            0 AS downtime_ms
        FROM shard_events
        WHERE time >= (SELECT min(started_at) FROM running) AND time < {from:DateTime64(3, 'UTC')}
            AND (cluster, boot) IN (SELECT cluster, boot FROM running)
            AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
        GROUP BY cluster, shard_id
        UNION ALL
        SELECT time, cluster, shard, state, event, cause, close_code, downtime_ms
        FROM shard_events
        WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
            AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
        UNION ALL
        SELECT ended_at, cluster, arrayJoin(shards) AS shard_id, ended, '', '', 0, 0
        FROM starts
        WHERE ended_at >= {from:DateTime64(3, 'UTC')} AND ended_at < next_started_at
            AND (empty({shard:Array(UInt16)}) OR shard_id IN {shard:Array(UInt16)})
    )
    ORDER BY at DESC, cluster, shard_id, event DESC
    LIMIT {limit:UInt32} OFFSET {offset:UInt64}
)
ORDER BY at, toUInt64OrZero(cluster), cluster, shard_id, event -- a shard's events have different times
