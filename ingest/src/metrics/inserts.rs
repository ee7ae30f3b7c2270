//! The series of inserts, by table: attempts with their rows and bytes by result, their duration, and the batches that
//! landed.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use shardlake_schema::{Table, answer::Verdict};

use super::register;

/// Buckets of insert durations, seconds: a healthy insert takes milliseconds, the longest that we wait for one minute.
const INSERT_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Buckets of rows per batch: from one straggler to the largest batch.
const BATCH_ROWS: &[f64] = &[1.0, 10.0, 100.0, 1_000.0, 10_000.0, 50_000.0];

/// The series of all tables.
#[derive(Debug)]
pub(crate) struct Inserts {
    attempts: IntCounterVec,
    rows: IntCounterVec,
    bytes: IntCounterVec,
    seconds: HistogramVec,
    batch_rows: HistogramVec,
}

/// The series of one table.
#[derive(Clone)]
pub(crate) struct InsertMetrics {
    table: Table,
    attempts: IntCounterVec,
    rows: IntCounterVec,
    bytes: IntCounterVec,
    seconds: Histogram,
    batch_rows: Histogram,
}

impl Inserts {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let by_result =
            |name, help| register(registry, IntCounterVec::new(Opts::new(name, help), &["table", "result"])?);
        let by_table = |name, help, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            register(registry, HistogramVec::new(options, &["table"])?)
        };
        Ok(Self {
            attempts: by_result("shardlake_inserts_total", "Attempts to insert a batch, by result")?,
            rows: by_result("shardlake_insert_rows_total", "Rows that were sent, by result")?,
            bytes: by_result("shardlake_insert_bytes_total", "Compressed bytes that were sent, by result")?,
            seconds: by_table(
                "shardlake_insert_duration_seconds",
                "Duration of one attempt to insert a batch",
                INSERT_SECONDS,
            )?,
            batch_rows: by_table("shardlake_batch_rows", "Rows of landed batches", BATCH_ROWS)?,
        })
    }

    pub(crate) fn of(&self, table: Table) -> InsertMetrics {
        let name = [table.name()];
        InsertMetrics {
            table,
            attempts: self.attempts.clone(),
            rows: self.rows.clone(),
            bytes: self.bytes.clone(),
            seconds: self.seconds.with_label_values(&name),
            batch_rows: self.batch_rows.with_label_values(&name),
        }
    }
}

impl InsertMetrics {
    /// Counts an attempt; `verdict` is `None` for one that landed.
    #[allow(clippy::cast_precision_loss, reason = "a batch has far fewer than 2^52 rows")]
    pub(crate) fn attempted(&self, verdict: Option<Verdict>, rows: u64, bytes: usize, took: Duration) {
        let labels = [self.table.name(), verdict.map_or("landed", Verdict::as_str)];
        self.attempts.with_label_values(&labels).inc();
        self.rows.with_label_values(&labels).inc_by(rows);
        self.bytes.with_label_values(&labels).inc_by(bytes as u64);
        self.seconds.observe(took.as_secs_f64());
        if verdict.is_none() {
            self.batch_rows.observe(rows as f64);
        }
    }
}
