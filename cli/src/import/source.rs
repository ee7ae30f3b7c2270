//! Reading Argus's table, a day at a time.
//!
//! Where a row stands in time is settled by ClickHouse (`at_us`): a receipt at its `ts`, a command at its start, which is its
//! `ts` minus its duration. A command that took longer than [`LONGEST_COMMAND_MS`] stays at its `ts`: it was finished long after
//! the day of its start had been imported.

use anyhow::Context as _;
use clickhouse::{
    Client, Row,
    query::{Query, RowCursor},
};
use serde::Deserialize;

use super::matching::{Day, LONGEST_COMMAND_MS};

const CANNOT: &str = "the table of Argus cannot be read";

/// What is common to all questions. Rows are first chosen by the text of `ts`, which costs a tenth of reading it as a time.
/// Times outside of 2015 to 2099 cannot be told by a snowflake, or are a mistake.
const EVENTS: &str = "
    WITH
        parseDateTime64BestEffortOrNull(ts, 6, 'UTC') AS said,
        match(ts, '^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]') AND ifNull(said >= '2015-01-01' AND said < '2100-01-01', 0) AS is_readable,
        event = 'app_command' AND duration_ms >= 0 AND duration_ms <= {longest_command_ms:Int64} AS has_start,
        toUnixTimestamp64Micro(assumeNotNull(said)) - if(has_start, toInt64(round(duration_ms * 1000)), 0) AS at_us
";

/// A row of `argus_events`.
#[derive(Debug, Row, Deserialize)]
pub(super) struct EventRow {
    pub(super) cluster_id: String,
    pub(super) guild_id: String,
    pub(super) event: String,
    pub(super) r#type: String,
    pub(super) command: String,
    pub(super) duration_ms: f64,
    /// See the head of this module. Microseconds since 1970.
    pub(super) at_us: i64,
}

/// Argus's table in the source.
pub(super) struct Source {
    client: Client,
    table: String,
}

impl Source {
    pub(super) fn new(client: Client, table: &str) -> Self {
        Self { client, table: table.to_owned() }
    }

    fn query(&self, sql: &str) -> Query {
        let query = self.client.query_raw(&format!("{EVENTS} {sql}"));
        query.param("table", &self.table).param("longest_command_ms", LONGEST_COMMAND_MS)
    }

    /// The days with rows that end at or before `until_us`, in order, with the number of their rows.
    pub(super) async fn days(&self, until_us: i64) -> anyhow::Result<Vec<(Day, u64)>> {
        let sql = "SELECT intDiv(at_us, 86400000000) AS day, count() FROM {table:Identifier} \
                   WHERE is_readable AND at_us < {until_us:Int64} GROUP BY day ORDER BY day";
        let days = self.query(sql).param("until_us", until_us).fetch_all::<(i64, u64)>().await.context(CANNOT)?;
        Ok(days.into_iter().map(|(day, rows)| (Day::number(day), rows)).collect())
    }

    /// Rows whose `ts` is no time, or none that can be.
    pub(super) async fn unreadable(&self) -> anyhow::Result<u64> {
        self.query("SELECT count() FROM {table:Identifier} WHERE NOT is_readable").fetch_one().await.context(CANNOT)
    }

    /// The rows that decide a day, by cluster, guild and time, in an order that is the same each time.
    pub(super) fn rows(&self, day: Day) -> anyhow::Result<RowCursor<EventRow>> {
        let sql = "SELECT if(cluster_id = '', 'default', toString(cluster_id)) AS cluster_id, guild_id, toString(event) AS event, \
                   toString(type) AS type, command, duration_ms, at_us FROM {table:Identifier} \
                   WHERE ts >= {ts_from:String} AND ts < {ts_to:String} AND is_readable \
                   AND at_us >= {from_us:Int64} AND at_us < {to_us:Int64} \
                   ORDER BY cluster_id, guild_id, at_us, event, type, command, duration_ms";
        let (from_us, to_us) = day.decided_by();
        // Widened by a day: a `ts` may carry another zone.
        let query = self.query(sql).param("ts_from", day.offset(-1).to_string());
        let query = query.param("ts_to", day.offset(3).to_string()).param("from_us", from_us).param("to_us", to_us);
        query.fetch().context(CANNOT)
    }
}
