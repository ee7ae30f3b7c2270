//! Whether the live schema is what this build's migrations make.
//!
//! What they make is not worked out but made: the migrations that the database has are applied to a scratch database on the
//! same server, and the two are compared fact by fact (verify/facts.rs). So both went through the same parser, and a newer
//! server that writes a type or a query in another way writes it so twice. The scratch database has no rows and is dropped
//! again; one that a killed process left is named `…_verify_…` and can be dropped by hand.
//!
//! Retention is the operator's and no drift, and neither are tables and settings that somebody added: they are noted.

mod facts;

use clickhouse::Client;

use self::facts::Facts;
use crate::migrate::{self, MIGRATIONS, MigrateError, progress::Done};

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// What is not as this build makes it, one line each; empty: the schema is right.
    pub drift: Vec<String>,
    /// What is there in addition and does no harm, one line each.
    pub notes: Vec<String>,
}

/// Why the schema could not be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The migrations do not fit the database, or could not be applied to the scratch database.
    #[error("there is nothing to compare `{database}` with")]
    Migrate {
        /// The database that the migrations were meant for.
        database: String,
        /// Why.
        source: MigrateError,
    },
    /// ClickHouse refused to be looked into, or could not be reached.
    #[error("the schema of `{database}` cannot be read; the user needs the rights of the migrator")]
    ClickHouse {
        /// The database.
        database: String,
        /// What ClickHouse said.
        source: clickhouse::error::Error,
    },
}

/// Compares `database` with what the migrations of this build make of an empty one.
///
/// `client` needs the rights to create and drop the database `<database>_verify_…`.
///
/// # Errors
/// [`VerifyError`]. A difference is none: it is in the answer. Cancel safety: a cancelled call leaves the scratch database.
pub async fn verify(client: &Client, database: &str) -> Result<Verified, VerifyError> {
    let unreadable = |source| VerifyError::ClickHouse { database: database.to_owned(), source };
    let unfit = |source| VerifyError::Migrate { database: database.to_owned(), source };
    let client = client.clone().with_database("system"); // the other may not be there
    let done = Done::read(&client, database).await.map_err(unreadable)?;
    done.refuse_strange_history(MIGRATIONS).map_err(unfit)?;
    let (have, lack) = MIGRATIONS.split_at(done.migrations());
    let mut verified = Verified::default();
    for migration in lack {
        let line = format!("migration {:04}_{} is not applied", migration.version, migration.name);
        verified.drift.push(line);
    }

    let random: String =
        client.query_raw("SELECT lower(hex(generateUUIDv4()))").fetch_one().await.map_err(unreadable)?;
    let scratch = format!("{database}_verify_{random}");
    let expected = match migrate::apply_these(&client, &scratch, have).await.map_err(unfit) {
        Ok(_) => Facts::read(&client, &scratch).await.map_err(unreadable),
        Err(error) => Err(error),
    };
    let drop = client.query_raw("DROP DATABASE IF EXISTS {database:Identifier} SYNC").param("database", &scratch);
    if let Err(error) = drop.execute().await {
        tracing::warn!(%error, scratch, "the scratch database could not be dropped; drop it by hand");
    }
    let live = Facts::read(&client, database).await.map_err(unreadable)?;
    live.compare(&expected?, &mut verified);
    Ok(verified)
}
