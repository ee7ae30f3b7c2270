-- title: A metric over time
-- description: One series of the clusters' own /metrics over time, per bucket, cluster and labels: of a gauge its mean, least and
--   highest sample, of a counter its increase per second. Samples are taken every 30 s by default; a bucket without one is null.
-- panel: timeseries
-- table: samples
-- min_step: 30s
-- limit_by: cluster, labels
-- param: name    String                      Name of the series, as on /metrics, such as discord_guilds
-- param: from    DateTime64(3, 'UTC') = -1h  Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: step    UInt32               = auto Width of a bucket
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: label   Array(String)        = []   Only series with all of these labels, such as shard=3; empty: all
-- param: limit   UInt32               = 50   At most so many series, those with the highest samples first
-- column: time           time  Start of the bucket
-- column: cluster        id    Cluster
-- column: labels         text  Other labels, such as shard=3; empty: none
-- column: mean           count Mean of the samples, in the unit that the name says; of a counter null
-- column: min            count Least sample; of a counter null
-- column: max            count Highest sample; of a counter null
-- column: increase_per_s per_s How fast a counter rose, resets left out; of a gauge null
WITH
    {edges:Array(Int64)} AS edges,
    series AS
    (
        SELECT
            time AS sampled_at,
            cluster,
            boot,
            kind,
            value,
            arrayStringConcat(arrayMap((key, text) -> concat(key, '=', text), mapKeys(samples.labels), mapValues(samples.labels)) AS pairs, ' ') AS labels
        FROM samples
        WHERE name = {name:String}
            AND time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
            AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
            AND hasAll(pairs, {label:Array(String)})
    ),
    -- A counter starts at 0 with its process. What it rose by until the first sample of the range is not of the range.
    risen AS
    (
        SELECT
            sampled_at,
            cluster,
            labels,
            kind,
            value,
            value - lagInFrame(value, 1, value) OVER previous AS rise,
            dateDiff('millisecond', lagInFrame(sampled_at, 1, sampled_at) OVER previous, sampled_at) / 1000 AS span_s
        FROM series
        WHERE (cluster, labels) IN
        (
            SELECT cluster, labels FROM series GROUP BY cluster, labels ORDER BY max(value) DESC, cluster, labels LIMIT {limit:UInt32} OFFSET {offset:UInt64}
        )
        WINDOW previous AS (PARTITION BY cluster, labels, boot ORDER BY sampled_at ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    )
SELECT fromUnixTimestamp64Milli(edges[bucket], 'UTC') AS time, cluster, labels, mean, min, max, increase_per_s
FROM
(
    SELECT
        roundDown(toUnixTimestamp64Milli(sampled_at), edges) AS edge,
        transform(edge, edges, arrayEnumerate(edges), 0) AS bucket,
        cluster,
        labels,
        avgOrNullIf(value, kind = 'gauge') AS mean,
        minOrNullIf(value, kind = 'gauge') AS min,
        maxOrNullIf(value, kind = 'gauge') AS max,
        sumOrNullIf(rise, kind = 'counter') / nullIf(sum(span_s), 0) AS increase_per_s
    FROM risen
    GROUP BY cluster, labels, edge
    ORDER BY cluster, labels, bucket WITH FILL FROM 1 TO length(edges)
)
WHERE cluster != '' -- with no row at all, the fill makes a series without a name
ORDER BY time, toUInt64OrZero(cluster), cluster, labels
