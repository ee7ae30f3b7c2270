-- title: Top commands
-- description: The commands that were used most, what share of all interactions they are, how often they went wrong and how
--   long people waited.
-- panel: table
-- table: interactions
-- rollup: interactions_by_command without cluster, shard
-- param: from    DateTime64(3, 'UTC') = -24h Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []   Only these shards; empty: all
-- param: limit   UInt32               = 20   At most so many commands
-- column: command         text  Command with subcommands, or the prefix of a custom id; (other): the rest of too many names
-- column: type            text  application_command, component, autocomplete, modal_submit or ping
-- column: interactions    count Interactions received
-- column: share           ratio Of all interactions of these clusters and shards in the range
-- column: tracked         count Of these, with a known outcome
-- column: errors          count Tracked ones that ended in error, panic or timed_out
-- column: error_ratio     ratio Errors over tracked; null: none was tracked
-- column: response_p50_ms ms    Receipt to first response, median; null: no response was seen
-- column: response_p95_ms ms    The same, 95th percentile
-- column: users           count Users who used it, estimated; 0 without a user key
SELECT
    command,
    type,
    count() AS interactions,
    interactions / sum(count()) OVER () AS share,
    countIf(outcome NOT IN ('received', 'untracked')) AS tracked,
    countIf(outcome IN ('error', 'panic', 'timed_out')) AS errors,
    errors / nullIf(tracked, 0) AS error_ratio,
    quantileTDigestOrNullIf(0.5)(response_ms, response_ms > 0) AS response_p50_ms,
    quantileTDigestOrNullIf(0.95)(response_ms, response_ms > 0) AS response_p95_ms,
    uniqIf(user_key, user_key != 0) AS users
FROM interactions
WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
    AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
    AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
GROUP BY command, type
ORDER BY interactions DESC, command, type
LIMIT {limit:UInt32} OFFSET {offset:UInt64}

-- from the rollup:
WITH quantilesBFloat16Merge(0.5, 0.95)(response) AS responses
SELECT
    command,
    type,
    sum({rollup:Identifier}.interactions) AS interactions,
    interactions / sum(sum({rollup:Identifier}.interactions)) OVER () AS share,
    sum({rollup:Identifier}.tracked) AS tracked,
    sum({rollup:Identifier}.errors) AS errors,
    errors / nullIf(tracked, 0) AS error_ratio,
    toNullable(toFloat32(responses[1])) AS response_p50_ms,
    toNullable(toFloat32(responses[2])) AS response_p95_ms,
    uniqCombinedMerge(12)({rollup:Identifier}.users) AS users
FROM {rollup:Identifier}
WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
GROUP BY command, type
ORDER BY interactions DESC, command, type
LIMIT {limit:UInt32} OFFSET {offset:UInt64}
