//! How fresh and how complete the data behind an answer is, from `batches` and `processes`.
//!
//! **Freshness** is, per cluster, the newest moment at which ClickHouse acknowledged a batch of it, from any table: every
//! cluster sends samples of its own metrics all the time, so a cluster that is behind is spooling, dead or cut off, whereas a
//! quiet one is not behind. `newest_in_table_at` says the same for the table that the question reads.
//!
//! **Complete** means: in the numbered batches of that table that are known to have existed, none whose rows may lie in the
//! range is missing. Batches are numbered per cluster, boot and table from 1 without gaps, so a number that did not land
//! while a later one did is a lost (or still spooled) batch: `gaps` names it. What that cannot see:
//! - the tail: batches not sent yet, or sent last and lost. Look at `freshness`: a range is settled where no cluster is behind;
//! - a boot of which nothing has landed at all;
//! - rows that a cluster dropped before they were in a batch: `processes.rows_dropped` counts them;
//! - rows deleted later from the table, by hand or by its time to live, and `batches` older than its own two years.
//!
//! `complete` is null for a table that cluster processes do not write. A question that reads `batches` itself is judged by
//! all tables.

mod recent;

use clickhouse::Row;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use shardlake_schema::{Table, TimeMs};

use self::recent::About;
pub(crate) use self::recent::Recent;
use crate::{
    error::AskError,
    execute::{Source, within_deadline},
    moment,
    parameter::Value,
    resolution::Resolved,
};

const FRESHNESS: &str = include_str!("completeness/freshness.sql");
const GAPS: &str = include_str!("completeness/gaps.sql");

/// A row is recorded at most so long after its time, seconds: an interaction can be answered for 15 minutes.
const SLACK_S: u64 = 900;

/// Most gaps that an answer names; `missing_batches` counts them all.
const MAX_GAPS: u64 = 100;

/// The end of a question that has no range.
const FOR_EVER: TimeMs = TimeMs(4_102_444_800_000);

/// What an answer says about the data behind it.
#[derive(Debug, Serialize)]
pub(crate) struct Completeness {
    /// Per cluster that should have data up to the end of the range.
    freshness: Vec<Freshness>,
    /// See the head of this module.
    complete: Option<bool>,
    /// Batches missing in all gaps.
    missing_batches: u64,
    /// The gaps, at most [`MAX_GAPS`].
    gaps: Vec<Gap>,
}

impl Completeness {
    /// See the head of this module.
    pub(crate) fn complete(&self) -> Option<bool> {
        self.complete
    }

    /// Whether the answer to a range that ends at `to` stays what it is: see [`crate::sharing`].
    pub(crate) fn is_settled(&self, to: TimeMs) -> bool {
        let age_s = (TimeMs::now().0 - to.0) / 1000;
        age_s >= SLACK_S.cast_signed()
            && self.complete == Some(true)
            && self.freshness.iter().all(|cluster| cluster.behind_ms == 0)
    }

    /// How far the cluster that is furthest behind is behind; `None`: no cluster has sent anything.
    pub(crate) fn behind_ms(&self) -> Option<i64> {
        self.freshness.iter().map(|cluster| cluster.behind_ms).max()
    }

    pub(crate) fn missing_batches(&self) -> u64 {
        self.missing_batches
    }
}

#[derive(Debug, Serialize)]
struct Freshness {
    cluster: String,
    /// Of any table.
    newest_landed_at: String,
    /// Of the table that the question reads; null: none in the day around the end of the range.
    newest_in_table_at: Option<String>,
    /// From `newest_landed_at` to the end of the range, to now, or to when the cluster stopped in order: whichever is first.
    behind_ms: i64,
}

/// The same as ClickHouse has it, moments in ms since 1970.
#[derive(Debug, Row, Deserialize)]
struct FreshnessRow {
    cluster: String,
    newest_landed_at: i64,
    newest_in_table_at: Option<i64>,
    behind_ms: i64,
}

impl FreshnessRow {
    /// With its moments in words of `zone`.
    fn in_words(&self, zone: &TimeZone) -> Freshness {
        let words = |time_ms| moment::iso8601(TimeMs(time_ms), zone);
        Freshness {
            cluster: self.cluster.clone(),
            newest_landed_at: words(self.newest_landed_at),
            newest_in_table_at: self.newest_in_table_at.map(words),
            behind_ms: self.behind_ms,
        }
    }
}

#[derive(Debug, Serialize)]
struct Gap {
    cluster: String,
    boot: String,
    table: String,
    first_batch: u64,
    last_batch: u64,
    missing: u64,
}

/// A gap as ClickHouse names it, and how many batches are missing in all gaps.
#[derive(Debug, Row, Deserialize)]
struct GapRow {
    cluster: String,
    boot: u64,
    table: String,
    first_batch: u64,
    last_batch: u64,
    missing: u64,
    missing_in_total: u64,
}

impl From<&GapRow> for Gap {
    fn from(row: &GapRow) -> Self {
        Self {
            cluster: row.cluster.clone(),
            boot: row.boot.to_string(),
            table: row.table.clone(),
            first_batch: row.first_batch,
            last_batch: row.last_batch,
            missing: row.missing,
        }
    }
}

/// What ClickHouse says of a table and a range.
#[derive(Debug, Default)]
pub(crate) struct Found {
    freshness: Vec<FreshnessRow>,
    gaps: Vec<GapRow>,
    missing_batches: u64,
}

/// How fresh and how complete `table` is for what was asked; perhaps as of a moment ago: see [`recent`].
pub(crate) async fn check(
    source: Source<'_>,
    recent: &Recent,
    table: &str,
    asked: &Resolved,
    query_id: &str,
) -> Result<Completeness, AskError> {
    let about = About::new(table, asked, TimeMs::now());
    let found = recent.ask(&about, async || look(source, &about, query_id).await).await?;
    let is_numbered = table == "batches" || Table::ALL.iter().any(|raw| raw.name() == table);
    Ok(Completeness {
        freshness: found.freshness.iter().map(|row| row.in_words(&asked.zone)).collect(),
        complete: is_numbered.then_some(found.gaps.is_empty()),
        missing_batches: found.missing_batches,
        gaps: found.gaps.iter().map(Gap::from).collect(),
    })
}

async fn look(source: Source<'_>, about: &About, query_id: &str) -> Result<Found, AskError> {
    let shared = [
        ("table", Value::Text(about.table.clone())),
        ("from", Value::Time(about.from)),
        ("to", Value::Time(about.to)),
        ("cluster", about.clusters.clone()),
    ];
    let only_gaps = [
        ("slack_s", Value::UInt(SLACK_S)),
        ("discord_epoch_ms", Value::UInt(TimeMs::DISCORD_EPOCH.0.unsigned_abs())),
        ("limit", Value::UInt(MAX_GAPS)),
    ];
    let pairs = || shared.iter().map(|(name, value)| (*name, value));
    let freshness = source.query(FRESHNESS, &format!("{query_id}-freshness"), pairs());
    let gaps = pairs().chain(only_gaps.iter().map(|(name, value)| (*name, value)));
    let gaps = source.query(GAPS, &format!("{query_id}-gaps"), gaps);

    let (freshness, gaps) = within_deadline(async {
        Ok(tokio::try_join!(freshness.fetch_all::<FreshnessRow>(), gaps.fetch_all::<GapRow>())?)
    })
    .await?;
    let missing_batches = gaps.first().map_or(0, |gap| gap.missing_in_total);
    Ok(Found { freshness, gaps, missing_batches })
}
