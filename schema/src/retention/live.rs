//! Retention as the live tables have it.

use std::collections::BTreeMap;

use clickhouse::Client;

use super::{Keep, Retention, RetentionError};
use crate::quote;

/// What is to change in one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The table.
    pub table: String,
    /// What it has now: a time as it is written for this command, or a TTL that somebody else made.
    pub from: String,
    /// What it is to have.
    pub to: Keep,
    /// Rows that are past their time then, and go.
    pub rows: u64,
    /// The size of the parts that they are in, in bytes.
    pub bytes: u64,
    /// What somebody might not expect.
    pub warnings: Vec<String>,
    /// The column that says how old a row is.
    column: String,
}

/// A table with rows that have a time.
#[derive(Debug, Clone)]
struct Live {
    /// The column that says how old a row is.
    column: String,
    /// Its TTL, as ClickHouse writes it; empty: none.
    ttl: String,
    partition_key: String,
}

impl Live {
    /// `None` for a TTL that is not of our making.
    fn keep(&self) -> Option<Keep> {
        if self.ttl.is_empty() { Some(Keep::Forever) } else { Keep::of_ttl(&self.ttl) }
    }

    /// What a partition spans, in days and in words; `None`: the table is not partitioned by time.
    fn partition(&self) -> Option<(u32, &'static str)> {
        let spans = [("toYYYYMMDD(", (1, "a day")), ("toYYYYMM(", (31, "a month")), ("toYear(", (366, "a year"))];
        spans.into_iter().find(|(key, _)| self.partition_key.starts_with(key)).map(|(_, span)| span)
    }
}

pub(super) async fn changes(
    client: &Client,
    database: &str,
    wanted: &[Retention],
) -> Result<Vec<Change>, RetentionError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let tables = tables(client, database).await.map_err(|source| failed(database, source))?;
    let rollups = rollups(client, database).await.map_err(|source| failed(database, source))?;
    let mut after: BTreeMap<&str, Option<Keep>> =
        tables.iter().map(|(name, live)| (name.as_str(), live.keep())).collect();
    for (place, Retention { table, keep }) in wanted.iter().enumerate() {
        let Some(before) = after.get_mut(table.as_str()) else {
            let known = tables.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(RetentionError::UnknownTable { table: table.clone(), database: database.to_owned(), known });
        };
        if wanted[..place].iter().any(|earlier| earlier.table == *table) {
            return Err(RetentionError::Twice { table: table.clone() });
        }
        *before = Some(*keep);
    }

    let mut changes = Vec::new();
    for Retention { table, keep } in wanted {
        let live = &tables[table];
        if live.keep() == Some(*keep) {
            continue;
        }
        let (rows, bytes) = past(client, database, table, live, *keep).await.map_err(|source| failed(table, source))?;
        changes.push(Change {
            table: table.clone(),
            from: live.keep().map_or_else(|| live.ttl.clone(), |keep| keep.to_string()),
            to: *keep,
            rows,
            bytes,
            warnings: warnings(table, live, *keep, &after, &rollups),
            column: live.column.clone(),
        });
    }
    Ok(changes)
}

/// Tables of rows with a time: those that can have a retention.
async fn tables(client: &Client, database: &str) -> clickhouse::error::Result<BTreeMap<String, Live>> {
    // What a partition is made of is the time that counts; a table without partitions has its `time`.
    let sql = r"
        SELECT t.name, argMax(c.name, c.is_in_partition_key),
            any(extract(t.engine_full, ' TTL (.*?)(?: SETTINGS |$)')), any(t.partition_key)
        FROM system.tables AS t JOIN system.columns AS c ON c.database = t.database AND c.table = t.name
        WHERE t.database = {database:String} AND t.engine LIKE '%MergeTree' AND c.type LIKE 'Date%'
            AND (c.is_in_partition_key OR c.name = 'time')
        GROUP BY t.name";
    let rows: Vec<(String, String, String, String)> =
        client.query_raw(sql).param("database", database).fetch_all().await?;
    let live = |(name, column, ttl, partition_key)| (name, Live { column, ttl, partition_key });
    Ok(rows.into_iter().map(live).collect())
}

