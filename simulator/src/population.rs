//! Who lives in this Discord: guilds, their sizes, their members. Pure arithmetic over the seed: the
//! same seed is the same population, whatever connects and whenever.
//!
//! Guilds follow Zipf's law: a few are huge, most are tiny, and activity follows size. They are dealt to
//! the shards evenly, as Discord's own formula `(guild_id >> 22) % shards` does on average; here the ids
//! are chosen so that no shard comes away empty. A user lives in many guilds, as people do.

use crate::random::{Dice, Weighted, mix};
use crate::snowflake;

/// The most members a guild has: the first rank of Zipf's law.
const LARGEST_GUILD: u32 = 250_000;
/// The least: the bot and an owner.
const SMALLEST_GUILD: u32 = 2;
/// Guilds were made between these two, in Unix milliseconds: 2016 to 2024.
const FIRST_GUILD_MS: u64 = 1_451_606_400_000;
const LAST_GUILD_MS: u64 = 1_704_067_200_000;
/// Text channels of a guild, at most; ids follow the guild's own.
const MOST_CHANNELS: u64 = 12;
/// Roles of a guild besides @everyone.
pub(crate) const ROLES: u64 = 4;

/// Discord's locales, the frequent ones first: drawn by Zipf's law.
const LOCALES: [&str; 12] = ["en-US", "en-GB", "pt-BR", "es-ES", "fr", "de", "ru", "pl", "ja", "ko", "tr", "zh-CN"];
const WORDS: [&str; 24] = [
    "amber", "basalt", "cinder", "dapple", "ember", "fathom", "gale", "harbor", "indigo", "juniper", "kelp", "lantern",
    "meadow", "nimbus", "orchard", "pebble", "quarry", "rustle", "saffron", "thistle", "umber", "velvet", "willow",
    "zephyr",
];

/// One guild ("server").
#[derive(Clone, Debug)]
pub(crate) struct Guild {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) members: u32,
    pub(crate) locale: &'static str,
    pub(crate) channels: u64,
}

impl Guild {
    /// A text channel of this guild, drawn.
    pub(crate) fn channel(&self, dice: &mut Dice) -> u64 {
        self.channel_id(dice.below(self.channels))
    }

    /// The id of the `n`th text channel.
    pub(crate) const fn channel_id(&self, n: u64) -> u64 {
        self.id + 1 + n
    }

    /// The id of the `n`th role; the guild's own id is @everyone.
    pub(crate) const fn role_id(&self, n: u64) -> u64 {
        self.id + 1 + MOST_CHANNELS + n
    }
}

/// One user.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: u64,
    pub(crate) name: String,
    /// 32 hexadecimal digits, as Discord names an avatar.
    pub(crate) avatar: String,
    pub(crate) locale: &'static str,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Population {
    seed: u64,
    users: u64,
    guilds: Vec<Guild>,
    /// Indices into `guilds`, per shard.
    by_shard: Vec<Vec<usize>>,
    /// Draws from `by_shard`, by size.
    activity: Vec<Weighted>,
    locales: Weighted,
}

impl Population {
    pub(crate) fn new(seed: u64, guilds: u32, users: u32, shards: u32) -> Self {
        let locales = Weighted::zipf(LOCALES.len());
        let mut dice = Dice::new(seed, u64::MAX);
        let total = u64::from(shards);
        let mut ranks: Vec<u32> = (1..=guilds).collect();
        for i in (1..ranks.len()).rev() {
            ranks.swap(i, dice.index(i + 1));
        }
        let guilds: Vec<Guild> = (0..)
            .zip(ranks)
            .map(|(n, rank): (u64, u32)| {
                let made = FIRST_GUILD_MS + dice.below(LAST_GUILD_MS - FIRST_GUILD_MS);
                let since_epoch = made - snowflake::EPOCH_MS;
                let dealt = since_epoch - since_epoch % total + n % total;
                Guild {
                    // Room below for the ids of channels and roles.
                    id: snowflake::at(snowflake::EPOCH_MS + dealt, (n << 6) & 0x3f_ffff),
                    name: format!("{} {}", dice.pick(&WORDS), dice.pick(&WORDS)),
                    members: (LARGEST_GUILD / rank).max(SMALLEST_GUILD),
                    locale: LOCALES[locales.draw(&mut dice)],
                    channels: 3 + dice.below(MOST_CHANNELS - 3),
                }
            })
            .collect();
        let mut by_shard = vec![Vec::new(); shards as usize];
        for (n, guild) in guilds.iter().enumerate() {
            let shard = (guild.id >> snowflake::LOW_BITS) % total;
            by_shard[usize::try_from(shard).expect("below a u32")].push(n);
        }
        let activity =
            by_shard.iter().map(|list| Weighted::new(list.iter().map(|n| u64::from(guilds[*n].members)))).collect();
        Self { seed, users: u64::from(users), guilds, by_shard, activity, locales }
    }

