//! A lane per table: queue → batcher → spool → inserter. Lanes share a thread of their own and the spool's directory, and
//! nothing else, so a table that cannot be written does not hold up the others, and none of it runs on the bot's threads.

mod opening;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use shardlake_schema::{
    BatchId, Name, Row,
    rows::{GatewayCount, Interaction, Process, Sample, ShardEvent},
};
use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{Instant, sleep},
};

use self::opening::Opening;
use crate::{
    account::{Book, DropReason},
    batch::{self, FreezeError, Frozen},
    config::{self, BatchLimits, Config},
    insert::Inserter,
    journal::Journal,
    outside,
    queue::Queue,
    recorder::Shared,
    spool::{Disk, PartOf, Spool, SpoolError},
};

/// How often a batcher looks into its queue, unless it is woken. It decides how far a queue must reach.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Rows taken off a queue between two looks at a batch's limits: a batch passes them by less than this.
const TAKEN_AT_ONCE: usize = 1_024;

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
    /// Batches sealed while it was opened, from rows that an earlier process had recorded.
    sealed: u64,
}

/// A lane without its row type.
#[derive(Debug)]
pub(crate) struct LaneView<'a> {
    pub(crate) book: &'a Book,
    pub(crate) spool: &'a Spool,
}

impl Lanes {
    /// Opens the spool too, and takes up what an earlier process left there.
    pub(crate) fn open(config: &Config, cluster: &Name, boot: u64) -> Result<Self, SpoolError> {
        let to_disk = config.spool.directory.as_ref().filter(|_| config.spool.journal != config::Journal::Off);
        let Some(directory) = to_disk else {
            return Ok(Self {
                interactions: Lane::in_memory(config),
                shard_events: Lane::in_memory(config),
                gateway_counts: Lane::in_memory(config),
                samples: Lane::in_memory(config),
                processes: Lane::in_memory(config),
            });
        };
        let mut opening = Opening::new(config, cluster, boot, directory)?;
        let lanes = Self {
            interactions: opening.lane()?,
            shard_events: opening.lane()?,
            gateway_counts: opening.lane()?,
            samples: opening.lane()?,
            processes: opening.lane()?,
        };
        opening.end();
        Ok(lanes)
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
    fn in_memory(config: &Config) -> Self {
        Self::new(config, None, None)
    }

    fn new(config: &Config, disk: Option<Arc<Disk>>, journal: Option<Journal>) -> Self {
        let book = Arc::new(Book::new(R::TABLE));
        Self {
            queue: Arc::new(Queue::new(config.queue_rows, config.when_full, journal, Arc::clone(&book))),
            spool: Arc::new(Spool::new(&config.spool, config.when_full, disk, book)),
            sealed: 0,
        }
    }

    /// Records a row: see [`Queue::push`].
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
            sealed: self.sealed,
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
        let mut open = Open::default();
        loop {
            // Read before taking: what was recorded before the closing is taken below.
            let closed = self.queue.is_closed();
            while open.take(&self.queue) {
                if open.rows.len() >= self.limits.max_rows || open.bytes >= self.limits.max_bytes {
                    self.seal(std::mem::take(&mut open)).await;
                }
            }
            if !open.rows.is_empty() {
                let due = *open.due.get_or_insert_with(|| Instant::now() + jittered(self.limits.max_age));
                if closed || Instant::now() >= due {
                    self.seal(std::mem::take(&mut open)).await;
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

    /// Freezes the open rows and gives them to the spool. With a journal, every row of its present file goes along.
    async fn seal(&mut self, mut open: Open<R>) {
        let queue = &self.queue;
        let journal = queue.journal.as_ref().map(|journal| {
            let name = journal.close_file(|| while open.take(queue) {});
            (journal, name)
        });
        let parts = batch::by_partition(open.rows);
        let count = parts.len();
        let mut frozen = Vec::with_capacity(count);
        for (part, rows) in parts.into_iter().enumerate() {
            let id = BatchId { cluster: self.cluster.clone(), boot: self.boot, batch: self.sealed + 1 };
            let number = rows.len() as u64;
            match freeze(rows, id).await {
                Ok(batch) => {
                    self.sealed += 1;
                    let journal = journal.as_ref().map(|(_, name)| PartOf { name: name.clone(), part, parts: count });
                    frozen.push(Frozen { journal, ..batch });
                }
                Err(error) => {
                    tracing::error!(table = %R::TABLE, rows = number, %error, "a batch cannot be encoded, its rows are dropped");
                    self.queue.book.give_up_batched(number, DropReason::Encoding);
                }
            }
        }
        // No await from here on: the inserter must not see a part before all are there and the journal is gone.
        for batch in frozen {
            self.spool.push(batch);
        }
        if let Some((journal, name)) = journal {
            journal.remove(&name);
        }
    }
}

/// The batch that rows are collected for.
struct Open<R> {
    rows: Vec<R>,
    bytes: usize,
    /// When it is sealed at the latest, once there is a row.
    due: Option<Instant>,
}

impl<R> Default for Open<R> {
    fn default() -> Self {
        Self { rows: Vec::new(), bytes: 0, due: None }
    }
}

impl<R: Row> Open<R> {
    /// Takes some rows off the queue; `false` if it was empty.
    fn take(&mut self, queue: &Queue<R>) -> bool {
        let before = self.rows.len();
        queue.take(&mut self.rows, TAKEN_AT_ONCE);
        self.bytes += self.rows[before..].iter().map(Row::own_bytes).sum::<usize>();
        self.rows.len() > before
    }
}

/// Off the bot's threads: encoding a large batch takes longer than a gateway loop may stall.
async fn freeze<R: Row>(rows: Vec<R>, id: BatchId) -> Result<Frozen, FreezeError> {
    match outside::aside(move || batch::freeze(&rows, id)).await {
        Ok(frozen) => frozen,
        Err(_) => Err(FreezeError::Panicked),
    }
}

/// 80 to 100 % of `age`.
fn jittered(age: Duration) -> Duration {
    age.mul_f64(outside::random(0.8..=1.0))
}
