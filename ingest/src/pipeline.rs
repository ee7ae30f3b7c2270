//! A lane per table: queue → batcher → spool → inserter. Lanes share a thread of their own and the spool's directory, and
//! nothing else, so a table that cannot be written does not hold up the others, and none of it runs on the bot's threads.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use rand::RngExt as _;
use shardlake_schema::{
    BatchId, Name, Row,
    rows::{GatewayCount, Interaction, Process, Sample, ShardEvent},
};
use tokio::{
    runtime::Handle,
    task::{self, JoinSet},
    time::{Instant, sleep},
};

use crate::{
    account::{Book, DropReason},
    batch::{self, FreezeError, Frozen},
    config::{BatchLimits, Config},
    insert::Inserter,
    queue::Queue,
    recorder::Shared,
    spool::{Disk, Spool, SpoolError, Stored},
};

/// How often a batcher looks into its queue, unless it is woken. It decides how far a queue must reach.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The lanes of all tables.
#[derive(Debug)]
pub(crate) struct Lanes {
    pub(crate) interactions: Lane<Interaction>,
    pub(crate) shard_events: Lane<ShardEvent>,
    pub(crate) gateway_counts: Lane<GatewayCount>,
    pub(crate) samples: Lane<Sample>,
    pub(crate) processes: Lane<Process>,
}

/// The way of one table's rows.
#[derive(Debug)]
pub(crate) struct Lane<R> {
    queue: Arc<Queue<R>>,
    spool: Arc<Spool>,
}

/// A lane without its row type.
#[derive(Debug)]
pub(crate) struct LaneView<'a> {
    pub(crate) book: &'a Book,
    pub(crate) spool: &'a Spool,
}

impl Lanes {
    /// Opens the spool too, and takes up what an earlier process left there.
    pub(crate) fn open(config: &Config) -> Result<Self, SpoolError> {
        let (disk, left_behind) = match &config.spool.directory {
            Some(directory) => {
                let (disk, recovered) = Disk::open(directory, config.spool.disk_bytes)?;
                (Some(Arc::new(disk)), recovered.batches)
            }
            None => (None, Vec::new()),
        };
        let disk = disk.as_ref();
        let lanes = Self {
            interactions: Lane::new(config, disk),
            shard_events: Lane::new(config, disk),
            gateway_counts: Lane::new(config, disk),
            samples: Lane::new(config, disk),
            processes: Lane::new(config, disk),
        };
        for stored in left_behind {
            lanes.take_up(stored);
        }
        Ok(lanes)
    }

    fn take_up(&self, stored: Stored) {
        let Some(lane) = self.all().into_iter().find(|lane| lane.book.table().name() == stored.head.table) else {
            // It stays on disk: a build that knows the table will take it up.
            tracing::error!(
                table = stored.head.table,
                "the spool holds a batch for a table that this build does not know"
            );
            return;
        };
        lane.spool.take_up(lane.book.table(), stored);
    }

    pub(crate) fn all(&self) -> [LaneView<'_>; 5] {
        [
            self.interactions.view(),
            self.shard_events.view(),
            self.gateway_counts.view(),
            self.samples.view(),
            self.processes.view(),
        ]
    }

    /// Closes every lane but that of `processes`.
    pub(crate) fn close_all_but_last(&self) {
        self.interactions.queue.close();
        self.shard_events.queue.close();
        self.gateway_counts.queue.close();
        self.samples.queue.close();
    }

    /// Closes the lane of `processes`.
    pub(crate) fn close_last(&self) {
        self.processes.queue.close();
    }

    /// Gives up whatever is still underway, in every lane but that of `processes`.
    pub(crate) fn abandon_all_but_last(&self) {
        self.interactions.abandon();
        self.shard_events.abandon();
        self.gateway_counts.abandon();
        self.samples.abandon();
    }

    /// Gives up whatever is still underway in the lane of `processes`.
    pub(crate) fn abandon_last(&self) {
        self.processes.abandon();
    }
}

impl<R: Row> Lane<R> {
    fn new(config: &Config, disk: Option<&Arc<Disk>>) -> Self {
        let book = Arc::new(Book::new(R::TABLE));
        Self {
            queue: Arc::new(Queue::new(config.queue_rows, config.when_full, Arc::clone(&book))),
            spool: Arc::new(Spool::new(&config.spool, config.when_full, disk.cloned(), book)),
        }
    }

