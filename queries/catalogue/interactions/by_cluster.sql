-- title: Interactions by cluster
-- description: What each cluster handled: how many interactions, how many went wrong, how long people waited.
--   A cluster without an interaction in the range has no row.
-- panel: table
-- table: interactions
-- rollup: interactions_by_cluster without shard, command
-- param: from    DateTime64(3, 'UTC') = -1h Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now End of the range, left out
-- param: cluster Array(String)        = []  Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []  Only these shards; empty: all
-- param: command Array(String)        = []  Only these commands; empty: all
-- column: cluster             id    Cluster
-- column: interactions        count Interactions received
-- column: interactions_per_s  per_s Of these per second, over the whole range
-- column: tracked             count Of these, with a known outcome
-- column: errors              count Tracked ones that ended in error, panic or timed_out
-- column: error_ratio         ratio Errors over tracked; null: none was tracked
-- column: response_p50_ms     ms    Receipt to first response, median; null: no response was seen
-- column: response_p95_ms     ms    The same, 95th percentile
-- column: response_p99_ms     ms    The same, 99th percentile
-- column: delivery_lag_p95_ms ms    Creation at Discord to receipt, 95th percentile; carries the skew of both clocks
-- column: guilds              count Guilds they came from, estimated
-- column: users               count Users they came from, estimated; 0 without a user key
SELECT
    cluster,
    count() AS interactions,
    interactions / (dateDiff('millisecond', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')}) / 1000) AS interactions_per_s,
    countIf(outcome NOT IN ('received', 'untracked')) AS tracked,
    countIf(outcome IN ('error', 'panic', 'timed_out')) AS errors,
    errors / nullIf(tracked, 0) AS error_ratio,
    quantileTDigestOrNullIf(0.5)(response_ms, response_ms > 0) AS response_p50_ms,
    quantileTDigestOrNullIf(0.95)(response_ms, response_ms > 0) AS response_p95_ms,
    quantileTDigestOrNullIf(0.99)(response_ms, response_ms > 0) AS response_p99_ms,
    quantileTDigest(0.95)(delivery_lag_ms) AS delivery_lag_p95_ms,
    uniqIf(guild_id, guild_id != 0) AS guilds,
    uniqIf(user_key, user_key != 0) AS users
FROM interactions
WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
    AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
    AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
    AND (empty({command:Array(String)}) OR command IN {command:Array(String)})
GROUP BY cluster
ORDER BY toUInt64OrZero(cluster), cluster

-- from the rollup:
SELECT
    cluster,
    sum({rollup:Identifier}.interactions) AS interactions,
    interactions / (dateDiff('millisecond', {from:DateTime64(3, 'UTC')}, {to:DateTime64(3, 'UTC')}) / 1000) AS interactions_per_s,
    sum({rollup:Identifier}.tracked) AS tracked,
    sum({rollup:Identifier}.errors) AS errors,
    errors / nullIf(tracked, 0) AS error_ratio,
    toNullable(toFloat32(quantileDDMerge(0.01, 0.5)(response))) AS response_p50_ms,
    toNullable(toFloat32(quantileDDMerge(0.01, 0.95)(response))) AS response_p95_ms,
    toNullable(toFloat32(quantileDDMerge(0.01, 0.99)(response))) AS response_p99_ms,
    toFloat32(quantileDDMerge(0.01, 0.95)(delivery_lag)) AS delivery_lag_p95_ms,
    uniqCombinedMerge(12)({rollup:Identifier}.guilds) AS guilds,
    uniqCombinedMerge(12)({rollup:Identifier}.users) AS users
FROM {rollup:Identifier}
WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
    AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
GROUP BY cluster
ORDER BY toUInt64OrZero(cluster), cluster
