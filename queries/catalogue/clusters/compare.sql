-- title: Clusters compared
-- description: Each cluster beside the others: what people felt, how its shards were connected and how busy its process was, and
--   in words what sets it apart. A measure stands out when it is `factor` times the median of the clusters asked about and far
--   enough from it to be felt.
-- panel: table
-- table: interactions
-- rollup: interactions_by_cluster without command
-- param: from    DateTime64(3, 'UTC') = -1h Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now End of the range, left out
-- param: cluster Array(String)        = []  Only these clusters; empty: all
-- param: command Array(String)        = []  Only interactions with these commands; empty: all
-- param: factor  Float64              = 2   How many times the median stands out
-- column: cluster               id    Cluster
-- column: stands_out            text  What sets it apart from the others, with its measure; empty: nothing
-- column: interactions          count Interactions received
-- column: error_ratio           ratio Of those with a known outcome, ended in error, panic or timed_out; null: none has one
-- column: response_p95_ms       ms    Receipt to first response, 95th percentile; null: no response was seen
-- column: delivery_lag_p95_ms   ms    Creation at Discord to receipt, 95th percentile; carries the skew of both clocks
-- column: event_loop_lag_p95_ms ms    How late its runtime woke a timer, 95th percentile of the samples; null: none in the range
-- column: heartbeat_ms          ms    Round trip of its shards' heartbeats, mean of the samples
-- column: disconnects           count Connections that its shards lost and that it did not close itself
-- column: down_s                s     Time that its shards were not active before they came back, in all
WITH
    measured AS
    (
        SELECT
            cluster,
            count() AS interactions,
            countIf(outcome IN ('error', 'panic', 'timed_out')) / nullIf(countIf(outcome NOT IN ('received', 'untracked')), 0) AS error_ratio,
            quantileTDigestOrNullIf(0.95)(response_ms, response_ms > 0) AS response_p95_ms,
            toNullable(quantileTDigest(0.95)(delivery_lag_ms)) AS delivery_lag_p95_ms,
            NULL AS event_loop_lag_p95_ms,
            NULL AS heartbeat_ms,
            0 AS disconnects,
            0 AS down_s
        FROM interactions
        WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
            AND (empty({command:Array(String)}) OR command IN {command:Array(String)})
        GROUP BY cluster
        UNION ALL
        SELECT cluster, 0, NULL, NULL, NULL, NULL, NULL, countIf(event = 'disconnected' AND cause != 'client_close'), sum(downtime_ms) / 1000
        FROM shard_events
        WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        GROUP BY cluster
        UNION ALL
        SELECT
            cluster,
            0,
            NULL,
            NULL,
            NULL,
            quantileTDigestOrNullIf(0.95)(value * 1000, name = 'discord_event_loop_lag_seconds'),
            avgOrNullIf(value * 1000, name = 'discord_shard_latency_seconds'),
            0,
            0
        FROM samples
        WHERE name IN ('discord_event_loop_lag_seconds', 'discord_shard_latency_seconds')
            AND time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        GROUP BY cluster
    ),
    by_cluster AS
    (
        SELECT
            cluster,
            sum(measured.interactions) AS interactions,
            max(measured.error_ratio) AS error_ratio,
            max(measured.response_p95_ms) AS response_p95_ms,
            max(measured.delivery_lag_p95_ms) AS delivery_lag_p95_ms,
            max(measured.event_loop_lag_p95_ms) AS event_loop_lag_p95_ms,
            max(measured.heartbeat_ms) AS heartbeat_ms,
            sum(measured.disconnects) AS disconnects,
            sum(measured.down_s) AS down_s
        FROM measured
        GROUP BY cluster
    ),
    -- Measure, its median (the lower one of two, so that the worse of two clusters stands out), the least difference that is felt, and how both are told.
    (value, median, felt, name, unit) -> if(
        value > median * {factor:Float64} AND value - median > felt,
        format('{} {}{} against {}{}', name, toString(round(assumeNotNull(value))), unit, toString(round(assumeNotNull(median))), unit), '') AS too_high
SELECT
    cluster,
    arrayStringConcat(arrayFilter(text -> text != '',
    [
        if(interactions * {factor:Float64} < quantileExactHigh(0.5)(interactions) OVER (),
            format('few interactions: {} against {}', toString(interactions), toString(quantileExactHigh(0.5)(interactions) OVER ())), ''),
        too_high(error_ratio * 100, 100 * quantileExactLow(0.5)(error_ratio) OVER (), 1, 'errors:', ' %'),
        too_high(response_p95_ms, quantileExactLow(0.5)(response_p95_ms) OVER (), 100, 'slow responses:', ' ms'),
        too_high(delivery_lag_p95_ms, quantileExactLow(0.5)(delivery_lag_p95_ms) OVER (), 100, 'late deliveries:', ' ms'),
        too_high(event_loop_lag_p95_ms, quantileExactLow(0.5)(event_loop_lag_p95_ms) OVER (), 10, 'late event loop:', ' ms'),
        too_high(heartbeat_ms, quantileExactLow(0.5)(heartbeat_ms) OVER (), 50, 'slow heartbeats:', ' ms'),
        too_high(disconnects, quantileExactLow(0.5)(disconnects) OVER (), 3, 'lost connections:', ''),
        too_high(down_s, quantileExactLow(0.5)(down_s) OVER (), 60, 'time without a session:', ' s')
    ]), '; ') AS stands_out,
    interactions,
    error_ratio,
    response_p95_ms,
    delivery_lag_p95_ms,
    event_loop_lag_p95_ms,
    heartbeat_ms,
    disconnects,
    down_s
