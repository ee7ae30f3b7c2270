//! Three users, each with the rights that its work needs and no other.
//!
//! - The **writer** inserts into the raw tables, and reads as much of them as it takes to see whether a batch has landed: its
//!   identity, its time, and how many rows there are. It never reads what was recorded. Only so many of its inserts run at
//!   a time, however many clusters send.
//! - The **reader** selects from the database, within limits; it may choose tighter ones, and more time up to a bound. It
//!   reaches nothing outside: no files, no other server, no other database.
//! - The **migrator** creates, alters and drops tables in the database and in the scratch databases of `verify`.
//!
//! A view that fills a rollup reads more than the writer may. It needs `DEFINER = CURRENT_USER SQL SECURITY DEFINER`, so that
//! it reads with the rights of who migrated; without, inserts of the writer fail once they are in the raw table.
//!
//! They are named after the database, `shardlake_writer`, so that two databases on one server have users of their own. A
//! grant replaces what the user had before, so applying this again after an upgrade leaves exactly the rights below.
//! ClickHouse gets hashes, never passwords. Servers that keep users in files get the same as XML (users/xml.rs).

mod xml;

use std::{collections::BTreeMap, fmt::Write as _};

use sha2::{Digest as _, Sha256};

use crate::{
    Table, quote,
    topology::{Topology, readers_database},
};

/// What a batch is looked for by; `ingest` asks for nothing else of a raw table.
const LOOKED_FOR_BY: &str = "cluster, boot, batch, time";
/// The same in `batches`.
const COUNTED_BY: &str = "cluster, boot, batch, table, rows";

/// A materialized view reads with the rights of who inserts, unless it has a definer. Views that count batches have none, and
/// that of `processes` reads this too.
const PROCESSES_COUNTED_BY: &str = "last_seen_at";

/// What the migrator may do in its databases: all that a migration may say, and what deleting and importing rows take.
const MIGRATES: &str = "SHOW, SELECT, INSERT, ALTER, CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP DATABASE, \
                        DROP TABLE, DROP VIEW, TRUNCATE, OPTIMIZE";
/// Engines of its tables. ClickHouse asks for a right to each.
const MIGRATOR_ENGINES: [&str; 5] =
    ["MergeTree", "ReplacingMergeTree", "AggregatingMergeTree", "SummingMergeTree", "Null"];
/// Where it looks for what runs, and for the size and the health of things.
const MIGRATOR_SEES: [&str; 7] =
    ["processes", "parts", "detached_parts", "disks", "mutations", "data_skipping_indices", "projections"];

/// Further rights where it migrates a ClickHouse cluster: tables that read other servers, and replicated ones.
const MIGRATES_CLUSTERS: [&str; 6] = [
    "REMOTE ON *.*",
    "CREATE TEMPORARY TABLE ON *.*",
    "TABLE ENGINE ON Distributed",
    "TABLE ENGINE ON ReplicatedMergeTree",
    "TABLE ENGINE ON ReplicatedReplacingMergeTree",
    "TABLE ENGINE ON ReplicatedAggregatingMergeTree",
];
/// Where it looks for the servers.
const MIGRATOR_SEES_OF_CLUSTERS: &str = "SELECT ON system.clusters";

/// What a reader gets if it asks for nothing, and the most it may ask for. Grafana's data source asks for 65 s.
const READER_DEFAULT_EXECUTION_SECONDS: u64 = 60;
const READER_MAX_EXECUTION_SECONDS: u64 = 300;
/// For one query: a quarter of a small server.
const READER_MAX_MEMORY_BYTES: u64 = 4 << 30;
/// What a reader gets if it asks for nothing: a picture or a table needs far fewer rows. More is an export, and asks for it.
const READER_DEFAULT_RESULT_ROWS: u64 = 1_000_000;
const READER_MAX_RESULT_ROWS: u64 = 20_000_000;
/// At a time. More would only wait for each other.
const READER_MAX_QUERIES: u64 = 100;
/// Inserts and looks at a time, of all clusters: as many as 32 processors can work at. A fleet that keeps to its budget has
/// one or two under way. One that comes back or stops all at once sends thousands; what is turned away costs the server
/// little, and the writer tries again (`Verdict::Busy`). Let in, they would all run at once, and too slowly to end in time.
const WRITER_MAX_QUERIES: u64 = 32;
/// From how many rows and bytes on a second thread reads with the first, and how many granules one takes at a time: four of a
/// rollup, whose states cost some microseconds each. ClickHouse's own 163,840 rows are meant for numbers, and would have a year
/// of states read by one; eight granules at a time would leave the second thread a third of them (benches/README.md).
const READER_ROWS_PER_THREAD: u64 = 1_024;
const READER_BYTES_PER_THREAD: u64 = 40 << 20;
const READER_GRANULES_PER_TASK: u64 = 4;

/// In characters. Who may list users sees the hash, which is fast to compute: a short password would be found.
const SHORTEST_PASSWORD: usize = 12;

