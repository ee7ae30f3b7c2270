-- title: Interactions by hour of the week
-- description: When the bot is used: interactions by weekday and hour of the day, in the time zone `tz`. Hours of the week
--   that the range does not touch have no row; `per_hour` allows for those that it touches more often than others.
-- panel: table
-- table: interactions
-- rollup: interactions_by_cluster without shard, command, guild; interactions without cluster
-- param: from    DateTime64(3, 'UTC') = -28d Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: shard   Array(UInt16)        = []   Only these shards; empty: all
-- param: command Array(String)        = []   Only these commands; empty: all
-- param: guild   Array(UInt64)        = []   Only these guilds; empty: all
-- column: weekday      text  Monday to Sunday
-- column: hour         count Hour of the day, 0 to 23
-- column: interactions count Interactions received
-- column: errors       count Of these, ended in error, panic or timed_out
-- column: hours        count How many hours of the range are such hours; parts count as parts
-- column: per_hour     count Interactions in such an hour, on average
WITH
    -- Offsets of all time zones are multiples of a quarter of an hour.
    covered AS
    (
        SELECT
            toDayOfWeek(quarter, 0, {tz:String}) AS day,
            toHour(quarter, {tz:String}) AS hour_of_day,
            sum(least(quarter_ms + 900000, to_ms) - greatest(quarter_ms, from_ms)) / 3600000 AS hours
        FROM
        (
            SELECT
                toUnixTimestamp64Milli({from:DateTime64(3, 'UTC')}) AS from_ms,
                toUnixTimestamp64Milli(least({to:DateTime64(3, 'UTC')}, now64(3, 'UTC'))) AS to_ms,
                arrayJoin(range(toUInt64(intDiv(from_ms, 900000)), toUInt64(intDiv(to_ms + 899999, 900000)))) * 900000 AS quarter_ms,
                fromUnixTimestamp64Milli(toInt64(quarter_ms), 'UTC') AS quarter
        )
        GROUP BY day, hour_of_day
    ),
    counted AS
    (
        SELECT
            toDayOfWeek(time, 0, {tz:String}) AS day,
            toHour(time, {tz:String}) AS hour_of_day,
            count() AS interactions,
            countIf(outcome IN ('error', 'panic', 'timed_out')) AS errors
        FROM interactions
        WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
            AND (empty({shard:Array(UInt16)}) OR shard IN {shard:Array(UInt16)})
            AND (empty({command:Array(String)}) OR command IN {command:Array(String)})
            AND (empty({guild:Array(UInt64)}) OR guild_id IN {guild:Array(UInt64)})
        GROUP BY day, hour_of_day
    )
SELECT
    ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'][day] AS weekday,
    hour_of_day AS hour,
    counted.interactions AS interactions,
    counted.errors AS errors,
    hours,
    interactions / hours AS per_hour
FROM covered
LEFT JOIN counted USING (day, hour_of_day)
ORDER BY day, hour_of_day

-- from the rollup:
WITH
    -- Offsets of all time zones are multiples of a quarter of an hour.
    covered AS
    (
        SELECT
            toDayOfWeek(quarter, 0, {tz:String}) AS day,
            toHour(quarter, {tz:String}) AS hour_of_day,
            sum(least(quarter_ms + 900000, to_ms) - greatest(quarter_ms, from_ms)) / 3600000 AS hours
        FROM
        (
            SELECT
                toUnixTimestamp64Milli({from:DateTime64(3, 'UTC')}) AS from_ms,
                toUnixTimestamp64Milli(least({to:DateTime64(3, 'UTC')}, now64(3, 'UTC'))) AS to_ms,
                arrayJoin(range(toUInt64(intDiv(from_ms, 900000)), toUInt64(intDiv(to_ms + 899999, 900000)))) * 900000 AS quarter_ms,
                fromUnixTimestamp64Milli(toInt64(quarter_ms), 'UTC') AS quarter
        )
        GROUP BY day, hour_of_day
    ),
    counted AS
    (
        SELECT
            toDayOfWeek(time, 0, {tz:String}) AS day,
            toHour(time, {tz:String}) AS hour_of_day,
            sum({rollup:Identifier}.interactions) AS interactions,
            sum({rollup:Identifier}.errors) AS errors
        FROM {rollup:Identifier}
        WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
        GROUP BY day, hour_of_day
    )
SELECT
    ['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday', 'Sunday'][day] AS weekday,
    hour_of_day AS hour,
    counted.interactions AS interactions,
    counted.errors AS errors,
    hours,
    interactions / hours AS per_hour
FROM covered
LEFT JOIN counted USING (day, hour_of_day)
ORDER BY day, hour_of_day
