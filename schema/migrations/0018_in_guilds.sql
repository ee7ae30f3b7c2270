-- What all guilds did, by day: once more the rows of all clusters together, without what happened outside of guilds. To sum
-- them from the rows of each guild, 30 million a year, took two seconds (benches/README.md).
--
-- They lie beside the rows that they are a part of, at the end of the key, so nothing is made anew. Those of the past are made
-- of the rows by guild and day, which have no sketches of times and no hours; so there are none of either from now on. A year
-- is 365 rows, so there are no weeks either.
--
-- The raw table is closed meanwhile, as in 0009. An insert that was on its way at that moment may be missing in these rows, and one
-- whose answer was lost shortly before may be counted twice there.
ALTER TABLE interactions ADD CONSTRAINT IF NOT EXISTS not_before_its_views CHECK time < toDateTime64(0, 3, 'UTC');

DROP VIEW IF EXISTS interactions_by_cluster_rollup_view;

ALTER TABLE interactions_by_cluster_rollup
    ADD COLUMN IF NOT EXISTS in_guilds Bool COMMENT 'Only those in guilds, of all clusters together, by day; they are counted once more there, so name true or false' CODEC(ZSTD(1)) AFTER overall,
    MODIFY ORDER BY (step, overall, time, cluster, in_guilds),
    MODIFY COMMENT 'Interactions per cluster, and of all clusters, and minute, hour, day, week or fortnight; read interactions_by_cluster_1m to interactions_by_cluster_2w, interactions_1m to interactions_2w, or interactions_in_guilds_1d';

INSERT INTO interactions_by_cluster_rollup (step, overall, in_guilds, time, cluster, interactions, succeeded, failed, panicked, timed_out, cancelled, guilds, users)
SELECT '1d' AS step, true AS overall, true AS in_guilds, time, '' AS cluster, sum(days.interactions) AS interactions,
    sum(days.succeeded) AS succeeded, sum(days.failed) AS failed, sum(days.panicked) AS panicked,
    sum(days.timed_out) AS timed_out, sum(days.cancelled) AS cancelled,
    uniqCombinedState(12)(days.guild_id) AS guilds, uniqCombinedMergeState(12)(days.users) AS users
FROM interactions_by_guild_1d AS days
WHERE days.guild_id != 0 AND days.time NOT IN (SELECT time FROM interactions_by_cluster_rollup WHERE in_guilds)
GROUP BY time;

ALTER TABLE interactions_by_guild_1d
    ADD COLUMN IF NOT EXISTS guilds AggregateFunction(uniqCombined(12), UInt64) ALIAS initializeAggregation('uniqCombinedState(12)', guild_id) COMMENT 'The guild as a state, as interactions_in_guilds_1d has those of all; read it with uniqCombinedMerge(12)' AFTER errors;

CREATE OR REPLACE VIEW interactions_1d
(
    cluster      LowCardinality(String) COMMENT 'Empty: all of them together',
    time         DateTime('UTC') COMMENT 'Start of the day of the receipt, UTC',
    interactions SimpleAggregateFunction(sum, UInt64) COMMENT 'Interactions received',
    succeeded    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome success',
    failed       SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome error',
    panicked     SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome panic',
    timed_out    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome timed_out',
    cancelled    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome cancelled',
    tracked      UInt64 COMMENT 'With a known outcome',
    errors       UInt64 COMMENT 'Tracked ones that ended in error, panic or timed_out',
    response     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of response_ms where there was a response; read it with quantileBFloat16Merge(level)',
    duration     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of duration_ms where a handler was seen; read it with quantileBFloat16Merge(level)',
    delivery_lag AggregateFunction(quantileBFloat16(0.5), Int64) COMMENT 'Sketch of delivery_lag_ms; read it with quantileBFloat16Merge(level)',
    guilds       AggregateFunction(uniqCombined(12), UInt64) COMMENT 'Guilds; read it with uniqCombinedMerge(12), standard error 1.6 %',
    users        AggregateFunction(uniqCombined(12), UInt32) COMMENT 'Users by user_key; read it with uniqCombinedMerge(12), standard error 1.6 %; empty without a key'
)
AS SELECT cluster, time, interactions, succeeded, failed, panicked, timed_out, cancelled, tracked, errors, response, duration, delivery_lag, guilds, users
FROM interactions_by_cluster_rollup WHERE step = '1d' AND overall AND NOT in_guilds
COMMENT 'Interactions of all clusters together, per day';

