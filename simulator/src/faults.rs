//! What can go wrong between a bot and Discord, on demand and on a schedule.
//!
//! A connection says which shard it is only in its IDENTIFY or RESUME. Before that the simulator goes by
//! the address: READY's `resume_gateway_url` names the shard, so a connection that comes to resume is
//! known at once. Of the others, the first one that comes while an unconnected shard waits with
//! [`Fault::HelloNeverSent`] is taken for that shard.

use serde::{Deserialize, Serialize};

/// One thing that goes wrong on one shard.
///
/// Unless said otherwise a fault hits the shard's connection at once, and comes to nothing when there is
/// none. The four silences end when the client gives up the connection, or with [`Fault::Reset`] or
/// [`Fault::Fin`] on the same shard; the connection after that is normal again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fault {
    /// Opcode 7: the client is asked to reconnect and resume. Nothing is dispatched on this connection
    /// any more.
    Reconnect,
    /// Opcode 9. Not resumable: the session is gone, what it had not sent yet is lost.
    InvalidSession {
        /// Whether the client may RESUME.
        resumable: bool,
    },
    /// Opcode 1: the client is asked for a heartbeat.
    HeartbeatRequest,
    /// A close frame with this code, which Discord's table or the WebSocket standard defines. Fatal ones
    /// (4004, 4010 to 4014) and 1000 or 1001 leave the session as it is: the client decides. A code that
    /// cannot go over the wire (1004 to 1006, 1015, below 1000, above 4999) closes without a code.
    Close {
        /// The code.
        code: u16,
    },
    /// The connection is cut by a TCP reset; what was under way is gone.
    Reset,
    /// The connection ends by TCP FIN, without a close frame.
    Fin,
    /// For this long every gateway connection is reset before it gets an answer, whatever its shard.
    /// Connections that exist stay.
    Refuse {
        /// How long, in milliseconds from now.
        for_ms: u64,
    },
    /// The session is forgotten and the connection ended by FIN: RESUME will get opcode 9, false.
    SessionLost,
    /// The connection stays, but nothing comes any more, not even ACKs: the client finds it "zombied".
    Mute,
    /// Dispatches go on, heartbeats are not acknowledged any more.
    AcksWithheld,
    /// The next IDENTIFY is answered with this close code. A connection that exists is sent to IDENTIFY
    /// again by opcode 9, false.
    RejectIdentify {
        /// The code, as in [`Fault::Close`].
        code: u16,
    },
    /// Silence 1: the next connection is accepted and gets no HELLO. One that exists is ended by FIN.
    HelloNeverSent,
    /// Silence 2: the next IDENTIFY is not answered; heartbeats are. One that exists is sent to IDENTIFY
    /// again by opcode 9, false.
    IdentifyNeverAnswered,
    /// Silence 3: the next RESUME is not answered; heartbeats are. A connection that exists is ended by
    /// FIN, so that its client resumes.
    ResumeNeverAnswered,
    /// Silence 4: opcode 7, and the client's close frame is never answered; the connection stays open.
    CloseNeverCompleted,
    /// A dispatch of a type that nobody knows: `SHARDLAKE_UNHEARD_OF`.
    UnknownDispatch,
    /// A `MESSAGE_CREATE` that lacks every field.
    MalformedDispatch,
    /// Opcode 99.
    UnknownOpcode,
    /// Nothing is wrong with the connection: something happens to guilds of the shard, and the client is told, at once or
    /// when it returns.
    Guilds {
        /// What happens to them.
        change: GuildChange,
        /// To how many: the first ones that it can happen to.
        guilds: u32,
    },
}

/// What can happen to a guild.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuildChange {
    /// The bot is invited. Only to guilds that it has left: a population does not grow.
    Joined,
    /// The bot is removed.
    Left,
    /// An outage.
    Unavailable,
    /// The outage is over.
    Available,
}

/// Which shards a scheduled fault is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shards {
    /// Every shard.
    All,
    /// These.
    These(Vec<u32>),
}

/// A fault at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledFault {
    /// When, in milliseconds after the simulator's start.
    pub at_ms: u64,
    /// On which shards.
    pub shards: Shards,
    /// Spread evenly over this many milliseconds, in the order of the shards; 0 is all at once.
    #[serde(default)]
    pub over_ms: u64,
    /// What.
    pub fault: Fault,
}

impl ScheduledFault {
    /// Opcode 7 to every shard, spread over `over_ms`: what a deployment at Discord looks like.
    pub const fn reconnect_storm(at_ms: u64, over_ms: u64) -> Self {
        Self { at_ms, shards: Shards::All, over_ms, fault: Fault::Reconnect }
    }

    /// Opcode 9 to every shard at once: with `resumable` false all of them have to IDENTIFY again, as
    /// fast as `max_concurrency` lets them.
    pub const fn invalid_session_storm(at_ms: u64, resumable: bool) -> Self {
        Self { at_ms, shards: Shards::All, over_ms: 0, fault: Fault::InvalidSession { resumable } }
    }

    /// When it hits which shard, in milliseconds after the start; `shards` is how many there are.
    pub(crate) fn hits(&self, shards: u32) -> Vec<(u64, u32)> {
        let chosen = match &self.shards {
            Shards::All => (0..shards).collect(),
            Shards::These(list) => list.clone(),
        };
        let count = chosen.len().max(1) as u64;
        let at = |n: u64| self.at_ms + self.over_ms * n / count;
        (0..).map(at).zip(chosen).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, ScheduledFault, Shards};

    #[test]
    fn a_storm_is_spread_evenly() {
        let storm = ScheduledFault::reconnect_storm(1_000, 400);
        let hits = [(1_000, 0), (1_100, 1), (1_200, 2), (1_300, 3)];
        assert_eq!(storm.hits(4), hits);
        let some = ScheduledFault { shards: Shards::These(vec![7, 2]), over_ms: 0, ..storm };
        assert_eq!(some.hits(16), [(1_000, 7), (1_000, 2)]);
        assert_eq!(some.fault, Fault::Reconnect);
    }
}
