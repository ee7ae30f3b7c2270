-- Interactions by fortnight, too, and of all clusters together: what a question takes is the states that it merges (benches/README.md).
-- A year of 100 clusters is 5,300 states by week and 2,700 by fortnight; a month by hour is 72,000 by cluster, and 720 without. A
-- fortnight begins on every second Monday, from 1970-01-05 on.
--
-- Both lie in the parts that an insert makes anyway, and rows of all clusters in granules of their own. What a table is
-- partitioned and sorted by cannot be altered: both tables are made anew, by what is in them.
--
-- The raw table is closed meanwhile, as in 0009. An insert that was on its way at that moment may be missing here, and one whose
-- answer was lost shortly before may be counted twice: what a table remembers of tokens cannot be carried over. How long its
-- rows are kept is (schema/src/retention/live.rs).
ALTER TABLE interactions ADD CONSTRAINT IF NOT EXISTS not_before_its_views CHECK time < toDateTime64(0, 3, 'UTC');

DROP VIEW IF EXISTS interactions_by_cluster_rollup_view;

CREATE OR REPLACE TABLE interactions_by_cluster_rollup_next
(
    step         Enum8('1m' = 1, '1h' = 2, '1d' = 3, '1w' = 4, '2w' = 5) COMMENT 'Length of the bucket: a minute, an hour, a day, a week or a fortnight from Monday. All is counted once in each, so name one' CODEC(ZSTD(1)),
    overall      Bool COMMENT 'Of all clusters together; all is counted once more there, so name true or false' CODEC(ZSTD(1)),
    time         DateTime('UTC') COMMENT 'Start of the bucket of the receipt, UTC' CODEC(Delta, ZSTD(1)),
    cluster      LowCardinality(String) COMMENT 'Cluster (process of the bot); empty if overall' CODEC(ZSTD(1)),
    interactions SimpleAggregateFunction(sum, UInt64) COMMENT 'Interactions received' CODEC(T64, ZSTD(1)),
    succeeded    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome success' CODEC(T64, ZSTD(1)),
    failed       SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome error' CODEC(T64, ZSTD(1)),
    panicked     SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome panic' CODEC(T64, ZSTD(1)),
    timed_out    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome timed_out' CODEC(T64, ZSTD(1)),
    cancelled    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome cancelled' CODEC(T64, ZSTD(1)),
    tracked      UInt64 ALIAS succeeded + failed + panicked + timed_out + cancelled COMMENT 'With a known outcome',
    errors       UInt64 ALIAS failed + panicked + timed_out COMMENT 'Tracked ones that ended in error, panic or timed_out',
    response     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of response_ms where there was a response; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    duration     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of duration_ms where a handler was seen; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    delivery_lag AggregateFunction(quantileBFloat16(0.5), Int64) COMMENT 'Sketch of delivery_lag_ms; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    guilds       AggregateFunction(uniqCombined(12), UInt64) COMMENT 'Guilds; read it with uniqCombinedMerge(12), standard error 1.6 %' CODEC(ZSTD(1)),
    users        AggregateFunction(uniqCombined(12), UInt32) COMMENT 'Users by user_key; read it with uniqCombinedMerge(12), standard error 1.6 %; empty without a key' CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (if(step IN ('1w', '2w'), '1d', toString(step)), if(step IN ('1m', '1h'), toYYYYMM(time), toYear(time)))
ORDER BY (step, overall, time, cluster)
SETTINGS non_replicated_deduplication_window = 40000, ttl_only_drop_parts = 1, index_granularity = 256
COMMENT 'Interactions per cluster, and of all clusters, and minute, hour, day, week or fortnight; read interactions_by_cluster_1m to interactions_by_cluster_2w, or interactions_1m to interactions_2w'
AS SELECT step, false AS overall, time, cluster, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users
FROM interactions_by_cluster_rollup
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192;

INSERT INTO interactions_by_cluster_rollup_next (step, overall, time, cluster, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users)
SELECT '2w' AS step, false AS overall,
    toDateTime(intDiv(toUnixTimestamp(weeks.time) - 345600, 1209600) * 1209600 + 345600, 'UTC') AS time,
    cluster, sum(weeks.interactions) AS interactions,
    sum(weeks.succeeded) AS succeeded, sum(weeks.failed) AS failed, sum(weeks.panicked) AS panicked,
    sum(weeks.timed_out) AS timed_out, sum(weeks.cancelled) AS cancelled,
    quantileBFloat16MergeState(0.5)(weeks.response) AS response,
    quantileBFloat16MergeState(0.5)(weeks.duration) AS duration,
    quantileBFloat16MergeState(0.5)(weeks.delivery_lag) AS delivery_lag,
    uniqCombinedMergeState(12)(weeks.guilds) AS guilds, uniqCombinedMergeState(12)(weeks.users) AS users
FROM interactions_by_cluster_rollup AS weeks
WHERE weeks.step = '1w' AND (toDateTime(intDiv(toUnixTimestamp(weeks.time) - 345600, 1209600) * 1209600 + 345600, 'UTC'), cluster)
    NOT IN (SELECT time, cluster FROM interactions_by_cluster_rollup_next WHERE step = '2w' AND NOT overall)
GROUP BY time, cluster
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192;

INSERT INTO interactions_by_cluster_rollup_next (step, overall, time, cluster, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users)
SELECT step, true AS overall, time, '' AS cluster, sum(steps.interactions) AS interactions,
    sum(steps.succeeded) AS succeeded, sum(steps.failed) AS failed, sum(steps.panicked) AS panicked,
    sum(steps.timed_out) AS timed_out, sum(steps.cancelled) AS cancelled,
    quantileBFloat16MergeState(0.5)(steps.response) AS response,
    quantileBFloat16MergeState(0.5)(steps.duration) AS duration,
    quantileBFloat16MergeState(0.5)(steps.delivery_lag) AS delivery_lag,
    uniqCombinedMergeState(12)(steps.guilds) AS guilds, uniqCombinedMergeState(12)(steps.users) AS users
FROM interactions_by_cluster_rollup AS steps
WHERE (steps.step, steps.time) NOT IN (SELECT step, time FROM interactions_by_cluster_rollup_next WHERE overall)
GROUP BY step, time
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192, optimize_aggregation_in_order = 1;

INSERT INTO interactions_by_cluster_rollup_next (step, overall, time, cluster, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users)
SELECT '2w' AS step, true AS overall,
    toDateTime(intDiv(toUnixTimestamp(weeks.time) - 345600, 1209600) * 1209600 + 345600, 'UTC') AS time,
    '' AS cluster, sum(weeks.interactions) AS interactions,
    sum(weeks.succeeded) AS succeeded, sum(weeks.failed) AS failed, sum(weeks.panicked) AS panicked,
    sum(weeks.timed_out) AS timed_out, sum(weeks.cancelled) AS cancelled,
    quantileBFloat16MergeState(0.5)(weeks.response) AS response,
    quantileBFloat16MergeState(0.5)(weeks.duration) AS duration,
    quantileBFloat16MergeState(0.5)(weeks.delivery_lag) AS delivery_lag,
    uniqCombinedMergeState(12)(weeks.guilds) AS guilds, uniqCombinedMergeState(12)(weeks.users) AS users
FROM interactions_by_cluster_rollup AS weeks
WHERE weeks.step = '1w' AND toDateTime(intDiv(toUnixTimestamp(weeks.time) - 345600, 1209600) * 1209600 + 345600, 'UTC')
    NOT IN (SELECT time FROM interactions_by_cluster_rollup_next WHERE step = '2w' AND overall)
GROUP BY time
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192;

DROP TABLE IF EXISTS interactions_by_cluster_rollup;

RENAME TABLE IF EXISTS interactions_by_cluster_rollup_next TO interactions_by_cluster_rollup;

CREATE OR REPLACE VIEW interactions_by_cluster_1m
(
    cluster      LowCardinality(String) COMMENT 'Cluster (process of the bot)',
    time         DateTime('UTC') COMMENT 'Start of the minute of the receipt, UTC',
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
FROM interactions_by_cluster_rollup WHERE step = '1m' AND NOT overall
COMMENT 'Interactions per cluster and minute';

CREATE OR REPLACE VIEW interactions_by_cluster_1h
(
    cluster      LowCardinality(String) COMMENT 'Cluster (process of the bot)',
    time         DateTime('UTC') COMMENT 'Start of the hour of the receipt, UTC',
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
FROM interactions_by_cluster_rollup WHERE step = '1h' AND NOT overall
COMMENT 'Interactions per cluster and hour';

CREATE OR REPLACE VIEW interactions_by_cluster_1d
(
    cluster      LowCardinality(String) COMMENT 'Cluster (process of the bot)',
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
FROM interactions_by_cluster_rollup WHERE step = '1d' AND NOT overall
COMMENT 'Interactions per cluster and day';

CREATE OR REPLACE VIEW interactions_by_cluster_1w
(
    cluster      LowCardinality(String) COMMENT 'Cluster (process of the bot)',
    time         DateTime('UTC') COMMENT 'Start of the week of the receipt, UTC',
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
FROM interactions_by_cluster_rollup WHERE step = '1w' AND NOT overall
COMMENT 'Interactions per cluster and week';

CREATE VIEW IF NOT EXISTS interactions_by_cluster_2w
(
    cluster      LowCardinality(String) COMMENT 'Cluster (process of the bot)',
    time         DateTime('UTC') COMMENT 'Start of the fortnight of the receipt, UTC',
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
FROM interactions_by_cluster_rollup WHERE step = '2w' AND NOT overall
COMMENT 'Interactions per cluster and fortnight';

CREATE VIEW IF NOT EXISTS interactions_1m
(
    cluster      LowCardinality(String) COMMENT 'Empty: all of them together',
    time         DateTime('UTC') COMMENT 'Start of the minute of the receipt, UTC',
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
FROM interactions_by_cluster_rollup WHERE step = '1m' AND overall
COMMENT 'Interactions of all clusters together, per minute';

CREATE VIEW IF NOT EXISTS interactions_1h
(
    cluster      LowCardinality(String) COMMENT 'Empty: all of them together',
    time         DateTime('UTC') COMMENT 'Start of the hour of the receipt, UTC',
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
FROM interactions_by_cluster_rollup WHERE step = '1h' AND overall
COMMENT 'Interactions of all clusters together, per hour';

CREATE VIEW IF NOT EXISTS interactions_1d
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
FROM interactions_by_cluster_rollup WHERE step = '1d' AND overall
COMMENT 'Interactions of all clusters together, per day';

CREATE VIEW IF NOT EXISTS interactions_1w
(
    cluster      LowCardinality(String) COMMENT 'Empty: all of them together',
    time         DateTime('UTC') COMMENT 'Start of the week of the receipt, UTC',
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
FROM interactions_by_cluster_rollup WHERE step = '1w' AND overall
COMMENT 'Interactions of all clusters together, per week';

CREATE VIEW IF NOT EXISTS interactions_2w
(
    cluster      LowCardinality(String) COMMENT 'Empty: all of them together',
    time         DateTime('UTC') COMMENT 'Start of the fortnight of the receipt, UTC',
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
FROM interactions_by_cluster_rollup WHERE step = '2w' AND overall
COMMENT 'Interactions of all clusters together, per fortnight';

CREATE MATERIALIZED VIEW IF NOT EXISTS interactions_by_cluster_rollup_view TO interactions_by_cluster_rollup DEFINER = CURRENT_USER SQL SECURITY DEFINER AS SELECT
    bucket.1 AS step, bucket.2 AS overall, bucket.3 AS time, if(overall, '', minutes.cluster) AS cluster, sum(minutes.interactions) AS interactions,
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
) AS minutes ARRAY JOIN arrayFlatten(arrayMap(together -> [
    ('1m', together, minutes.minute),
    ('1h', together, toStartOfHour(minutes.minute)),
    ('1d', together, toStartOfDay(minutes.minute)),
    ('1w', together, toDateTime(toMonday(minutes.minute), 'UTC')),
    ('2w', together, toDateTime(intDiv(toUnixTimestamp(minutes.minute) - 345600, 1209600) * 1209600 + 345600, 'UTC'))], [false, true])) AS bucket
GROUP BY step, overall, time, cluster;

DROP VIEW IF EXISTS interactions_by_command_rollup_view;

CREATE OR REPLACE TABLE interactions_by_command_rollup_next
(
    step         Enum8('1m' = 1, '1h' = 2, '1d' = 3, '1w' = 4, '2w' = 5) COMMENT 'Length of the bucket: a minute, an hour, a day, a week or a fortnight from Monday. All is counted once in each, so name one' CODEC(ZSTD(1)),
    time         DateTime('UTC') COMMENT 'Start of the bucket of the receipt, UTC' CODEC(Delta, ZSTD(1)),
    type         LowCardinality(String) COMMENT 'application_command, component, autocomplete, modal_submit or ping' CODEC(ZSTD(1)),
    command      LowCardinality(String) COMMENT 'Command with subcommands, or the prefix of a custom id' CODEC(ZSTD(1)),
    interactions SimpleAggregateFunction(sum, UInt64) COMMENT 'Interactions received' CODEC(T64, ZSTD(1)),
    succeeded    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome success' CODEC(T64, ZSTD(1)),
    failed       SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome error' CODEC(T64, ZSTD(1)),
    panicked     SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome panic' CODEC(T64, ZSTD(1)),
    timed_out    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome timed_out' CODEC(T64, ZSTD(1)),
    cancelled    SimpleAggregateFunction(sum, UInt64) COMMENT 'Of these, with the outcome cancelled' CODEC(T64, ZSTD(1)),
    tracked      UInt64 ALIAS succeeded + failed + panicked + timed_out + cancelled COMMENT 'With a known outcome',
    errors       UInt64 ALIAS failed + panicked + timed_out COMMENT 'Tracked ones that ended in error, panic or timed_out',
    response     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of response_ms where there was a response; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    duration     AggregateFunction(quantileBFloat16(0.5), UInt32) COMMENT 'Sketch of duration_ms where a handler was seen; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    delivery_lag AggregateFunction(quantileBFloat16(0.5), Int64) COMMENT 'Sketch of delivery_lag_ms; read it with quantileBFloat16Merge(level)' CODEC(ZSTD(1)),
    guilds       AggregateFunction(uniqCombined(12), UInt64) COMMENT 'Guilds; read it with uniqCombinedMerge(12), standard error 1.6 %' CODEC(ZSTD(1)),
    users        AggregateFunction(uniqCombined(12), UInt32) COMMENT 'Users by user_key; read it with uniqCombinedMerge(12), standard error 1.6 %; empty without a key' CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (if(step IN ('1w', '2w'), '1d', toString(step)), if(step IN ('1m', '1h'), toYYYYMM(time), toYear(time)))
ORDER BY (step, time, type, command)
SETTINGS non_replicated_deduplication_window = 40000, ttl_only_drop_parts = 1, index_granularity = 256
COMMENT 'Interactions per command and minute, hour, day, week or fortnight; read interactions_by_command_1m to interactions_by_command_2w'
AS SELECT step, time, type, command, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users
FROM interactions_by_command_rollup
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192;

INSERT INTO interactions_by_command_rollup_next (step, time, type, command, interactions, succeeded, failed, panicked, timed_out, cancelled, response, duration, delivery_lag, guilds, users)
SELECT '2w' AS step,
    toDateTime(intDiv(toUnixTimestamp(weeks.time) - 345600, 1209600) * 1209600 + 345600, 'UTC') AS time,
    type, command, sum(weeks.interactions) AS interactions,
    sum(weeks.succeeded) AS succeeded, sum(weeks.failed) AS failed, sum(weeks.panicked) AS panicked,
    sum(weeks.timed_out) AS timed_out, sum(weeks.cancelled) AS cancelled,
    quantileBFloat16MergeState(0.5)(weeks.response) AS response,
    quantileBFloat16MergeState(0.5)(weeks.duration) AS duration,
    quantileBFloat16MergeState(0.5)(weeks.delivery_lag) AS delivery_lag,
    uniqCombinedMergeState(12)(weeks.guilds) AS guilds, uniqCombinedMergeState(12)(weeks.users) AS users
FROM interactions_by_command_rollup AS weeks
WHERE weeks.step = '1w' AND (toDateTime(intDiv(toUnixTimestamp(weeks.time) - 345600, 1209600) * 1209600 + 345600, 'UTC'), type, command)
    NOT IN (SELECT time, type, command FROM interactions_by_command_rollup_next WHERE step = '2w')
GROUP BY time, type, command
SETTINGS max_block_size = 8192, min_insert_block_size_rows = 8192;

DROP TABLE IF EXISTS interactions_by_command_rollup;

RENAME TABLE IF EXISTS interactions_by_command_rollup_next TO interactions_by_command_rollup;

CREATE VIEW IF NOT EXISTS interactions_by_command_2w
(
    type         LowCardinality(String) COMMENT 'application_command, component, autocomplete, modal_submit or ping',
    command      LowCardinality(String) COMMENT 'Command with subcommands, or the prefix of a custom id',
    time         DateTime('UTC') COMMENT 'Start of the fortnight of the receipt, UTC',
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
AS SELECT type, command, time, interactions, succeeded, failed, panicked, timed_out, cancelled, tracked, errors, response, duration, delivery_lag, guilds, users
FROM interactions_by_command_rollup WHERE step = '2w'
COMMENT 'Interactions per command and fortnight';

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
    ('1w', toDateTime(toMonday(minutes.minute), 'UTC')),
    ('2w', toDateTime(intDiv(toUnixTimestamp(minutes.minute) - 345600, 1209600) * 1209600 + 345600, 'UTC'))] AS bucket
GROUP BY step, time, type, command;

ALTER TABLE interactions DROP CONSTRAINT IF EXISTS not_before_its_views;