/// Whose work it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The recorders of clusters.
    Writer,
    /// The query service, Grafana, and people with SQL of their own.
    Reader,
    /// `shardlake schema`, and what deletes or imports rows.
    Migrator,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Writer, Self::Reader, Self::Migrator];

    /// The name of the role: the end of its user's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Reader => "reader",
            Self::Migrator => "migrator",
        }
    }

    fn settings(self) -> &'static [Setting] {
        match self {
            Self::Writer => &WRITER_SETTINGS,
            Self::Reader => &READER_SETTINGS,
            Self::Migrator => &[],
        }
    }
}

/// Why there are no such users.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsersError {
    /// Users are named after the database, and not every name is one for a user.
    #[error("users cannot be named after the database `{database}`; use one of letters, digits and underscores")]
    OddDatabase {
        /// The database.
        database: String,
    },
    /// The hash of a short password gives it away.
    #[error("the password of the {} is too short; use at least {SHORTEST_PASSWORD} characters", role.as_str())]
    ShortPassword {
        /// Whose.
        role: Role,
    },
    /// A user in a file needs a password.
    #[error("the {} needs a password: a file holds whole users", role.as_str())]
    NoPassword {
        /// Whose.
        role: Role,
    },
}

/// The three users of one database. Holds hashes of passwords, never the passwords.
#[derive(Debug, Clone)]
pub struct Users {
    database: String,
    topology: Topology,
    /// SHA-256, in hexadecimal.
    hashes: BTreeMap<Role, String>,
}

/// A setting of a user.
struct Setting {
    name: &'static str,
    value: Option<u64>,
    /// The most that may be chosen for a query, from 1. No limit at all counts as too much.
    max: Option<u64>,
    /// Whether a query may choose another value.
    is_free: bool,
}

const fn fixed(name: &'static str, value: u64) -> Setting {
    Setting { name, value: Some(value), max: None, is_free: false }
}

const fn up_to(name: &'static str, value: u64, max: u64) -> Setting {
    Setting { name, value: Some(value), max: Some(max), is_free: true }
}

const fn free(name: &'static str) -> Setting {
    Setting { name, value: None, max: None, is_free: true }
}

const WRITER_SETTINGS: [Setting; 1] = [fixed("max_concurrent_queries_for_user", WRITER_MAX_QUERIES)];

/// Limits, and what the query service and Grafana send with a query.
const READER_SETTINGS: [Setting; 13] = [
    fixed("readonly", 1),
    fixed("max_concurrent_queries_for_user", READER_MAX_QUERIES),
    fixed("cancel_http_readonly_queries_on_client_close", 1),
    fixed("merge_tree_min_rows_for_concurrent_read", READER_ROWS_PER_THREAD),
    fixed("merge_tree_min_bytes_for_concurrent_read", READER_BYTES_PER_THREAD),
    fixed("merge_tree_min_read_task_size", READER_GRANULES_PER_TASK),
    up_to("max_execution_time", READER_DEFAULT_EXECUTION_SECONDS, READER_MAX_EXECUTION_SECONDS),
    up_to("max_memory_usage", READER_MAX_MEMORY_BYTES, READER_MAX_MEMORY_BYTES),
    up_to("max_result_rows", READER_DEFAULT_RESULT_ROWS, READER_MAX_RESULT_ROWS),
    free("max_rows_to_read"),
    free("additional_table_filters"),
    free("limit"),
    free("log_comment"),
];

/// In a ClickHouse cluster: a subquery is asked of all shards, and its answer sent to each. Left to itself ClickHouse refuses.
const IN_CLUSTERS: (&str, &str) = ("distributed_product_mode", "global");

