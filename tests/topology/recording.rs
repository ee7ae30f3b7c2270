//! A cluster process without a gateway: interactions with ids of the test's choosing go in, and can be counted.

use std::{ops::Range, path::Path, time::Duration};

use shardlake_embedded::User;
use shardlake_ingest::{Account, Config, Journal, Receipt, Recorder, Shards};
use shardlake_schema::Table;
use tokio::time::{Instant, sleep};
use twilight_model::application::interaction::Interaction;

use crate::line::PATIENCE;

/// January 2015 and some days, as a snowflake: a creation time of no matter.
const FIRST_ID: u64 = 350_000_000_000 << 22;

/// Starts cluster `name`, with a spool at `spool`, in which every row is safe once it is recorded.
pub(crate) fn start(name: &str, spool: &Path, urls: &str, batch_age: Duration) -> Recorder {
    start_as(User::Writer.name(), User::Writer.name(), name, spool, urls, batch_age)
}

/// The same as a user of one's own.
pub(crate) fn start_as(
    user: &str,
    password: &str,
    name: &str,
    spool: &Path,
    urls: &str,
    batch_age: Duration,
) -> Recorder {
    let mut config = Config::new(name, Shards { first: 0, count: 1, total: 1 }, urls);
    config.clickhouse.user = user.into();
    config.clickhouse.password = password.into();
    config.batch.max_age = batch_age;
    config.spool.directory = Some(spool.to_owned());
    config.spool.journal = Journal::Always;
    Recorder::start(config).unwrap()
}

/// Records interactions whose ids are these numbers, counted on from one of Discord's.
pub(crate) fn record(recorder: &Recorder, ids: Range<u64>) {
    for id in ids {
        recorder.timer(&interaction(FIRST_ID + id)).success();
    }
}

fn interaction(id: u64) -> Interaction {
    serde_json::from_value(serde_json::json!({
        "id": id.to_string(), "type": 2, "token": "t", "version": 1, "application_id": "1", "attachment_size_limit": 1,
        "authorizing_integration_owners": {}, "entitlements": [], "guild_id": "77", "locale": "en-GB", "context": 0,
        "app_permissions": "0", "data": { "id": "5", "name": "play", "type": 1 },
        "user": { "id": "9", "username": "a", "discriminator": "0", "avatar": null },
    }))
    .unwrap()
}

/// The book of interactions.
pub(crate) fn book(recorder: &Recorder) -> Account {
    recorder.accounts().into_iter().find(|account| account.table == Table::Interactions).unwrap()
}

/// Waits until the book of interactions shows this.
pub(crate) async fn until(recorder: &Recorder, what: &str, is_so: impl Fn(&Account) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so(&book(recorder)) {
        assert!(Instant::now() < deadline, "after {PATIENCE:?} not yet {what}: {:?}", book(recorder));
        sleep(Duration::from_millis(10)).await;
    }
}

/// Ends the process in order, within this time.
pub(crate) async fn stop(recorder: &Recorder, within: Duration) -> Receipt {
    let receipt = recorder.shutdown("test", within).await;
    assert!(receipt.holds() && receipt.dropped() == 0, "{receipt}");
    receipt
}
