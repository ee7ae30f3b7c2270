//! A lane per table: queue → batcher → spool → inserter. Lanes share a thread of their own and the spool's directory, and
//! nothing else, so a table that cannot be written does not hold up the others, and none of it runs on the bot's threads.

mod opening;

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use shardlake_schema::{
    BatchId, Name, Row, Table,
    rows::{GatewayCount, GuildEvent, Interaction, Process, Sample, ShardEvent},
};
use tokio::{
    runtime::Handle,
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep},
};

use self::opening::Opening;
use crate::{
    account::{Book, DropReason},
    batch::{self, FreezeError, Frozen},
    config::{self, BatchLimits, Config, LONGEST_AGE},
    insert::Inserter,
    journal::{Closed, Journal, Sealed},
    outside, placement,
    queue::Queue,
    recorder::Shared,
    spool::{Disk, Spool, SpoolError},
};

/// How often a batcher looks into its queue, unless it is woken. It decides how far a queue must reach.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Pause before a file of the journal is read again that could not be read.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Longest queue of `guild_events`: a queue takes its memory from the start, and this table has a row now and then. The exception
/// is an outage that takes a shard's 2,500 guilds at once.
const RARE_QUEUE_ROWS: usize = 4_096;

/// Rows taken off a queue between two looks at a batch's limits: a batch passes them by less than this.
const TAKEN_AT_ONCE: usize = 1_024;

/// The lanes of all tables.
#[derive(Debug)]
pub(crate) struct Lanes {
    pub(crate) interactions: Lane<Interaction>,
    pub(crate) shard_events: Lane<ShardEvent>,
    pub(crate) gateway_counts: Lane<GatewayCount>,
    pub(crate) guild_events: Lane<GuildEvent>,
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
    /// Opens the spool too, and takes up what an earlier process left there. The other part is the one of ClickHouse's
    /// addresses that its batches go to.
    pub(crate) fn open(config: &Config, cluster: &Name, boot: u64) -> Result<(Self, String), SpoolError> {
        let to_disk = config.spool.directory.as_ref().filter(|_| config.spool.journal != config::Journal::Off);
        let Some(directory) = to_disk else {
            let lanes = Self {
                interactions: Lane::in_memory(config),
                shard_events: Lane::in_memory(config),
                gateway_counts: Lane::in_memory(config),
                guild_events: Lane::in_memory(config),
                samples: Lane::in_memory(config),
                processes: Lane::in_memory(config),
            };
            return Ok((lanes, placement::by_name(cluster.as_str(), &config.clickhouse.url).to_owned()));
        };
        let mut opening = Opening::new(config, cluster, boot, directory)?;
        let lanes = Self {
            interactions: opening.lane()?,
            shard_events: opening.lane()?,
            gateway_counts: opening.lane()?,
            guild_events: opening.lane()?,
            samples: opening.lane()?,
            processes: opening.lane()?,
        };
        Ok((lanes, opening.end()))
    }

    pub(crate) fn all(&self) -> [LaneView<'_>; 6] {
        [
            self.interactions.view(),
            self.shard_events.view(),
            self.gateway_counts.view(),
            self.guild_events.view(),
            self.samples.view(),
            self.processes.view(),
        ]
    }

    /// Closes every lane but that of `processes`.
    pub(crate) fn close_all_but_last(&self) {
        self.interactions.queue.close();
        self.shard_events.queue.close();
        self.gateway_counts.queue.close();
        self.guild_events.queue.close();
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
        self.guild_events.abandon();
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
        let queue_rows = match R::TABLE {
            Table::GuildEvents => config.queue_rows.min(RARE_QUEUE_ROWS),
            _ => config.queue_rows,
        };
        Self {
            queue: Arc::new(Queue::new(queue_rows, config.when_full, journal, Arc::clone(&book))),
            spool: Arc::new(Spool::new(&config.spool, config.when_full, disk, book)),
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
            next_batch: 1,
        };
        tasks.spawn_on(batcher.run(), writer);
        let metrics = shared.metrics.inserts.of(R::TABLE);
        let inserter = Inserter::new(&shared.config, Arc::clone(&self.spool), metrics);
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
    shared.lanes.guild_events.start(shared, writer, &mut lanes);
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
    /// Number of the next batch, without a journal: that gives numbers itself.
    next_batch: u64,
}

impl<R: Row> Batcher<R> {
    /// Ends once the queue is closed and everything in it has been sealed; closes the spool then.
    async fn run(mut self) {
        let mut open = Open::default();
        let mut seal_now = false;
        let mut dues = dues(self.limits.max_age);
        loop {
            // Read before taking: what was recorded before the closing is taken below.
            let closed = self.queue.is_closed();
            while open.take(&self.queue) {
                if open.rows.len() >= self.limits.max_rows || open.bytes >= self.limits.max_bytes {
                    self.seal(std::mem::take(&mut open)).await;
                }
            }
            let waiting = !open.rows.is_empty() || self.queue.has_missed();
            if waiting && (closed || seal_now) {
                self.seal(std::mem::take(&mut open)).await;
            }
            if closed {
                self.spool.close();
                return;
            }
            seal_now = tokio::select! {
                biased; // what is due is sealed, whatever else is ready
                _ = dues.tick() => true,
                () = self.queue.woken.notified() => false,
                () = sleep(LOOK_EVERY) => false,
            };
        }
    }

