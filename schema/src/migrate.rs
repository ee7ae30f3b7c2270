//! Bringing a database to the schema of this build.
//!
//! Migrations are the files in `migrations/`, compiled in and numbered without gaps. What was applied is remembered in
//! the table `migrations` with a checksum: a file that was edited after it was applied is refused, and so is a database
//! that is newer than this build. Each statement ends with `;` at the end of a line. Statements name their tables without
//! a database, so the same files serve any database.

use std::fmt::Write as _;

use clickhouse::Client;
use sha2::{Digest, Sha256};

/// One file of `migrations/`.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its number, from 1.
    pub version: u32,
    /// Its name without number and ending.
    pub name: &'static str,
    /// Its text.
    pub sql: &'static str,
}

macro_rules! migration {
    ($version:literal, $name:literal, $file:literal) => {
        Migration { version: $version, name: $name, sql: include_str!(concat!("../migrations/", $file)) }
    };
}

/// All migrations, in the order in which they are applied.
pub const MIGRATIONS: &[Migration] = &[
    migration!(1, "interactions", "0001_interactions.sql"),
    migration!(2, "shard_events", "0002_shard_events.sql"),
    migration!(3, "gateway_counts", "0003_gateway_counts.sql"),
    migration!(4, "samples", "0004_samples.sql"),
    migration!(5, "processes", "0005_processes.sql"),
    migration!(6, "batches", "0006_batches.sql"),
    migration!(7, "interactions_by_time", "0007_interactions_by_time.sql"),
    migration!(8, "interactions_rollups", "0008_interactions_rollups.sql"),
    migration!(9, "gateway_rollups", "0009_gateway_rollups.sql"),
    migration!(10, "guild_events", "0010_guild_events.sql"),
];

/// Why a database could not be brought to this build's schema.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// ClickHouse refused a statement or could not be reached. What was applied before it stays.
    #[error("migration {version:04}_{name} failed; fix the cause and run it again, it resumes there")]
    Statement {
        /// Number of the migration; 0 for the bookkeeping around them.
        version: u32,
        /// Its name.
        name: &'static str,
        /// What ClickHouse said.
        source: clickhouse::error::Error,
    },
    /// An applied migration's file has other contents now.
    #[error(
        "migration {version:04}_{name} was edited after it was applied (checksum {applied} in the database, {ours} in this \
         build); restore the file and add a new migration instead"
    )]
    Edited {
        /// Number of the migration.
        version: u32,
        /// Its name.
        name: &'static str,
        /// Checksum in the database.
        applied: String,
        /// Checksum of this build's file.
        ours: String,
    },
    /// The database has migrations that this build does not know.
    #[error(
        "the database is at schema {applied:04}, this build knows up to {known:04}; use a build at least as new as the database"
    )]
    Newer {
        /// Newest version in the database.
        applied: u32,
        /// Newest version in this build.
        known: u32,
    },
}

/// What [`apply`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Version and name of each migration that was applied now.
    pub now: Vec<(u32, &'static str)>,
    /// How many had been applied before.
    pub before: usize,
}

/// SHA-256 of a migration's text, in hexadecimal.
fn checksum(sql: &str) -> String {
    Sha256::digest(sql).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // writing to a String cannot fail
        hex
    })
}

/// The statements of a migration: text up to a `;` that ends a line.
pub(crate) fn statements(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(";\n").map(str::trim).filter(|statement| !statement.is_empty())
}

