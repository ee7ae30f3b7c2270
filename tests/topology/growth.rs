//! A shard is added: a cluster whose rows may have landed where it wrote before stays there until they have, and moves then.

use std::{fs, path::Path, time::Duration};

use shardlake_embedded::User;
use shardlake_schema::topology::readers_database;

use crate::{
    line::{DATABASE, servers::Servers},
    recording::{record, start, stop, until},
};

/// It writes to the first of one shard, and to the second of two.
const CLUSTER: &str = "1";

/// Rows lie in the journal for so long before they are sent.
const BATCH_AGE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_holds_rows_stays_with_its_shard() {
    let servers = Servers::with_schema(2).await;
    let spool = tempfile::tempdir().unwrap();
    let all = servers.client(2, User::Admin, &readers_database(DATABASE));
    let stored = async || -> Vec<(u32, u64, u64)> {
        let sql = "SELECT _shard_num, count(), uniqExact(interaction_id) FROM interactions GROUP BY 1 ORDER BY 1";
        all.query_raw(sql).fetch_all().await.unwrap()
    };

    let before = start(CLUSTER, spool.path(), &servers.url(1), BATCH_AGE);
    record(&before, 0..100);
    let left = tempfile::tempdir().unwrap();
    copy(spool.path(), left.path());
    until(&before, "landed", |book| book.landed == 100).await;
    stop(&before, Duration::from_secs(30)).await;
    drop(before);

    // As if it had been killed after its rows had landed and before it knew.
    let grown = start(CLUSTER, left.path(), &servers.urls(), BATCH_AGE);
    until(&grown, "landed", |book| book.recovered == 100 && book.landed == 100).await;
    record(&grown, 100..200);
    until(&grown, "landed", |book| book.landed == 200).await;
    stop(&grown, Duration::from_secs(30)).await;
    drop(grown);
    assert_eq!(stored().await, [(1, 200, 200)], "each once, and also what this process recorded");

    let moved = start(CLUSTER, left.path(), &servers.urls(), BATCH_AGE);
    record(&moved, 200..300);
    until(&moved, "landed", |book| book.landed == 100).await;
    stop(&moved, Duration::from_secs(30)).await;
    assert_eq!(stored().await, [(1, 200, 200), (2, 100, 100)]);
    servers.stop().await;
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