    /// Gives the open rows to the spool. With a journal, every row of its present file goes along.
    async fn seal(&mut self, mut open: Open<R>) {
        let queue = &self.queue;
        let Some(journal) = &queue.journal else {
            self.next_batch = self.freeze(open.rows, self.next_batch, None).await;
            return;
        };
        let mut missed = Vec::new();
        let closed = journal.close_file(|| {
            while open.take(queue) {}
            missed = queue.take_missed();
        });
        let rows = if closed.only_here == 0 { open.rows } else { self.read_back(&closed, open.rows).await };
        let sealed = Arc::new(closed.sealed);
        self.freeze(rows, closed.first_batch, Some(&sealed)).await;
        self.freeze(missed, closed.first_missed_batch, None).await;
        // Usually its batches are on disk by now, and it is needed no more.
        if let Some(sealed) = Arc::into_inner(sealed) {
            sealed.remove();
        }
    }

    /// All rows of a file, of which the queue had only `taken`.
    async fn read_back(&self, closed: &Closed, taken: Vec<R>) -> Vec<R> {
        let expected = taken.len() as u64 + closed.only_here;
        let rows = loop {
            match closed.sealed.rows() {
                Ok((rows, _)) => break rows,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break taken,
                Err(error) => {
                    tracing::error!(table = %R::TABLE, %error, "a journal cannot be read back, its rows wait");
                }
            }
            sleep(READ_AGAIN).await;
        };
        let damaged = expected.saturating_sub(rows.len() as u64);
        self.queue.count_taken(closed.only_here);
        self.queue.book.give_up_batched(damaged, DropReason::SpoolDamaged);
        rows
    }

    /// Freezes rows as batches from `first` on and gives them to the spool. Returns the next number.
    async fn freeze(&self, rows: Vec<R>, first: u64, journal: Option<&Arc<Sealed>>) -> u64 {
        let mut batch = first;
        let mut frozen = Vec::new();
        for rows in batch::by_partition(rows) {
            let id = BatchId { cluster: self.cluster.clone(), boot: self.boot, batch };
            let number = rows.len() as u64;
            match freeze(rows, id).await {
                Ok(batch) => frozen.push(batch),
                Err(error) => {
                    tracing::error!(table = %R::TABLE, rows = number, %error, "a batch cannot be encoded, its rows are dropped");
                    self.queue.book.give_up_batched(number, DropReason::Encoding);
                }
            }
            batch += 1;
        }
        for batch in frozen {
            match journal {
                Some(journal) => self.spool.push_journalled(batch, Arc::clone(journal), None),
                None => self.spool.push(batch),
            }
        }
        batch
    }
}

/// The batch that rows are collected for.
struct Open<R> {
    rows: Vec<R>,
    bytes: usize,
}

impl<R> Default for Open<R> {
    fn default() -> Self {
        Self { rows: Vec::new(), bytes: 0 }
    }
}

impl<R: Row> Open<R> {
    /// Takes some rows off the queue; `false` if it was empty.
    fn take(&mut self, queue: &Queue<R>) -> bool {
        let before = self.rows.len();
        queue.take(&mut self.rows, TAKEN_AT_ONCE);
        let taken = &self.rows[before..];
        self.bytes += taken.iter().map(Row::own_bytes).sum::<usize>();
        !taken.is_empty()
    }
}

/// Off the bot's threads: encoding a large batch takes longer than a gateway loop may stall.
async fn freeze<R: Row>(rows: Vec<R>, id: BatchId) -> Result<Frozen, FreezeError> {
    match outside::aside(move || batch::freeze(&rows, id)).await {
        Ok(frozen) => frozen,
        Err(_) => Err(FreezeError::Panicked),
    }
}

/// When a lane seals what it has: every `max_age`, from a moment of its own on. So no row waits longer, and the lanes of a
/// fleet stay spread evenly, whatever happens to all of them at once: a start, an outage, the end of a window of gateway
/// counts.
fn dues(max_age: Duration) -> Interval {
    let mut dues = interval_at(Instant::now() + first_due(max_age), max_age.max(LOOK_EVERY));
    dues.set_missed_tick_behavior(MissedTickBehavior::Skip);
    dues
}

/// Anything up to `max_age`. One past all defaults was asked for, and is cut by the longest default at most.
fn first_due(max_age: Duration) -> Duration {
    max_age.saturating_sub(max_age.min(LONGEST_AGE).mul_f64(outside::random(0.0..1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lanes_of_a_fleet_are_due_at_all_moments_of_a_batch_s_age() {
        let max_age = Duration::from_mins(1);
        let mut lanes_by_tenth = [0; 10];
        for _ in 0..1_000 {
            let due = first_due(max_age);
            assert!(due <= max_age);
            lanes_by_tenth[(due.as_millis() * 10 / max_age.as_millis()).min(9) as usize] += 1;
        }
        assert!(lanes_by_tenth.iter().all(|lanes| (50..150).contains(lanes)), "{lanes_by_tenth:?}");
        let asked = Duration::from_hours(1);
        assert!(first_due(asked) + LONGEST_AGE >= asked, "{LONGEST_AGE:?} early at most");
    }
}
