//! Reading Argus's table, some clusters of one day at a time.
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
        if(cluster_id = '', 'default', toString(cluster_id)) AS cluster,
        event = 'app_command' AND duration_ms >= 0 AND duration_ms <= {longest_command_ms:Int64} AS has_start,
        toUnixTimestamp64Micro(assumeNotNull(said)) - if(has_start, toInt64(round(duration_ms * 1000)), 0) AS at_us
";

/// Rows that are read at once, if a cluster's day has no more: 200 MB. A question for each cluster would read the times of the
/// whole table once per cluster and day; one for all of a day would hold the day in memory, or keep its answer waiting for
/// so long that the server hangs up.
const PART_ROWS: u64 = 1_000_000;

/// Some clusters' rows of one day.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) day: Day,
    clusters: Vec<String>,
    pub(super) rows: u64,
}

/// A row of `argus_events`.
#[derive(Debug, Row, Deserialize)]
pub(super) struct EventRow {
    pub(super) cluster: String,
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

    /// What there is to import of the days that end at or before `until_us`, in order.
    pub(super) async fn parts(&self, until_us: i64) -> anyhow::Result<Vec<Part>> {
        let sql = "SELECT intDiv(at_us, 86400000000) AS day, cluster, count() FROM {table:Identifier} \
                   WHERE is_readable AND at_us < {until_us:Int64} GROUP BY ALL ORDER BY ALL";
        let counts = self.query(sql).param("until_us", until_us).fetch_all::<(i64, String, u64)>().await;
        Ok(in_parts(counts.context(CANNOT)?))
    }

    /// Rows whose `ts` is no time, or none that can be.
    pub(super) async fn unreadable(&self) -> anyhow::Result<u64> {
        self.query("SELECT count() FROM {table:Identifier} WHERE NOT is_readable").fetch_one().await.context(CANNOT)
    }

    /// The rows that decide a part, by cluster, guild and time, in an order that is the same each time.
    pub(super) fn rows(&self, part: &Part) -> anyhow::Result<RowCursor<EventRow>> {
        let sql = "SELECT cluster, guild_id, toString(event) AS event, toString(type) AS type, command, duration_ms, at_us \
                   FROM {table:Identifier} WHERE ts >= {ts_from:String} AND ts < {ts_to:String} AND is_readable \
                   AND at_us >= {from_us:Int64} AND at_us < {to_us:Int64} AND cluster IN {clusters:Array(String)} \
                   ORDER BY cluster, guild_id, at_us, event, type, command, duration_ms";
        let (from_us, to_us) = part.day.decided_by();
        // Widened by a day: a `ts` may carry another zone.
        let query = self.query(sql).param("ts_from", part.day.offset(-1).to_string());
        let query = query.param("ts_to", part.day.offset(3).to_string()).param("from_us", from_us);
        query.param("to_us", to_us).param("clusters", &part.clusters).fetch().context(CANNOT)
    }
}

/// Clusters that are read together. `counts` are ordered by day and cluster.
fn in_parts(counts: Vec<(i64, String, u64)>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for (day, cluster, rows) in counts {
        let day = Day::number(day);
        match parts.last_mut().filter(|part| part.day == day && part.rows + rows <= PART_ROWS) {
            Some(part) => {
                part.clusters.push(cluster);
                part.rows += rows;
            }
            None => parts.push(Part { day, clusters: vec![cluster], rows }),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_of_one_day_and_not_too_large() {
        let count = |day, cluster: &str, rows| (day, cluster.to_owned(), rows);
        let half = PART_ROWS / 2;
        let counts = vec![
            count(1, "a", half),
            count(1, "b", half),
            count(1, "c", 1),
            count(2, "a", 3 * PART_ROWS),
            count(2, "b", 1),
        ];
        let parts: Vec<_> =
            in_parts(counts).into_iter().map(|part| (part.day, part.clusters.concat(), part.rows)).collect();
        let part = |day, clusters: &str, rows| (Day::number(day), clusters.to_owned(), rows);
        let expected = [part(1, "ab", PART_ROWS), part(1, "c", 1), part(2, "a", 3 * PART_ROWS), part(2, "b", 1)];
        assert_eq!(parts, expected);
    }
}
