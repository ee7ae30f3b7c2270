//! The shard's guilds as they come and go: the bot is invited and removed, and guilds are cut off by an outage. Most are
//! there all the time; kept is what differs. It outlives sessions, as it does at Discord, so READY names the guilds that
//! are there then, and an outage is announced to every session by a `GUILD_DELETE`.

use super::{Happening, Shard};
use crate::faults::GuildChange;
use crate::ledger::GuildRecord;
use crate::payload;
use crate::population::Population;
use crate::snowflake::{created_ms, now_ms};
use crate::world::World;
use std::collections::BTreeMap;

/// How the guilds stand that are not as they were at the start; by index in the population.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Standings(BTreeMap<usize, Standing>);

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    gone: bool,
    unavailable: bool,
    /// When the bot joined; None: when the guild was made.
    joined_ms: Option<u64>,
}

impl Standings {
    /// Those of `guilds` that the bot is in.
    pub(super) fn present(&self, guilds: &[usize]) -> Vec<usize> {
        guilds.iter().copied().filter(|guild| !self.of(*guild).gone).collect()
    }

    fn of(&self, guild: usize) -> Standing {
        self.0.get(&guild).copied().unwrap_or_default()
    }

    /// What a session is told of a guild that READY named; None if the bot is not in it any more.
    pub(in crate::gateway) fn announcement(
        &self,
        population: &Population,
        guild: usize,
    ) -> Option<(&'static str, String)> {
        let standing = self.of(guild);
        (!standing.gone).then(|| standing.dispatch(population, guild))
    }
}

impl Standing {
    fn dispatch(self, population: &Population, guild: usize) -> (&'static str, String) {
        let guild = population.guild(guild);
        if self.gone || self.unavailable {
            return ("GUILD_DELETE", payload::guild_gone(guild.id, !self.gone));
        }
        ("GUILD_CREATE", payload::guild(population, guild, self.joined_ms.unwrap_or(created_ms(guild.id))))
    }

    /// What becomes of it; None if this cannot happen to it.
    fn after(self, change: GuildChange) -> Option<Self> {
        let possible = match change {
            GuildChange::Joined => self.gone,
            GuildChange::Left => !self.gone,
            GuildChange::Unavailable => !self.gone && !self.unavailable,
            GuildChange::Available => !self.gone && self.unavailable,
        };
        possible.then(|| match change {
            GuildChange::Joined => Self { joined_ms: Some(now_ms()), ..Self::default() },
            GuildChange::Left => Self { gone: true, ..self },
            GuildChange::Unavailable => Self { unavailable: true, ..self },
            GuildChange::Available => Self { unavailable: false, ..self },
        })
    }
}

impl Shard {
    /// This happens to the first `most` guilds that it can happen to. What was done.
    pub(crate) fn change_guilds(&self, world: &World, change: GuildChange, most: u32) -> Vec<GuildRecord> {
        let mut state = self.state();
        let mut done = Vec::new();
        for index in world.population.guilds_of(self.id) {
            let Some(standing) = state.standings.of(*index).after(change).filter(|_| done.len() < most as usize) else {
                continue;
            };
            let guild = world.population.guild(*index);
            state.standings.0.insert(*index, standing);
            let (event, data) = standing.dispatch(&world.population, *index);
            state.tell(Happening { event, data, in_guild: true, interaction: None });
            done.push(GuildRecord {
                at_ms: now_ms(),
                shard: self.id,
                guild_id: guild.id,
                change,
                members: guild.members,
                joined_at_ms: standing.joined_ms.unwrap_or(created_ms(guild.id)),
            });
        }
        drop(state);
        self.news.notify_one();
        done
    }
}
