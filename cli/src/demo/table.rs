//! The small live table: what arrived so far, per cluster.

use std::fmt;

use clickhouse::{Client, Row};
use serde::Deserialize;

#[derive(Debug, Row, Deserialize)]
struct Line {
    cluster: String,
    dispatches: u64,
    interactions: u64,
    failed: u64,
    duration_p95_ms: f64,
    shard_events: u64,
    batches: u64,
    landed_ago_ms: i64,
}

/// One row a cluster.
#[derive(Debug)]
pub(super) struct Lines(Vec<Line>);

const SQL: &str = "
SELECT cluster, sum(dispatches) AS dispatches, sum(interactions) AS interactions, sum(failed) AS failed,
    max(p95) AS duration_p95_ms, sum(shard_events) AS shard_events, sum(batches) AS batches, min(ago) AS landed_ago_ms
FROM
(
    SELECT cluster, sum(dispatches) AS dispatches, 0 AS interactions, 0 AS failed, 0. AS p95, 0 AS shard_events, 0 AS batches, 9223372036854775807 AS ago
    FROM gateway_counts GROUP BY cluster
    UNION ALL
    SELECT cluster, 0, count(), countIf(outcome = 'error'), quantile(0.95)(duration_ms), 0, 0, 9223372036854775807 FROM interactions GROUP BY cluster
    UNION ALL
    SELECT cluster, 0, 0, 0, 0., count(), 0, 9223372036854775807 FROM shard_events GROUP BY cluster
    UNION ALL
    SELECT cluster, 0, 0, 0, 0., 0, count(), dateDiff('millisecond', max(landed_at), now64(3)) FROM batches GROUP BY cluster
)
GROUP BY cluster ORDER BY length(cluster), cluster";

pub(super) async fn read(reader: &Client) -> clickhouse::error::Result<Lines> {
    Ok(Lines(reader.query_raw(SQL).fetch_all().await?))
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<8}{:>12}{:>14}{:>8}{:>10}{:>14}{:>9}{:>12}",
            "cluster", "dispatches", "interactions", "failed", "p95 ms", "shard events", "batches", "landed ago"
        )?;
        for line in &self.0 {
            writeln!(
                f,
                "{:<8}{:>12}{:>14}{:>8}{:>10.0}{:>14}{:>9}{:>9} ms",
                line.cluster,
                line.dispatches,
                line.interactions,
                line.failed,
                line.duration_p95_ms,
                line.shard_events,
                line.batches,
                line.landed_ago_ms
            )?;
        }
        Ok(())
    }
}
