//! Retention as the live tables have it.

use std::collections::BTreeMap;

use clickhouse::Client;

use super::{
    Keep, Retention, RetentionError,
    steps::{self, Keeps, Step},
};
use crate::{migrate::statement::code_lines, quote, topology::Topology};

/// What is to change in one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The table, or the view of a rollup's step.
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
    live: Live,
}

/// A table with rows that have a time, or one step of a rollup.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Live {
    /// The table that has the rows.
    table: String,
    /// The only step that is meant.
    step: Option<Step>,
    /// The column that says how old a row is.
    column: String,
    /// The table's TTL, as ClickHouse writes it; empty: none.
    ttl: String,
    partition_key: String,
}

impl Live {
    /// `None` for a TTL that is not of our making.
    fn keep(&self) -> Option<Keep> {
        match self.step {
            Some(step) => Keeps::of_ttl(&self.ttl).map(|keeps| keeps.get(step)),
            None if self.ttl.is_empty() => Some(Keep::Forever),
            None => Keep::of_ttl(&self.ttl),
        }
    }

    /// What a partition spans, in days and in words; `None`: the table is not partitioned by time.
    fn partition(&self) -> Option<(u32, &'static str)> {
        match self.step {
            Some(Step::Minute | Step::Hour) => return Some((31, "a month")),
            Some(Step::Day) => return Some((366, "a year")),
            None => {}
        }
        let spans = [("toYYYYMMDD(", (1, "a day")), ("toYYYYMM(", (31, "a month")), ("toYear(", (366, "a year"))];
        spans.into_iter().find(|(key, _)| self.partition_key.starts_with(key)).map(|(_, span)| span)
    }

    /// How the names of its partitions begin.
    fn partitions(&self) -> String {
        self.step.map(|step| format!("('{}',", step.name())).unwrap_or_default()
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
        let (rows, bytes) = past(client, database, live, *keep).await.map_err(|source| failed(table, source))?;
        changes.push(Change {
            table: table.clone(),
            from: live.keep().map_or_else(|| live.ttl.clone(), |keep| keep.to_string()),
            to: *keep,
            rows,
            bytes,
            warnings: warnings(table, live, *keep, &after, &rollups),
            live: live.clone(),
        });
    }
    Ok(changes)
}

/// What can have a retention, by name: tables of rows with a time, and of a rollup with several steps their views.
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
    let (mut tables, mut of_steps) = (BTreeMap::new(), Vec::new());
    for (table, column, ttl, partition_key) in rows {
        let live = Live { table, step: None, column, ttl, partition_key };
        match steps::views(&live.table) {
            None => _ = tables.insert(live.table.clone(), live),
            Some(views) => of_steps.extend(views.map(|(view, step)| (view, Live { step: Some(step), ..live.clone() }))),
        }
    }
    for (view, live) in of_steps {
        tables.entry(view).or_insert(live); // amid a migration there still is a table of that name
    }
    Ok(tables)
}

/// Each table or step that views fill from another table, with that other one.
async fn rollups(client: &Client, database: &str) -> clickhouse::error::Result<Vec<(String, String)>> {
    let sql = r"
        SELECT DISTINCT extract(v.create_table_query, ' TO (?:\\w+\\.)?(\\w+)') AS rollup, t.name AS raw
        FROM system.tables AS t ARRAY JOIN dependencies_table AS view
        JOIN system.tables AS v ON v.database = t.database AND v.name = view
        WHERE t.database = {database:String}";
    let rows: Vec<(String, String)> = client.query_raw(sql).param("database", database).fetch_all().await?;
    let views = |(rollup, raw): (String, String)| match steps::views(&rollup) {
        None => vec![(rollup, raw)],
        Some(views) => views.map(|(view, _)| (view, raw.clone())).into(),
    };
    Ok(rows.into_iter().flat_map(views).collect())
}

