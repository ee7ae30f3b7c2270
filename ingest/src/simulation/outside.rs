//! What stands in for `crate::outside` in tests: inside a simulated world everything comes from its seed, outside of one
//! it is the real thing.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc, time::Duration};

use clickhouse::Client;
use rand::{
    RngExt as _, SeedableRng as _,
    distr::uniform::{SampleRange, SampleUniform},
    rngs::StdRng,
};
use shardlake_schema::TimeMs;
use tokio::{
    task::{JoinError, spawn_blocking},
    time::sleep,
};

pub(crate) use super::disk as fs;
use super::{disk::Disk, network};
use crate::insert::heard::{self, Heard};

/// Longest time that encoding a batch takes here.
const ENCODING_MS: u64 = 20;

thread_local! {
    /// The world that this thread simulates, if it does.
    static INSIDE: RefCell<Option<Inside>> = const { RefCell::new(None) };
}

/// What the writer's process finds around it.
pub(super) struct Inside {
    chance: StdRng,
    pub(super) disk: Disk,
    pub(super) machine_started: TimeMs,
    /// Faults so far, by kind.
    pub(super) kinds: BTreeMap<&'static str, u64>,
    /// What happened since the last step.
    pub(super) events: Vec<String>,
}

/// The thread is in the world for as long as this lives.
pub(super) struct Stay;

impl Drop for Stay {
    fn drop(&mut self) {
        INSIDE.with_borrow_mut(Option::take);
    }
}

pub(super) fn enter(seed: u64) -> Stay {
    let chance = StdRng::seed_from_u64(seed);
    let disk = Disk::new(StdRng::seed_from_u64(seed ^ 1 << 63));
    INSIDE.set(Some(Inside { chance, disk, machine_started: TimeMs(0), kinds: BTreeMap::new(), events: Vec::new() }));
    Stay
}

/// `None`: this thread simulates nothing.
pub(super) fn inside<T>(use_it: impl FnOnce(&mut Inside) -> T) -> Option<T> {
    INSIDE.with_borrow_mut(|inside| inside.as_mut().map(use_it))
}

/// Counts a fault.
pub(super) fn count(kind: &'static str) {
    inside(|inside| *inside.kinds.entry(kind).or_default() += 1);
    note(kind.to_owned());
}

/// Something happened, for the comparison of two runs and for whoever reads along.
pub(super) fn note(event: String) {
    inside(|inside| inside.events.push(event));
}

/// The process was killed a moment ago, and the simulation has not taken it away yet: nothing it does may have an effect.
pub(super) fn is_dead() -> bool {
    inside(|inside| inside.disk.dead) == Some(true)
}

pub(crate) fn now() -> TimeMs {
    let simulated = turmoil::since_epoch().and_then(|time| i64::try_from(time.as_millis()).ok());
    simulated.map_or_else(TimeMs::now, TimeMs)
}

pub(crate) fn machine_started() -> TimeMs {
    inside(|inside| inside.machine_started).unwrap_or(TimeMs(0))
}

pub(crate) fn random<T: SampleUniform, R: SampleRange<T>>(range: R) -> T {
    let mut range = Some(range);
    let mut draw = || range.take().expect("it is drawn once");
    let simulated = inside(|inside| inside.chance.random_range(draw()));
    simulated.unwrap_or_else(|| rand::rng().random_range(draw()))
}

/// On another thread, or, in a simulation, on this one and after some time.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    if inside(|_| ()).is_none() {
        return spawn_blocking(work).await;
    }
    sleep(Duration::from_millis(random(0..=ENCODING_MS))).await;
    Ok(work())
}

pub(crate) fn client(heard: &Arc<Heard>) -> Client {
    if inside(|_| ()).is_some() { network::client(heard) } else { heard::client(heard) }
}
