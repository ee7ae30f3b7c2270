//! Looking what of a batch is there.

use std::time::Duration;

use clickhouse::{Client, error::Error as ClickhouseError};
use tokio::time::{Instant, timeout};

use crate::batch::Frozen;

/// What a look may take before the server counts as away.
const LIMIT: Duration = Duration::from_secs(10);

/// What a look shows of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// Rows in the raw table.
    pub(super) rows: u64,
    /// Rows that the materialized view counted.
    pub(super) counted: u64,
    /// How long the server has been running, in whole seconds.
    uptime_s: u64,
    asked: Instant,
    answered: Instant,
}

impl Found {
    /// Whether the server was started after `moment`; `None` if it cannot be told, because uptime is known to a second.
    pub(super) fn started_after(&self, moment: Instant) -> Option<bool> {
        let uptime = Duration::from_secs(self.uptime_s);
        if self.asked.saturating_duration_since(moment) >= uptime + Duration::from_secs(1) {
            Some(true)
        } else if self.answered.saturating_duration_since(moment) <= uptime {
            Some(false)
        } else {
            None
        }
    }
}

/// Looks once.
pub(super) async fn look(client: &Client, batch: &Frozen) -> Result<Found, ClickhouseError> {
    let client = client.clone().with_setting("max_execution_time", LIMIT.as_secs().to_string());
    let table = batch.table;
    let this = "cluster = {cluster:String} AND boot = {boot:UInt64} AND batch = {batch:UInt64}";
    let sql = format!(
        "SELECT (SELECT count() FROM {table} WHERE {this} \
         AND time BETWEEN fromUnixTimestamp64Milli({{first:Int64}}) AND fromUnixTimestamp64Milli({{last:Int64}})), \
         (SELECT sum(rows) FROM batches WHERE {this} AND table = '{table}'), toUInt64(uptime())"
    );
    let query = client
        .query_raw(&sql)
        .param("cluster", batch.id.cluster.as_str())
        .param("boot", batch.id.boot)
        .param("batch", batch.id.batch)
        .param("first", batch.first_time.0)
        .param("last", batch.last_time.0);
    let asked = Instant::now();
    let found = timeout(LIMIT, query.fetch_one::<(Option<u64>, Option<u64>, u64)>()).await;
    let (rows, counted, uptime_s) = found.unwrap_or(Err(ClickhouseError::TimedOut))?;
    let (rows, counted) = (rows.unwrap_or(0), counted.unwrap_or(0));
    Ok(Found { rows, counted, uptime_s, asked, answered: Instant::now() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_uptime_is_a_second_of_doubt() {
        let moment = Instant::now();
        let looked = |after_ms| {
            let at = moment + Duration::from_millis(after_ms);
            Found { rows: 0, counted: 0, uptime_s: 3, asked: at, answered: at }
        };
        assert_eq!(looked(3_000).started_after(moment), Some(false));
        assert_eq!(looked(3_001).started_after(moment), None);
        assert_eq!(looked(3_999).started_after(moment), None);
        assert_eq!(looked(4_000).started_after(moment), Some(true));
    }
}
