//! What looks at the process from time to time, because it cannot be event-driven: shards that hang without a word, late
//! timers, interactions whose token has expired, and the process's own row.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use shardlake_schema::{
    Name, TimeMs,
    rows::{Process, ShardEvent},
};
use tokio::time::sleep;
use twilight_gateway::{Shard, ShardState};

use crate::{lifecycle::State, recorder::Shared};

/// How often it looks. Also the yardstick for late timers.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the process says that it is alive.
const PROCESS_ROW_EVERY: Duration = Duration::from_mins(1);

pub(crate) async fn run(shared: Arc<Shared>) {
    let mut process_row_at = Instant::now();
    loop {
        if Instant::now() >= process_row_at {
            process_row_at += PROCESS_ROW_EVERY;
            shared.lanes.processes.push(process_row(&shared, "", TimeMs(0)));
        }
        let asleep = Instant::now();
        sleep(LOOK_EVERY).await;
        let late = asleep.elapsed().saturating_sub(LOOK_EVERY);
        shared.metrics.event_loop_lag_seconds.set(late.as_secs_f64());

        for row in shared.tracker.expired(Instant::now()) {
            shared.lanes.interactions.push(row);
        }
        for cell in shared.shards() {
            if let Some(row) = cell.stuck(shared.config.stuck_after, TimeMs::now()) {
                tracing::warn!(shard = row.shard, state = %row.state, waits_for = %row.cause, for_ms = row.in_state_ms, "shard is stuck");
                shared.lanes.shard_events.push(row);
            }
        }
    }
}

