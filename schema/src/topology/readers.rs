//! The database that readers of a ClickHouse cluster use: a `Distributed` table over each local table and view.

use clickhouse::{Client, error::Error as ClickhouseError};

use super::Cluster;
use crate::quote;

/// Tables that hold rows, and views that are read like tables. (A materialized view fills a table and has none.) Not those
/// that remember migrations: all nodes may share them.
const LOCAL: &str = "SELECT name FROM system.tables WHERE database = {database:String} \
     AND (engine LIKE '%MergeTree' OR engine = 'View') AND name NOT LIKE 'migration%' ORDER BY name";

const DISTRIBUTED: &str =
    "SELECT name FROM system.tables WHERE database = {database:String} AND engine = 'Distributed' ORDER BY name";

/// The readers' database over `database`.
pub fn readers_database(database: &str) -> String {
    format!("{database}_all")
}

/// How many shards the server that `client` reaches has for the cluster; 0: it does not know it.
///
/// # Errors
/// ClickHouse's own.
pub async fn shards(client: &Client, cluster: &Cluster) -> Result<u64, ClickhouseError> {
    let sql = "SELECT uniqExact(shard_num) FROM system.clusters WHERE cluster = {cluster:String}";
    client.clone().with_database("system").query_raw(sql).param("cluster", cluster.name()).fetch_one().await
}

/// Makes the readers' database over `database` what the local tables are now, from those of the node that `client` reaches: to be
/// called after the migrations; without replicas, on each node. Returns the names of its tables.
///
/// A `Distributed` table holds no rows, so each is made anew; queries that run see the old one or the new one.
///
/// # Errors
/// ClickHouse's own. Cancel safety: what was done stays, and the next call does the rest.
pub async fn distribute(client: &Client, database: &str, cluster: &Cluster) -> Result<Vec<String>, ClickhouseError> {
    // The database may not exist yet. LowCardinality numbers are what migrations chose; the same columns are made here.
    let client = client.clone().with_database("system").with_setting("allow_suspicious_low_cardinality_types", "1");
    let all = readers_database(database);
    let on_cluster = cluster.on_cluster();
    let run = async |sql: String| client.query_raw(&sql).execute().await;
    let names = async |sql| {
        client.query_raw(sql).param("database", if sql == LOCAL { database } else { &all }).fetch_all::<String>().await
    };

    run(format!("CREATE DATABASE IF NOT EXISTS {}{on_cluster}", quote::identifier(&all))).await?;
    let local = names(LOCAL).await?;
    for gone in names(DISTRIBUTED).await?.iter().filter(|name| !local.contains(name)) {
        run(format!("DROP TABLE IF EXISTS {}.{}{on_cluster}", quote::identifier(&all), quote::identifier(gone)))
            .await?;
    }
    for name in &local {
        let (here, there) = (quote::identifier(database), quote::identifier(name));
        run(format!(
            "CREATE OR REPLACE TABLE {}.{there}{on_cluster} AS {here}.{there} ENGINE = Distributed({}, {here}, {there})",
            quote::identifier(&all),
            quote::identifier(cluster.name())
        ))
        .await?;
    }
    Ok(local)
}