/// Each table that views fill from another, with that other one.
async fn rollups(client: &Client, database: &str) -> clickhouse::error::Result<Vec<(String, String)>> {
    let sql = r"
        SELECT DISTINCT extract(v.create_table_query, ' TO (?:\\w+\\.)?(\\w+)') AS rollup, t.name AS raw
        FROM system.tables AS t ARRAY JOIN dependencies_table AS view
        JOIN system.tables AS v ON v.database = t.database AND v.name = view
        WHERE t.database = {database:String}";
    client.query_raw(sql).param("database", database).fetch_all().await
}

/// Rows that would be past their time, and the size of their parts.
async fn past(
    client: &Client,
    database: &str,
    table: &str,
    live: &Live,
    keep: Keep,
) -> clickhouse::error::Result<(u64, u64)> {
    let Keep::For(count, unit) = keep else { return Ok((0, 0)) };
    let interval = format!("{}({count})", unit.function());
    let sql = if live.partition().is_some() {
        format!(
            "SELECT sum(rows), sum(bytes_on_disk) FROM system.parts WHERE database = {{database:String}} \
             AND table = {{table:String}} AND active AND max_time + {interval} < now()"
        )
    } else {
        // Row by row, so no part goes as a whole and no size is known.
        format!(
            "SELECT count(), toUInt64(0) FROM {{database:Identifier}}.{{table:Identifier}} \
             WHERE toDateTime({{column:Identifier}}) + {interval} < now()"
        )
    };
    let query = client.query_raw(&sql).param("database", database).param("table", table);
    query.param("column", live.column.as_str()).fetch_one().await
}

fn warnings(
    table: &str,
    live: &Live,
    keep: Keep,
    after: &BTreeMap<&str, Option<Keep>>,
    rollups: &[(String, String)],
) -> Vec<String> {
    let mut warnings = Vec::new();
    match live.partition() {
        _ if keep == Keep::Forever => {}
        Some((days, span)) if keep.days() < days => warnings.push(format!(
            "a part of {table} goes once its newest row is past {keep}, and it may hold {span}: rows stay up to that much longer"
        )),
        Some(_) => {}
        None => warnings.push(format!("{table} has no partitions by time: its rows go one by one, as parts are merged")),
    }
    // Of a rollup in several steps of time the one that keeps longest counts.
    let mut longest: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for (rollup, raw) in rollups {
        let (Some(stem), Some(Some(kept))) = (stem(rollup), after.get(rollup.as_str())) else { continue };
        if raw == table || Some(stem) == self::stem(table) {
            let days = longest.entry((stem, raw)).or_default();
            *days = kept.days().max(*days);
        }
    }
    for ((stem, raw), days) in longest {
        if let Some(Some(raw_keeps)) = after.get(raw).filter(|keeps| keeps.is_some_and(|keeps| keeps.days() > days)) {
            warnings
                .push(format!("{raw} would keep its rows for {raw_keeps}, longer than any rollup {stem}_* made of it"));
        }
    }
    warnings
}

/// The name of a rollup without its step of time.
fn stem(rollup: &str) -> Option<&str> {
    ["_1m", "_1h", "_1d"].iter().find_map(|step| rollup.strip_suffix(step))
}

/// Makes one change.
pub(super) async fn carry_out(client: &Client, change: &Change) -> Result<(), RetentionError> {
    let table = quote::identifier(&change.table);
    let statement = match change.to.ttl(&quote::identifier(&change.column)) {
        None => format!("ALTER TABLE {table} REMOVE TTL"),
        Some(ttl) => format!("ALTER TABLE {table} MODIFY TTL {ttl} SETTINGS materialize_ttl_after_modify = 1"),
    };
    client.query_raw(&statement).execute().await.map_err(|source| failed(&change.table, source))
}

fn failed(table: &str, source: clickhouse::error::Error) -> RetentionError {
    RetentionError::ClickHouse { table: table.to_owned(), source }
}
