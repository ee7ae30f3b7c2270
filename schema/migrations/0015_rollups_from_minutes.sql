-- The rollups of interactions count each row once, by minute, and make hours, days and weeks of the minutes; before, each row
-- was counted four times (0013). With `optimize_on_insert = 0` an insert of 50,000 costs the server a third less (benches/README.md).
--
-- The rows are the same, and so are the tokens: a view that was created is known to them by its name, so an insert may be
-- repeated across this migration. `MODIFY QUERY` would have spared closing the table, as in 0009, but after it a view is known
-- by its UUID until the server is started again, and by its name from then on: a retry across that start counts twice.
ALTER TABLE interactions ADD CONSTRAINT IF NOT EXISTS not_before_its_views CHECK time < toDateTime64(0, 3, 'UTC');

DROP VIEW IF EXISTS interactions_by_cluster_rollup_view;

CREATE MATERIALIZED VIEW IF NOT EXISTS interactions_by_cluster_rollup_view TO interactions_by_cluster_rollup DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT
    bucket.1 AS step, bucket.2 AS time, cluster, sum(minutes.interactions) AS interactions,
    sum(minutes.succeeded) AS succeeded, sum(minutes.failed) AS failed, sum(minutes.panicked) AS panicked,
    sum(minutes.timed_out) AS timed_out, sum(minutes.cancelled) AS cancelled,
    quantileBFloat16MergeState(0.5)(minutes.response) AS response,
    quantileBFloat16MergeState(0.5)(minutes.duration) AS duration,
    quantileBFloat16MergeState(0.5)(minutes.delivery_lag) AS delivery_lag,
    uniqCombinedMergeState(12)(minutes.guilds) AS guilds, uniqCombinedMergeState(12)(minutes.users) AS users
FROM
(
    SELECT toStartOfMinute(interactions.time) AS minute, cluster, count() AS interactions,
        countIf(outcome = 'success') AS succeeded, countIf(outcome = 'error') AS failed,
        countIf(outcome = 'panic') AS panicked, countIf(outcome = 'timed_out') AS timed_out,
        countIf(outcome = 'cancelled') AS cancelled,
        quantileBFloat16StateIf(0.5)(response_ms, response_ms > 0) AS response,
        quantileBFloat16StateIf(0.5)(duration_ms, duration_ms > 0) AS duration,
        quantileBFloat16State(0.5)(delivery_lag_ms) AS delivery_lag,
        uniqCombinedStateIf(12)(guild_id, guild_id != 0) AS guilds,
        uniqCombinedStateIf(12)(user_key, user_key != 0) AS users
    FROM interactions GROUP BY minute, cluster
) AS minutes ARRAY JOIN [
    ('1m', minutes.minute),
    ('1h', toStartOfHour(minutes.minute)),
    ('1d', toStartOfDay(minutes.minute)),
    ('1w', toDateTime(toMonday(minutes.minute), 'UTC'))] AS bucket
GROUP BY step, time, cluster;

DROP VIEW IF EXISTS interactions_by_command_rollup_view;

CREATE MATERIALIZED VIEW IF NOT EXISTS interactions_by_command_rollup_view TO interactions_by_command_rollup DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT
    bucket.1 AS step, bucket.2 AS time, type, command, sum(minutes.interactions) AS interactions,
    sum(minutes.succeeded) AS succeeded, sum(minutes.failed) AS failed, sum(minutes.panicked) AS panicked,
    sum(minutes.timed_out) AS timed_out, sum(minutes.cancelled) AS cancelled,
    quantileBFloat16MergeState(0.5)(minutes.response) AS response,
    quantileBFloat16MergeState(0.5)(minutes.duration) AS duration,
    quantileBFloat16MergeState(0.5)(minutes.delivery_lag) AS delivery_lag,
    uniqCombinedMergeState(12)(minutes.guilds) AS guilds, uniqCombinedMergeState(12)(minutes.users) AS users
FROM
(
    SELECT toStartOfMinute(interactions.time) AS minute, type, command, count() AS interactions,
        countIf(outcome = 'success') AS succeeded, countIf(outcome = 'error') AS failed,
        countIf(outcome = 'panic') AS panicked, countIf(outcome = 'timed_out') AS timed_out,
        countIf(outcome = 'cancelled') AS cancelled,
        quantileBFloat16StateIf(0.5)(response_ms, response_ms > 0) AS response,
        quantileBFloat16StateIf(0.5)(duration_ms, duration_ms > 0) AS duration,
        quantileBFloat16State(0.5)(delivery_lag_ms) AS delivery_lag,
        uniqCombinedStateIf(12)(guild_id, guild_id != 0) AS guilds,
        uniqCombinedStateIf(12)(user_key, user_key != 0) AS users
    FROM interactions GROUP BY minute, type, command
) AS minutes ARRAY JOIN [
    ('1m', minutes.minute),
    ('1h', toStartOfHour(minutes.minute)),
    ('1d', toStartOfDay(minutes.minute)),
    ('1w', toDateTime(toMonday(minutes.minute), 'UTC'))] AS bucket
GROUP BY step, time, type, command;

ALTER TABLE interactions DROP CONSTRAINT IF EXISTS not_before_its_views;
