//! One world: a process, a ClickHouse, a wire between them, and what a seed does to them. Faults come for some time, then
//! all is mended, and what was promised must be there.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    rc::Rc,
    time::{Duration, SystemTime},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use shardlake_schema::TimeMs;
use tempfile::TempDir;
use turmoil::{Builder, Sim};

use super::{
    clickhouse::{Clickhouse, Mood},
    network::{self, CLICKHOUSE, CLICKHOUSE_URL},
    outside::{self, count, inside, note},
    process::{self, Cluster},
};
use crate::config::{self, BatchLimits, Config, Journal, Shards, WhenFull};

pub(super) const PROCESS: &str = "process";
/// The first second of a month: rows before and after it lie in different partitions of every table.
const NEW_MONTH_S: u64 = 1_769_904_000; // 2026-02-01
const LONGEST_LATENCY: Duration = Duration::from_millis(500);
/// Longest simulated time with faults.
const FAULTS_S: u64 = 90;
/// What the writer may need to land everything once all is mended: several of its longest pauses and time limits.
const PATIENCE: Duration = Duration::from_mins(30);

/// What a seed has shown.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) promised: u64,
    pub(super) lost: u64,
    pub(super) twice: u64,
    pub(super) mismatches: u64,
    pub(super) is_hung: bool,
    /// What is wrong; empty: nothing.
    pub(super) wrong: Vec<String>,
    pub(super) kinds: BTreeMap<&'static str, u64>,
    pub(super) steps: u64,
    /// Of everything that happened, for the comparison of two runs.
    pub(super) trace: u64,
}

pub(super) struct World {
    pub(super) sim: Sim<'static>,
    pub(super) chance: StdRng,
    pub(super) cluster: Rc<Cluster>,
    pub(super) clickhouse: Rc<Clickhouse>,
    pub(super) outcome: Outcome,
    /// ClickHouse is killed as soon as an insert is under way.
    pub(super) kills_next_insert: bool,
    trace: DefaultHasher,
    /// `SHARDLAKE_TRACE` is set.
    is_told: bool,
    _spool: TempDir,
}

