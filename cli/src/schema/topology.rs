//! On what the tables live, as the command line says it, and which servers have to be told.

use anyhow::bail;
use clap::Args;
use clickhouse::Client;
use shardlake_schema::topology::{self, Topology};

use crate::clickhouse_options::ClickhouseOptions;

#[derive(Debug, Args)]
pub(super) struct TopologyOptions {
    /// On what the tables live: `single`, one server; `cluster=NAME`, a ClickHouse cluster with replicas, told by way of one of
    /// its servers; `cluster=NAME,replicas=none`, one without, whose servers are all named by the address of ClickHouse.
    #[arg(long, env = "SHARDLAKE_TOPOLOGY", default_value_t = Topology::Single)]
    pub(super) topology: Topology,
}

impl TopologyOptions {
    /// The servers that have to be told, one after the other.
    pub(super) async fn servers(&self, clickhouse: &ClickhouseOptions) -> anyhow::Result<Vec<Client>> {
        let Topology::Cluster(cluster) = &self.topology else { return Ok(vec![clickhouse.client()?]) };
        let clients = if cluster.is_replicated() { vec![clickhouse.client()?] } else { clickhouse.clients()? };
        let (name, addresses) = (cluster.name(), clients.len());
        for client in &clients {
            let shards = topology::shards(client, cluster).await?;
            if shards == 0 {
                bail!("a server knows no ClickHouse cluster `{name}`; add it to the server's remote_servers");
            }
            if !cluster.is_replicated() && shards != addresses as u64 {
                bail!(
                    "the ClickHouse cluster `{name}` has {shards} shards, and {addresses} are named; name the address of each"
                );
            }
        }
        Ok(clients)
    }

    /// For what is only known of tables that are not replicated.
    pub(super) fn refuse_replicas(&self, command: &str) -> anyhow::Result<()> {
        match &self.topology {
            Topology::Cluster(cluster) if cluster.is_replicated() => {
                bail!("`schema {command}` does not know replicated tables: compare SHOW CREATE TABLE by hand")
            }
            _ => Ok(()),
        }
    }

    /// Makes what readers need, after the migrations of a server.
    pub(super) async fn serve_readers(&self, client: &Client, database: &str) -> anyhow::Result<()> {
        if let Topology::Cluster(cluster) = &self.topology {
            let tables = topology::distribute(client, database, cluster).await?;
            println!("{} has {} tables over all shards", topology::readers_database(database), tables.len());
        }
        Ok(())
    }
}
