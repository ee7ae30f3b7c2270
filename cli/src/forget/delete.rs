//! Deleting rows so that they are gone from the files, and waiting for it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clickhouse::Client;
use tokio::time::sleep;

use super::{Whom, tables::Target};
use crate::progress::Progress;

/// How often the server is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Rewrites the parts of a table that have such rows, and waits for it as long as it takes.
///
/// The server goes on if we are killed, and deleting again what is gone does no harm.
pub(super) async fn delete(
    client: &Client,
    target: &Target,
    whom: Whom,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    // The wait is ours: with `mutations_sync` a long one would be cut by some timeout on the way.
    let sql =
        format!("ALTER TABLE {{table:Identifier}} DELETE WHERE {} SETTINGS mutations_sync = 0", target.condition(whom));
    target.bind(client.query_raw(&sql), whom).execute().await.context("rows cannot be deleted")?;

    let mut most = 0;
    let before = progress.done();
    loop {
        let left = client
            .query_raw(
                "SELECT count(), toUInt64(sum(parts_to_do)), max(latest_fail_reason) FROM system.mutations \
                 WHERE database = currentDatabase() AND table = {table:String} AND NOT is_done",
            )
            .param("table", &target.table)
            .fetch_one::<(u64, u64, String)>();
        let (mutations, parts, failure) = left.await.context("the server cannot be asked how far it is")?;
        if !failure.is_empty() {
            bail!("the server cannot delete yet, and goes on trying: {failure}");
        }
        if parts > most {
            progress.expect(parts - most);
            most = parts;
        }
        progress.set(before + most - parts);
        if mutations == 0 {
            return Ok(());
        }
        sleep(ASK_EVERY).await;
    }
}
