//! What applying this build's schema would do, said before it is done. Planning changes nothing, and needs no more than
//! the right to read.

use clickhouse::Client;

use crate::{
    migrate::{
        MIGRATIONS, MigrateError, Migration,
        progress::Done,
        statement::{code_lines, statements},
    },
    retention::{self, Change, Retention, RetentionError},
};

/// The longest summary of a statement, in characters: what fits on a line of a terminal.
const LONGEST_SUMMARY: usize = 100;

/// What applying would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Migrations that the database lacks, in order.
    pub migrations: Vec<Pending>,
    /// Retention that would change in tables that are there.
    pub retention: Vec<Change>,
    /// Retention of tables that these migrations make.
    pub retention_to_come: Vec<Retention>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.migrations.is_empty() && self.retention.is_empty() && self.retention_to_come.is_empty()
    }
}

/// A migration that the database lacks, or has in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its number.
    pub version: u32,
    /// Its name.
    pub name: &'static str,
    /// How many of its statements an interrupted run has left done.
    pub done: usize,
    /// The others, in short.
    pub statements: Vec<String>,
    /// Tables of which it reads or writes all data.
    pub rewrites: Vec<Rewrite>,
}

/// A table of which all data is read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// The table.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// What it takes on disk, in bytes.
    pub bytes: u64,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The migrations of this build do not fit the database.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// The retention cannot be meant.
    #[error(transparent)]
    Retention(#[from] RetentionError),
}

/// What [`migrate::apply`](crate::migrate::apply) and then [`retention::set`] would do to `database`. Changes nothing.
///
/// # Errors
/// [`PlanError`]: what applying would refuse, too.
pub async fn plan(client: &Client, database: &str, wanted: &[Retention]) -> Result<Plan, PlanError> {
    plan_these(client, database, MIGRATIONS, wanted).await
}

/// [`plan`] for other migrations.
///
/// # Errors
/// Those of [`plan`].
pub async fn plan_these(
    client: &Client,
    database: &str,
    migrations: &[Migration],
    wanted: &[Retention],
) -> Result<Plan, PlanError> {
    let record = |source| MigrateError::Record { database: database.to_owned(), source };
    let client = client.clone().with_database("system"); // the other may not be there
    let done = Done::read(&client, database).await.map_err(record)?;
    done.refuse_strange_history(migrations)?;
    let sizes = sizes(&client, database).await.map_err(record)?;
    let to_do = &migrations[done.migrations()..];
    let pending = to_do.iter().map(|migration| pending(migration, done.statements_of(migration), &sizes)).collect();

    let is_there = |table: &str| sizes.iter().any(|size| size.table == table);
    let is_to_come = |table: &str| to_do.iter().any(|migration| makes(migration, table));
    let (to_come, now): (Vec<_>, Vec<_>) =
        wanted.iter().cloned().partition(|one| !is_there(&one.table) && is_to_come(&one.table));
    Ok(Plan {
        migrations: pending,
        retention: retention::plan(&client, database, &now).await?,
        retention_to_come: to_come,
    })
}

/// Every table with data of its own.
async fn sizes(client: &Client, database: &str) -> clickhouse::error::Result<Vec<Rewrite>> {
    let sql = "SELECT name, ifNull(total_rows, 0), ifNull(total_bytes, 0) FROM system.tables \
               WHERE database = {database:String} AND engine LIKE '%MergeTree' ORDER BY name";
    let sizes: Vec<(String, u64, u64)> = client.query_raw(sql).param("database", database).fetch_all().await?;
    Ok(sizes.into_iter().map(|(table, rows, bytes)| Rewrite { table, rows, bytes }).collect())
}

fn pending(migration: &Migration, done: usize, sizes: &[Rewrite]) -> Pending {
    let left = || statements(migration.sql).into_iter().skip(done);
    let touches =
        |table: &str| left().any(|statement| moves_data(statement) && words(statement).any(|word| word == table));
    Pending {
        version: migration.version,
        name: migration.name,
        done,
        statements: left().map(summary).collect(),
        rewrites: sizes.iter().filter(|size| touches(&size.table)).cloned().collect(),
    }
}

/// The first line of a statement, cut where it gets long.
fn summary(statement: &str) -> String {
    let line = code_lines(statement).next().unwrap_or_default();
    if line.chars().count() <= LONGEST_SUMMARY {
        return line.to_owned();
    }
    let cut: String = line.chars().take(LONGEST_SUMMARY - 1).collect();
    cut + "…"
}

fn words(statement: &str) -> impl Iterator<Item = &str> {
    let is_separator = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    code_lines(statement).flat_map(move |line| line.split(is_separator)).filter(|word| !word.is_empty())
}

/// Whether a statement reads or writes the data of tables, rather than what is known of them.
fn moves_data(statement: &str) -> bool {
    let words: Vec<&str> = words(statement).collect();
    let says = |phrase: &[&str]| words.windows(phrase.len()).any(|window| window == phrase);
    match words.first() {
        Some(&"CREATE") => !words.iter().take(5).any(|word| *word == "VIEW") && says(&["AS", "SELECT"]),
        Some(&"ALTER") => {
            ["UPDATE", "DELETE", "MATERIALIZE"].iter().any(|action| says(&[action])) || says(&["MODIFY", "COLUMN"])
        }
        first => first == Some(&"INSERT"),
    }
}

/// Whether a migration makes `table`.
fn makes(migration: &Migration, table: &str) -> bool {
    let creates = |statement: &str| {
        let head = summary(statement);
        head.starts_with("CREATE ") && words(&head).any(|word| word == table)
    };
    statements(migration.sql).into_iter().any(creates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_move_data_are_told_from_those_that_do_not() {
        for statement in [
            "-- x\nCREATE OR REPLACE TABLE a ENGINE = MergeTree ORDER BY b AS\nSELECT * FROM old_a",
            "INSERT INTO a SELECT * FROM b",
            "ALTER TABLE a MODIFY COLUMN IF EXISTS b UInt8",
            "ALTER TABLE a\n    MATERIALIZE INDEX c",
        ] {
            assert!(moves_data(statement), "{statement}");
        }
        for statement in [
            "CREATE TABLE IF NOT EXISTS a (b UInt8) ENGINE = Null",
            "CREATE MATERIALIZED VIEW IF NOT EXISTS a TO b AS SELECT 1 FROM c",
            "-- INSERT INTO a\nRENAME TABLE IF EXISTS a TO b",
            "ALTER TABLE a ADD COLUMN IF NOT EXISTS b UInt8",
        ] {
            assert!(!moves_data(statement), "{statement}");
        }
    }

    #[test]
    fn a_summary_fits_on_a_line() {
        assert_eq!(summary("-- why\nDROP VIEW IF EXISTS a"), "DROP VIEW IF EXISTS a");
        assert_eq!(summary(&"é".repeat(300)).chars().count(), LONGEST_SUMMARY);
    }
}