CREATE VIEW IF NOT EXISTS interactions_in_guilds_1d
(
    guild_id     UInt64 COMMENT '0: all of them together',
    time         DateTime('UTC') COMMENT 'Start of the day of the receipt, UTC',
    interactions SimpleAggregateFunction(sum, UInt64) COMMENT 'Interactions received',
    succeeded    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome success',
    failed       SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome error',
    panicked     SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome panic',
    timed_out    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome timed_out',
    cancelled    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome cancelled',
    tracked      UInt64 COMMENT 'With a known outcome',
    errors       UInt64 COMMENT 'Tracked ones that ended in error, panic or timed_out',
    guilds       AggregateFunction(uniqCombined(12), UInt64) COMMENT 'Guilds; read it with uniqCombinedMerge(12), standard error 1.6 %',
    users        AggregateFunction(uniqCombined(12), UInt32) COMMENT 'Users by user_key; read it with uniqCombinedMerge(12), standard error 1.6 %; empty without a key'
)
AS SELECT toUInt64(0) AS guild_id, time, interactions, succeeded, failed, panicked, timed_out, cancelled, tracked, errors, guilds, users
FROM interactions_by_cluster_rollup WHERE step = '1d' AND overall AND in_guilds
COMMENT 'Interactions in guilds, of all of them together, per day';

CREATE MATERIALIZED VIEW IF NOT EXISTS interactions_by_cluster_rollup_view TO interactions_by_cluster_rollup DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT
    bucket.1 AS step, bucket.2 AS overall, bucket.3 AS in_guilds, bucket.4 AS time, if(overall, '', minutes.cluster) AS cluster,
    sum(minutes.interactions) AS interactions,
    sum(minutes.succeeded) AS succeeded, sum(minutes.failed) AS failed, sum(minutes.panicked) AS panicked,
    sum(minutes.timed_out) AS timed_out, sum(minutes.cancelled) AS cancelled,
    quantileBFloat16MergeStateIf(0.5)(minutes.response, NOT in_guilds) AS response,
    quantileBFloat16MergeStateIf(0.5)(minutes.duration, NOT in_guilds) AS duration,
    quantileBFloat16MergeStateIf(0.5)(minutes.delivery_lag, NOT in_guilds) AS delivery_lag,
    uniqCombinedMergeState(12)(minutes.guilds) AS guilds, uniqCombinedMergeState(12)(minutes.users) AS users
FROM
(
    SELECT toStartOfMinute(interactions.time) AS minute, cluster, guild_id != 0 AS in_guild, count() AS interactions,
        countIf(outcome = 'success') AS succeeded, countIf(outcome = 'error') AS failed,
        countIf(outcome = 'panic') AS panicked, countIf(outcome = 'timed_out') AS timed_out,
        countIf(outcome = 'cancelled') AS cancelled,
        quantileBFloat16StateIf(0.5)(response_ms, response_ms > 0) AS response,
        quantileBFloat16StateIf(0.5)(duration_ms, duration_ms > 0) AS duration,
        quantileBFloat16State(0.5)(delivery_lag_ms) AS delivery_lag,
        uniqCombinedStateIf(12)(guild_id, guild_id != 0) AS guilds,
        uniqCombinedStateIf(12)(user_key, user_key != 0) AS users
    FROM interactions GROUP BY minute, cluster, in_guild
) AS minutes ARRAY JOIN arrayConcat(
    arrayFlatten(arrayMap(together -> [
        ('1m', together, false, minutes.minute),
        ('1h', together, false, toStartOfHour(minutes.minute)),
        ('1d', together, false, toStartOfDay(minutes.minute)),
        ('1w', together, false, toDateTime(toMonday(minutes.minute), 'UTC')),
        ('2w', together, false, toDateTime(intDiv(toUnixTimestamp(minutes.minute) - 345600, 1209600) * 1209600 + 345600, 'UTC'))], [false, true])),
    if(minutes.in_guild, [('1d', true, true, toStartOfDay(minutes.minute))], [])) AS bucket
GROUP BY step, overall, in_guilds, time, cluster;

ALTER TABLE interactions DROP CONSTRAINT IF EXISTS not_before_its_views;