/// Runs the world of a seed.
pub(super) fn run(seed: u64) -> Outcome {
    let _stay = outside::enter(seed);
    let mut world = World::new(seed);
    let faults_end = Duration::from_secs(world.chance.random_range(5..=FAULTS_S));
    let mut faults = super::faults::Faults::default();
    while world.sim.elapsed() < faults_end && world.outcome.wrong.is_empty() {
        faults.inject(&mut world);
        world.step();
    }
    if world.outcome.wrong.is_empty() {
        faults.mend_all(&mut world);
        world.settle();
    }
    world.end()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let spool = tempfile::tempdir().expect("there is a place for temporary files");
        let config = config(&mut chance, &spool);
        let directory = None; // its name is another one each time
        note(format!("{:?} {:?}", config.batch, config::Spool { directory, ..config.spool.clone() }));
        let cluster = Cluster::new(config, chance.random_range(50..=1_000), chance.random_range(1..=12));
        let clickhouse = Clickhouse::new(seed);
        let before_midnight = Duration::from_secs(chance.random_range(0..FAULTS_S));
        let mut sim = Builder::new()
            .rng_seed(seed)
            .tick_duration(Duration::from_millis([20, 50, 100][chance.random_range(0..3)]))
            .max_message_latency(LONGEST_LATENCY.mul_f64(chance.random()))
            .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(NEW_MONTH_S) - before_midnight)
            .simulation_duration(Duration::MAX)
            .build();
        let serving = Rc::clone(&clickhouse);
        sim.host(CLICKHOUSE, move || network::serve(Rc::clone(&serving)));
        let running = Rc::clone(&cluster);
        sim.host(PROCESS, move || process::run(Rc::clone(&running)));
        let (outcome, trace) = (Outcome::default(), DefaultHasher::new());
        Self {
            sim,
            chance,
            cluster,
            clickhouse,
            outcome,
            kills_next_insert: false,
            trace,
            is_told: std::env::var_os("SHARDLAKE_TRACE").is_some(),
            _spool: spool,
        }
    }

    pub(super) fn wrong(&mut self, what: &str) {
        self.outcome.wrong.push(format!("at {:?}: {what}", self.sim.elapsed()));
    }

    /// A step of the simulation, and the law after it.
    pub(super) fn step(&mut self) {
        self.outcome.steps += 1;
        if let Err(error) = self.sim.step() {
            self.wrong(&format!("a host failed: {error}"));
        }
        for event in inside(|inside| std::mem::take(&mut inside.events)).unwrap_or_default() {
            event.hash(&mut self.trace);
            if self.is_told {
                println!("{:?} {event}", self.sim.elapsed());
            }
        }
        let twice = self.clickhouse.twice();
        if !twice.is_empty() {
            self.outcome.twice = twice.len() as u64;
            self.wrong(&format!("rows that landed twice: {twice:?}"));
        }
        let shared = self.cluster.shared.borrow().upgrade();
        let Some(shared) = shared.filter(|_| !outside::is_dead()) else { return };
        for account in shared.accounts() {
            [account.observed, account.landed, account.spooled, account.in_memory].hash(&mut self.trace);
            if !account.holds() {
                self.wrong(&format!("the law does not hold: {account:?}"));
            }
        }
    }

    /// All is mended: a last process lands everything.
    fn settle(&mut self) {
        self.cluster.quiet.set(true);
        if self.cluster.end_within.get().is_some() {
            self.until_the_process_ends(); // it has too little time left to land anything
        }
        self.start_process();
        self.cluster.end_within.set(Some(PATIENCE));
        self.until_the_process_ends();
        // What is under way, on the wire or in ClickHouse, ends too.
        let arrived = self.sim.elapsed() + LONGEST_LATENCY * 4;
        while (self.sim.elapsed() < arrived || !self.clickhouse.is_idle()) && self.outcome.wrong.is_empty() {
            self.step();
        }
    }

    fn until_the_process_ends(&mut self) {
        let until = self.sim.elapsed() + PATIENCE;
        while self.sim.is_host_running(PROCESS) && self.sim.elapsed() < until && self.outcome.wrong.is_empty() {
            self.step();
        }
    }

    fn end(mut self) -> Outcome {
        if self.outcome.wrong.is_empty() {
            self.compare();
        }
        self.outcome.kinds = inside(|inside| std::mem::take(&mut inside.kinds)).unwrap_or_default();
        self.outcome.trace = self.trace.finish();
        self.outcome
    }

    /// What was promised, with what is stored.
    fn compare(&mut self) {
        if self.sim.is_host_running(PROCESS) {
            self.outcome.is_hung = true;
            return self.wrong("the process did not end");
        }
        let promised = self.cluster.promised.take();
        self.outcome.promised = promised.len() as u64;
        let missing: Vec<u64> = promised.iter().copied().filter(|id| !self.clickhouse.has(*id)).collect();
        self.outcome.lost = (missing.len() as u64).saturating_sub(self.cluster.dropped.get());
        if self.outcome.lost > 0 {
            let (some, dropped) = (&missing[..missing.len().min(10)], self.cluster.dropped.get());
            self.wrong(&format!(
                "{} rows were promised and are missing, {dropped} were dropped: {some:?}",
                missing.len()
            ));
        }
        let mismatches = self.clickhouse.mismatches(&promised);
        let incomplete: u64 = mismatches.iter().map(|(_, raw, _)| raw).sum();
        // What was dropped at the end of a process may land without its rollup.
        if missing.len() as u64 + incomplete > self.cluster.dropped.get() {
            self.outcome.mismatches = mismatches.len() as u64;
        }
        if self.outcome.mismatches > 0 {
            self.wrong(&format!("raw rows and rollup differ: {mismatches:?}"));
        }
    }

    /// Lets the process go, as a kill does, and the power for its disk too, if asked.
    pub(super) fn kill_process(&mut self, power: bool) {
        if let Some(shared) = self.cluster.shared.borrow().upgrade() {
            self.cluster.count_dropped(&shared);
        }
        self.sim.crash(PROCESS);
        if self.cluster.shared.borrow().upgrade().is_some() {
            self.wrong("a part of the killed process lives on");
        }
        self.cluster.ended();
        let now = TimeMs(i64::try_from(self.sim.since_epoch().as_millis()).unwrap_or(i64::MAX));
        inside(|inside| {
            (inside.disk.dead, inside.disk.killed_in) = (false, None);
            if power {
                inside.disk.lose_power();
                inside.machine_started = now;
            }
        });
        if power {
            self.clickhouse.note_power_loss();
            self.cluster.promised.borrow_mut().retain(|id| self.clickhouse.has_all_of(*id));
        }
    }

    pub(super) fn start_process(&mut self) {
        if !self.sim.is_host_running(PROCESS) {
            self.cluster.ended();
            self.sim.bounce(PROCESS);
        }
    }

    pub(super) fn kill_clickhouse(&mut self) {
        count("kills of ClickHouse");
        self.kills_next_insert = false;
        self.sim.crash(CLICKHOUSE);
        self.clickhouse.kill();
    }

    pub(super) fn start_clickhouse(&mut self) {
        if !self.sim.is_host_running(CLICKHOUSE) {
            self.sim.bounce(CLICKHOUSE);
        }
    }

    pub(super) fn draw_mood(&mut self) {
        let mut draw = |most: f64| if self.chance.random_bool(0.5) { self.chance.random_range(0.0..most) } else { 0.0 };
        let mood = Mood { refuses: draw(0.6), loses_answers: draw(0.6), is_slow: draw(0.3) };
        self.clickhouse.mood.set(mood);
    }
}

fn config(chance: &mut StdRng, spool: &TempDir) -> Config {
    let journal = [Journal::Always, Journal::Always, Journal::Always, Journal::Spill, Journal::Off];
    let mut config = Config::new("0", Shards { first: 0, count: 1, total: 1 }, CLICKHOUSE_URL);
    config.batch = BatchLimits {
        max_rows: chance.random_range(3..=100),
        max_age: Duration::from_millis(chance.random_range(100..=5_000)),
        ..BatchLimits::for_fleet(config.shards)
    };
    let is_tight = chance.random_bool(0.15);
    config.queue_rows = if is_tight { 16 } else { 4_096 };
    config.when_full = if chance.random_bool(0.5) { WhenFull::DropOldest } else { WhenFull::DropNewest };
    config.spool = config::Spool {
        directory: Some(spool.path().to_owned()),
        memory_bytes: if chance.random_bool(0.2) { 8 << 10 } else { 16 << 20 },
        disk_bytes: if is_tight { 16 << 10 } else { 1 << 30 },
        journal: journal[chance.random_range(0..journal.len())],
    };
    config
}
