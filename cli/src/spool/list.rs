//! What `shardlake spool ls` prints.

use std::{collections::BTreeMap, fmt};

use shardlake_ingest::inspect::{Batch, Contents};
use shardlake_schema::TimeMs;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The contents of a spool as tables.
pub(super) struct Listing<'a>(pub(super) &'a Contents);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.batches(f)?;
        self.journals(f)?;
        self.set_aside(f)?;
        for damaged in &self.0.damaged {
            writeln!(f, "damaged: {} at byte {}: {}", damaged.file.display(), damaged.at, damaged.what)?;
        }
        Ok(())
    }
}

impl Listing<'_> {
    fn batches(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut by_boot: BTreeMap<_, Vec<&Batch>> = BTreeMap::new();
        for batch in &self.0.batches {
            by_boot.entry((&batch.cluster, batch.boot, &batch.table)).or_default().push(batch);
        }
        if by_boot.is_empty() {
            return writeln!(f, "no batches");
        }
        writeln!(
            f,
            "{:<10}{:<21}{:<16}{:>8}{:>20}{:>10}{:>12}  {:<25}last event",
            "cluster", "boot", "table", "batches", "numbers", "rows", "bytes", "first event"
        )?;
        for ((cluster, boot, table), batches) in by_boot {
            let numbers = batches.iter().map(|batch| batch.batch);
            let numbers = (numbers.clone().min().unwrap_or_default(), numbers.max().unwrap_or_default());
            let rows: u64 = batches.iter().map(|batch| batch.rows).sum();
            let bytes: u64 = batches.iter().map(|batch| batch.bytes).sum();
            let first = batches.iter().map(|batch| batch.first_time).min().unwrap_or_default();
            let last = batches.iter().map(|batch| batch.last_time).max().unwrap_or_default();
            writeln!(
                f,
                "{cluster:<10}{boot:<21}{table:<16}{:>8}{:>20}{rows:>10}{bytes:>12}  {:<25}{}",
                batches.len(),
                format!("{} to {}", numbers.0, numbers.1),
                moment(first),
                moment(last)
            )?;
        }
        writeln!(f, "{} batches in the same segments have landed or were given up", self.0.settled)?;
        writeln!(f, "{} bytes in segments", self.0.segment_bytes)
    }

    fn journals(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.journals.is_empty() {
            return writeln!(f, "no journals");
        }
        writeln!(f, "\n{:<54}{:>10}{:>12}  {:<25}last event", "journal", "rows", "bytes", "first event")?;
        for journal in &self.0.journals {
            let (first, last) = journal.times.map_or(<_>::default(), |(first, last)| (moment(first), moment(last)));
            let note = if journal.in_batches { "  its rows are in the batches above" } else { "" };
            let (name, rows, bytes) = (&journal.name, journal.rows, journal.bytes);
            writeln!(f, "{name:<54}{rows:>10}{bytes:>12}  {first:<25}{last}{note}")?;
        }
        Ok(())
    }

    fn set_aside(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.set_aside.is_empty() {
            return writeln!(f, "nothing in quarantine");
        }
        writeln!(f, "\n{:<54}{:>22}", "quarantine", "bytes")?;
        for file in &self.0.set_aside {
            let why = if file.refused { "refused by ClickHouse" } else { "damaged, or not ours" };
            writeln!(f, "{:<54}{:>22}  {why}", file.name, file.bytes)?;
        }
        Ok(())
    }
}

/// ISO 8601 with milliseconds.
fn moment(time: TimeMs) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0) * 1_000_000).ok();
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| "unknown".to_owned())
}
