-- title: Users who come back
-- description: Users by the week of their first interaction in the range, and how many of them used the bot again in each week
--   after it. The first week also holds users who had been there before. Weeks begin on Monday in the time zone `tz`; the last
--   one is as short as the range leaves it. Needs a user key: without one there is no user.
-- panel: table
-- table: interactions
-- param: from    DateTime64(3, 'UTC') = -56d Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: command Array(String)        = []   Only these commands; empty: all
-- param: guild   Array(UInt64)        = []   Only these guilds; empty: all
-- column: cohort   time  Start of the week of their first interaction
-- column: users    count Users whose first interaction was in that week
-- column: week     count Weeks since then, from 0
-- column: returned count Of these users, with an interaction in that week
-- column: retained ratio Returned over users
WITH
    toStartOfWeek(least({to:DateTime64(3, 'UTC')}, now64(3, 'UTC')) - toIntervalMillisecond(1), 1, {tz:String}) AS last_week,
    seen AS
    (
        SELECT user_key, groupUniqArray(toStartOfWeek(time, 1, {tz:String})) AS weeks, arrayMin(weeks) AS first_week
        FROM interactions
        WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
            AND user_key != 0
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
            AND (empty({command:Array(String)}) OR command IN {command:Array(String)})
            AND (empty({guild:Array(UInt64)}) OR guild_id IN {guild:Array(UInt64)})
        GROUP BY user_key
    )
SELECT
    toDateTime64(toDateTime(first_week, {tz:String}), 3, 'UTC') AS cohort,
    count() AS users,
    arrayJoin(range(toUInt64(intDiv(last_week - first_week, 7) + 1))) AS week,
    countIf(has(weeks, first_week + toIntervalWeek(week))) AS returned,
    returned / users AS retained
FROM seen
GROUP BY first_week, week
ORDER BY first_week, week
