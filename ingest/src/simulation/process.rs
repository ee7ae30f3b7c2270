//! The process under test: the real lanes over a spool, from start to end, and what it has promised.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use shardlake_schema::{
    Labels, Repeating, TimeMs,
    rows::{GatewayCount, Interaction, Sample},
};
use tokio::{runtime::Handle, task::JoinSet, time::sleep};

use super::outside::{count, is_dead, now, random};
use crate::{
    config::{Config, Journal},
    pipeline,
    recorder::{Shared, Tasks},
    shutdown,
    writer::Writer,
};

/// How long the supervisor waits before it starts a process again that could not.
const RESTART: Duration = Duration::from_secs(1);
/// How often the process looks whether it was asked to end.
const LOOK_EVERY_MS: u64 = 100;
const DAY_MS: i64 = 86_400_000;

/// What outlives the process.
pub(super) struct Cluster {
    pub(super) config: Config,
    /// Longest pause between two bursts of rows, and most rows in one.
    pub(super) pause_ms: u64,
    pub(super) burst: u64,
    pub(super) shared: RefCell<Weak<Shared>>,
    /// It was asked to end, within this time.
    pub(super) end_within: Cell<Option<Duration>>,
    /// No more rows come.
    pub(super) quiet: Cell<bool>,
    next_id: Cell<u64>,
    /// Rows that this process has recorded, and that it has not promised.
    recorded: RefCell<BTreeSet<u64>>,
    /// Rows that have to land, whatever comes.
    pub(super) promised: RefCell<BTreeSet<u64>>,
    /// Rows that were dropped and counted, by all processes.
    pub(super) dropped: Cell<u64>,
}

impl Cluster {
    pub(super) fn new(config: Config, pause_ms: u64, burst: u64) -> Rc<Self> {
        Rc::new(Self {
            config,
            pause_ms,
            burst,
            shared: RefCell::default(),
            end_within: Cell::default(),
            quiet: Cell::default(),
            next_id: Cell::new(1),
            recorded: RefCell::default(),
            promised: RefCell::default(),
            dropped: Cell::default(),
        })
    }

    /// The process is not there any more. What it had recorded and not promised may be lost.
    pub(super) fn ended(&self) {
        self.recorded.take();
        self.end_within.take();
        self.shared.take();
    }

    pub(super) fn count_dropped(&self, shared: &Shared) {
        let dropped: u64 = shared.accounts().iter().map(crate::Account::dropped).sum();
        self.dropped.set(self.dropped.get() + dropped);
    }

    /// Records a row. With a journal that has taken it, that is a promise.
    fn record(&self, shared: &Shared) {
        let id = self.next_id.replace(self.next_id.get() + 1);
        let failed = || shared.lanes.all()[0].spool.disk().map_or(0, |disk| disk.journal_failed.load(Relaxed));
        let failed_before = failed();
        push(shared, id);
        if is_dead() {
            return;
        }
        let is_safe = self.config.spool.journal == Journal::Always && failed() == failed_before;
        let rows = if is_safe { &self.promised } else { &self.recorded };
        rows.borrow_mut().insert(id);
    }
}

/// From its start until it was asked to end.
pub(super) async fn run(cluster: Rc<Cluster>) -> turmoil::Result {
    let shared = loop {
        match Shared::new(cluster.config.clone()) {
            Ok(shared) => break Arc::new(shared),
            Err(_) => count("starts that failed"),
        }
        sleep(RESTART).await;
    };
    cluster.shared.replace(Arc::downgrade(&shared));
    let (lanes, last_lane) = pipeline::start(&shared, &Handle::current());
    let tasks = Tasks { watchers: JoinSet::new(), lanes, last_lane, _writer: Writer::here() };

    while cluster.end_within.get().is_none() {
        if cluster.quiet.get() {
            sleep(Duration::from_millis(LOOK_EVERY_MS)).await;
            continue;
        }
        sleep(Duration::from_millis(random(1..=cluster.pause_ms))).await;
        for _ in 0..random(1..=cluster.burst) {
            cluster.record(&shared);
        }
    }
    shutdown::drain(&shared, tasks, "asked", cluster.end_within.get().unwrap_or_default()).await;
    if !is_dead() {
        cluster.count_dropped(&shared);
        cluster.promised.borrow_mut().append(&mut cluster.recorded.borrow_mut());
        cluster.ended();
    }
    Ok(())
}

/// Into one of three tables; now and then with yesterday's date, so that a batch has several parts.
#[allow(clippy::cast_precision_loss, reason = "an id is a small number")]
fn push(shared: &Shared, id: u64) {
    let time = TimeMs(now().0 - if random(0..10) == 0 { DAY_MS } else { 0 });
    match id % 3 {
        0 => shared.lanes.interactions.push(interaction(time, id)),
        1 => shared.lanes.gateway_counts.push(GatewayCount {
            time,
            shard: 0,
            event: "READY".into(),
            dispatches: 1,
            replayed: 0,
            bytes: id,
        }),
        _ => shared.lanes.samples.push(Sample {
            time,
            name: "up".into(),
            kind: "gauge".into(),
            labels: Labels::default(),
            value: id as f64,
        }),
    }
}

fn interaction(time: TimeMs, id: u64) -> Interaction {
    Interaction {
        time,
        delivery_lag_ms: 0,
        id_low: u32::try_from(id).expect("a world has fewer rows"),
        guild_id: Repeating(7),
        shards_total: 1,
        shard_offset: 0,
        user_key: Repeating(0),
        r#type: "ping".into(),
        command: "".into(),
        outcome: "success".into(),
        error_type: "".into(),
        response_ms: 1,
        duration_ms: 2,
        locale: "".into(),
        context: "guild".into(),
    }
}
