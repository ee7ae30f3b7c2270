-- title: Guilds that left
-- description: Guilds that removed the bot in the range, by how long it had been there: it tells guilds that try the bot once
--   from those that grow tired of it. A guild that left while no process ran is not seen leaving: see guilds/growth.
-- panel: table
-- table: guild_events
-- param: from    DateTime64(3, 'UTC') = -30d Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []   Only these shards; empty: all
-- column: stay         text  How long the bot had been in the guild
-- column: guilds_left  count Guilds that left after so long; one that came back and left again counts twice
-- column: share        ratio Of all that left in the range
-- column: unused       count Of these, guilds without an interaction in the range or the 30 days before it
-- column: members_lost count Members of these guilds, as far as known
WITH
    departures AS
    (
        SELECT guild_id, member_count, if(joined_at > 0, dateDiff('second', joined_at, time), -1) AS stayed_s
        FROM guild_events
        WHERE event = 'left'
            AND time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
            AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
    ),
    active AS
    (
        SELECT DISTINCT guild_id
        FROM interactions_by_guild_1d
        WHERE time >= {from:DateTime64(3, 'UTC')} - toIntervalDay(30) AND time < {to:DateTime64(3, 'UTC')}
            AND guild_id IN (SELECT guild_id FROM departures)
    )
SELECT
    multiIf(
        stayed_s < 0, 'unknown',
        stayed_s < 3600, 'under an hour',
        stayed_s < 86400, 'under a day',
        stayed_s < 7 * 86400, 'under a week',
        stayed_s < 30 * 86400, 'under 30 days',
        stayed_s < 365 * 86400, 'under a year',
        'a year or more'
    ) AS stay,
    count() AS guilds_left,
    guilds_left / sum(count()) OVER () AS share,
    countIf(guild_id NOT IN (SELECT guild_id FROM active)) AS unused,
    sum(member_count) AS members_lost
FROM departures
GROUP BY stay
ORDER BY min(stayed_s)
