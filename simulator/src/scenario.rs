//! What kind of Discord it is: how many guilds, how many shards, how strict, and what goes wrong when.

use crate::error::Error;
use crate::faults::ScheduledFault;
use serde::Deserialize;
use std::fmt;

/// Discord lets one shard have this many guilds (close code 4011 past it).
const MOST_GUILDS_PER_SHARD: u32 = 2_500;
/// A user's number lies in the 22 low bits of its id.
const MOST_USERS: u32 = 1 << 22;

/// The knobs. `Scenario::default()` is a bot with 16 shards and 1,000 guilds.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// Decides the population, and the traffic unless that has a seed of its own. Default 1.
    pub seed: u64,
    /// The bot's token, with or without the `Bot ` prefix; anything else gets close code 4004 and status
    /// 401. Default `simulated`.
    pub token: String,
    /// Guilds the bot is in, at least one per shard. Default 1,000.
    pub guilds: u32,
    /// Users of this Discord, 1 to 4,194,304. Default 100,000.
    pub users: u32,
    /// Shards: recommended by `GET /gateway/bot`, and the only total an IDENTIFY may name (4010).
    /// Default 16.
    pub shards: u32,
    /// IDENTIFYs per window, one per `shard % max_concurrency`; a second one gets opcode 9, false.
    /// Default 16.
    pub max_concurrency: u32,
    /// That window, in milliseconds. Default 5,000, as Discord's.
    pub identify_window_ms: u64,
    /// IDENTIFYs left today, as `GET /gateway/bot` says; past it an IDENTIFY gets 4004. Default 1,000.
    pub session_starts: u32,
    /// In HELLO, in milliseconds. Default 41,250, as Discord's.
    pub heartbeat_interval_ms: u64,
    /// How long a heartbeat waits for its ACK, in milliseconds. Default 25: a fast network's round trip.
    pub ack_delay_ms: u64,
    /// Dispatches a session keeps for a replay, and holds ready for a slow or absent client before
    /// traffic waits. A RESUME from further back gets opcode 9, false. Default 10,000.
    pub replay_limit: usize,
    /// How old an interaction may be when its first response comes, in milliseconds (404 and code 10062
    /// past it). Default 3,000, as Discord's.
    pub answer_deadline_ms: u64,
    /// Intents that are not enabled for this bot; an IDENTIFY that names one gets 4014. Default none.
    pub disallowed_intents: u64,
    /// What goes wrong when. Default nothing.
    pub faults: Vec<ScheduledFault>,
    /// Port on 127.0.0.1; 0 is any free one. Default 0.
    pub port: u16,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            seed: 1,
            token: "simulated".to_owned(),
            guilds: 1_000,
            users: 100_000,
            shards: 16,
            max_concurrency: 16,
            identify_window_ms: 5_000,
            session_starts: 1_000,
            heartbeat_interval_ms: 41_250,
            ack_delay_ms: 25,
            replay_limit: 10_000,
            answer_deadline_ms: 3_000,
            disallowed_intents: 0,
            faults: Vec::new(),
            port: 0,
        }
    }
}

impl fmt::Debug for Scenario {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario")
            .field("seed", &self.seed)
            .field("guilds", &self.guilds)
            .field("shards", &self.shards)
            .field("max_concurrency", &self.max_concurrency)
            .field("heartbeat_interval_ms", &self.heartbeat_interval_ms)
            .field("faults", &self.faults)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Scenario {
    /// The bare token.
    pub(crate) fn bare_token(&self) -> &str {
        self.token.strip_prefix("Bot ").unwrap_or(&self.token)
    }

    /// Whether a client's token is the bot's.
    pub(crate) fn knows(&self, token: &str) -> bool {
        token.strip_prefix("Bot ").unwrap_or(token) == self.bare_token()
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let checks = [
            ("shards", u64::from(self.shards), self.shards > 0, "at least 1"),
            (
                "guilds",
                u64::from(self.guilds),
                self.guilds >= self.shards && self.guilds.div_ceil(self.shards.max(1)) <= MOST_GUILDS_PER_SHARD,
                "1 to 2,500 per shard",
            ),
            ("users", u64::from(self.users), (1..=MOST_USERS).contains(&self.users), "1 to 4,194,304"),
            ("max_concurrency", u64::from(self.max_concurrency), self.max_concurrency > 0, "at least 1"),
            ("heartbeat_interval_ms", self.heartbeat_interval_ms, self.heartbeat_interval_ms > 0, "at least 1"),
            ("replay_limit", self.replay_limit as u64, self.replay_limit > 0, "at least 1"),
        ];
        for (field, value, fine, expected) in checks {
            if !fine {
                return Err(Error::Scenario { field, value, expected });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Scenario;

    #[test]
    fn a_scenario_s_debug_hides_the_token() {
        let scenario = Scenario { token: "very-secret".to_owned(), ..Scenario::default() };
        assert!(!format!("{scenario:?}").contains("very-secret"));
    }

    #[test]
    fn a_bad_value_is_named() {
        let scenario = Scenario { guilds: 3, ..Scenario::default() };
        let error = scenario.check().expect_err("16 shards cannot share 3 guilds");
        assert_eq!(error.to_string(), "scenario: `guilds` is 3, expected 1 to 2,500 per shard");
    }
}
