//! Dispatches of one shard, counted from the raw text of every message and handed over as rows when a window ends.
//!
//! One task owns a shard, so counting needs no lock: a hash of the event's name, then three additions.

use std::sync::Arc;

use prometheus::IntCounter;
use rustc_hash::FxHashMap;
use rustix::time::{ClockId, clock_gettime};
use shardlake_schema::{Name, TimeMs, rows::GatewayCount};

use crate::recorder::Shared;

/// Length of a window. Short enough to see a burst, long enough that a quiet shard costs few rows.
pub(crate) const WINDOW_MS: i64 = 10_000;

/// Counts of one shard in the current window.
#[derive(Debug)]
pub(crate) struct Dispatches {
    shared: Arc<Shared>,
    shard: u16,
    window: TimeMs,
    /// Bounded by the limit of distinct event names.
    by_event: FxHashMap<Box<str>, Count>,
}

#[derive(Debug)]
struct Count {
    event: Name,
    /// This event's child of `discord_gateway_events_total`, looked up once.
    total: IntCounter,
    dispatches: u32,
    replayed: u32,
    bytes: u64,
}

impl Dispatches {
    pub(crate) fn new(shared: Arc<Shared>, shard: u16) -> Self {
        Self { shared, shard, window: window_of(coarse_now()), by_event: FxHashMap::default() }
    }

    /// Counts one dispatch of `bytes` of JSON in the present window; see [`Self::roll`].
    pub(crate) fn count(&mut self, event: &str, bytes: usize, replayed: bool) {
        if let Some(count) = self.by_event.get_mut(event) {
            count.add(bytes, replayed);
            return;
        }
        let name = self.shared.names.events.intern(event);
        let metrics = &self.shared.metrics;
        let count = self.by_event.entry(name.as_str().into()).or_insert_with(|| Count {
            total: metrics.gateway_events.with_label_values(&[name.as_str()]),
            event: name,
            dispatches: 0,
            replayed: 0,
            bytes: 0,
        });
        count.add(bytes, replayed);
    }

    /// Hands the window's counts over if it has ended, and says when the next one began.
    pub(crate) fn roll(&mut self) -> Option<TimeMs> {
        let window = window_of(coarse_now());
        if window == self.window {
            return None;
        }
        self.flush();
        self.window = window;
        Some(window)
    }

    fn flush(&mut self) {
        for count in self.by_event.values_mut().filter(|count| count.dispatches > 0) {
            self.shared.lanes.gateway_counts.push(GatewayCount {
                time: self.window,
                shard: self.shard,
                event: count.event.clone(),
                dispatches: std::mem::take(&mut count.dispatches),
                replayed: std::mem::take(&mut count.replayed),
                bytes: std::mem::take(&mut count.bytes),
            });
        }
    }
}

impl Drop for Dispatches {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Count {
    fn add(&mut self, bytes: usize, replayed: bool) {
        self.total.inc();
        self.dispatches = self.dispatches.saturating_add(1);
        self.replayed = self.replayed.saturating_add(u32::from(replayed));
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }
}

/// The time as of the kernel's last tick, at most 10 ms ago. A window needs no better, and this clock reads no hardware:
/// the other one was the largest part of what counting a dispatch cost.
fn coarse_now() -> TimeMs {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    TimeMs(now.tv_sec * 1_000 + now.tv_nsec / 1_000_000)
}

fn window_of(now: TimeMs) -> TimeMs {
    TimeMs(now.0.div_euclid(WINDOW_MS) * WINDOW_MS)
}
