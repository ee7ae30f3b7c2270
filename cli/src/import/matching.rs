//! One slash command, one interaction.
//!
//! Argus writes a row when it receives an interaction, and another one when a slash command has succeeded; nothing but guild,
//! cluster and time connects them. A command takes the receipt that is nearest to its start, the earliest command first; both
//! were read from clocks of one process within microseconds. A receipt that no command takes is an interaction of unknown end
//! (a command that failed, a component, an autocompletion); a command without a receipt is an interaction all the same.
//!
//! Days are matched one at a time, so what belongs together must not be cut at midnight. What may belong together stands less
//! than [`NEAR_US`] apart; so a guild's day begins at the first gap of that length after midnight, which the day before finds
//! too. In a guild without such a gap in [`LATEST_CUT_US`] it begins then, whatever it cuts.

use std::{fmt, ops::Range};

use shardlake_schema::Name;
use time::{Date, Duration, OffsetDateTime};

/// Farthest that a command's start and its receipt may lie apart. Measured at some tens of microseconds; a busy event loop
/// delays one of them by a little, and more than a second would pair what does not belong together.
pub(super) const NEAR_US: i64 = 1_000_000;
/// Latest moment after midnight at which a guild's day begins.
const LATEST_CUT_US: i64 = 600_000_000;
/// A command that took longer belongs to the day of its end, and takes no receipt. Discord's own limit for answers is 15
/// minutes; days are imported when this has passed.
pub(super) const LONGEST_COMMAND_MS: i64 = 3_600_000;

const DAY_US: i64 = 86_400_000_000;

/// One day, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Day {
    number: i64,
}

impl Day {
    /// The day this many days after 1970-01-01.
    pub(super) fn number(number: i64) -> Self {
        Self { number }
    }

    /// The day of a moment in microseconds since 1970.
    pub(super) fn of(us: i64) -> Self {
        Self { number: us.div_euclid(DAY_US) }
    }

    pub(super) fn offset(self, days: i64) -> Self {
        Self { number: self.number + days }
    }

    pub(super) fn start_us(self) -> i64 {
        self.number * DAY_US
    }

    /// Rows from the first to before the second moment decide what is of this day.
    pub(super) fn decided_by(self) -> (i64, i64) {
        (self.start_us() - NEAR_US, self.offset(1).start_us() + LATEST_CUT_US)
    }

    /// When nothing that decides this day can come any more.
    pub(super) fn is_over_at_us(self) -> i64 {
        self.decided_by().1 + LONGEST_COMMAND_MS * 1000
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let epoch: Date = OffsetDateTime::UNIX_EPOCH.date();
        epoch.saturating_add(Duration::days(self.number)).fmt(f)
    }
}

/// A row of one guild and cluster.
#[derive(Debug, Clone)]
pub(super) struct Event {
    /// Receipt, or start of the command, in microseconds since 1970; of a command that took too long: its end.
    pub(super) at_us: i64,
    pub(super) what: What,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Receipt { kind: Name },
    Command { name: Name, duration_us: i64 },
}

/// The type of interactions that commands belong to.
pub(super) const COMMAND_KIND: &str = "application_command";

impl Event {
    /// Whether it may belong to another row.
    fn is_half(&self) -> bool {
        match &self.what {
            What::Receipt { kind } => kind.as_str() == COMMAND_KIND,
            What::Command { duration_us, .. } => *duration_us <= LONGEST_COMMAND_MS * 1000,
        }
    }
}

/// An interaction as Argus's rows tell it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Told {
    pub(super) at_us: i64,
    pub(super) kind: Name,
    pub(super) command: Name,
    /// `None`: its end is not known.
    pub(super) duration_us: Option<i64>,
}

/// What a guild's day holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Matched {
    /// By time, except for those of commands that took too long.
    pub(super) told: Vec<Told>,
    /// Rows that are in it.
    pub(super) rows: u64,
    /// Commands that found their receipt.
    pub(super) pairs: u64,
}

/// The day of one guild; `events` are sorted by time and reach from before it to behind it, see [`Day::decided_by`].
pub(super) fn day_of_guild(events: &[Event], day: Day) -> Matched {
    let halves: Vec<i64> = events.iter().filter(|event| event.is_half()).map(|event| event.at_us).collect();
    let midnights = day.start_us()..day.offset(1).start_us();
    let cuts = cut(&halves, midnights.start)..cut(&halves, midnights.end);

    let mut matched = Matched::default();
    let (mut receipts, mut commands) = (Vec::new(), Vec::new());
    for event in events {
        let is_half = event.is_half();
        if !if is_half { &cuts } else { &midnights }.contains(&event.at_us) {
            continue;
        }
        matched.rows += 1;
        match &event.what {
            What::Receipt { .. } if is_half => receipts.push(event.at_us),
            What::Receipt { kind } => matched.told.push(received(event.at_us, kind)),
            What::Command { name, duration_us } if is_half => commands.push((event.at_us, name, *duration_us)),
            What::Command { name, duration_us } => {
                matched.told.push(finished(event.at_us - duration_us, name, *duration_us));
            }
        }
    }

    let mut taken = vec![false; receipts.len()];
    for (start_us, name, duration_us) in commands {
        let receipt = nearest(&receipts, &taken, start_us);
        if let Some(receipt) = receipt {
            taken[receipt] = true;
            matched.pairs += 1;
        }
        let at_us = receipt.map_or(start_us, |receipt| receipts[receipt]);
        matched.told.push(finished(at_us, name, duration_us));
    }
    let kind = Name::from(COMMAND_KIND);
    let left = receipts.iter().zip(&taken).filter(|(_, taken)| !**taken);
    matched.told.extend(left.map(|(at_us, _)| received(*at_us, &kind)));
    matched
}

fn received(at_us: i64, kind: &Name) -> Told {
    Told { at_us, kind: kind.clone(), command: Name::EMPTY, duration_us: None }
}

fn finished(at_us: i64, name: &Name, duration_us: i64) -> Told {
    Told { at_us, kind: COMMAND_KIND.into(), command: name.clone(), duration_us: Some(duration_us) }
}

/// Where a guild's day begins: at `midnight`, or at the first gap behind it if something reaches over it.
fn cut(sorted: &[i64], midnight: i64) -> i64 {
    let first = sorted.partition_point(|at| *at < midnight - NEAR_US);
    let mut last = midnight - NEAR_US - 1;
    for at in &sorted[first..] {
        if *at >= midnight && at - last > NEAR_US {
            break;
        }
        if *at >= midnight + LATEST_CUT_US {
            return midnight + LATEST_CUT_US;
        }
        last = *at;
    }
    midnight.max(last + 1)
}

/// The free receipt nearest to `start`; of two, the earlier one.
fn nearest(receipts: &[i64], taken: &[bool], start: i64) -> Option<usize> {
    let behind = receipts.partition_point(|at| *at < start);
    let near = |index: &usize| (receipts[*index] - start).abs() <= NEAR_US;
    let free = |index: &usize| !taken[*index];
    let around: Range<usize> = 0..behind;
    let before = around.rev().take_while(near).find(free);
    let after = (behind..receipts.len()).take_while(near).find(free);
    before.into_iter().chain(after).min_by_key(|index| (receipts[*index] - start).abs())
}

#[cfg(test)]
mod tests;
