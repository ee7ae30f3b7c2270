//! A frozen batch goes to ClickHouse until it has landed, or until it is known that it never can.
//!
//! A failed attempt says little: the rows may have landed before the connection broke. A deduplication token alone does
//! not settle it either, because a server that crashed between recording the token and keeping the rows answers the retry
//! with 200 and stores nothing. So an unknown outcome is settled by looking: once the attempt is gone from
//! `system.processes`, ask for the batch. Absent: try again with a fresh token. Present: send the same bytes with the
//! same token, which adds what is missing (rollups, `batches`) and nothing else.

use std::{sync::Arc, time::Duration};

use clickhouse::{Client, Compression, error::Error as ClickhouseError};
use rand::RngExt as _;
use shardlake_schema::{
    BatchId,
    answer::{self, Verdict},
};
use tokio::time::{Instant, sleep};

use crate::{
    batch::Frozen,
    config,
    metrics::InsertMetrics,
    spool::{Lent, Spool},
};

/// What the server may spend on one insert, in seconds. A healthy one takes milliseconds.
const SERVER_LIMIT_S: u64 = 45;
/// What we wait for an answer. Longer than the server's limit: giving up first would make every slow insert an unknown
/// outcome.
const CLIENT_LIMIT: Duration = Duration::from_secs(SERVER_LIMIT_S + 15);
/// What a look-up may take before the server counts as away.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// First pause after a failure; doubles with each further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
/// Longest pause: short enough that a returned server is noticed within half a minute, without any traffic.
const BACKOFF_LONGEST: Duration = Duration::from_secs(30);

