//! The guilds of one shard, as changes: who came, who went, who is cut off by an outage at Discord. Pure: it is told what
//! `READY`, `GUILD_CREATE` and `GUILD_DELETE` say, and keeps the rows of `guild_events` that this amounts to.
//!
//! A `GUILD_CREATE` by itself is no join: each session starts with one per guild, and each outage ends with one per guild
//! (<https://discord.com/developers/docs/events/gateway-events#guild-create>). What it is follows from what was known:
//!
//! | seen | of a guild that | row |
//! |---|---|---|
//! | `READY` without it | an earlier session of this shard had | `left` |
//! | `GUILD_CREATE` | `READY` did not name, or that the bot joined after this process had started | `joined` |
//! | | was joined at another time before, unseen in between | `left`, `joined` |
//! | | was unavailable | `available` |
//! | | was there | none |
//! | `GUILD_DELETE`, unavailable | was not unavailable | `unavailable` |
//! | `GUILD_DELETE` | may be known or not | `left` |
//!
//! Nothing is known at first where a bot resumes the session of an earlier process: there the time of joining decides alone.
//! What happened while no process ran is told by no event; it is in the next count. A shard is counted when all guilds
//! of a session are there, and when a day begins: a start costs one row and not one per guild, and the counts are what all
//! changes since add up to. Without the intent `GUILDS` there are counts by day only, of what `READY` named.

use std::mem;

use rustc_hash::FxHashMap;
use shardlake_schema::{TimeMs, rows::GuildEvent};

const DAY_MS: i64 = 86_400_000;

/// What the gateway said of one guild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) id: u64,
    pub(crate) unavailable: bool,
    /// 0: not said.
    pub(crate) members: u32,
    /// 1970: not said.
    pub(crate) joined_at: TimeMs,
}

/// What is known of one guild. Some thousands are kept per shard, so it is small.
#[derive(Debug, Clone, Copy, Default)]
struct Guild {
    joined_at: TimeMs,
    members: u32,
    unavailable: bool,
    /// `READY` named it, and nothing has followed yet.
    awaited: bool,
}

/// The guilds of one shard so far.
#[derive(Debug)]
pub(crate) struct Guilds {
    shard: u16,
    /// When this process started: a guild that it has not seen and that was joined later is new.
    started_at: TimeMs,
    known: FxHashMap<u64, Guild>,
    /// A `READY` was seen: `known` is all of them.
    listed: bool,
    /// Guilds that are [`Guild::awaited`].
    awaited: usize,
    /// Day of the last count, or of the session's start, since 1970.
    counted_on: i64,
    /// Time of the last row: the next one is later, so that sorting by time gives the order of events.
    told_until: TimeMs,
    /// What has not been handed over yet.
    pub(crate) rows: Vec<GuildEvent>,
}

impl Guilds {
    pub(crate) fn new(shard: u16, started_at: TimeMs) -> Self {
        Self {
            shard,
            started_at,
            known: FxHashMap::default(),
            listed: false,
            awaited: 0,
            counted_on: 0,
            told_until: TimeMs(0),
            rows: Vec::new(),
        }
    }

    /// How many there are, unavailable ones included.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// `READY`, with the guilds it names.
    pub(crate) fn ready(&mut self, ids: &[u64], now: TimeMs) {
        self.known.values_mut().for_each(|guild| guild.awaited = false);
        for id in ids {
            self.known.entry(*id).or_default().awaited = true;
        }
        let gone: Vec<(u64, Guild)> = self.known.extract_if(|_, guild| !guild.awaited).collect();
        (self.listed, self.awaited, self.counted_on) = (true, self.known.len(), day(now));
        for (id, guild) in gone {
            self.tell("left", id, guild, now);
        }
        if self.awaited == 0 {
            self.count(now);
        }
    }

    /// `GUILD_CREATE`.
    pub(crate) fn create(&mut self, told: Told, now: TimeMs) {
        if told.unavailable {
            return self.cut_off(told.id, now);
        }
        let before = self.known.remove(&told.id);
        let joined = match before {
            None if self.listed => true,
            Some(guild) if guild.joined_at == told.joined_at => false,
            _ => told.joined_at >= self.started_at,
        };
        let before = before.unwrap_or_default();
        if joined && before.joined_at != TimeMs::default() {
            self.tell("left", told.id, before, now);
        }
        let guild = Guild { joined_at: told.joined_at, members: told.members, ..Guild::default() };
        self.known.insert(told.id, guild);
        if joined {
            self.tell("joined", told.id, guild, now);
        } else if before.unavailable {
            self.tell("available", told.id, guild, now);
        }
        self.followed(before.awaited, now);
    }

    /// `GUILD_DELETE`.
    pub(crate) fn delete(&mut self, told: Told, now: TimeMs) {
        if told.unavailable {
            return self.cut_off(told.id, now);
        }
        let guild = self.known.remove(&told.id).unwrap_or_default();
        self.tell("left", told.id, guild, now);
        self.followed(guild.awaited, now);
    }

    /// Time has passed: counts the guilds if a day has begun.
    pub(crate) fn pass(&mut self, now: TimeMs) {
        if self.listed && day(now) != self.counted_on {
            self.count(now);
        }
    }

    fn cut_off(&mut self, id: u64, now: TimeMs) {
        let guild = self.known.entry(id).or_default();
        let before = mem::replace(guild, Guild { unavailable: true, awaited: false, ..*guild });
        if !before.unavailable {
            self.tell("unavailable", id, before, now);
        }
        self.followed(before.awaited, now);
    }

    /// Something was said of a guild. With the last one that `READY` named, the session's guilds are all there.
    fn followed(&mut self, awaited: bool, now: TimeMs) {
        if awaited {
            self.awaited -= 1;
            if self.awaited == 0 {
                self.count(now);
            }
        }
    }

    fn count(&mut self, now: TimeMs) {
        self.counted_on = day(now);
        let members = self.known.values().fold(0, |sum: u32, guild| sum.saturating_add(guild.members));
        self.tell("counted", 0, Guild { members, ..Guild::default() }, now);
    }

    fn tell(&mut self, event: &'static str, guild_id: u64, guild: Guild, now: TimeMs) {
        self.told_until = now.max(TimeMs(self.told_until.0 + 1));
        self.rows.push(GuildEvent {
            time: self.told_until,
            shard: self.shard,
            guild_id,
            event: event.into(),
            member_count: guild.members,
            // Discord lets a shard have 2,500.
            guilds: if self.listed { u32::try_from(self.known.len()).unwrap_or(u32::MAX) } else { 0 },
            joined_at: guild.joined_at,
        });
    }
}

fn day(time: TimeMs) -> i64 {
    time.0.div_euclid(DAY_MS)
}

#[cfg(test)]
mod tests;
