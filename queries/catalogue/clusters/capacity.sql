-- title: Do I need more clusters?
-- description: How near each cluster is to its limits in the busiest hours of the range, the nearest first, and in words what to
--   do about it. A process that is short of CPU wakes its timers late; a shard may hold 2,500 guilds at most; interactions that
--   arrive late although the process is on time are delayed on their way, which more clusters do not change.
-- panel: table
-- table: samples
-- param: from             DateTime64(3, 'UTC') = -24h Start of the range, included; widened to whole hours
-- param: to               DateTime64(3, 'UTC') = now  End of the range, left out
-- param: cluster          Array(String)        = []   Only these clusters; empty: all
-- param: guilds_per_shard UInt32               = 2500 Most guilds that Discord allows on a shard
-- param: loop_lag_ms      Float64              = 100  An event loop as late as this is short of CPU, ms
-- param: delivery_lag_ms  Float64              = 1000 A delivery as late as this is late, ms: after 3,000 ms people see an error
-- param: cpu_cores        Float64              = 0    Cores that each cluster's process may use; 0: CPU is shown, but not judged
-- column: cluster               id    Cluster
-- column: verdict               text  more shards, more clusters, late deliveries, watch, enough or unknown
-- column: why                   text  What the verdict rests on
-- column: shards                count Shards of the cluster
-- column: guilds                count Guilds of the cluster, as last reported
-- column: guilds_biggest_shard  count Guilds of its biggest shard, by the counts of the last two days of the range; null: none
-- column: event_loop_lag_p95_ms ms    How late its runtime woke a timer in its worst hour, 95th percentile
-- column: cpu_cores_used        count Cores it kept busy in its busiest hour; null: it does not report its CPU time
-- column: delivery_lag_p95_ms   ms    Creation of an interaction at Discord to receipt in its worst hour, 95th percentile; carries
--   the skew of both clocks; null: no interaction
-- column: dispatches_per_s      per_s Dispatches received in its busiest hour
WITH
    least({to:DateTime64(3, 'UTC')}, now64(3, 'UTC')) AS until,
    toStartOfHour({from:DateTime64(3, 'UTC')}) AS since,
    -- A measure is near its limit from here on: a fleet is not enlarged in a day.
    0.6 AS near,
    0.8 AS full,
    measured AS
    (
        SELECT
            cluster,
            argMax(processes.shard_count, processes.boot) AS shards,
            NULL AS guilds,
            NULL AS guilds_biggest_shard,
            NULL AS event_loop_lag_p95_ms,
            NULL AS cpu_cores_used,
            NULL AS delivery_lag_p95_ms,
            NULL AS dispatches_per_s
        FROM processes FINAL
        WHERE time < {to:DateTime64(3, 'UTC')} AND last_seen_at >= since
        GROUP BY cluster
        UNION ALL
        SELECT cluster, 0, argMaxIf(last_guilds, hour, last_guilds IS NOT NULL), NULL, max(loop_lag_p95_ms), max(cpu_s / nullIf(cpu_span_s, 0)), NULL, NULL
        FROM
        (
            SELECT
                cluster,
                toStartOfHour(time) AS hour,
                argMaxOrNullIf(value, time, name = 'discord_guilds') AS last_guilds,
                quantileTDigestOrNullIf(0.95)(value * 1000, name = 'discord_event_loop_lag_seconds') AS loop_lag_p95_ms,
                maxOrNullIf(value, name = 'process_cpu_seconds_total') - minOrNullIf(value, name = 'process_cpu_seconds_total') AS cpu_s,
                dateDiff('second', minIf(time, name = 'process_cpu_seconds_total'), maxIf(time, name = 'process_cpu_seconds_total')) AS cpu_span_s
            FROM samples
            WHERE name IN ('discord_guilds', 'discord_event_loop_lag_seconds', 'process_cpu_seconds_total')
                AND time >= since AND time < {to:DateTime64(3, 'UTC')}
            GROUP BY cluster, boot, hour
        )
        GROUP BY cluster
        UNION ALL
        SELECT cluster, 0, NULL, max(shard_guilds), NULL, NULL, NULL, NULL
        FROM
        (
            SELECT cluster, argMax(guild_events.guilds, time) AS shard_guilds
            FROM guild_events
            WHERE guild_id = 0 AND event = 'counted' AND time >= until - toIntervalDay(2) AND time < {to:DateTime64(3, 'UTC')}
            GROUP BY cluster, shard
        )
        GROUP BY cluster
        UNION ALL
        SELECT cluster, 0, NULL, NULL, NULL, NULL, max(lag_p95_ms), NULL
        FROM
        (
            SELECT cluster, quantileBFloat16Merge(0.95)(delivery_lag) AS lag_p95_ms
            FROM interactions_by_cluster_1h
            WHERE time >= since AND time < {to:DateTime64(3, 'UTC')}
            GROUP BY cluster, time
        )
        GROUP BY cluster
        UNION ALL
        SELECT cluster, 0, NULL, NULL, NULL, NULL, NULL, max(rate)
        FROM
        (
            SELECT cluster, sum(gateway_counts_1h.dispatches) / least(3600, greatest(60, dateDiff('second', time, until))) AS rate
            FROM gateway_counts_1h
            WHERE time >= since AND time < {to:DateTime64(3, 'UTC')}
            GROUP BY cluster, time
        )
        GROUP BY cluster
    ),
    by_cluster AS
    (
        SELECT
            cluster,
            max(measured.shards) AS shards,
            max(measured.guilds) AS guilds,
            max(measured.guilds_biggest_shard) AS guilds_biggest_shard,
            max(measured.event_loop_lag_p95_ms) AS event_loop_lag_p95_ms,
            max(measured.cpu_cores_used) AS cpu_cores_used,
            max(measured.delivery_lag_p95_ms) AS delivery_lag_p95_ms,
            max(measured.dispatches_per_s) AS dispatches_per_s,
            -- Of each limit, how much of it is used; what was not measured uses none.
            ifNull(guilds_biggest_shard / {guilds_per_shard:UInt32}, 0) AS guilds_used,
            ifNull(event_loop_lag_p95_ms / {loop_lag_ms:Float64}, 0) AS loop_used,
            if({cpu_cores:Float64} > 0, ifNull(cpu_cores_used / {cpu_cores:Float64}, 0), 0) AS cpu_used,
            ifNull(delivery_lag_p95_ms / {delivery_lag_ms:Float64}, 0) AS delivery_used
        FROM measured
        WHERE empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)}
        GROUP BY cluster
    ),
    (number) -> toString(round(assumeNotNull(number), 1)) AS told