/// Creates `database` if it is missing and applies every migration that it lacks. Running it again changes nothing.
///
/// `client` needs the rights to create databases, tables and views; its own database setting is ignored.
///
/// # Errors
/// [`MigrateError`]; see its variants for what to do. Cancel safety: a cancelled call leaves a prefix of the statements
/// applied. Statements are written so that the next run can repeat the interrupted migration.
pub async fn apply(client: &Client, database: &str) -> Result<Applied, MigrateError> {
    let bookkeeping = |source| MigrateError::Statement { version: 0, name: "bookkeeping", source };
    // The client's own database may be the one that does not exist yet; `system` always does.
    let anywhere = client.clone().with_database("system");
    anywhere
        .query_raw("CREATE DATABASE IF NOT EXISTS {database:Identifier}")
        .param("database", database)
        .execute()
        .await
        .map_err(bookkeeping)?;

    let client = client.clone().with_database(database);
    client
        .query_raw(
            "CREATE TABLE IF NOT EXISTS migrations (version UInt32, name String, checksum String, \
             applied_at DateTime64(3, 'UTC') DEFAULT now64(3)) ENGINE = MergeTree ORDER BY version \
             COMMENT 'Migrations of the schema that were applied to this database'",
        )
        .execute()
        .await
        .map_err(bookkeeping)?;

    let applied = applied_checksums(&client).await.map_err(bookkeeping)?;
    refuse_strange_history(&applied)?;

    let mut now = Vec::new();
    for migration in &MIGRATIONS[applied.len()..] {
        run(&client, migration).await.map_err(|source| MigrateError::Statement {
            version: migration.version,
            name: migration.name,
            source,
        })?;
        tracing::info!(version = migration.version, name = migration.name, database, "migration applied");
        now.push((migration.version, migration.name));
    }
    Ok(Applied { now, before: applied.len() })
}

async fn applied_checksums(client: &Client) -> clickhouse::error::Result<Vec<(u32, String)>> {
    client
        .query_raw("SELECT version, any(checksum) FROM migrations GROUP BY version ORDER BY version")
        .fetch_all::<(u32, String)>()
        .await
}

fn refuse_strange_history(applied: &[(u32, String)]) -> Result<(), MigrateError> {
    let known = MIGRATIONS.len();
    if applied.len() > known {
        return Err(MigrateError::Newer {
            applied: applied.last().map_or(0, |(version, _)| *version),
            known: u32::try_from(known).unwrap_or(u32::MAX),
        });
    }
    for ((_, applied), migration) in applied.iter().zip(MIGRATIONS) {
        let ours = checksum(migration.sql);
        if *applied != ours {
            return Err(MigrateError::Edited {
                version: migration.version,
                name: migration.name,
                applied: applied.clone(),
                ours,
            });
        }
    }
    Ok(())
}

async fn run(client: &Client, migration: &Migration) -> clickhouse::error::Result<()> {
    for statement in statements(migration.sql) {
        client.query_raw(statement).execute().await?;
    }
    client
        .query_raw("INSERT INTO migrations (version, name, checksum) VALUES ({version:UInt32}, {name:String}, {checksum:String})")
        .param("version", migration.version)
        .param("name", migration.name)
        .param("checksum", checksum(migration.sql))
        .execute()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_without_gaps() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version as usize, index + 1, "{}", migration.name);
        }
    }

    #[test]
    fn every_statement_can_be_repeated() {
        for migration in MIGRATIONS {
            for statement in statements(migration.sql) {
                let repeatable = statement.lines().any(|line| line.contains(" IF NOT EXISTS "));
                assert!(repeatable, "{:04}: an interrupted run cannot repeat {statement}", migration.version);
            }
        }
        assert_eq!(statements(MIGRATIONS[5].sql).count(), 6);
    }

    #[test]
    fn an_edited_migration_is_refused() {
        let mut applied: Vec<_> =
            MIGRATIONS.iter().map(|migration| (migration.version, checksum(migration.sql))).collect();
        assert!(refuse_strange_history(&applied).is_ok());
        applied[2].1 = checksum("edited");
        assert!(matches!(refuse_strange_history(&applied), Err(MigrateError::Edited { version: 3, .. })));
        applied[2].1 = checksum(MIGRATIONS[2].sql);
        applied.push((99, String::new()));
        assert!(matches!(refuse_strange_history(&applied), Err(MigrateError::Newer { applied: 99, .. })));
    }
}