/// Rows that would be past their time, and the size of their parts.
async fn past(client: &Client, database: &str, live: &Live, keep: Keep) -> clickhouse::error::Result<(u64, u64)> {
    let Keep::For(count, unit) = keep else { return Ok((0, 0)) };
    let interval = format!("{}({count})", unit.function());
    let sql = if live.partition().is_some() {
        format!(
            "SELECT sum(rows), sum(bytes_on_disk) FROM system.parts WHERE database = {{database:String}} \
             AND table = {{table:String}} AND active AND max_time + {interval} < now() \
             AND startsWith(partition, {{partitions:String}})"
        )
    } else {
        // Row by row, so no part goes as a whole and no size is known.
        format!(
            "SELECT count(), toUInt64(0) FROM {{database:Identifier}}.{{table:Identifier}} \
             WHERE toDateTime({{column:Identifier}}) + {interval} < now()"
        )
    };
    let query = client.query_raw(&sql).param("database", database).param("table", &live.table);
    query.param("column", &live.column).param("partitions", live.partitions()).fetch_one().await
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
        let (Some(stem), Some(Some(kept))) = (Step::stem(rollup), after.get(rollup.as_str())) else { continue };
        if raw == table || Step::stem(table) == Some(stem) {
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

/// Makes one change.
pub(super) async fn carry_out(
    client: &Client,
    database: &str,
    topology: &Topology,
    change: &Change,
) -> Result<(), RetentionError> {
    let Live { table, step, column, .. } = &change.live;
    let column = quote::identifier(column);
    let ttl = match step {
        None => change.to.ttl(&column),
        Some(step) => {
            // Read again: a change before this one may have been to another step.
            let tables = tables(client, database).await.map_err(|source| failed(table, source))?;
            let ttl = tables.get(&change.table).map_or("", |live| &live.ttl);
            Some(Keeps::of_ttl(ttl).unwrap_or(Keeps::FOREVER).with(*step, change.to).ttl(&column))
        }
    };
    let table = quote::identifier(table);
    let statement = match ttl {
        None => format!("ALTER TABLE {table} REMOVE TTL"),
        Some(ttl) => format!("ALTER TABLE {table} MODIFY TTL {ttl} SETTINGS materialize_ttl_after_modify = 1"),
    };
    for statement in topology.render(database, &statement).expect("it alters a table") {
        client.query_raw(&statement).execute().await.map_err(|source| failed(&change.table, source))?;
    }
    Ok(())
}

/// What a migration is to say instead of `statement` so that what an operator chose is kept: where it makes a table anew
/// that has no time of its own, and where it sets that of a rollup of several steps.
pub(crate) async fn carried_over(
    client: &Client,
    database: &str,
    statement: &str,
) -> clickhouse::error::Result<Option<String>> {
    let line = code_lines(statement).next().unwrap_or_default();
    if let Some(table) = line.strip_prefix("CREATE OR REPLACE TABLE ") {
        return made_anew(client, database, table, statement).await;
    }
    let Some((table, default)) = line.strip_prefix("ALTER TABLE ").and_then(|rest| rest.split_once(" MODIFY TTL "))
    else {
        return Ok(None);
    };
    let (Some(views), Some(default)) = (steps::views(table), Keeps::of_ttl(default)) else { return Ok(None) };
    let tables = tables(client, database).await?;
    let mut keeps = default;
    for (view, step) in views {
        // Of the table with that name the steps are made, where it is still there.
        if let Some(live) = tables.get(&view).filter(|live| live.step.is_none()) {
            // What somebody else made of it is not known: nothing goes then.
            keeps = keeps.with(step, live.keep().unwrap_or(Keep::Forever));
        }
    }
    Ok((keeps != default).then(|| format!("ALTER TABLE {table} MODIFY TTL {}", keeps.ttl("time"))))
}

/// The name under which a table is made that is to take the place of another one.
const NEXT: &str = "_next";

/// `statement`, which makes `table` anew, with the TTL of the table that is there; `None`: there is none, or another one is said.
async fn made_anew(
    client: &Client,
    database: &str,
    table: &str,
    statement: &str,
) -> clickhouse::error::Result<Option<String>> {
    if code_lines(statement).any(|line| line.starts_with("TTL ")) {
        return Ok(None);
    }
    let tables = tables(client, database).await?;
    let replaced = table.strip_suffix(NEXT).unwrap_or(table);
    // By the name of the table: those of several steps go by their views otherwise.
    let ttl = tables.values().find(|live| live.table == replaced).map(|live| &live.ttl).filter(|ttl| !ttl.is_empty());
    Ok(ttl.map(|ttl| statement.replacen("\nSETTINGS ", &format!("\nTTL {ttl}\nSETTINGS "), 1)))
}

fn failed(table: &str, source: clickhouse::error::Error) -> RetentionError {
    RetentionError::ClickHouse { table: table.to_owned(), source }
}