/// Sent with every attempt, spelt out because the server's defaults changed in 26.2 and may again.
const SETTINGS: &[(&str, &str)] = &[
    ("async_insert", "0"),
    ("insert_deduplicate", "1"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    // One batch is one block: it lands as a whole or not at all.
    ("max_insert_block_size", "1048449"),
    ("min_insert_block_size_rows", "1048449"),
    ("min_insert_block_size_bytes", "268402944"),
    // A column that we misspell must fail, not be filled with defaults.
    ("input_format_arrow_allow_missing_columns", "0"),
    ("input_format_null_as_default", "0"),
];

/// The client for one table's inserts.
#[derive(Clone)]
pub(crate) struct Inserter {
    client: Client,
    spool: Arc<Spool>,
    metrics: InsertMetrics,
}

impl Inserter {
    pub(crate) fn new(clickhouse: &config::Clickhouse, spool: Arc<Spool>, metrics: InsertMetrics) -> Self {
        let mut client = clickhouse.client().with_compression(Compression::None);
        client.set_setting("max_execution_time", SERVER_LIMIT_S.to_string());
        Self { client, spool, metrics }
    }

    /// Lands every batch of the spool, oldest first, one at a time; ends when the spool is closed and empty.
    ///
    /// Cancel safe: the batch at hand stays in the spool.
    pub(crate) async fn run(self) {
        while let Some(lent) = self.spool.next().await {
            match self.land(&lent).await {
                Landing::Landed => self.spool.landed(),
                Landing::Refused => self.spool.refused(&lent.batch),
            }
        }
    }

    async fn land(&self, lent: &Lent) -> Landing {
        let batch = &lent.batch;
        let mut attempt = lent.attempt;
        let mut failures: u32 = 0;
        if lent.doubtful {
            attempt = self.settle(batch, attempt, &mut failures).await;
        }
        loop {
            let started = Instant::now();
            let outcome = self.attempt(batch, attempt, failures).await;
            let verdict = outcome.as_ref().err().map(answer::classify);
            self.metrics.attempted(verdict, batch, started.elapsed());

            let Err(error) = outcome else { return Landing::Landed };
            failures = failures.saturating_add(1);
            self.spool.in_trouble();
            match verdict {
                Some(Verdict::Quarantine) => {
                    tracing::error!(table = %batch.table, batch = batch.id.batch, rows = batch.rows, %error, "ClickHouse refuses a batch");
                    return Landing::Refused;
                }
                Some(Verdict::Stop) if failures == 1 => {
                    tracing::error!(table = %batch.table, %error, "ClickHouse takes nothing for this table until its settings are mended; batches wait");
                }
                _ if failures == 1 => {
                    tracing::warn!(table = %batch.table, batch = batch.id.batch, %error, "insert failed, it will be tried again");
                }
                _ => tracing::debug!(table = %batch.table, failures, %error, "insert failed again"),
            }
            attempt = self.settle(batch, attempt, &mut failures).await;
        }
    }

    async fn attempt(&self, batch: &Frozen, attempt: u32, failures: u32) -> Result<(), ClickhouseError> {
        let mut insert = self
            .client
            .clone()
            .with_header("Content-Encoding", "lz4")
            .insert_formatted_with(batch.table.insert_sql())
            .with_timeouts(Some(CLIENT_LIMIT), Some(CLIENT_LIMIT))
            .with_setting("query_id", format!("{}{attempt}-{failures}", query_prefix(batch)))
            .with_setting("insert_deduplication_token", batch.token(attempt));
        for (name, value) in SETTINGS {
            insert = insert.with_setting(*name, *value);
        }
        insert.send(batch.body.clone()).await?;
        insert.end().await
    }

    /// When the outcome of earlier attempts is not known: waits, looks, and returns the number of the next attempt, which is
    /// the same one if the batch is there. `failures` grows with each look that does not settle it.
    async fn settle(&self, batch: &Frozen, attempt: u32, failures: &mut u32) -> u32 {
        loop {
            sleep(backoff(*failures)).await;
            match self.look(batch).await {
                Ok(Found::Running) => {} // its outcome is still open
                Ok(Found::Present) => return attempt,
                Ok(Found::Absent) => match self.spool.attempt(attempt.saturating_add(1)) {
                    Ok(()) => return attempt.saturating_add(1),
                    Err(error) => tracing::warn!(%error, "the spool's ledger cannot be written, the batch waits"),
                },
                Err(error) => tracing::debug!(table = %batch.table, %error, "cannot look for a batch yet"),
            }
            *failures = failures.saturating_add(1);
        }
    }

    async fn look(&self, batch: &Frozen) -> Result<Found, ClickhouseError> {
        let client = self.client.clone().with_setting("max_execution_time", LOOK_LIMIT.as_secs().to_string());
        let running = client
            .query_raw("SELECT count() FROM system.processes WHERE startsWith(query_id, {prefix:String})")
            .param("prefix", query_prefix(batch))
            .fetch_one::<u64>();
        if within_limit(running).await? > 0 {
            return Ok(Found::Running);
        }
        let sql = format!(
            "SELECT count() FROM {} WHERE cluster = {{cluster:String}} AND boot = {{boot:UInt64}} AND batch = {{batch:UInt64}} \
             AND time BETWEEN fromUnixTimestamp64Milli({{first:Int64}}) AND fromUnixTimestamp64Milli({{last:Int64}})",
            batch.table
        );
        let rows = client
            .query_raw(&sql)
            .param("cluster", batch.id.cluster.as_str())
            .param("boot", batch.id.boot)
            .param("batch", batch.id.batch)
            .param("first", batch.first_time.0)
            .param("last", batch.last_time.0)
            .fetch_one::<u64>();
        Ok(if within_limit(rows).await? > 0 { Found::Present } else { Found::Absent })
    }
}

/// How the ids of all attempts at a batch begin, also those of an earlier process.
fn query_prefix(batch: &Frozen) -> String {
    let BatchId { cluster, boot, batch: sequence } = &batch.id;
    format!("{cluster}-{boot}-{}-{sequence}-", batch.table)
}

/// What became of a batch.
enum Landing {
    Landed,
    Refused,
}

/// What a look at the server shows of an attempt.
enum Found {
    Running,
    Present,
    Absent,
}

async fn within_limit<T>(answer: impl Future<Output = Result<T, ClickhouseError>>) -> Result<T, ClickhouseError> {
    tokio::time::timeout(LOOK_LIMIT, answer).await.unwrap_or(Err(ClickhouseError::TimedOut))
}

/// Full jitter: anything between zero and the doubled pause, so that a fleet that failed together does not come back
/// together (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter>).
fn backoff(failures: u32) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    rand::rng().random_range(Duration::ZERO..=doubled.min(BACKOFF_LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for failures in [0, 1, 2, 8, 40, u32::MAX] {
            assert!(backoff(failures) <= BACKOFF_LONGEST);
        }
        let longest_first = (0..1000).map(|_| backoff(1)).max().unwrap();
        let longest_sixth = (0..1000).map(|_| backoff(6)).max().unwrap();
        assert!(longest_first <= BACKOFF_FIRST && longest_sixth > BACKOFF_FIRST);
    }
}
