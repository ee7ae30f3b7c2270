//! What readers find over the shards is what each shard has: the same columns, and what they and their tables mean.

use clickhouse::Client;
use shardlake_embedded::User;
use shardlake_schema::topology::readers_database;

use crate::line::{DATABASE, servers::Servers};

/// Table, its comment, column, type, what it is computed of, its comment.
type Described = (String, String, String, String, String, String);

async fn described(admin: &Client, database: &str) -> Vec<Described> {
    let sql = "SELECT c.table, t.comment, c.name, c.type, concat(replace(c.default_kind, 'ALIAS', 'MATERIALIZED'), c.default_expression), c.comment \
         FROM system.columns AS c JOIN system.tables AS t ON t.database = c.database AND t.name = c.table \
         WHERE c.database = {database:String} AND t.engine != 'MaterializedView' AND t.name NOT LIKE 'migration%' ORDER BY c.table, c.position";
    admin.query_raw(sql).param("database", database).fetch_all().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_find_the_columns_and_comments_of_the_shards() {
    let servers = Servers::with_schema(2).await;
    let admin = servers.client(1, User::Admin, "system");
    let all = readers_database(DATABASE);
    let (of_a_shard, of_readers) = (described(&admin, DATABASE).await, described(&admin, &all).await);
    assert!(of_a_shard.len() > 100, "{of_a_shard:?}");
    for (shard_s, readers) in of_a_shard.iter().zip(&of_readers) {
        assert_eq!(readers, shard_s);
    }
    assert_eq!(of_readers.len(), of_a_shard.len());

    // What everybody writes, of columns that the shard computes.
    let sql = "SELECT sum(errors) AS errors FROM interactions_by_guild_1d";
    let errors: u64 = servers.client(1, User::Reader, &all).query_raw(sql).fetch_one().await.unwrap();
    assert_eq!(errors, 0);
    servers.stop().await;
}
