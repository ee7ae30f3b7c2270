-- title: Stuck shards
-- description: Shards that waited for something that did not come, for longer than the process bears (2 minutes by default): which,
--   for what, since when, and how it ended. First those that still wait, the longest ahead. Such a shard raises no error of its own.
-- panel: table
-- table: shard_events
-- param: from           DateTime64(3, 'UTC') = -24h Start of the range, included
-- param: to             DateTime64(3, 'UTC') = now  End of the range, left out
-- param: cluster        Array(String)        = []   Only these clusters; empty: all
-- param: shard          Array(UInt16)        = []   Only these shards; empty: all
-- param: silent_after_s UInt32               = 120  A cluster that was not seen for so long is called silent, seconds
-- param: limit          UInt32               = 1000 At most so many rows
-- column: cluster   id   Cluster
-- column: shard     id   Shard
-- column: state     text State it hung in: disconnected, identifying or resuming
-- column: waits_for text What it waited for: connection, hello, ready, resumed or close
-- column: since     time Since when
-- column: stuck_s   s    For how long, until the end of the range if it still waited then
-- column: ended_at  time When the wait was over; null: not in the range
-- column: ended_by  text What ended it: resumed or ready when it came, disconnected or another change, stopped or silent with its
--   process; empty: it still waits
WITH
    least({to:DateTime64(3, 'UTC')}, now64(3, 'UTC')) AS until,
    -- A wait may have been reported before the range, so all is read of every process that ran in it.
    running AS
    (
        SELECT
            cluster,
            boot,
            time AS started_at,
            if(stopped_at > 0, 'stopped', 'silent') AS process_ended,
            if(stopped_at > 0, stopped_at, last_seen_at + toIntervalSecond({silent_after_s:UInt32})) AS process_ended_at
        FROM processes FINAL
        WHERE time < {to:DateTime64(3, 'UTC')} AND process_ended_at >= {from:DateTime64(3, 'UTC')}
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
    )
SELECT
    cluster,
    toString(shard_id) AS shard,
    state,
    waits_for,
    since,
    dateDiff('millisecond', since, ifNull(ended_at, until)) / 1000 AS stuck_s,
    multiIf(next_at > 0, next_at, process_ended_at < until, process_ended_at, NULL) AS ended_at,
    multiIf(next_at > 0, next_event, process_ended_at < until, process_ended, '') AS ended_by
FROM
(
    SELECT
        cluster,
        boot,
        shard AS shard_id,
        event,
        state,
        cause AS waits_for,
        time - toIntervalMillisecond(in_state_ms) AS since,
        leadInFrame(time, 1, toDateTime64(0, 3, 'UTC')) OVER following AS next_at,
        leadInFrame(event, 1, '') OVER following AS next_event
    FROM shard_events
    WHERE time >= (SELECT min(started_at) FROM running) AND time < {to:DateTime64(3, 'UTC')}
        AND (cluster, boot) IN (SELECT cluster, boot FROM running)
        AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
        AND event NOT IN ('connect_failed', 'closed') -- these leave a shard where it is
    WINDOW following AS (PARTITION BY cluster, boot, shard ORDER BY time ROWS BETWEEN CURRENT ROW AND 1 FOLLOWING)
) AS waits
INNER JOIN running USING (cluster, boot)
WHERE event = 'stuck' AND (ended_at IS NULL OR ended_at >= {from:DateTime64(3, 'UTC')})
ORDER BY ended_at IS NULL DESC, stuck_s DESC, toUInt64OrZero(cluster), cluster, shard_id, since
LIMIT {limit:UInt32} OFFSET {offset:UInt64}
