//! Interactions between their receipt and the end of their handler.
//!
//! The clock starts when the shard's stream yields the interaction, so time that it waits for its handler counts. The
//! first report wins: what ends an interaction takes it out of the table, and who comes later finds nothing to end. What
//! nobody ends is given up after 15 minutes, when its token expires.

use std::{
    any::type_name,
    collections::{VecDeque, hash_map::Entry},
    fmt, iter,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use shardlake_schema::{Name, rows::Interaction};

use crate::recorder::Shared;

/// Life of an interaction token (<https://discord.com/developers/docs/interactions/receiving-and-responding>).
const TOKEN_LIFETIME: Duration = Duration::from_mins(15);
/// Interactions that can wait for their end at once: 15 minutes of 70 a second, at about 300 bytes each. Past it the
/// oldest is given up early.
const MAX_PENDING: usize = 65_536;

const TIMED_OUT: &str = "timed_out";
const CANCELLED: &str = "cancelled";

/// How an interaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Error(Name),
    Panic,
    Cancelled,
}

#[derive(Debug)]
struct Pending {
    row: Interaction,
    received: Instant,
    /// A timer runs for it.
    tracked: bool,
}

/// The interactions that wait for their end.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    table: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    by_id: FxHashMap<u64, Pending>,
    /// Ids by receipt. Those that ended are still in here while an older one waits.
    in_order: VecDeque<(u64, Instant)>,
}

impl Waiting {
    /// Forgets the oldest ids as far as they ended, so that only as many are kept as the longest handler lets pass: a
    /// table that grew on would be copied and would not fit the processor's caches.
    fn forget_ended(&mut self) {
        while self.in_order.front().is_some_and(|(id, _)| !self.by_id.contains_key(id)) {
            self.in_order.pop_front();
        }
    }

    fn pop_oldest(&mut self, received_before: Option<Instant>) -> Option<Pending> {
        while let Some(&(id, received)) = self.in_order.front() {
            if received_before.is_some_and(|limit| received >= limit) {
                return None;
            }
            self.in_order.pop_front();
            if let Some(pending) = self.by_id.remove(&id) {
                return Some(pending);
            }
        }
        None
    }
}

impl Pending {
    /// The row of an interaction that nobody ended; `unfinished` is the outcome of one whose handler had begun.
    fn given_up(self, unfinished: &'static str) -> Interaction {
        let outcome = if self.tracked { unfinished } else { "untracked" };
        Interaction { outcome: outcome.into(), ..self.row }
    }
}

impl Tracker {
    /// A new interaction waits for its end; `tracked` if a timer runs for it. Returns one that had to be given up for it.
    pub(crate) fn begin(&self, row: Interaction, received: Instant, tracked: bool) -> Option<Interaction> {
        let mut table = self.lock();
        let id = row.interaction_id();
        match table.by_id.entry(id) {
            Entry::Occupied(mut known) => {
                known.get_mut().tracked |= tracked;
                return None; // replayed after a resume
            }
            Entry::Vacant(free) => free.insert(Pending { row, received, tracked }),
        };
        table.in_order.push_back((id, received));
        if table.by_id.len() > MAX_PENDING || table.in_order.len() > 2 * MAX_PENDING {
            return table.pop_oldest(None).map(|oldest| oldest.given_up(TIMED_OUT));
        }
        None
    }

    /// A timer runs for this interaction; `false` if it is not known.
    pub(crate) fn mark_tracked(&self, id: u64) -> bool {
        self.lock().by_id.get_mut(&id).map(|pending| pending.tracked = true).is_some()
    }

    /// The first response was sent.
    pub(crate) fn responded(&self, id: u64) {
        if let Some(pending) = self.lock().by_id.get_mut(&id)
            && pending.row.response_ms == 0
        {
            pending.row.response_ms = ms_rounded_up(pending.received.elapsed());
        }
    }

    /// The handler ended: the finished row, unless somebody finished it before.
    pub(crate) fn end(&self, id: u64, outcome: Outcome) -> Option<Interaction> {
        let mut table = self.lock();
        let pending = table.by_id.remove(&id)?;
        table.forget_ended();
        drop(table);
        let duration_ms = ms_rounded_up(pending.received.elapsed());
        let (outcome, error_type) = match outcome {
            Outcome::Success => ("success", Name::EMPTY),
            Outcome::Error(kind) => ("error", kind),
            Outcome::Panic => ("panic", Name::EMPTY),
            Outcome::Cancelled => (CANCELLED, Name::EMPTY),
        };
        Some(Interaction { outcome: outcome.into(), error_type, duration_ms, ..pending.row })
    }

    /// Interactions whose token has expired.
    pub(crate) fn expired(&self, now: Instant) -> Vec<Interaction> {
        let Some(limit) = now.checked_sub(TOKEN_LIFETIME) else { return Vec::new() };
        let mut table = self.lock();
        iter::from_fn(|| table.pop_oldest(Some(limit))).map(|old| old.given_up(TIMED_OUT)).collect()
    }

