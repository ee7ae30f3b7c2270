//! Bringing a database to the schema of this build.
//!
//! Migrations are the files in `migrations/`, compiled in and numbered without gaps. What was applied is remembered in
//! the table `migrations` with a checksum: a file that was edited after it was applied is refused, and so is a database
//! that is newer than this build. Statements name their tables without a database, so the same files serve any database.
//!
//! ClickHouse has no transaction around several statements, so a migration can end between two of them. Each statement that
//! is done is therefore remembered in `migration_statements` (migrate/progress.rs), and the next run goes on with the first
//! one that is not known to be done. That one may have run all the same: each statement alone can be repeated
//! (`CREATE … IF NOT EXISTS`, `CREATE OR REPLACE`, `RENAME TABLE IF EXISTS`), but it need not be repeatable once a later one
//! ran. A test holds every statement to it (migrate/statement.rs).
//!
//! Migrations say how long rows are kept by default. Where one puts the tables of a rollup's steps into one, what an operator
//! chose for them is carried over (retention/live.rs).
//!
//! Any number of runs may start at once: one migrates, the others wait for it (migrate/lock.rs).

mod lock;

pub(crate) mod progress;

pub(crate) mod statement;

use clickhouse::Client;

use self::{
    lock::{Failure, Lock},
    progress::Done,
    statement::statements,
};
use crate::{
    answer, retention,
    topology::{RenderError, Topology},
};

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

impl Migration {
    /// Its statements, in order.
    pub fn statements(&self) -> Vec<&'static str> {
        statements(self.sql)
    }
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
    migration!(10, "argus", "0010_argus.sql"),
    migration!(11, "guild_events", "0011_guild_events.sql"),
    migration!(12, "delivery_lag", "0012_delivery_lag.sql"),
    migration!(13, "one_table_per_rollup", "0013_one_table_per_rollup.sql"),
    migration!(14, "one_table_of_dispatches", "0014_one_table_of_dispatches.sql"),
    migration!(15, "rollups_from_minutes", "0015_rollups_from_minutes.sql"),
    migration!(16, "guilds_first", "0016_guilds_first.sql"),
    migration!(17, "fewer_states", "0017_fewer_states.sql"),
    migration!(18, "in_guilds", "0018_in_guilds.sql"),
];

/// Why a database could not be brought to this build's schema.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// ClickHouse refused a statement or could not be reached. What was applied before it stays.
    #[error(
        "migration {version:04}_{name} failed at statement {statement}; fix the cause and run it again, it resumes there"
    )]
    Statement {
        /// Number of the migration.
        version: u32,
        /// Its name.
        name: &'static str,
        /// Number of the statement in it, from 1.
        statement: u32,
        /// What ClickHouse said.
        source: clickhouse::error::Error,
    },
    /// The tables that remember what was applied could not be made, read or written.
    #[error("the record of applied migrations in `{database}` cannot be kept; nothing is lost, run it again")]
    Record {
        /// The database.
        database: String,
        /// What ClickHouse said.
        source: clickhouse::error::Error,
    },
    /// A migration cannot be told to a ClickHouse cluster. No migration of this build is like that.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// This run gave no sign of life for so long that another one took over.
    #[error(
        "another run took over the migrations of `{database}`, since this one was silent for too long; run it again"
    )]
    TakenOver {
        /// The database.
        database: String,
    },
    /// The file of a migration that was applied, or begun, has other contents now.
    #[error(
        "migration {version:04}_{name} was edited after it was applied or begun (checksum {applied} in the database, {ours} in this \
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

/// Creates `database` if it is missing and applies every migration that it lacks. Running it again changes nothing.
///
/// `client` needs the rights to create databases, tables and views; its own database setting is ignored.
///
/// # Errors
/// [`MigrateError`]; see its variants for what to do. Cancel safety: a cancelled call leaves a prefix of the statements
/// applied, and the next one goes on from there.
pub async fn apply(client: &Client, database: &str) -> Result<Applied, MigrateError> {
    apply_these(client, database, MIGRATIONS).await
}

/// [`apply`] with other migrations: the first few of [`MIGRATIONS`] make a database as an earlier build left it.
///
/// # Errors
/// Those of [`apply`].
pub async fn apply_these(client: &Client, database: &str, migrations: &[Migration]) -> Result<Applied, MigrateError> {
    apply_on(client, database, &Topology::Single, migrations).await
}

/// [`apply_these`] where tables live on `topology`. Of a ClickHouse cluster with replicas `client` reaches one node, always the
/// same, since the lock is that node's; of one without, each node in turn. What readers need there comes after it:
/// [`topology::distribute`](crate::topology::distribute).
///
/// # Errors
/// Those of [`apply`].
pub async fn apply_on(
    client: &Client,
    database: &str,
    topology: &Topology,
    migrations: &[Migration],
) -> Result<Applied, MigrateError> {
    let record = |source| MigrateError::Record { database: database.to_owned(), source };
    // The client's own database may be the one that does not exist yet; `system` always does.
    let anywhere = client.clone().with_database("system");
    let create = "CREATE DATABASE IF NOT EXISTS {database:Identifier}".to_owned() + &topology.on_cluster();
    anywhere.query_raw(&create).param("database", database).execute().await.map_err(record)?;

    let client = client.clone().with_database(database);
    progress::create_tables(&client, database, topology).await.map_err(record)?;
    let done = Done::read(&client, database).await.map_err(record)?;
    done.refuse_strange_history(migrations)?;
    if done.migrations() == migrations.len() {
        return Ok(Applied { now: Vec::new(), before: done.migrations() });
    }

    let lock = Lock::take(&client).await.map_err(record)?;
    let outcome = apply_locked(&lock, &client, database, topology, migrations).await;
    // A statement without an answer may still run; whoever comes next waits for its end.
    if !outcome.as_ref().is_err_and(MigrateError::is_without_answer) {
        lock.give_back().await;
    }
    outcome
}

async fn apply_locked(
    lock: &Lock,
    client: &Client,
    database: &str,
    topology: &Topology,
    migrations: &[Migration],
) -> Result<Applied, MigrateError> {
    let record = |source| MigrateError::Record { database: database.to_owned(), source };
    // Looked at again: somebody else may have migrated before the lock was ours.
    let done = Done::read(client, database).await.map_err(record)?;
    done.refuse_strange_history(migrations)?;
    let mut now = Vec::new();
    for migration in &migrations[done.migrations()..] {
        for (number, statement) in (1..).zip(statements(migration.sql)).skip(done.statements_of(migration)) {
            let (version, name) = (migration.version, migration.name);
            let carried_over = retention::carried_over(client, database, statement).await.map_err(record)?;
            let statement = carried_over.as_deref().unwrap_or(statement);
            for statement in topology.render(database, statement)? {
                lock.execute(&statement).await.map_err(|failure| match failure {
                    Failure::Lost => MigrateError::TakenOver { database: database.to_owned() },
                    Failure::Statement(source) => MigrateError::Statement { version, name, statement: number, source },
                })?;
            }
            progress::statement_is_done(client, migration, number).await.map_err(record)?;
        }
        progress::migration_is_done(client, migration).await.map_err(record)?;
        tracing::info!(version = migration.version, name = migration.name, database, "migration applied");
        now.push((migration.version, migration.name));
    }
    Ok(Applied { now, before: done.migrations() })
}

impl MigrateError {
    /// Whether it is unknown what became of the last statement.
    fn is_without_answer(&self) -> bool {
        match self {
            Self::Statement { source, .. } | Self::Record { source, .. } => answer::code(source).is_none(),
            _ => false,
        }
    }
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
}
