-- title: Commands in detail
-- description: Of each command all there is: how often it was used, how every use ended, how long people waited for the
--   first response and how long its handler ran, and how many guilds and users it reached.
-- panel: table
-- table: interactions
-- rollup: interactions_by_command without cluster, shard, guild
-- param: from    DateTime64(3, 'UTC') = -24h Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: command Array(String)        = []   Only these commands; empty: all
-- param: type    Array(String)        = []   Only these types, such as application_command; empty: all
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []   Only these shards; empty: all
-- param: guild   Array(UInt64)        = []   Only these guilds; empty: all
-- param: limit   UInt32               = 200  At most so many commands, the most used first
-- column: command         text  Command with subcommands, or the prefix of a custom id; (other): the rest of too many names
-- column: type            text  application_command, component, autocomplete, modal_submit or ping
-- column: interactions    count Interactions received
-- column: tracked         count Of these, with a known outcome
-- column: succeeded       count Ended in success
-- column: failed          count Ended in error
-- column: panicked        count Ended in a panic of the handler
-- column: timed_out       count Never ended while they could be answered, 15 minutes
-- column: cancelled       count The handler was given up before its end, as when a process stops
-- column: error_ratio     ratio Failed, panicked and timed out ones over tracked; null: none was tracked
-- column: response_p50_ms ms    Receipt to first response, median; null: no response was seen
-- column: response_p95_ms ms    The same, 95th percentile
-- column: response_p99_ms ms    The same, 99th percentile; past 3,000 ms Discord has told the user that there is no answer
-- column: duration_p50_ms ms    Receipt to the end of the handler, median; null: no handler was seen
-- column: duration_p95_ms ms    The same, 95th percentile
-- column: duration_p99_ms ms    The same, 99th percentile
-- column: guilds          count Guilds it was used in, estimated
-- column: users           count Users who used it, estimated; 0 without a user key
SELECT
    command,
    type,
    count() AS interactions,
    countIf(outcome NOT IN ('received', 'untracked')) AS tracked,
    countIf(outcome = 'success') AS succeeded,
    countIf(outcome = 'error') AS failed,
    countIf(outcome = 'panic') AS panicked,
    countIf(outcome = 'timed_out') AS timed_out,
    countIf(outcome = 'cancelled') AS cancelled,
    (failed + panicked + timed_out) / nullIf(tracked, 0) AS error_ratio,
    quantileTDigestOrNullIf(0.5)(response_ms, response_ms > 0) AS response_p50_ms,
    quantileTDigestOrNullIf(0.95)(response_ms, response_ms > 0) AS response_p95_ms,
    quantileTDigestOrNullIf(0.99)(response_ms, response_ms > 0) AS response_p99_ms,
    quantileTDigestOrNullIf(0.5)(duration_ms, duration_ms > 0) AS duration_p50_ms,
    quantileTDigestOrNullIf(0.95)(duration_ms, duration_ms > 0) AS duration_p95_ms,
    quantileTDigestOrNullIf(0.99)(duration_ms, duration_ms > 0) AS duration_p99_ms,
    uniqIf(guild_id, guild_id != 0) AS guilds,
    uniqIf(user_key, user_key != 0) AS users
FROM interactions
WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
    AND (empty({command:Array(String)}) OR command IN {command:Array(String)})
    AND (empty({type:Array(String)}) OR type IN {type:Array(String)})
    AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
    AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
    AND (empty({guild:Array(UInt64)}) OR guild_id IN {guild:Array(UInt64)})
GROUP BY command, type
ORDER BY interactions DESC, command, type
LIMIT {limit:UInt32} OFFSET {offset:UInt64}

-- from the rollup:
WITH
    quantilesBFloat16Merge(0.5, 0.95, 0.99)(response) AS responses,
    quantilesBFloat16Merge(0.5, 0.95, 0.99)(duration) AS durations
SELECT
    command,
    type,
    sum({rollup:Identifier}.interactions) AS interactions,
    sum({rollup:Identifier}.tracked) AS tracked,
    sum({rollup:Identifier}.succeeded) AS succeeded,
    sum({rollup:Identifier}.failed) AS failed,
    sum({rollup:Identifier}.panicked) AS panicked,
    sum({rollup:Identifier}.timed_out) AS timed_out,
    sum({rollup:Identifier}.cancelled) AS cancelled,
    (failed + panicked + timed_out) / nullIf(tracked, 0) AS error_ratio,
    toNullable(toFloat32(responses[1])) AS response_p50_ms,
    toNullable(toFloat32(responses[2])) AS response_p95_ms,
    toNullable(toFloat32(responses[3])) AS response_p99_ms,
    toNullable(toFloat32(durations[1])) AS duration_p50_ms,
    toNullable(toFloat32(durations[2])) AS duration_p95_ms,
    toNullable(toFloat32(durations[3])) AS duration_p99_ms,
    uniqCombinedMerge(12)({rollup:Identifier}.guilds) AS guilds,
    uniqCombinedMerge(12)({rollup:Identifier}.users) AS users
FROM {rollup:Identifier}
WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
    AND (empty({command:Array(String)}) OR command IN {command:Array(String)})
    AND (empty({type:Array(String)}) OR type IN {type:Array(String)})
GROUP BY command, type
ORDER BY interactions DESC, command, type
LIMIT {limit:UInt32} OFFSET {offset:UInt64}
