//! Our contestant: a [`Recorder`], used as in the README.

use std::{thread, time::Duration};

use shardlake_ingest::{Account, Config, Journal, Recorder, Shards};
use shardlake_schema::Table;
use tokio::runtime;

use crate::{
    contestant::{Finish, Job, Lane, Stopwatch},
    events::Events,
};

/// Batches that the queue has room for in the clean course, and the most that is not in a batch yet: a bot whose queue is
/// full loses rows and a race at full speed would fill any queue, so the recording waits instead.
const QUEUED_BATCHES: usize = 2;
/// What is recorded and has not landed, at most: two batches on their way while a third one fills.
const BATCHES_IN_FLIGHT: usize = 3;
/// Memory of a row before it is encoded, at most.
const ROW_BYTES: usize = 512;
const LOOK_AGAIN: Duration = Duration::from_micros(200);
const DRAIN: Duration = Duration::from_mins(2);

#[allow(clippy::disallowed_methods, reason = "the thread that records is none of a runtime's")]
pub(crate) fn run(job: &Job, events: &mut Events) -> Finish {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let recorder = Recorder::start(config(job)).unwrap();

    let mut stopwatch = Stopwatch::start();
    let pause = || {
        while job.per_second == 0 && is_ahead(&recorder, job.batch_rows) {
            thread::sleep(LOOK_AGAIN);
        }
    };
    events.each(job.rows, job.per_second, |interaction| recorder.timer(interaction).success(), pause);
    stopwatch.recorded();
    let receipt = runtime.block_on(recorder.shutdown("the race is over", DRAIN));
    let finish = stopwatch.stop(receipt.dropped());
    assert!(receipt.holds(), "{receipt}");
    finish
}

fn config(job: &Job) -> Config {
    let mut config = Config::new("0", Shards { first: 0, count: 1, total: 1 }, &job.url);
    config.clickhouse.user.clone_from(&job.user);
    config.clickhouse.password = job.password.clone().into();
    config.batch.max_rows = job.batch_rows;
    config.batch.max_bytes = config.batch.max_bytes.max(job.batch_rows * ROW_BYTES);
    config.spool.directory = Some(job.spool.clone());
    config.spool.journal = if job.lane == Lane::Always { Journal::Always } else { Journal::Spill };
    config.user_key = Some("key".into());
    if job.per_second == 0 {
        config.queue_rows = QUEUED_BATCHES * job.batch_rows;
    }
    config
}

fn is_ahead(recorder: &Recorder, batch_rows: usize) -> bool {
    let accounts = recorder.accounts();
    let interactions = accounts.iter().find(|account: &&Account| account.table == Table::Interactions).unwrap();
    let in_memory = interactions.in_memory;
    let batches = |number: usize| (number * batch_rows) as u64;
    in_memory + 2_000 > batches(QUEUED_BATCHES) || in_memory + interactions.spooled > batches(BATCHES_IN_FLIGHT)
}
