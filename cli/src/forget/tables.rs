//! Which tables hold something of a guild or a user.

use anyhow::Context as _;
use clickhouse::{Client, Row, query::Query};
use serde::{Deserialize, Serialize};

use super::Whom;

/// A table with a column that names whom to forget.
#[derive(Debug, Row, Deserialize)]
pub(super) struct Target {
    pub(super) table: String,
    pub(super) is_rollup: bool,
    /// The column is a text, as in Argus's own table.
    is_text: bool,
}

/// A table with states of unique counts that may have counted them.
#[derive(Debug, Row, Deserialize, Serialize)]
pub(super) struct States {
    pub(super) table: String,
    pub(super) columns: Vec<String>,
}

/// Columns that keep something, in tables that keep rows of their own. Views and `Distributed` tables show what others keep.
const KEEPING: &str = "database = currentDatabase() AND default_kind NOT IN ('ALIAS', 'EPHEMERAL') AND table IN \
     (SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree')";

pub(super) async fn targets(client: &Client, whom: Whom) -> anyhow::Result<Vec<Target>> {
    let sql = format!(
        "SELECT table, (database, table) IN (SELECT database, name FROM system.tables WHERE engine LIKE '%AggregatingMergeTree') AS is_rollup, \
         type LIKE '%String%' AS is_text FROM system.columns \
         WHERE {KEEPING} AND name = {{column:String}} ORDER BY is_rollup, table"
    );
    client.query_raw(&sql).param("column", whom.column()).fetch_all().await.context("the tables cannot be listed")
}

/// Tables that keep no row of theirs but may have counted them.
pub(super) async fn states(client: &Client, whom: Whom) -> anyhow::Result<Vec<States>> {
    let sql = format!(
        "SELECT table, groupArray(name) AS columns FROM system.columns WHERE {KEEPING} AND type LIKE 'AggregateFunction(uniq%' \
         AND table NOT IN (SELECT table FROM system.columns WHERE database = currentDatabase() AND name = {{column:String}}) \
         GROUP BY table ORDER BY table"
    );
    client.query_raw(&sql).param("column", whom.column()).fetch_all().await.context("the rollups cannot be listed")
}

/// How many users have rows, about.
pub(super) async fn users(client: &Client) -> anyhow::Result<u64> {
    client
        .query_raw("SELECT uniq(user_key) FROM interactions WHERE user_key != 0")
        .fetch_one()
        .await
        .context("users cannot be counted")
}

pub(super) async fn count(client: &Client, target: &Target, whom: Whom) -> anyhow::Result<u64> {
    let sql = format!("SELECT count() FROM {{table:Identifier}} WHERE {}", target.condition(whom));
    let query = target.bind(client.query_raw(&sql), whom);
    query.fetch_one().await.with_context(|| format!("rows of {} cannot be counted", target.table))
}

impl Target {
    /// What is true for the rows to forget, with the parameter `value`.
    pub(super) fn condition(&self, whom: Whom) -> String {
        let value = if self.is_text { "toString({value:UInt64})" } else { "{value:UInt64}" };
        format!("{} = {value}", whom.column())
    }

    pub(super) fn bind(&self, query: Query, whom: Whom) -> Query {
        query.param("table", &self.table).param("value", whom.value())
    }
}
