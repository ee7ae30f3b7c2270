-- title: Uptime of shards
-- description: How long each shard was connected with an active session, the least first. It counts from the start of the range,
--   or from when the shard was first seen in it, and a cluster that stopped or went silent takes its shards down until a later
--   start of it brings them back.
-- panel: table
-- table: shard_events
-- param: from           DateTime64(3, 'UTC') = -24h Start of the range, included
-- param: to             DateTime64(3, 'UTC') = now  End of the range, left out
-- param: cluster        Array(String)        = []   Only these clusters; empty: all
-- param: shard          Array(UInt16)        = []   Only these shards; empty: all
-- param: silent_after_s UInt32               = 120  A cluster that was not seen for so long is called silent, seconds
-- param: limit          UInt32               = 200  At most so many shards
-- column: cluster         id    Cluster
-- column: shard           id    Shard
-- column: uptime_ratio    ratio Time with an active session over time observed; null: none was observed yet
-- column: observed_s      s     Time observed
-- column: down_s          s     Of it, time without an active session
-- column: longest_down_s  s     The longest such time without a break
-- column: disconnects     count Connections lost
-- column: resumes         count Sessions resumed: nothing was missed
-- column: new_sessions    count Sessions begun, each of which costs one of Discord's session starts; what happened before is missed
-- column: state           text  State at the end: disconnected, identifying, resuming, active, fatally_closed, stopped or silent
-- column: since           time  Since when it has been active or not; at the earliest since it was observed
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
    ),
    changes AS
    (
        SELECT {from:DateTime64(3, 'UTC')} AS at, cluster, shard AS shard_id, argMax(shard_events.state, shard_events.time) AS state, '' AS event
        FROM shard_events
        WHERE time >= (SELECT min(started_at) FROM running) AND time < {from:DateTime64(3, 'UTC')}
            AND (cluster, boot) IN (SELECT cluster, boot FROM running)
            AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
        GROUP BY cluster, shard_id
        UNION ALL
        SELECT time, cluster, shard, state, event
        FROM shard_events
        WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
            AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
        UNION ALL
        SELECT ended_at, cluster, arrayJoin(shards) AS shard_id, ended, ''
        FROM starts
        WHERE ended_at >= {from:DateTime64(3, 'UTC')} AND ended_at < next_started_at
            AND (empty({shard:Array(UInt16)}) OR shard_id IN {shard:Array(UInt16)})
    ),
    -- A spell begins with each row that says active, and holds the time without a session that follows.
    spells AS
    (
        SELECT
            cluster,
            shard_id,
            spell,
            min(at) AS begun_at,
            if(countIf(NOT is_active) = 0, begun_at, minIf(at, NOT is_active)) AS unchanged_since,
            argMax(state, (at, event)) AS last_state,
            sum(lasted_ms) AS spell_ms,
            sumIf(lasted_ms, NOT is_active) AS down_ms,
            countIf(event = 'disconnected') AS disconnects,
            countIf(event = 'resumed') AS resumes,
            countIf(event = 'ready') AS new_sessions
        FROM
        (
            SELECT
                at,
                cluster,
                shard_id,
                state,
                event,
                state = 'active' AS is_active,
                sum(is_active) OVER (PARTITION BY cluster, shard_id ORDER BY at, event) AS spell,
                greatest(0, dateDiff('millisecond', at, leadInFrame(at, 1, until) OVER
                    (PARTITION BY cluster, shard_id ORDER BY at, event ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING))) AS lasted_ms
            FROM changes
        )
        GROUP BY cluster, shard_id, spell
    )
SELECT
    cluster,
    toString(shard_id) AS shard,
    1 - down_s / nullIf(observed_s, 0) AS uptime_ratio,
    sum(spell_ms) / 1000 AS observed_s,
    sum(spells.down_ms) / 1000 AS down_s,
    max(spells.down_ms) / 1000 AS longest_down_s,
    sum(spells.disconnects) AS disconnects,
    sum(spells.resumes) AS resumes,
    sum(spells.new_sessions) AS new_sessions,
    argMax(last_state, spell) AS state,
    argMax(unchanged_since, spell) AS since
FROM spells
GROUP BY cluster, shard_id
ORDER BY down_s DESC, toUInt64OrZero(cluster), cluster, shard_id
LIMIT {limit:UInt32} OFFSET {offset:UInt64}
