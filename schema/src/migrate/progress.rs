//! What was applied to a database, as the database itself remembers it.

use std::{collections::BTreeMap, fmt::Write as _};

use clickhouse::{Client, error::Result};
use sha2::{Digest, Sha256};

use super::{MigrateError, Migration};

/// Databases of earlier builds have the first table only, and exactly like this.
const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS migrations (version UInt32, name String, checksum String, \
     applied_at DateTime64(3, 'UTC') DEFAULT now64(3)) ENGINE = MergeTree ORDER BY version \
     COMMENT 'Migrations of the schema that were applied to this database'",
    "CREATE TABLE IF NOT EXISTS migration_statements (version UInt32 COMMENT 'Number of the migration', \
     statement UInt32 COMMENT 'Place of the statement in it, from 1', \
     checksum String COMMENT 'SHA-256 of the migration when the statement was applied', \
     applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it had been applied, UTC') \
     ENGINE = MergeTree ORDER BY (version, statement) \
     COMMENT 'Statements of migrations that were applied to this database: where an interrupted run goes on'",
];

/// Creates the tables that remember, where they are missing.
pub(super) async fn create_tables(client: &Client) -> Result<()> {
    for table in TABLES {
        client.query_raw(table).execute().await?;
    }
    Ok(())
}

/// What had been applied when it was looked.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Version and checksum of each whole migration, in order.
    migrations: Vec<(u32, String)>,
    /// Of each migration, also those that were only begun: how many statements, and the checksum then.
    statements: BTreeMap<u32, (u32, String)>,
}

impl Done {
    /// Looks into `database`; where it, or a table, is missing, nothing was done. Changes nothing.
    pub(crate) async fn read(client: &Client, database: &str) -> Result<Self> {
        let tables = client
            .clone()
            .with_database("system") // the other may not be there
            .query_raw("SELECT name FROM system.tables WHERE database = {database:String} AND name LIKE 'migration%'")
            .param("database", database);
        let tables: Vec<String> = tables.fetch_all().await?;
        let has = |name: &str| tables.iter().any(|table| table == name);
        let client = client.clone().with_database(database);
        let mut done = Self::default();
        if has("migrations") {
            let sql = "SELECT version, any(checksum) FROM migrations GROUP BY version ORDER BY version";
            done.migrations = client.query_raw(sql).fetch_all().await?;
        }
        if has("migration_statements") {
            let sql = "SELECT version, max(statement), argMax(checksum, statement) FROM migration_statements GROUP BY version";
            let statements: Vec<(u32, u32, String)> = client.query_raw(sql).fetch_all().await?;
            done.statements = statements.into_iter().map(|(version, done, sum)| (version, (done, sum))).collect();
        }
        Ok(done)
    }

    /// How many migrations are done as a whole.
    pub(crate) fn migrations(&self) -> usize {
        self.migrations.len()
    }

    /// How many statements of `migration` are known to be done.
    pub(crate) fn statements_of(&self, migration: &Migration) -> usize {
        self.statements.get(&migration.version).map_or(0, |(done, _)| *done as usize)
    }

    pub(crate) fn refuse_strange_history(&self, known: &[Migration]) -> std::result::Result<(), MigrateError> {
        let newest_known = known.last().map_or(0, |migration| migration.version);
        let whole = self.migrations.last().map_or(0, |(version, _)| *version);
        let begun = self.statements.keys().next_back().copied().unwrap_or(0);
        if whole.max(begun) > newest_known {
            return Err(MigrateError::Newer { applied: whole.max(begun), known: newest_known });
        }
        let begun = self.statements.iter().map(|(version, (_, checksum))| (*version, checksum));
        for (version, applied) in self.migrations.iter().map(|(version, checksum)| (*version, checksum)).chain(begun) {
            let Some(migration) = known.iter().find(|migration| migration.version == version) else { continue };
            let ours = checksum(migration.sql);
            if *applied != ours {
                return Err(MigrateError::Edited { version, name: migration.name, applied: applied.clone(), ours });
            }
        }
        Ok(())
    }
}

pub(super) async fn statement_is_done(client: &Client, migration: &Migration, number: u32) -> Result<()> {
    client
        .query_raw(
            "INSERT INTO migration_statements (version, statement, checksum) \
             VALUES ({version:UInt32}, {statement:UInt32}, {checksum:String})",
        )
        .param("version", migration.version)
        .param("statement", number)
        .param("checksum", checksum(migration.sql))
        .execute()
        .await
}

pub(super) async fn migration_is_done(client: &Client, migration: &Migration) -> Result<()> {
    client
        .query_raw("INSERT INTO migrations (version, name, checksum) VALUES ({version:UInt32}, {name:String}, {checksum:String})")
        .param("version", migration.version)
        .param("name", migration.name)
        .param("checksum", checksum(migration.sql))
        .execute()
        .await
}

/// SHA-256 of a migration's text, in hexadecimal.
fn checksum(sql: &str) -> String {
    Sha256::digest(sql).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // writing to a String cannot fail
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::{super::MIGRATIONS, *};

    #[test]
    fn an_edited_migration_is_refused() {
        let migrations = MIGRATIONS.iter().map(|migration| (migration.version, checksum(migration.sql))).collect();
        let mut done = Done { migrations, ..Done::default() };
        assert!(done.refuse_strange_history(MIGRATIONS).is_ok());
        done.migrations[2].1 = checksum("edited");
        let refused = done.refuse_strange_history(MIGRATIONS);
        assert!(matches!(refused, Err(MigrateError::Edited { version: 3, .. })));
        done.migrations[2].1 = checksum(MIGRATIONS[2].sql);
        done.migrations.push((99, String::new()));
        assert!(matches!(done.refuse_strange_history(MIGRATIONS), Err(MigrateError::Newer { applied: 99, .. })));
    }
}
