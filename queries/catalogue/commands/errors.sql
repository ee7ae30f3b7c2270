-- title: Errors of commands
-- description: What went wrong, by command and kind of error: how often, how large a part of the command's uses that is, whom
--   it reached, and when it was seen first and last.
-- panel: table
-- table: interactions
-- param: from       DateTime64(3, 'UTC') = -24h Start of the range, included
-- param: to         DateTime64(3, 'UTC') = now  End of the range, left out
-- param: command    Array(String)        = []   Only these commands; empty: all
-- param: error_type Array(String)        = []   Only these kinds of error; empty: all
-- param: cluster    Array(String)        = []   Only these clusters; empty: all
-- param: shard      Array(UInt16)        = []   Only these shards; empty: all
-- param: guild      Array(UInt64)        = []   Only these guilds; empty: all
-- param: limit      UInt32               = 100  At most so many rows, the most errors first
-- column: command     text  Command with subcommands, or the prefix of a custom id; (other): the rest of too many names
-- column: type        text  application_command, component, autocomplete, modal_submit or ping
-- column: outcome     text  error, panic or timed_out
-- column: error_type  text  Kind of the error that the handler reported; empty: it reported none
-- column: errors      count Interactions that ended so
-- column: error_ratio ratio Of the command's interactions with a known outcome
-- column: clusters    count Clusters it happened on
-- column: guilds      count Guilds it happened in, estimated
-- column: users       count Users it happened to, estimated; 0 without a user key
-- column: first_at    time  When it was seen first in the range
-- column: last_at     time  When it was seen last in the range
SELECT
    command,
    type,
    outcome,
    error_type,
    errors,
    errors / tracked AS error_ratio,
    clusters,
    guilds,
    users,
    first_at,
    last_at
FROM
(
    SELECT
        command,
        type,
        outcome,
        error_type,
        count() AS errors,
        sum(count()) OVER (PARTITION BY command, type) AS tracked,
        uniqExact(cluster) AS clusters,
        uniqIf(guild_id, guild_id != 0) AS guilds,
        uniqIf(user_key, user_key != 0) AS users,
        min(time) AS first_at,
        max(time) AS last_at
    FROM interactions
    WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
        AND outcome NOT IN ('received', 'untracked')
        AND (empty({command:Array(String)}) OR command IN {command:Array(String)})
        AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
        AND (empty({guild:Array(UInt64)}) OR guild_id IN {guild:Array(UInt64)})
    GROUP BY command, type, outcome, error_type
)
WHERE outcome IN ('error', 'panic', 'timed_out')
    AND (empty({error_type:Array(String)}) OR error_type IN {error_type:Array(String)})
ORDER BY errors DESC, command, type, outcome, error_type
LIMIT {limit:UInt32} OFFSET {offset:UInt64}
