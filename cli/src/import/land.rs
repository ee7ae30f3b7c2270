//! Landing an imported batch exactly once, whoever was killed before.
//!
//! The rules are those of `ingest/src/insert.rs`, where they are explained: a batch goes with the same token until it is answered,
//! which adds what the table or a view lacks; and a token whose rows are missing in spite of an answer was spent by a server
//! that died. There is no ledger of attempts, so every batch is looked for before it is sent. One that `batches` has is not
//! sent again, except for the last one of the run before: it may have been cut short between two views. Where rows of it are
//! missing since, they were deleted, and it is left alone.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use arrow::ipc::writer::StreamWriter;
use clickhouse::{Client, Row, error::Error as ClickhouseError};
use serde::Deserialize;
use shardlake_schema::{
    BatchId, INSERT_SETTINGS, Row as _, Table,
    answer::{self, Verdict},
    rows::Interaction,
};
use tokio::time::sleep;

/// What the server may spend on one insert, in seconds, and we on its answer, which is longer: see `ingest/src/insert.rs`.
const SERVER_LIMIT_S: u64 = 45;
const CLIENT_LIMIT: Duration = Duration::from_secs(SERVER_LIMIT_S + 15);

/// Attempts of one batch before the import gives up: a good minute. Started again, it goes on there.
const ATTEMPTS: u32 = 9;
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_LONGEST: Duration = Duration::from_secs(30);
/// An insert with the same token that is about to keep its rows has kept them after so long.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// Tokens that are tried, each spent by a death of the server.
const TOKENS: u32 = 5;
/// A token is used again for so long: as in `ingest/src/insert.rs`.
const TOKENS_LAST_S: i64 = 1_800;

const CANNOT_LOOK: &str = "the table batches cannot be read";

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Landing {
    Landed,
    /// It was there before.
    Known,
}

/// Lands batches of one source, one after the other.
pub(super) struct Lander {
    client: Client,
    /// The batch of this source that landed last before this run. It may have been under way when that run or the server
    /// was killed; all others were answered.
    last: Option<Last>,
    /// Rows by cluster, boot and batch that are counted; of the boot at hand.
    counted: HashMap<(String, u64, u64), u64>,
}

#[derive(Debug, Row, Deserialize)]
struct Last {
    cluster: String,
    boot: u64,
    batch: u64,
    age_s: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    raw: u64,
    /// By the materialized view.
    counted: u64,
}

impl Lander {
    /// `tag` is that of the source's boots, see [`super::row::boot`].
    pub(super) async fn new(client: Client, tag: u64) -> anyhow::Result<Self> {
        let sql = "SELECT toString(cluster) AS cluster, boot, batch, dateDiff('second', landed_at, now64(3, 'UTC')) AS age_s FROM batches \
                   WHERE table = 'interactions' AND boot % 4194304 = {tag:UInt64} AND intDiv(boot, 4194304) % 86400000 = 0 \
                   ORDER BY landed_at DESC, boot DESC, batch DESC LIMIT 1";
        let last = client.query_raw(sql).param("tag", tag).fetch_optional().await.context(CANNOT_LOOK)?;
        Ok(Self { client, last, counted: HashMap::new() })
    }

    /// Asks once for all batches of `boot` that are there.
    pub(super) async fn begin(&mut self, boot: u64) -> anyhow::Result<()> {
        let sql = "SELECT toString(cluster), batch, sum(rows) FROM batches WHERE boot = {boot:UInt64} AND table = 'interactions' GROUP BY ALL";
        let counted = self.client.query_raw(sql).param("boot", boot).fetch_all::<(String, u64, u64)>().await;
        let counted = counted.context(CANNOT_LOOK)?.into_iter();
        self.counted = counted.map(|(cluster, batch, rows)| ((cluster, boot, batch), rows)).collect();
        Ok(())
    }

    /// Lands `rows`, which lie in one partition, as the batch `id`.
    pub(super) async fn land(&self, id: &BatchId, rows: &[Interaction]) -> anyhow::Result<Landing> {
        let expected = rows.len() as u64;
        let remembers_tokens = self.last.as_ref().is_none_or(|last| last.age_s < TOKENS_LAST_S);
        let is_last = self.last.as_ref().is_some_and(|last| last.is(id));
        let is_counted = self.counted.get(&(id.cluster.to_string(), id.boot, id.batch)) == Some(&expected);
        if is_counted && !(is_last && remembers_tokens) {
            return Ok(Landing::Known);
        }
        let before = self.look(id, rows).await?;
        if is_counted && before.raw != expected {
            return Ok(Landing::Known); // what is missing was deleted, and must not come back
        }
        if !is_counted && before != Found::NOTHING {
            if before != (Found { raw: expected, counted: 0 }) {
                return Err(changed(id, expected, before));
            }
            if !remembers_tokens {
                tracing::error!(cluster = %id.cluster, boot = id.boot, batch = id.batch, "a batch is there, but views have not counted it");
                return Ok(Landing::Known);
            }
        }

        let body = encode(id, rows)?;
        for token in 0..TOKENS {
            self.send(id, token, &body).await?;
            let mut found = self.look(id, rows).await?;
            if found == Found::NOTHING {
                sleep(SECOND_LOOK).await;
                found = self.look(id, rows).await?;
            }
            match found {
                Found::NOTHING => {}
                // Rows that are older than the table keeps, or that were deleted, may be gone already.
                Found { counted, .. }
                    if counted == expected && (found.raw == expected || found.raw == 0 || is_counted) =>
                {
                    return Ok(if is_counted { Landing::Known } else { Landing::Landed });
                }
                found => return Err(changed(id, expected, found)),
            }
        }
        bail!("ClickHouse answers that it has batch {} of cluster {}, and does not have it", id.batch, id.cluster)
    }