/// The process's own row, as it looks now.
pub(crate) fn process_row(shared: &Shared, stop_reason: &'static str, stopped_at: TimeMs) -> Process {
    let sum = |term: fn(&crate::Account) -> u64| shared.accounts().iter().map(term).sum();
    let shards = shared.config.shards;
    Process {
        time: shared.started_at,
        last_seen_at: TimeMs::now(),
        stopped_at,
        stop_reason: stop_reason.into(),
        host: host_name().into(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").into(),
        shard_first: shards.first,
        shard_count: shards.count,
        shards_total: shards.total,
        metrics_address: shared.config.metrics_address.clone().into(),
        rows_observed: sum(|account| account.observed),
        rows_landed: sum(|account| account.landed),
        rows_spooled: sum(|account| account.spooled),
        rows_dropped: sum(crate::Account::dropped),
    }
}

/// Linux's own name for the host; empty where there is none.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// What is known of one shard right now: written by its observer, read by gauges and the watcher.
#[derive(Debug)]
pub(crate) struct ShardCell {
    pub(crate) shard: u16,
    label: String,
    state: AtomicU8,
    state_since_ms: AtomicI64,
    /// HELLO came on this connection.
    greeted: AtomicBool,
    /// Attempts to connect that failed in a row.
    attempts: AtomicU8,
    /// The present wait was reported as stuck.
    reported: AtomicBool,
    /// Latest heartbeat round trip, µs; 0: none yet.
    latency_us: AtomicU32,
    ratelimited: AtomicBool,
    guilds: AtomicU64,
}

/// [`ShardCell::state`] as it is stored.
const STATES: [State; 5] =
    [State::Disconnected, State::Identifying, State::Resuming, State::Active, State::FatallyClosed];

impl ShardCell {
    pub(crate) fn new(shard: u16, now: TimeMs) -> Self {
        Self {
            shard,
            label: shard.to_string(),
            state: AtomicU8::new(State::Disconnected as u8),
            state_since_ms: AtomicI64::new(now.0),
            greeted: AtomicBool::new(false),
            attempts: AtomicU8::new(0),
            reported: AtomicBool::new(false),
            latency_us: AtomicU32::new(0),
            ratelimited: AtomicBool::new(false),
            guilds: AtomicU64::new(0),
        }
    }

    /// Takes in what the shard says of its connection.
    pub(crate) fn note<Q>(&self, shard: &Shard<Q>) {
        if let Some(latency) = shard.latency().recent().first() {
            self.latency_us.store(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX).max(1), Relaxed);
        }
        let ratelimited = shard.ratelimiter().is_some_and(|ratelimiter| ratelimiter.available() == 0);
        self.ratelimited.store(ratelimited, Relaxed);
    }

    /// Takes in the shard's state.
    pub(crate) fn note_state(&self, state: ShardState, greeted: bool, now: TimeMs) {
        let attempts = if let ShardState::Disconnected { reconnect_attempts } = state { reconnect_attempts } else { 0 };
        self.attempts.store(attempts, Relaxed);
        let next = State::of(state) as u8;
        if self.state.swap(next, Relaxed) != next {
            self.state_since_ms.store(now.0, Relaxed);
            self.greeted.store(false, Relaxed);
            self.reported.store(false, Relaxed);
        }
        if greeted {
            self.greeted.store(true, Relaxed);
        }
    }

    pub(crate) fn set_guilds(&self, guilds: usize) {
        self.guilds.store(guilds as u64, Relaxed);
    }

    pub(crate) fn guilds(&self) -> u64 {
        self.guilds.load(Relaxed)
    }

    pub(crate) fn shard_label(&self) -> &str {
        &self.label
    }

    pub(crate) fn is_active(&self) -> bool {
        self.state() == State::Active
    }

    pub(crate) fn is_ratelimited(&self) -> bool {
        self.ratelimited.load(Relaxed)
    }

    pub(crate) fn latency(&self) -> Option<Duration> {
        match self.latency_us.load(Relaxed) {
            0 => None,
            us => Some(Duration::from_micros(us.into())),
        }
    }

    fn state(&self) -> State {
        STATES[usize::from(self.state.load(Relaxed))]
    }

    /// The row of a shard that has waited for `limit`; once per wait.
    fn stuck(&self, limit: Duration, now: TimeMs) -> Option<ShardEvent> {
        let waits_for = match self.state() {
            State::Active | State::FatallyClosed => return None,
            State::Disconnected if self.attempts.load(Relaxed) > 0 => "connection",
            State::Disconnected => "close",
            State::Identifying if self.greeted.load(Relaxed) => "ready",
            State::Identifying => "hello",
            State::Resuming => "resumed",
        };
        let in_state_ms = now.since_ms(TimeMs(self.state_since_ms.load(Relaxed)));
        if u128::from(in_state_ms) < limit.as_millis() || self.reported.swap(true, Relaxed) {
            return None;
        }
        Some(ShardEvent {
            time: now,
            shard: self.shard,
            event: "stuck".into(),
            state: self.state().as_str().into(),
            cause: waits_for.into(),
            initiator: Name::EMPTY,
            close_code: 0,
            close_reason: Name::EMPTY,
            resumable: 0,
            in_state_ms,
            downtime_ms: 0,
            replayed: 0,
            latency_ms: self.latency().map_or(0.0, |latency| latency.as_secs_f32() * 1000.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_reported_once_and_says_what_it_waits_for() {
        const LIMIT: Duration = Duration::from_secs(10);
        let cell = ShardCell::new(3, TimeMs(0));
        cell.note_state(ShardState::Identifying, false, TimeMs(1_000));
        assert!(cell.stuck(LIMIT, TimeMs(10_999)).is_none());
        let row = cell.stuck(LIMIT, TimeMs(11_000)).unwrap();
        assert_eq!((row.cause.as_str(), row.in_state_ms), ("hello", 10_000));
        assert!(cell.stuck(LIMIT, TimeMs(99_000)).is_none());

        cell.note_state(ShardState::Resuming, true, TimeMs(100_000));
        assert_eq!(cell.stuck(LIMIT, TimeMs(110_000)).unwrap().cause.as_str(), "resumed");
        cell.note_state(ShardState::Active, false, TimeMs(110_000));
        assert!(cell.stuck(LIMIT, TimeMs(999_000)).is_none());
        cell.note_state(ShardState::Disconnected { reconnect_attempts: 2 }, false, TimeMs(110_000));
        assert_eq!(cell.stuck(LIMIT, TimeMs(120_000)).unwrap().cause.as_str(), "connection");
    }

    #[test]
    fn stored_states_are_read_back() {
        for (index, state) in STATES.into_iter().enumerate() {
            assert_eq!(state as usize, index);
        }
    }
}
