//! What the writer takes from outside: files, the clock, chance, a thread for long work, and the way to ClickHouse. One
//! place, so that the tests can run all of it in a world that a seed decides (`simulation.rs`).

#[cfg(test)]
pub(crate) use crate::simulation::outside::{aside, client, fs, machine_started, now, random};

#[cfg(not(test))]
pub(crate) use self::real::{aside, client, fs, machine_started, now, random};

#[cfg(not(test))]
mod real {
    pub(crate) use std::fs;

    use rand::{
        RngExt as _,
        distr::uniform::{SampleRange, SampleUniform},
    };
    use rustix::time::{ClockId, clock_gettime};
    use shardlake_schema::TimeMs;
    pub(crate) use tokio::task::spawn_blocking as aside;

    pub(crate) use crate::insert::heard::client;

    pub(crate) fn now() -> TimeMs {
        TimeMs::now()
    }

    /// When this machine was started.
    pub(crate) fn machine_started() -> TimeMs {
        let running = clock_gettime(ClockId::Boottime);
        TimeMs(TimeMs::now().0 - running.tv_sec * 1_000)
    }

    pub(crate) fn random<T: SampleUniform>(range: impl SampleRange<T>) -> T {
        rand::rng().random_range(range)
    }
}