    /// Sends a batch until it is answered. What an attempt without an answer left undone, in the table or in any view, the
    /// next one with the same token adds.
    async fn send(&self, id: &BatchId, token: u32, body: &[u8]) -> anyhow::Result<()> {
        for failed in 1.. {
            let Err(error) = self.attempt(id, token, body).await else { break };
            if failed == ATTEMPTS || matches!(answer::classify(&error, None), Verdict::Stop | Verdict::Quarantine) {
                return Err(error)
                    .context("ClickHouse does not take a batch; when that is mended, start the import again");
            }
            tracing::warn!(%error, batch = id.batch, "insert failed, it will be tried again");
            sleep(PAUSE_FIRST.saturating_mul(1 << failed).min(PAUSE_LONGEST)).await;
        }
        Ok(())
    }

    async fn look(&self, id: &BatchId, rows: &[Interaction]) -> anyhow::Result<Found> {
        let sql = "SELECT (SELECT count() FROM interactions WHERE cluster = {cluster:String} AND boot = {boot:UInt64} AND batch = {batch:UInt64} \
                   AND time BETWEEN fromUnixTimestamp64Milli({first:Int64}) AND fromUnixTimestamp64Milli({last:Int64})), \
                   (SELECT sum(rows) FROM batches WHERE cluster = {cluster:String} AND boot = {boot:UInt64} AND batch = {batch:UInt64} AND table = 'interactions')";
        let (first, last) = (rows.first().map_or(0, |row| row.time().0), rows.last().map_or(0, |row| row.time().0));
        let mut failed = 0;
        loop {
            let query = self.client.query_raw(sql).param("cluster", id.cluster.as_str()).param("boot", id.boot);
            let query = query.param("batch", id.batch).param("first", first).param("last", last);
            match query.fetch_one::<(Option<u64>, Option<u64>)>().await {
                Ok((raw, counted)) => return Ok(Found { raw: raw.unwrap_or(0), counted: counted.unwrap_or(0) }),
                Err(error) if failed + 1 == ATTEMPTS => return Err(error).context("a batch cannot be looked for"),
                Err(error) => tracing::warn!(%error, "a batch cannot be looked for, it will be tried again"),
            }
            failed += 1;
            sleep(PAUSE_FIRST.saturating_mul(1 << failed).min(PAUSE_LONGEST)).await;
        }
    }

    async fn attempt(&self, id: &BatchId, token: u32, body: &[u8]) -> Result<(), ClickhouseError> {
        let table = Table::Interactions;
        let mut insert = self
            .client
            .insert_formatted_with(table.insert_sql())
            .with_timeouts(Some(CLIENT_LIMIT), Some(CLIENT_LIMIT))
            .with_setting("max_execution_time", SERVER_LIMIT_S.to_string())
            .with_setting(
                "insert_deduplication_token",
                format!("{}/{}/{table}/{}/{token}", id.cluster, id.boot, id.batch),
            );
        for (name, value) in INSERT_SETTINGS {
            insert = insert.with_setting(*name, *value);
        }
        let mut insert = insert.buffered();
        insert.write_buffered(body);
        insert.end().await
    }
}

impl Found {
    const NOTHING: Found = Found { raw: 0, counted: 0 };
}

impl Last {
    fn is(&self, id: &BatchId) -> bool {
        (self.cluster.as_str(), self.boot, self.batch) == (id.cluster.as_str(), id.boot, id.batch)
    }
}

fn changed(id: &BatchId, expected: u64, found: Found) -> anyhow::Error {
    let (BatchId { cluster, boot, batch }, Found { raw, counted }) = (id, found);
    anyhow!(
        "batch {batch} of cluster {cluster} in boot {boot} has {expected} rows here, but {raw} in interactions and {counted} by batches: \
         the source has changed since it was imported"
    )
}

fn encode(id: &BatchId, rows: &[Interaction]) -> anyhow::Result<Vec<u8>> {
    let columns = id.record_batch(&rows.iter().collect::<Vec<_>>()).context("rows cannot be encoded as Arrow")?;
    let mut stream = StreamWriter::try_new(Vec::new(), &columns.schema())?;
    stream.write(&columns)?;
    Ok(stream.into_inner()?)
}