SELECT
    cluster,
    multiIf(
        guilds_used >= full, 'more shards',
        loop_used >= 1 OR cpu_used >= full, 'more clusters',
        event_loop_lag_p95_ms IS NULL, 'unknown',
        delivery_used >= 1, 'late deliveries',
        greatest(guilds_used, loop_used, cpu_used) >= near, 'watch',
        'enough'
    ) AS verdict,
    arrayStringConcat(arrayFilter(text -> text != '',
    [
        if(guilds_used >= near, format('its biggest shard has {} of the {} guilds that Discord allows: run more shards, and clusters to hold them', told(guilds_biggest_shard), toString({guilds_per_shard:UInt32})), ''),
        if(loop_used >= near, format('its event loop is {} ms late, and {} ms mean a lack of CPU: give it fewer shards, as more clusters do, or more cores', told(event_loop_lag_p95_ms), told({loop_lag_ms:Float64})), ''),
        if(cpu_used >= near, format('it keeps {} of {} cores busy: give it fewer shards, as more clusters do, or more cores', told(cpu_cores_used), told({cpu_cores:Float64})), ''),
        if(delivery_used >= 1, format('interactions arrive {} ms after they were created', told(delivery_lag_p95_ms))
            || if(event_loop_lag_p95_ms IS NOT NULL AND loop_used < near, ' while its event loop is on time: look at the network, the clock and Discord, more clusters do not help', ''), ''),
        if(event_loop_lag_p95_ms IS NULL, 'it sent no metrics in the range', ''),
        if(verdict = 'enough', format('nothing is near its limit: event loop {} ms late of {}', told(event_loop_lag_p95_ms), told({loop_lag_ms:Float64}))
            || if(guilds_biggest_shard IS NULL, '', format(', {} guilds of {} on its biggest shard', told(guilds_biggest_shard), toString({guilds_per_shard:UInt32}))), '')
    ]), '; ') AS why,
    shards,
    guilds,
    guilds_biggest_shard,
    event_loop_lag_p95_ms,
    cpu_cores_used,
    delivery_lag_p95_ms,
    dispatches_per_s
FROM by_cluster
ORDER BY
    indexOf(['more shards', 'more clusters', 'late deliveries', 'watch', 'unknown', 'enough'], verdict),
    greatest(guilds_used, loop_used, cpu_used) DESC,
    toUInt64OrZero(cluster),
    cluster
