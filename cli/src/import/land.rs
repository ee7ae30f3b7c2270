//! Landing an imported batch exactly once, whoever was killed before.
//!
//! The rules are those of `ingest/src/insert.rs`, where they are explained: look, send, look again; what is there as a whole has
//! landed, what is there in part is completed by the same token, and a token whose rows are missing in spite of an answer was
//! spent by a server that died. There is no spool to remember attempts, so every batch is looked for before it is sent.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, bail};
use arrow::ipc::writer::StreamWriter;
use clickhouse::{Client, error::Error as ClickhouseError};
use shardlake_schema::{
    BatchId, Row as _, Table,
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

/// As a cluster sends its batches.
const SETTINGS: &[(&str, &str)] = &[
    ("async_insert", "0"),
    ("insert_deduplicate", "1"),
    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
    ("max_insert_block_size", "1048449"),
    ("min_insert_block_size_rows", "1048449"),
    ("min_insert_block_size_bytes", "268402944"),
    ("input_format_arrow_allow_missing_columns", "0"),
    ("input_format_null_as_default", "0"),
];

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Landing {
    Landed,
    /// It was there before.
    Known,
}

/// Lands batches of one boot.
pub(super) struct Lander {
    client: Client,
    /// Rows by cluster and batch that were there before.
    known: HashMap<(String, u64), u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    raw: u64,
    /// By the materialized view.
    counted: u64,
}

impl Lander {
    /// Asks once for all batches of `boot` that are there.
    pub(super) async fn new(client: &Client, boot: u64) -> anyhow::Result<Self> {
        let sql = "SELECT toString(cluster), batch, sum(rows) FROM batches WHERE boot = {boot:UInt64} AND table = {table:String} GROUP BY ALL";
        let query = client.query_raw(sql).param("boot", boot).param("table", Table::Interactions.name());
        let known = query.fetch_all::<(String, u64, u64)>().await.context("the table batches cannot be read")?;
        let known = known.into_iter().map(|(cluster, batch, rows)| ((cluster, batch), rows)).collect();
        Ok(Self { client: client.clone(), known })
    }

    /// Lands `rows`, which lie in one partition, as the batch `id`.
    pub(super) async fn land(&self, id: &BatchId, rows: &[Interaction]) -> anyhow::Result<Landing> {
        let expected = rows.len() as u64;
        if self.known.get(&(id.cluster.to_string(), id.batch)) == Some(&expected) {
            return Ok(Landing::Known);
        }
        let body = encode(id, rows)?;
        let (mut token, mut sent, mut answered, mut failed) = (0_u32, false, false, 0);
        loop {
            let mut found = self.look(id, rows).await?;
            if answered && found == (Found { raw: 0, counted: 0 }) {
                sleep(SECOND_LOOK).await;
                found = self.look(id, rows).await?;
            }
            match found {
                // Rows that are older than the table keeps, or that were deleted, may be gone already.
                Found { raw, counted } if counted == expected && (raw == expected || raw == 0) => {
                    return Ok(if sent { Landing::Landed } else { Landing::Known });
                }
                Found { raw, counted: 0 } if raw == expected && answered => {
                    tracing::error!(cluster = %id.cluster, boot = id.boot, batch = id.batch, "a batch is there, but views have not counted it");
                    return Ok(Landing::Landed);
                }
                Found { raw: 0, counted: 0 } if answered => token += 1,
                Found { raw, counted: 0 } if raw == 0 || raw == expected => {}
                Found { raw, counted } => bail!(
                    "batch {} of cluster {} in boot {} has {expected} rows here, but {raw} in interactions and {counted} by batches: \
                     the source has changed since it was imported",
                    id.batch,
                    id.cluster,
                    id.boot
                ),
            }
            sent = true;
            let outcome = self.send(id, token, &body).await;
            answered = outcome.is_ok();
            let Err(error) = outcome else { continue };
            failed += 1;
            if failed == ATTEMPTS || matches!(answer::classify(&error, None), Verdict::Stop | Verdict::Quarantine) {
                return Err(error)
                    .context("ClickHouse does not take a batch; when that is mended, start the import again");
            }
            tracing::warn!(%error, batch = id.batch, "insert failed, it will be tried again");
            sleep(PAUSE_FIRST.saturating_mul(1 << failed).min(PAUSE_LONGEST)).await;
        }
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

    async fn send(&self, id: &BatchId, token: u32, body: &[u8]) -> Result<(), ClickhouseError> {
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
        for (name, value) in SETTINGS {
            insert = insert.with_setting(*name, *value);
        }
        let mut insert = insert.buffered();
        insert.write_buffered(body);
        insert.end().await
    }
}

fn encode(id: &BatchId, rows: &[Interaction]) -> anyhow::Result<Vec<u8>> {
    let columns = id.record_batch(&rows.iter().collect::<Vec<_>>()).context("rows cannot be encoded as Arrow")?;
    let mut stream = StreamWriter::try_new(Vec::new(), &columns.schema())?;
    stream.write(&columns)?;
    Ok(stream.into_inner()?)
}
