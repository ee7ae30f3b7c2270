//! On what the tables live: one server, or a ClickHouse cluster. (Its shards have nothing to do with those of the bot.)
//!
//! The migrations are written for one server. For a ClickHouse cluster:
//!
//! - **A cluster process writes to the tables of one shard**, in the database that it would write to anyway, by the same
//!   inserts. So a batch lands atomically, its token and the looking for it mean what they mean on one server, and its
//!   materialized views run beside it. Which shard that is follows from the cluster's name (`ingest/src/placement.rs`).
//! - **Readers use a second database**, `<database>_all`, that has a `Distributed` table over each table and view, under the same
//!   name and with the same columns, aliases too. Whoever reads, the query service included, is pointed at that
//!   database and changes no query. States in rollups are merged over shards by the `GROUP BY` that they need anyway. Nobody
//!   can insert through these tables by mistake: they have no sharding key, and ClickHouse refuses it then. (Other
//!   names beside the local ones would be the alternative; then every question has two texts.)
//! - **Without replicas** (`replicas=none`) the migrations go to each node as they are, one node after the other, and no Keeper is needed.
//!   A shard that is lost is lost with its rows.
//! - **With replicas** the statements are rewritten (`topology/render.rs`) and sent to one node; Keeper carries them to the others.
//!
//! A table that is replicated finds its replicas in Keeper by its UUID, which is the same on all nodes because `ON CLUSTER` hands it on. A
//! path with the table's name would not survive `CREATE OR REPLACE` and `RENAME`, with which migrations rebuild
//! tables: the old table still holds the path when the new one wants it.

mod lex;

mod render;

mod readers;

use std::{fmt, str::FromStr};

use crate::quote;

pub use readers::{distribute, readers_database, shards};
pub use render::RenderError;

/// Longest name of a ClickHouse cluster. ClickHouse has no limit; this is more than anybody types.
const MAX_NAME_BYTES: usize = 100;

/// On what the tables live.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Topology {
    /// One server.
    #[default]
    Single,
    /// A ClickHouse cluster.
    Cluster(Cluster),
}

/// A ClickHouse cluster, as its servers' `remote_servers` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    name: String,
    replicated: bool,
}

impl Cluster {
    /// Its name in `remote_servers`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether its tables are replicated, and its servers have a Keeper. Else each node is to be told everything.
    pub fn is_replicated(&self) -> bool {
        self.replicated
    }

    /// ` ON CLUSTER …` where Keeper carries a statement to the other nodes; else nothing.
    fn on_cluster(&self) -> String {
        if self.replicated { format!(" ON CLUSTER {}", quote::identifier(&self.name)) } else { String::new() }
    }
}

impl Topology {
    /// What to put behind a `CREATE DATABASE` so that it is made on all nodes.
    pub(crate) fn on_cluster(&self) -> String {
        match self {
            Self::Single => String::new(),
            Self::Cluster(cluster) => cluster.on_cluster(),
        }
    }

    /// The statements that do here what `statement`, written for `database` on one server, does there.
    ///
    /// Repeating all of them is as safe as repeating `statement` is.
    ///
    /// # Errors
    /// [`RenderError`] if it is of a kind that cannot be rewritten; every migration of this build can be.
    pub fn render(&self, database: &str, statement: &str) -> Result<Vec<String>, RenderError> {
        match self {
            Self::Cluster(cluster) if cluster.replicated => render::replicated(cluster, database, statement),
            Self::Single | Self::Cluster(_) => Ok(vec![statement.to_owned()]),
        }
    }

    /// The same for a `CREATE TABLE` of which all nodes share one content, whatever their shard: what was migrated is known
    /// to whichever node is asked.
    ///
    /// # Errors
    /// As [`Topology::render`].
    pub fn render_shared(&self, database: &str, statement: &str) -> Result<Vec<String>, RenderError> {
        match self {
            Self::Cluster(cluster) if cluster.replicated => render::shared(cluster, database, statement),
            Self::Single | Self::Cluster(_) => Ok(vec![statement.to_owned()]),
        }
    }
}

/// `cluster=NAME`, or `cluster=NAME,replicas=none`; `single` is one server.
impl FromStr for Topology {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "single" {
            return Ok(Self::Single);
        }
        let (name, replicated) = match text.split_once(',') {
            None => (text, true),
            Some((name, "replicas=none")) => (name, false),
            Some((_, option)) => return Err(format!("`{option}` is not known; the only option is replicas=none")),
        };
        let Some(name) = name.strip_prefix("cluster=") else {
            return Err("expected single, cluster=NAME or cluster=NAME,replicas=none".to_owned());
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(plain) {
            return Err(format!(
                "the cluster's name is `{name}`, but must be 1 to {MAX_NAME_BYTES} of the characters A-Z a-z 0-9 . _ -"
            ));
        }
        Ok(Self::Cluster(Cluster { name: name.to_owned(), replicated }))
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single => f.write_str("single"),
            Self::Cluster(Cluster { name, replicated: true }) => write!(f, "cluster={name}"),
            Self::Cluster(Cluster { name, replicated: false }) => write!(f, "cluster={name},replicas=none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topology_is_what_it_says() {
        for text in ["single", "cluster=lake", "cluster=eu-1.lake", "cluster=lake,replicas=none"] {
            assert_eq!(text.parse::<Topology>().unwrap().to_string(), text);
        }
        for text in ["", "lake", "cluster=", "cluster=a`b", "cluster=a b", "cluster=lake,replicas=2", "cluster=a,"] {
            assert!(text.parse::<Topology>().is_err(), "{text}");
        }
    }

    #[test]
    fn without_replicas_a_statement_stays_as_it_is() {
        let statement = "CREATE TABLE IF NOT EXISTS a (b UInt8) ENGINE = MergeTree ORDER BY b";
        for text in ["single", "cluster=lake,replicas=none"] {
            let topology: Topology = text.parse().unwrap();
            assert_eq!(topology.render("shardlake", statement).unwrap(), [statement]);
            assert_eq!(topology.render_shared("shardlake", statement).unwrap(), [statement]);
        }
    }
}