impl Users {
    /// The users of `database`, without passwords yet.
    ///
    /// # Errors
    /// [`UsersError::OddDatabase`].
    pub fn of(database: &str) -> Result<Self, UsersError> {
        let plain = database.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !plain || database.is_empty() || database.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(UsersError::OddDatabase { database: database.to_owned() });
        }
        Ok(Self { database: database.to_owned(), topology: Topology::Single, hashes: BTreeMap::new() })
    }

    /// Where the tables live on `topology`. Each server of a ClickHouse cluster has these users, with the same passwords: what one asks
    /// of another is allowed there or not.
    #[must_use]
    pub fn on(mut self, topology: Topology) -> Self {
        self.topology = topology;
        self
    }

    fn in_cluster(&self) -> bool {
        self.topology != Topology::Single
    }

    /// The least that a reader may choose. What servers tell each other is no answer, and ClickHouse lifts that limit for it, by 0.
    fn least(&self, setting: &Setting) -> Option<u64> {
        let is_lifted = self.in_cluster() && setting.name == "max_result_rows";
        setting.max.filter(|_| !is_lifted).map(|_| 1)
    }

    /// With a password for one of them.
    ///
    /// # Errors
    /// [`UsersError::ShortPassword`].
    pub fn with_password(mut self, role: Role, password: &str) -> Result<Self, UsersError> {
        if password.chars().count() < SHORTEST_PASSWORD {
            return Err(UsersError::ShortPassword { role });
        }
        let hash = Sha256::digest(password).iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}"); // writing to a String cannot fail
            hex
        });
        self.hashes.insert(role, hash);
        Ok(self)
    }

    /// The name that a user logs in with.
    pub fn name(&self, role: Role) -> String {
        format!("{}_{}", self.database, role.as_str())
    }

    /// The statements that make the users what they should be, whatever was there before. A user without a password here
    /// has to be there already, and keeps the password that it has.
    pub fn sql(&self) -> Vec<String> {
        let mut statements = Vec::new();
        for role in Role::ALL {
            let name = quote::identifier(&self.name(role));
            if let Some(hash) = self.hashes.get(&role) {
                let identified = format!("{name} IDENTIFIED WITH sha256_hash BY {}", quote::string(hash));
                statements.push(format!("CREATE USER IF NOT EXISTS {identified}"));
                statements.push(format!("ALTER USER {identified}"));
            }
            let mut settings: Vec<_> = role.settings().iter().map(|setting| self.setting_sql(setting)).collect();
            if role == Role::Reader && self.in_cluster() {
                settings.push(format!("{} = '{}'", IN_CLUSTERS.0, IN_CLUSTERS.1));
            }
            if !settings.is_empty() {
                statements.push(format!("CREATE SETTINGS PROFILE IF NOT EXISTS {name}"));
                statements.push(format!("ALTER SETTINGS PROFILE {name} SETTINGS {}", settings.join(", ")));
                statements.push(format!("ALTER USER {name} SETTINGS PROFILE {name}"));
            }
            statements.push(format!("GRANT {} TO {name} WITH REPLACE OPTION", self.rights(role).join(", ")));
        }
        statements
    }

    /// What a role may do, each as `PRIVILEGES ON target`.
    fn rights(&self, role: Role) -> Vec<String> {
        let database = quote::identifier(&self.database);
        match role {
            Role::Writer => {
                let mut rights = Vec::new();
                for table in Table::ALL {
                    let table = quote::identifier(table.name());
                    rights.push(format!("INSERT ON {database}.{table}"));
                    rights.push(format!("SELECT({LOOKED_FOR_BY}) ON {database}.{table}"));
                }
                rights.push(format!("SELECT({PROCESSES_COUNTED_BY}) ON {database}.processes"));
                rights.push(format!("SELECT({COUNTED_BY}) ON {database}.batches"));
                rights
            }
            Role::Reader => {
                let mut rights = vec![format!("SELECT ON {database}.*")];
                if self.in_cluster() {
                    rights.push(format!("SELECT ON {}.*", quote::identifier(&readers_database(&self.database))));
                }
                rights
            }
            Role::Migrator => {
                let scratch = quote::identifier(&format!("{}_verify_", self.database));
                let mut rights = vec![format!("{MIGRATES} ON {database}.*"), format!("{MIGRATES} ON {scratch}*.*")];
                rights.extend(MIGRATOR_ENGINES.map(|engine| format!("TABLE ENGINE ON {engine}")));
                rights.extend(MIGRATOR_SEES.map(|table| format!("SELECT ON system.{table}")));
                if let Topology::Cluster(cluster) = &self.topology {
                    let all = quote::identifier(&readers_database(&self.database));
                    rights.push(format!("{MIGRATES} ON {all}.*"));
                    rights.extend(MIGRATES_CLUSTERS.map(str::to_owned));
                    rights.push(MIGRATOR_SEES_OF_CLUSTERS.to_owned());
                    if cluster.is_replicated() {
                        rights.push("CLUSTER ON *.*".to_owned());
                    }
                }
                rights
            }
        }
    }

    fn setting_sql(&self, setting: &Setting) -> String {
        let mut sql = setting.name.to_owned();
        if let Some(value) = setting.value {
            let _ = write!(sql, " = {value}"); // writing to a String cannot fail
        }
        if let Some(least) = self.least(setting) {
            let _ = write!(sql, " MIN {least}");
        }
        if let Some(max) = setting.max {
            let _ = write!(sql, " MAX {max}");
        }
        if setting.is_free {
            sql += " CHANGEABLE_IN_READONLY";
        }
        sql
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_leaves() {
        let users = Users::of("shardlake").unwrap().with_password(Role::Writer, "correct horse").unwrap();
        let sql = users.sql().join(";\n");
        // SHA-256 of the password.
        assert!(!sql.contains("correct horse") && !format!("{users:?}").contains("correct horse"));
        assert_eq!(sql.matches("IDENTIFIED WITH sha256_hash BY '").count(), 2, "{sql}");
        assert!(matches!(users.xml(), Err(UsersError::NoPassword { role: Role::Reader })));
        let short = Users::of("shardlake").unwrap().with_password(Role::Reader, "short");
        assert!(matches!(short, Err(UsersError::ShortPassword { role: Role::Reader })));
    }

    #[test]
    fn a_database_that_is_no_name_is_refused() {
        for odd in ["", "1a", "a-b", "a.b", "a`", "ä"] {
            assert!(matches!(Users::of(odd), Err(UsersError::OddDatabase { .. })), "{odd}");
        }
    }
}