    /// Everything that still waits, given up because the process ends.
    pub(crate) fn give_up(&self) -> Vec<Interaction> {
        let mut table = self.lock();
        iter::from_fn(|| table.pop_oldest(None)).map(|left| left.given_up(CANCELLED)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds, rounded up so that 0 keeps its meaning: it did not happen.
fn ms_rounded_up(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}

/// Measures one interaction from its receipt to its end.
///
/// Say how it ended with [`Timer::success`] or [`Timer::error`]. A timer that is dropped without a word counts as `panic`
/// if the thread is unwinding, otherwise as `cancelled`: that is what an aborted task looks like.
#[must_use = "a timer that is dropped at once records a cancelled interaction"]
pub struct Timer {
    shared: Arc<Shared>,
    id: u64,
    ended: bool,
}

impl Timer {
    pub(crate) fn new(shared: Arc<Shared>, id: u64) -> Self {
        Self { shared, id, ended: false }
    }

    /// The first response (or deferral) was sent now. Only the first call counts.
    pub fn responded(&self) {
        self.shared.tracker.responded(self.id);
    }

    /// The handler succeeded.
    pub fn success(self) {
        self.end(Outcome::Success);
    }

    /// The handler failed. `kind` names the kind of error, never its text: a process keeps 250 distinct ones.
    pub fn error(self, kind: &str) {
        let kind = self.shared.names.error_types.intern(kind);
        self.end(Outcome::Error(kind));
    }

    /// Ends with what `result` says; an error's kind is the last segment of its type's name.
    pub(crate) fn result<T, E>(self, result: &Result<T, E>) {
        match result {
            Ok(_) => self.success(),
            Err(_) => self.error(short_type_name::<E>()),
        }
    }

    fn end(mut self, outcome: Outcome) {
        self.ended = true;
        self.shared.ended(self.id, outcome);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if !self.ended {
            let outcome = if thread::panicking() { Outcome::Panic } else { Outcome::Cancelled };
            self.shared.ended(self.id, outcome);
        }
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("interaction_id", &self.id).finish_non_exhaustive()
    }
}

/// `my_bot::commands::PlayError` is `PlayError`; generic arguments are left out.
fn short_type_name<T>() -> &'static str {
    let name = type_name::<T>();
    let name = name.split_once('<').map_or(name, |(name, _)| name);
    name.rsplit_once("::").map_or(name, |(_, last)| last)
}

#[cfg(test)]
mod tests {
    use shardlake_schema::{Repeating, TimeMs};

    use super::*;

    fn row(id: u64) -> Interaction {
        let (delivery_lag_ms, id_low) = Interaction::snowflake_parts(id, TimeMs(1));
        Interaction {
            time: TimeMs(1),
            delivery_lag_ms,
            id_low,
            guild_id: Repeating(0),
            shards_total: 1,
            shard_offset: 0,
            user_key: Repeating(0),
            r#type: "application_command".into(),
            command: "play".into(),
            outcome: "received".into(),
            error_type: Name::EMPTY,
            response_ms: 0,
            duration_ms: 0,
            locale: Name::EMPTY,
            context: Name::EMPTY,
        }
    }

    #[test]
    fn the_first_report_wins() {
        let tracker = Tracker::default();
        tracker.begin(row(1), Instant::now(), false);
        tracker.begin(row(1), Instant::now(), false);
        assert!(tracker.mark_tracked(1));
        tracker.responded(1);
        let ended = tracker.end(1, Outcome::Error("Timeout".into())).unwrap();
        assert_eq!((ended.outcome.as_str(), ended.error_type.as_str()), ("error", "Timeout"));
        assert!(ended.duration_ms >= ended.response_ms && ended.response_ms > 0);
        assert!(tracker.end(1, Outcome::Success).is_none());
        assert!(tracker.give_up().is_empty());
    }

    #[test]
    fn what_nobody_ends_is_given_up_when_its_token_expires() {
        let tracker = Tracker::default();
        let now = Instant::now();
        tracker.begin(row(1), now, false);
        tracker.begin(row(2), now, false);
        tracker.begin(row(3), now + TOKEN_LIFETIME, false);
        tracker.mark_tracked(2);
        assert!(tracker.expired(now).is_empty());
        let outcomes: Vec<_> = tracker
            .expired(now + TOKEN_LIFETIME + Duration::from_secs(1))
            .into_iter()
            .map(|row| (row.interaction_id(), row.outcome.to_string()))
            .collect();
        assert_eq!(outcomes, [(1, "untracked".to_owned()), (2, "timed_out".to_owned())]);
        assert_eq!(tracker.give_up().len(), 1);
    }

    #[test]
    fn a_full_table_gives_up_the_oldest() {
        let tracker = Tracker::default();
        let now = Instant::now();
        let overflow = MAX_PENDING as u64 + 1;
        let mut given_up = (1..=overflow).filter_map(|id| tracker.begin(row(id), now, false));
        assert_eq!(given_up.next().map(|row| row.interaction_id()), Some(1));
        assert!(given_up.next().is_none());
    }

    #[test]
    fn ids_that_ended_are_forgotten_with_the_oldest() {
        let tracker = Tracker::default();
        for id in 1..=3 {
            tracker.begin(row(id), Instant::now(), true);
        }
        tracker.end(2, Outcome::Success).unwrap();
        assert_eq!(tracker.lock().in_order.len(), 3);
        tracker.end(1, Outcome::Success).unwrap();
        assert_eq!(tracker.lock().in_order.len(), 1);
    }

    #[test]
    fn error_kinds_are_short() {
        assert_eq!(short_type_name::<std::io::Error>(), "Error");
        assert_eq!(short_type_name::<Box<dyn std::error::Error>>(), "Box");
        assert_eq!(short_type_name::<String>(), "String");
    }
}
