//! A shard is added: a cluster whose rows may have landed where it wrote before stays there until they have, and moves then.

use std::time::Duration;

use shardlake_embedded::User;
use shardlake_schema::topology::readers_database;

use crate::{
    line::{DATABASE, servers::Servers},
    recording::{record, start, stop, until},
};

/// It writes to the first of one shard, and to the second of two.
const CLUSTER: &str = "1";

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_holds_rows_stays_with_its_shard() {
    let mut servers = Servers::with_schema(2).await;
    let spool = tempfile::tempdir().unwrap();
    let all = servers.client(2, User::Admin, &readers_database(DATABASE));
    let stored = async || -> Vec<(u32, u64, u64)> {
        let sql = "SELECT _shard_num, count(), uniqExact(interaction_id) FROM interactions GROUP BY 1 ORDER BY 1";
        all.query_raw(sql).fetch_all().await.unwrap()
    };

    let before = start(CLUSTER, spool.path(), &servers.url(1));
    record(&before, 0..100);
    until(&before, "landed", |book| book.landed == 100).await;
    servers.kill(1).await;
    record(&before, 100..200);
    let receipt = stop(&before, Duration::from_secs(1)).await;
    assert!(receipt.accounts.iter().any(|account| account.spooled > 0), "{receipt}");
    drop(before);

    servers.restart(1).await;
    let grown = start(CLUSTER, spool.path(), &servers.urls());
    until(&grown, "landed", |book| book.landed == 100 && book.spooled == 0).await;
    record(&grown, 200..300);
    until(&grown, "landed", |book| book.landed == 200).await;
    stop(&grown, Duration::from_secs(30)).await;
    drop(grown);
    assert_eq!(stored().await, [(1, 300, 300)], "also what this process recorded");

    let moved = start(CLUSTER, spool.path(), &servers.urls());
    record(&moved, 300..400);
    until(&moved, "landed", |book| book.landed == 100).await;
    stop(&moved, Duration::from_secs(30)).await;
    assert_eq!(stored().await, [(1, 300, 300), (2, 100, 100)]);
    servers.stop().await;
}