    /// Records a row. Never blocks, never fails.
    pub(crate) fn push(&self, row: R) {
        self.queue.push(row);
    }

    fn view(&self) -> LaneView<'_> {
        LaneView { book: &self.queue.book, spool: &self.spool }
    }

    fn abandon(&self) {
        self.queue.abandon();
        self.spool.leave();
        let book = &self.queue.book;
        book.give_up_batched(book.batched.load(Relaxed), DropReason::Shutdown);
    }

    fn start(&self, shared: &Shared, writer: &Handle, tasks: &mut JoinSet<()>) {
        let batcher = Batcher {
            queue: Arc::clone(&self.queue),
            spool: Arc::clone(&self.spool),
            limits: shared.config.batch,
            cluster: shared.cluster.clone(),
            boot: shared.boot,
            sealed: 0,
        };
        tasks.spawn_on(batcher.run(), writer);
        let metrics = shared.metrics.inserts(R::TABLE);
        let inserter = Inserter::new(&shared.config.clickhouse, Arc::clone(&self.spool), metrics);
        tasks.spawn_on(inserter.run(), writer);
    }
}

/// Starts all lanes on the writer's runtime: those that carry the bot's data, and the one of `processes`, which is
/// drained last.
pub(crate) fn start(shared: &Shared, writer: &Handle) -> (JoinSet<()>, JoinSet<()>) {
    let mut lanes = JoinSet::new();
    shared.lanes.interactions.start(shared, writer, &mut lanes);
    shared.lanes.shard_events.start(shared, writer, &mut lanes);
    shared.lanes.gateway_counts.start(shared, writer, &mut lanes);
    shared.lanes.samples.start(shared, writer, &mut lanes);

    let mut last = JoinSet::new();
    shared.lanes.processes.start(shared, writer, &mut last);
    (lanes, last)
}

/// Collects a table's rows and seals them by number or age, whichever comes first.
struct Batcher<R> {
    queue: Arc<Queue<R>>,
    spool: Arc<Spool>,
    limits: BatchLimits,
    cluster: Name,
    boot: u64,
    /// Batches sealed so far: the sequence of the last one.
    sealed: u64,
}

impl<R: Row> Batcher<R> {
    /// Ends once the queue is closed and everything in it has been sealed; closes the spool then.
    async fn run(mut self) {
        let mut open: Vec<R> = Vec::new();
        let mut due: Option<Instant> = None;
        loop {
            // Read before taking: what was recorded before the closing is taken below.
            let closed = self.queue.is_closed();
            loop {
                let room = self.limits.max_rows - open.len();
                let taken = self.queue.take(&mut open, room);
                if open.len() >= self.limits.max_rows {
                    self.seal(&mut open).await;
                    due = None;
                }
                if taken < room {
                    break;
                }
            }
            if !open.is_empty() {
                let due_at = *due.get_or_insert_with(|| Instant::now() + jittered(self.limits.max_age));
                if closed || Instant::now() >= due_at {
                    self.seal(&mut open).await;
                    due = None;
                }
            }
            if closed {
                self.spool.close();
                return;
            }
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                () = self.queue.woken.notified() => {}
            }
        }
    }

    async fn seal(&mut self, open: &mut Vec<R>) {
        for part in batch::by_partition(std::mem::take(open)) {
            let rows = part.len() as u64;
            let id = BatchId { cluster: self.cluster.clone(), boot: self.boot, batch: self.sealed + 1 };
            match freeze(part, id).await {
                Ok(frozen) => {
                    self.sealed += 1;
                    self.spool.push(frozen);
                }
                Err(error) => {
                    tracing::error!(table = %R::TABLE, rows, %error, "a batch cannot be encoded, its rows are dropped");
                    self.queue.book.give_up_batched(rows, DropReason::Encoding);
                }
            }
        }
    }
}

/// Off the bot's threads: encoding a large batch takes longer than a gateway loop may stall.
async fn freeze<R: Row>(rows: Vec<R>, id: BatchId) -> Result<Frozen, FreezeError> {
    match task::spawn_blocking(move || batch::freeze(&rows, id)).await {
        Ok(frozen) => frozen,
        Err(_) => Err(FreezeError::Panicked),
    }
}

/// 80 to 100 % of `age`.
fn jittered(age: Duration) -> Duration {
    age.mul_f64(rand::rng().random_range(0.8..=1.0))
}