    pub(crate) fn guild(&self, index: usize) -> &Guild {
        &self.guilds[index]
    }

    /// The guilds of a shard, as indices for [`Self::guild`].
    pub(crate) fn guilds_of(&self, shard: u32) -> &[usize] {
        &self.by_shard[shard as usize]
    }

    /// Whether a guild with this id is of this shard.
    pub(crate) fn find(&self, shard: u32, guild_id: u64) -> Option<&Guild> {
        let mut of_shard = self.guilds_of(shard).iter().map(|n| &self.guilds[*n]);
        of_shard.find(|guild| guild.id == guild_id)
    }

    /// A guild of this shard, the large ones more often.
    pub(crate) fn draw_guild(&self, shard: u32, dice: &mut Dice) -> &Guild {
        let shard = shard as usize;
        &self.guilds[self.by_shard[shard][self.activity[shard].draw(dice)]]
    }

    /// A member of the guild: a few write most of what is written.
    pub(crate) fn draw_member(&self, guild: &Guild, dice: &mut Dice) -> User {
        self.member(guild, draw_rank(guild, dice))
    }

    /// Id and locale of [`Self::draw_member`].
    pub(crate) fn draw_member_id(&self, guild: &Guild, dice: &mut Dice) -> (u64, &'static str) {
        let index = self.member_index(guild, draw_rank(guild, dice));
        let fate = mix(self.seed ^ mix(index));
        (Self::user_id(fate, index), self.user_locale(fate, index))
    }

    /// Members of each shard's guilds, in the order of the shards.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = u64> {
        let size = |list: &Vec<usize>| list.iter().map(|n| u64::from(self.guilds[*n].members)).sum();
        self.by_shard.iter().map(size)
    }

    /// The `rank`th member of the guild.
    pub(crate) fn member(&self, guild: &Guild, rank: u64) -> User {
        self.user(self.member_index(guild, rank))
    }

    const fn member_index(&self, guild: &Guild, rank: u64) -> u64 {
        mix(guild.id ^ mix(rank)) % self.users
    }

    /// Any user at all.
    pub(crate) fn draw_user(&self, dice: &mut Dice) -> User {
        self.user(dice.below(self.users))
    }

    fn user(&self, index: u64) -> User {
        let fate = mix(self.seed ^ mix(index));
        User {
            id: Self::user_id(fate, index),
            name: format!("{}_{index}", WORDS[usize::try_from(fate % 24).expect("below 24")]),
            avatar: format!("{:016x}{:016x}", fate, mix(fate)),
            locale: self.user_locale(fate, index),
        }
    }

    const fn user_id(fate: u64, index: u64) -> u64 {
        snowflake::at(FIRST_GUILD_MS + fate % (LAST_GUILD_MS - FIRST_GUILD_MS), index)
    }

    fn user_locale(&self, fate: u64, index: u64) -> &'static str {
        LOCALES[self.locales.draw(&mut Dice::new(fate, index))]
    }
}

/// Log-uniform ranks, from 0: Zipf's law without a table per guild.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from 1 to the number of members, which is a u32"
)]
fn draw_rank(guild: &Guild, dice: &mut Dice) -> u64 {
    f64::from(guild.members).powf(dice.unit()) as u64 - 1
}

#[cfg(test)]
mod tests {
    use super::{Dice, Population};
    use std::collections::BTreeSet;

    #[test]
    fn one_seed_is_one_population() {
        let ids = |seed| {
            let population = Population::new(seed, 500, 10_000, 16);
            let mut dice = Dice::new(seed, 3);
            let guild = population.draw_guild(3, &mut dice);
            (population.guilds.iter().map(|g| g.id).collect::<Vec<_>>(), population.draw_member(guild, &mut dice).id)
        };
        assert_eq!(ids(1), ids(1));
        assert_ne!(ids(1), ids(2));
    }

    #[test]
    fn guilds_lie_where_discord_s_formula_puts_them_and_no_shard_is_empty() {
        let population = Population::new(9, 160, 1_000, 16);
        for shard in 0..16_u32 {
            let guilds = population.guilds_of(shard);
            assert_eq!(guilds.len(), 10);
            for guild in guilds {
                assert_eq!((population.guild(*guild).id >> 22) % 16, u64::from(shard));
            }
        }
        let ids: BTreeSet<u64> = population.guilds.iter().map(|guild| guild.id).collect();
        assert_eq!(ids.len(), 160);
    }

    #[test]
    fn sizes_follow_zipf_s_law() {
        let population = Population::new(9, 1_000, 1_000, 4);
        let mut sizes: Vec<u32> = population.guilds.iter().map(|g| g.members).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(sizes[..3], [250_000, 125_000, 83_333]);
        assert_eq!(sizes[999], 250);
    }
}
