//! The database that readers of a ClickHouse cluster use: a `Distributed` table over each local table and view.
//!
//! What is an `ALIAS` there is a column here that the shard computes: ClickHouse writes the expression of an `ALIAS` into what it
//! asks the shards, under the column's name, and then refuses everybody's `sum(errors) AS errors` as one name of two things (code
//! 179). `MATERIALIZED` keeps it out of `SELECT *`, as it was.

use clickhouse::{Client, error::Error as ClickhouseError};

use super::Cluster;
use crate::quote;

/// Tables that hold rows, and views that are read like tables. (A materialized view fills a table and has none.) Not those
/// that remember migrations: all nodes may share them.
const LOCAL: &str = "SELECT name, comment FROM system.tables WHERE database = {database:String} \
     AND (engine LIKE '%MergeTree' OR engine = 'View') AND name NOT LIKE 'migration%' ORDER BY name";

/// Columns in their order: name, type, what else is said of it, and its comment.
const COLUMNS: &str = "SELECT name, type, concat(if(default_kind = 'ALIAS', 'MATERIALIZED', default_kind), ' ', default_expression), comment \
     FROM system.columns WHERE database = {database:String} AND table = {table:String} ORDER BY position";

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

    run(format!("CREATE DATABASE IF NOT EXISTS {}{on_cluster}", quote::identifier(&all))).await?;
    let local: Vec<(String, String)> = client.query_raw(LOCAL).param("database", database).fetch_all().await?;
    let distributed: Vec<String> = client.query_raw(DISTRIBUTED).param("database", &all).fetch_all().await?;
    for gone in distributed.iter().filter(|gone| local.iter().all(|(name, _)| name != *gone)) {
        run(format!("DROP TABLE IF EXISTS {}.{}{on_cluster}", quote::identifier(&all), quote::identifier(gone)))
            .await?;
    }
    for (name, comment) in &local {
        let columns = client.query_raw(COLUMNS).param("database", database).param("table", name);
        let columns: Vec<(String, String, String, String)> = columns.fetch_all().await?;
        let columns: Vec<String> = columns.iter().map(column_of_shards).collect();
        let (here, there) = (quote::identifier(database), quote::identifier(name));
        run(format!(
            "CREATE OR REPLACE TABLE {}.{there}{on_cluster} ({}) ENGINE = Distributed({}, {here}, {there}) COMMENT {}",
            quote::identifier(&all),
            columns.join(", "),
            quote::identifier(cluster.name()),
            quote::string(comment)
        ))
        .await?;
    }
    Ok(local.into_iter().map(|(name, _)| name).collect())
}

/// A row of [`COLUMNS`] as a column that is read from the shards.
fn column_of_shards((name, r#type, said, comment): &(String, String, String, String)) -> String {
    format!("{} {} {said} COMMENT {}", quote::identifier(name), r#type, quote::string(comment))
}
