//! A frozen batch goes to ClickHouse until it has landed, or until it is known that it never can.
//!
//! A failed attempt says little: the rows may have landed before the connection broke, or may land later, when what is
//! under way arrives. So the same bytes go again with the same token, which adds what is missing and nothing else, however
//! late the first attempt comes. But a token alone does not settle it: a server that crashed between recording the token
//! and keeping the rows answers the retry with 200 and stores nothing. Nor does a server remember tokens for ever. So
//! doubt is settled by looking, before and after a retry:
//!
//! - Is the batch there as a whole, raw rows and what the views made of them? Then it has landed, however long ago.
//! - Is nothing there, and the server was started anew since the attempt? Then nothing is under way any more, and the token
//!   may be spent: it goes again with a fresh one.
//! - Was a retry answered 200, and yet nothing is there? Then too.

use std::{sync::Arc, time::Duration};

use clickhouse::{Client, Compression, error::Error as ClickhouseError};
use shardlake_schema::{
    BatchId,
    answer::{self, Verdict},
};
use tokio::time::{Instant, sleep};

use crate::{
    batch::Frozen,
    config,
    metrics::InsertMetrics,
    outside,
    spool::{Lent, Spool},
};

/// What the server may spend on one insert, in seconds. A healthy one takes milliseconds.
const SERVER_LIMIT_S: u64 = 45;
/// What we wait for an answer. Longer than the server's limit: giving up first would make every slow insert an unknown
/// outcome.
const CLIENT_LIMIT: Duration = Duration::from_secs(SERVER_LIMIT_S + 15);
/// What a look-up may take before the server counts as away.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// A batch is given up after so many refusals of its content in a row. Not after the first: a body that was cut on its way
/// is refused with the same words as one that is wrong.
const REFUSALS: u32 = 5;

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
        let mut retried = lent.doubtful;
        let mut failures: u32 = 0;
        let mut refusals: u32 = 0;
        // When this attempt's token was first sent; of one that an earlier process may have sent, when it was sealed.
        let age = Duration::from_millis(outside::now().since_ms(batch.sealed_at).into());
        let mut sent_at = if retried { Instant::now().checked_sub(age) } else { None };
        loop {
            if retried {
                let found = self.find(batch, &mut failures).await;
                if found.is_whole(batch) {
                    return Landing::Landed;
                }
                if found.rows == 0 && sent_at.is_none_or(|sent_at| found.uptime_s <= sent_at.elapsed().as_secs()) {
                    attempt = self.next_attempt(attempt, &mut failures).await;
                    sent_at = None;
                }
            }
            let started = Instant::now();
            sent_at.get_or_insert(started);
            let outcome = self.attempt(batch, attempt, failures).await;
            let verdict = outcome.as_ref().err().map(answer::classify);
            self.metrics.attempted(verdict, batch, started.elapsed());

            if let Err(error) = &outcome {
                retried = true;
                failures = failures.saturating_add(1);
                refusals = if verdict == Some(Verdict::Quarantine) { refusals + 1 } else { 0 };
                self.spool.in_trouble();
                complain(batch, verdict, failures, error);
                if refusals == REFUSALS {
                    return Landing::Refused;
                }
                sleep(backoff(failures)).await;
            } else if !retried || self.find(batch, &mut failures).await.rows > 0 {
                return Landing::Landed;
            } else {
                attempt = self.next_attempt(attempt, &mut failures).await;
                sent_at = None;
            }
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

    /// Looks for a batch until there is an answer. `failures` grows with each look that fails.
    async fn find(&self, batch: &Frozen, failures: &mut u32) -> Found {
        loop {
            match self.look(batch).await {
                Ok(found) => return found,
                Err(error) => tracing::debug!(table = %batch.table, %error, "cannot look for a batch yet"),
            }
            *failures = failures.saturating_add(1);
            sleep(backoff(*failures)).await;
        }
    }

    /// The number of a fresh attempt, once the spool knows that it will be used.
    async fn next_attempt(&self, attempt: u32, failures: &mut u32) -> u32 {
        let next = attempt.saturating_add(1);
        while let Err(error) = self.spool.attempt(next) {
            tracing::warn!(%error, "the spool's ledger cannot be written, the batch waits");
            *failures = failures.saturating_add(1);
            sleep(backoff(*failures)).await;
        }
        next
    }

    async fn look(&self, batch: &Frozen) -> Result<Found, ClickhouseError> {
        let client = self.client.clone().with_setting("max_execution_time", LOOK_LIMIT.as_secs().to_string());
        let table = batch.table;
        let this = "cluster = {cluster:String} AND boot = {boot:UInt64} AND batch = {batch:UInt64}";
        let sql = format!(
            "SELECT (SELECT count() FROM {table} WHERE {this} \
             AND time BETWEEN fromUnixTimestamp64Milli({{first:Int64}}) AND fromUnixTimestamp64Milli({{last:Int64}})), \
             (SELECT sum(rows) FROM batches WHERE {this} AND table = '{table}'), toUInt64(uptime())"
        );
        let found = client
            .query_raw(&sql)
            .param("cluster", batch.id.cluster.as_str())
            .param("boot", batch.id.boot)
            .param("batch", batch.id.batch)
            .param("first", batch.first_time.0)
            .param("last", batch.last_time.0)
            .fetch_one::<(Option<u64>, Option<u64>, u64)>();
        let found = tokio::time::timeout(LOOK_LIMIT, found).await.unwrap_or(Err(ClickhouseError::TimedOut));
        found.map(|(rows, counted, uptime_s)| Found {
            rows: rows.unwrap_or(0),
            counted: counted.unwrap_or(0),
            uptime_s,
        })
    }
}

/// What a look shows of a batch.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// Rows in the raw table.
    rows: u64,
    /// Rows that the materialized view counted.
    counted: u64,
    /// How long the server has been running, in seconds, rounded down.
    uptime_s: u64,
}

impl Found {
    fn is_whole(self, batch: &Frozen) -> bool {
        self.rows == batch.rows && self.counted == batch.rows
    }
}

/// Says once that a batch is in trouble.
fn complain(batch: &Frozen, verdict: Option<Verdict>, failures: u32, error: &ClickhouseError) {
    let (table, sequence, rows) = (batch.table, batch.id.batch, batch.rows);
    match verdict {
        Some(Verdict::Quarantine) => {
            tracing::error!(%table, batch = sequence, rows, %error, "ClickHouse refuses the content of a batch");
        }
        Some(Verdict::Stop) if failures == 1 => {
            tracing::error!(%table, %error, "ClickHouse takes nothing for this table until its settings are mended; batches wait");
        }
        _ if failures == 1 => {
            tracing::warn!(%table, batch = sequence, %error, "insert failed, it will be tried again");
        }
        _ => tracing::debug!(%table, failures, %error, "insert failed again"),
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

/// Full jitter: anything between zero and the doubled pause, so that a fleet that failed together does not come back
/// together (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter>).
fn backoff(failures: u32) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    outside::random(Duration::ZERO..=doubled.min(BACKOFF_LONGEST))
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
