//! Interactions of days long past, for tables that have to be as large as a year makes them: the population and the commands
//! of the live traffic, without a gateway, as fast as they can be drawn.
//!
//! A year grows: its last day has twice the interactions of its first. A day has a night with a quarter of the evening's
//! traffic, and weekends a fifth more than other days. What a handler took follows no data of a real bot: log-normal, some
//! commands slower than others.

use crate::commands;
use crate::ledger::InteractionKind;
use crate::population::Population;
use crate::random::{Dice, Weighted};
use crate::snowflake;

const MINUTE_MS: u64 = 60_000;
const MINUTES_OF_DAY: usize = 1_440;

/// One interaction of the past.
#[derive(Clone, Debug)]
pub struct PastInteraction {
    /// When a cluster received it, Unix milliseconds.
    pub received_ms: u64,
    /// Its snowflake; 20 to 400 ms older than the receipt.
    pub id: u64,
    /// The shard that received it.
    pub shard: u32,
    /// Snowflake of the guild.
    pub guild_id: u64,
    /// Snowflake of the user.
    pub user_id: u64,
    /// Its kind.
    pub kind: InteractionKind,
    /// Command, or the prefix of a custom id.
    pub command: &'static str,
    /// The user's locale.
    pub locale: &'static str,
    /// Whether the handler ended in an error: 3 of 100.
    pub failed: bool,
    /// Receipt to first response, milliseconds, from 1.
    pub response_ms: u32,
    /// Receipt to the handler's end, milliseconds, not below `response_ms`.
    pub duration_ms: u32,
}

/// The past of one bot.
#[derive(Debug)]
pub struct History {
    seed: u64,
    population: Population,
    minutes: Weighted,
    shards: Weighted,
}

impl History {
    /// The past of a bot with so many guilds and shards, and users to be members of them. All must be above 0, and there
    /// must be a guild for each shard.
    pub fn new(seed: u64, guilds: u32, users: u32, shards: u32) -> Self {
        let population = Population::new(seed, guilds, users, shards);
        let evening = 20 * 60;
        let minutes = (0..MINUTES_OF_DAY).map(|minute| {
            let apart = minute.abs_diff(evening).min(MINUTES_OF_DAY - minute.abs_diff(evening));
            1_000 - (750 * apart / (MINUTES_OF_DAY / 2)) as u64
        });
        Self { seed, minutes: Weighted::new(minutes), shards: Weighted::new(population.sizes()), population }
    }

    /// How many of `total` interactions of a year fall on its `day`th day, from 0 to 364.
    pub fn of_day(total: u64, day: u64) -> u64 {
        let weight = |day: u64| (365 + day) * if day % 7 >= 5 { 6 } else { 5 };
        total * weight(day) / (0..365).map(weight).sum::<u64>()
    }

    /// `count` interactions of the day that begins at `day_ms` (Unix milliseconds), by time.
    pub fn day(&self, day_ms: u64, count: u64) -> Vec<PastInteraction> {
        let mut dice = Dice::new(self.seed, day_ms);
        let mut times: Vec<u64> = (0..count)
            .map(|_| day_ms + MINUTE_MS * self.minutes.draw(&mut dice) as u64 + dice.below(MINUTE_MS))
            .collect();
        times.sort_unstable();
        times.into_iter().map(|received_ms| self.interaction(received_ms, &mut dice)).collect()
    }

    fn interaction(&self, received_ms: u64, dice: &mut Dice) -> PastInteraction {
        let shard = u32::try_from(self.shards.draw(dice)).expect("as many as there are shards");
        let guild = self.population.draw_guild(shard, dice);
        let (user_id, locale) = self.population.draw_member_id(guild, dice);
        let kind = commands::kind(true, dice);
        let command = commands::draw(kind, dice);
        let slowness = [3.0, 3.4, 3.8, 4.2, 4.6][command.len() % 5];
        let response_ms = log_normal(slowness, 0.6, dice);
        let lag_ms = 20 + u64::from(log_normal(3.6, 0.5, dice)).min(380);
        PastInteraction {
            received_ms,
            id: snowflake::at(received_ms - lag_ms, dice.next()),
            shard,
            guild_id: guild.id,
            user_id,
            kind,
            command,
            locale,
            failed: dice.chance(3),
            response_ms,
            duration_ms: response_ms + log_normal(2.0, 1.0, dice),
        }
    }
}

/// A draw of `exp(mean + deviation × N(0, 1))`, at least 1; the normal draw is the sum of twelve uniform ones.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "e^(5 + 6 × 1) at most, and above 0")]
fn log_normal(mean: f64, deviation: f64, dice: &mut Dice) -> u32 {
    let normal = (0..12).map(|_| dice.unit()).sum::<f64>() - 6.0;
    (mean + deviation * normal).exp() as u32 + 1
}

#[cfg(test)]
mod tests {
    use super::History;

    #[test]
    fn a_year_is_as_long_as_it_was_ordered_and_grows() {
        let days: Vec<u64> = (0..365).map(|day| History::of_day(1_000_000, day)).collect();
        assert!((999_000..=1_000_000).contains(&days.iter().sum::<u64>()));
        assert!(days[357] > days[0] * 19 / 10);
    }

    #[test]
    fn a_day_is_in_order_and_the_same_again() {
        let history = History::new(7, 400, 5_000, 16);
        let day = history.day(1_700_006_400_000, 2_000);
        assert_eq!(day.len(), 2_000);
        assert!(day.is_sorted_by_key(|past| past.received_ms));
        assert!(day.iter().all(|past| (past.guild_id >> 22) % 16 == u64::from(past.shard)));
        assert!(day.iter().all(|past| past.received_ms - 1_700_006_400_000 < 86_400_000));
        let again = History::new(7, 400, 5_000, 16).day(1_700_006_400_000, 2_000);
        assert!(day.iter().zip(&again).all(|(a, b)| (a.id, a.user_id) == (b.id, b.user_id)));
    }
}
