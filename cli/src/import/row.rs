//! Argus's rows of one cluster and day become interactions of ours.

use std::{collections::BTreeMap, fmt, mem, sync::Arc};

use rustc_hash::FxHashSet;
use sha2::{Digest as _, Sha256};
use shardlake_schema::{Name, Repeating, TimeMs, rows::Interaction};

use super::{
    matching::{self, Day, Event, Told, What},
    source::EventRow,
};

/// Longest name that is kept, in bytes; as in `ingest/src/names.rs`.
const MAX_NAME_BYTES: usize = 100;
/// Longest duration that our column can say, in ms: 49 days.
const MAX_DURATION_MS: f64 = u32::MAX as f64;

/// The boot of all rows of `day` from `source`: like any other boot, a time (the start of the day) in the upper 42 bits,
/// and below it what tells sources apart.
pub(super) fn boot(day: Day, source: &str) -> u64 {
    let since_epoch_ms = day.start_us() / 1000 - TimeMs::DISCORD_EPOCH.0;
    since_epoch_ms.cast_unsigned() << 22 | tag(source)
}

/// What tells sources apart: 22 bits.
pub(super) fn tag(source: &str) -> u64 {
    let digest = Sha256::digest(source);
    u64::from(u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])) >> 10
}

/// Why a row cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bad {
    Guild,
    Event,
    Duration,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Bad::Guild => "guild_id",
            Bad::Event => "event",
            Bad::Duration => "duration_ms",
        })
    }
}

/// The rows of one cluster and day, as they come in: by guild, then by time.
///
/// All that a cluster has of a day is in memory, at 100 bytes a row.
pub(super) struct DayRows {
    day: Day,
    cluster: String,
    shards_total: u16,
    guild: String,
    guild_id: u64,
    events: Vec<Event>,
    names: FxHashSet<Arc<str>>,
    finished: Finished,
}

/// What they became.
#[derive(Debug, Default)]
pub(super) struct Finished {
    /// Sorted, in the same order each time.
    pub(super) interactions: Vec<Interaction>,
    pub(super) read: u64,
    pub(super) matched: u64,
    pub(super) bad: BTreeMap<Bad, u64>,
}

impl DayRows {
    pub(super) fn new(day: Day, cluster: &str, shards_total: u16) -> Self {
        Self {
            day,
            cluster: cluster.to_owned(),
            shards_total,
            guild: String::new(),
            guild_id: 0,
            events: Vec::new(),
            names: FxHashSet::default(),
            finished: Finished::default(),
        }
    }

    pub(super) fn cluster(&self) -> &str {
        &self.cluster
    }

    pub(super) fn push(&mut self, row: &EventRow) {
        if row.guild_id != self.guild {
            self.end_guild();
            self.guild_id = guild_id(&row.guild_id).unwrap_or_default();
            self.guild.clone_from(&row.guild_id);
        }
        match self.event(row) {
            Ok(event) => self.events.push(event),
            // A bad row is of the day of its time, and of no other that reads it.
            Err(bad) if Day::of(row.at_us) == self.day => {
                self.finished.read += 1;
                *self.finished.bad.entry(bad).or_default() += 1;
            }
            Err(_) => {}
        }
    }

    fn event(&mut self, row: &EventRow) -> Result<Event, Bad> {
        guild_id(&row.guild_id).ok_or(Bad::Guild)?;
        let what = match row.event.as_str() {
            "interaction" => What::Receipt { kind: self.name(&row.r#type) },
            "app_command" if !(0.0..=MAX_DURATION_MS).contains(&row.duration_ms) => return Err(Bad::Duration),
            "app_command" => What::Command { name: self.name(&row.command), duration_us: rounded_us(row.duration_ms) },
            _ => return Err(Bad::Event),
        };
        Ok(Event { at_us: row.at_us, what })
    }

    fn name(&mut self, name: &str) -> Name {
        let name = &name[..name.floor_char_boundary(MAX_NAME_BYTES)];
        if let Some(known) = self.names.get(name) {
            return Name::Shared(Arc::clone(known));
        }
        let new: Arc<str> = name.into();
        self.names.insert(Arc::clone(&new));
        Name::Shared(new)
    }

    fn end_guild(&mut self) {
        let matched = matching::day_of_guild(&mem::take(&mut self.events), self.day);
        self.finished.read += matched.rows;
        self.finished.matched += matched.pairs;
        let (guild_id, shards_total) = (self.guild_id, self.shards_total);
        let rows = matched.told.into_iter().map(|told| interaction(told, guild_id, shards_total));
        self.finished.interactions.extend(rows);
    }

    pub(super) fn finish(mut self) -> Finished {
        self.end_guild();
        let key = |row: &Interaction| {
            (row.time, row.id_low, row.guild_id, row.r#type.clone(), row.command.clone(), row.duration_ms)
        };
        self.finished.interactions.sort_by_key(key);
        self.finished
    }
}

fn interaction(told: Told, guild_id: u64, shards_total: u16) -> Interaction {
    let microseconds = u32::try_from(told.at_us.rem_euclid(1000)).expect("below 1,000");
    let guild_bits = u32::try_from((guild_id >> 22) & 0xfff).expect("12 bits");
    Interaction {
        time: TimeMs(told.at_us.div_euclid(1000)),
        delivery_lag_ms: 0,
        id_low: microseconds << 12 | guild_bits,
        guild_id: Repeating(guild_id),
        shards_total,
        shard_offset: 0,
        user_key: Repeating(0),
        r#type: told.kind,
        command: told.command,
        outcome: if told.duration_us.is_some() { "success" } else { "received" }.into(),
        error_type: Name::EMPTY,
        response_ms: 0,
        duration_ms: told.duration_us.map_or(0, ms_rounded_up),
        locale: Name::EMPTY,
        context: if guild_id == 0 { Name::EMPTY } else { "guild".into() },
    }
}

/// A command that was measured at nothing took something: 0 means that no handler was seen.
fn ms_rounded_up(us: i64) -> u32 {
    u32::try_from(us.cast_unsigned().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}

#[allow(clippy::cast_possible_truncation, reason = "at most MAX_DURATION_MS")]
fn rounded_us(ms: f64) -> i64 {
    (ms * 1000.0).round() as i64
}

/// `None`: neither a snowflake nor empty.
fn guild_id(text: &str) -> Option<u64> {
    if text.is_empty() { Some(0) } else { text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_says_its_day_and_its_source() {
        let (day, next) = (Day::number(20_000), Day::number(20_001));
        assert_eq!(TimeMs::of_snowflake(boot(day, "a")), TimeMs(day.start_us() / 1000));
        assert_ne!(boot(day, "a"), boot(day, "b"));
        assert_eq!(boot(next, "a") - boot(day, "a"), 86_400_000 << 22);
        assert_eq!(
            boot(day, "http://a:8123/default/argus_events") & 0x3f_ffff,
            2_966_127,
            "never change this: it is stored"
        );
    }

    #[test]
    fn guilds_are_digits_or_nothing() {
        assert_eq!(["", "0", "41771983423143937"].map(guild_id), [Some(0), Some(0), Some(41_771_983_423_143_937)]);
        assert_eq!(["x", "+5", "-1", "5 ", "99999999999999999999999"].map(guild_id), [None; 5]);
    }

    #[test]
    fn durations_round_up() {
        assert_eq!([0, 1, 1_000, 1_001].map(ms_rounded_up), [1, 1, 1, 2]);
        assert_eq!(rounded_us(12.345), 12_345);
    }
}