FROM by_cluster
ORDER BY empty(stands_out), toUInt64OrZero(cluster), cluster

-- from the rollup:
WITH
    measured AS
    (
        SELECT
            cluster,
            sum({rollup:Identifier}.interactions) AS interactions,
            sum({rollup:Identifier}.errors) / nullIf(sum({rollup:Identifier}.tracked), 0) AS error_ratio,
            if(isNaN(quantileBFloat16Merge(0.95)(response) AS response), NULL, toFloat32(response)) AS response_p95_ms,
            toNullable(toFloat32(quantileBFloat16Merge(0.95)(delivery_lag))) AS delivery_lag_p95_ms,
            NULL AS event_loop_lag_p95_ms,
            NULL AS heartbeat_ms,
            0 AS disconnects,
            0 AS down_s
        FROM {rollup:Identifier}
        WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        GROUP BY cluster
        UNION ALL
        SELECT cluster, 0, NULL, NULL, NULL, NULL, NULL, countIf(event = 'disconnected' AND cause != 'client_close'), sum(downtime_ms) / 1000
        FROM shard_events
        WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        GROUP BY cluster
        UNION ALL
        SELECT
            cluster,
            0,
            NULL,
            NULL,
            NULL,
            quantileTDigestOrNullIf(0.95)(value * 1000, name = 'discord_event_loop_lag_seconds'),
            avgOrNullIf(value * 1000, name = 'discord_shard_latency_seconds'),
            0,
            0
        FROM samples
        WHERE name IN ('discord_event_loop_lag_seconds', 'discord_shard_latency_seconds')
            AND time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        GROUP BY cluster
    ),
    by_cluster AS
    (
        SELECT
            cluster,
            sum(measured.interactions) AS interactions,
            max(measured.error_ratio) AS error_ratio,
            max(measured.response_p95_ms) AS response_p95_ms,
            max(measured.delivery_lag_p95_ms) AS delivery_lag_p95_ms,
            max(measured.event_loop_lag_p95_ms) AS event_loop_lag_p95_ms,
            max(measured.heartbeat_ms) AS heartbeat_ms,
            sum(measured.disconnects) AS disconnects,
            sum(measured.down_s) AS down_s
        FROM measured
        GROUP BY cluster
    ),
    -- Measure, its median (the lower one of two, so that the worse of two clusters stands out), the least difference that is felt, and how both are told.
    (value, median, felt, name, unit) -> if(
        value > median * {factor:Float64} AND value - median > felt,
        format('{} {}{} against {}{}', name, toString(round(assumeNotNull(value))), unit, toString(round(assumeNotNull(median))), unit), '') AS too_high
SELECT
    cluster,
    arrayStringConcat(arrayFilter(text -> text != '',
    [
        if(interactions * {factor:Float64} < quantileExactHigh(0.5)(interactions) OVER (),
            format('few interactions: {} against {}', toString(interactions), toString(quantileExactHigh(0.5)(interactions) OVER ())), ''),
        too_high(error_ratio * 100, 100 * quantileExactLow(0.5)(error_ratio) OVER (), 1, 'errors:', ' %'),
        too_high(response_p95_ms, quantileExactLow(0.5)(response_p95_ms) OVER (), 100, 'slow responses:', ' ms'),
        too_high(delivery_lag_p95_ms, quantileExactLow(0.5)(delivery_lag_p95_ms) OVER (), 100, 'late deliveries:', ' ms'),
        too_high(event_loop_lag_p95_ms, quantileExactLow(0.5)(event_loop_lag_p95_ms) OVER (), 10, 'late event loop:', ' ms'),
        too_high(heartbeat_ms, quantileExactLow(0.5)(heartbeat_ms) OVER (), 50, 'slow heartbeats:', ' ms'),
        too_high(disconnects, quantileExactLow(0.5)(disconnects) OVER (), 3, 'lost connections:', ''),
        too_high(down_s, quantileExactLow(0.5)(down_s) OVER (), 60, 'time without a session:', ' s')
    ]), '; ') AS stands_out,
    interactions,
    error_ratio,
    response_p95_ms,
    delivery_lag_p95_ms,
    event_loop_lag_p95_ms,
    heartbeat_ms,
    disconnects,
    down_s
FROM by_cluster
ORDER BY empty(stands_out), toUInt64OrZero(cluster), cluster
