-- title: Metrics at a moment
-- description: The newest value of each series of the clusters' own /metrics at the end of the range: what they showed then, all
--   clusters on one page. A series that was not sampled in the range is not there. Samples are taken every 30 s by default.
-- panel: table
-- table: samples
-- param: from    DateTime64(3, 'UTC') = -5m  Start of the range, included
-- param: to      DateTime64(3, 'UTC') = now  End of the range, left out
-- param: name    Array(String)        = []   Only series of these names; empty: all
-- param: label   Array(String)        = []   Only series with all of these labels, such as shard=3; empty: all
-- param: cluster Array(String)        = []   Only these clusters; empty: all
-- param: limit   UInt32               = 5000 At most so many series
-- column: name       text  Name of the series, as on /metrics
-- column: cluster    id    Cluster
-- column: labels     text  Other labels, such as shard=3; empty: none
-- column: kind       text  gauge, or counter: counted since the start of the process
-- column: value      count Newest value, in the unit that the name says
-- column: sampled_at time  When it was read
SELECT
    name,
    cluster,
    arrayStringConcat(label_pairs, ' ') AS labels,
    argMax(samples.kind, time) AS kind,
    argMax(samples.value, time) AS value,
    max(time) AS sampled_at
FROM samples
WHERE time >= {from:DateTime64(3, 'UTC')} AND time < {to:DateTime64(3, 'UTC')}
    AND (empty({name:Array(String)}) OR name IN {name:Array(String)})
    AND (empty({cluster:Array(String)}) OR cluster IN {cluster:Array(String)})
    AND hasAll(label_pairs, {label:Array(String)})
GROUP BY name, cluster, arrayMap((key, text) -> concat(key, '=', text), mapKeys(samples.labels), mapValues(samples.labels)) AS label_pairs
ORDER BY name, toUInt64OrZero(cluster), cluster, label_pairs
LIMIT {limit:UInt32} OFFSET {offset:UInt64}
