//! Importing some clusters' rows of one day.

use anyhow::Context as _;
use shardlake_schema::{BatchId, Name, Row as _, Table};

use super::{
    Summary,
    land::{Lander, Landing},
    row::{self, DayRows},
    source::{Part, Source},
};

/// Rows of one insert. A day may be thin: ten thousand of its rows touch ten thousand minutes and commands at most, and a
/// rollup's state of each takes some kilobytes of the server's memory until it is written.
const BATCH_ROWS: usize = 10_000;

/// What all parts have in common.
pub(super) struct Import {
    pub(super) source: Source,
    pub(super) lander: Lander,
    /// Of the source.
    pub(super) identity: String,
    pub(super) shards_total: u16,
}

impl Import {
    /// Reads all of it before anything is sent: an answer that waits for inserts would be cut off.
    pub(super) async fn run(&mut self, part: &Part, summary: &mut Summary) -> anyhow::Result<()> {
        let mut cursor = self.source.rows(part)?;
        let mut clusters: Vec<DayRows> = Vec::new();
        while let Some(event) = cursor.next().await.context("the table of Argus cannot be read any more")? {
            if clusters.last().is_none_or(|rows| rows.cluster() != event.cluster) {
                clusters.push(DayRows::new(part.day, &event.cluster, self.shards_total));
            }
            if let Some(rows) = clusters.last_mut() {
                rows.push(&event);
            }
        }
        drop(cursor);

        let boot = row::boot(part.day, &self.identity);
        self.lander.begin(boot).await?;
        for rows in clusters {
            land(&self.lander, boot, rows, summary).await?;
        }
        Ok(())
    }
}

/// Lands what a cluster has of the day, in batches of one partition each.
async fn land(lander: &Lander, boot: u64, rows: DayRows, summary: &mut Summary) -> anyhow::Result<()> {
    let cluster = Name::from(rows.cluster().to_owned());
    let day = rows.finish();
    summary.read += day.read;
    summary.matched += day.matched;
    for (reason, rows) in day.bad {
        *summary.bad.entry(reason).or_default() += rows;
    }
    let mut left = day.interactions.as_slice();
    let mut batch = 0;
    while let Some(first) = left.first() {
        let partition = Table::Interactions.partition(first.time());
        let next = left.iter().take(BATCH_ROWS);
        let rows = next.take_while(|row| Table::Interactions.partition(row.time()) == partition).count();
        let (now, rest) = left.split_at(rows);
        left = rest;
        batch += 1;
        match lander.land(&BatchId { cluster: cluster.clone(), boot, batch }, now).await? {
            Landing::Landed => summary.written += rows as u64,
            Landing::Known => summary.known += rows as u64,
        }
    }
    Ok(())
}
