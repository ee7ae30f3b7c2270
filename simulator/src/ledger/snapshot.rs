//! The ledger's contents, as handed out.

use crate::faults::{Fault, GuildChange};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Everything up to one moment. Also served as JSON at `GET /ledger`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LedgerSnapshot {
    /// When the simulator started, in Unix milliseconds.
    pub started_at_ms: u64,
    /// When this was taken, in Unix milliseconds.
    pub taken_at_ms: u64,
    /// Gateway connections that were accepted (upgraded to WebSocket).
    pub connections_accepted: u64,
    /// Gateway connections that were turned away by [`Fault::Refuse`].
    pub connections_refused: u64,
    /// Per shard. Every shard of the scenario is here, also one that never connected.
    pub shards: BTreeMap<u32, ShardLedger>,
    /// Interactions sent, counted. An entry per combination that occurred.
    pub interactions: Vec<InteractionCount>,
    /// Single interactions that were let go because there were too many.
    pub interactions_truncated: u64,
    /// REST calls, by `METHOD path-with-placeholders status`.
    pub rest_calls: BTreeMap<String, u64>,
    /// Faults in the order they were injected, by schedule or by call.
    pub faults: Vec<FaultRecord>,
    /// What happened to guilds, in that order.
    pub guilds: Vec<GuildRecord>,
}

impl LedgerSnapshot {
    /// Distinct dispatches of one type delivered to all shards.
    pub fn distinct(&self, event: &str) -> u64 {
        let tallies = self.shards.values().filter_map(|s| s.dispatches.get(event));
        tallies.map(DispatchTally::distinct).sum()
    }

    /// Distinct dispatches of all types delivered to all shards.
    pub fn distinct_total(&self) -> u64 {
        let tallies = self.shards.values().flat_map(|s| s.dispatches.values());
        tallies.map(DispatchTally::distinct).sum()
    }

    /// Interactions sent to all shards.
    pub fn interactions_sent(&self) -> u64 {
        self.interactions.iter().map(|count| count.sent).sum()
    }
}

/// What happened on one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardLedger {
    /// Dispatches by event type.
    pub dispatches: BTreeMap<Cow<'static, str>, DispatchTally>,
    /// Connections that sent an IDENTIFY or a RESUME for this shard.
    pub connections: u64,
    /// IDENTIFYs received, whatever the answer.
    pub identifies: u64,
    /// RESUMEs received, whatever the answer.
    pub resumes: u64,
    /// Sessions started (IDENTIFY answered with READY).
    pub sessions: u64,
    /// RESUMEs that were granted.
    pub resumed: u64,
    /// Heartbeats received (opcode 1).
    pub heartbeats: u64,
    /// Heartbeat ACKs sent (opcode 11).
    pub heartbeat_acks: u64,
    /// Everything else the client sent, by opcode.
    pub commands: BTreeMap<u64, u64>,
    /// Opcodes sent that are not dispatches, HELLO or ACKs: 1 heartbeat, 7 reconnect, 9 invalid session.
    pub opcodes_sent: BTreeMap<u64, u64>,
    /// Close codes sent.
    pub closes_sent: BTreeMap<u16, u64>,
    /// Close codes received; 1005 stands for a close frame without a code. Answers to our own closes
    /// are not counted.
    pub closes_received: BTreeMap<u16, u64>,
}

/// Dispatches of one type on one shard; the head of the ledger's module says what counts where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DispatchTally {
    /// Sent for the first time, outside a replay.
    pub live: u64,
    /// Bytes of those, as JSON text before compression.
    pub live_bytes: u64,
    /// Sent for the first time, in a replay.
    pub late: u64,
    /// Bytes of those.
    pub late_bytes: u64,
    /// Sent again, in a replay.
    pub resent: u64,
    /// Never sent, because the session ended first; or a RESUMED that never arrived.
    pub lost: u64,
    /// Never sent, because the client's intents do not ask for it.
    pub withheld: u64,
}

impl DispatchTally {
    /// Distinct dispatches delivered.
    pub const fn distinct(&self) -> u64 {
        self.live + self.late
    }

    /// Bytes of those, as JSON text before compression.
    pub const fn distinct_bytes(&self) -> u64 {
        self.live_bytes + self.late_bytes
    }
}

/// Kinds of interaction, commands told apart by where they are called from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InteractionKind {
    /// A slash command.
    Slash,
    /// A command in a user's menu.
    User,
    /// A command in a message's menu.
    Message,
    /// A button or a select menu.
    Component,
    /// Completions wanted for an option of a slash command.
    Autocomplete,
    /// A form sent in.
    Modal,
}

impl InteractionKind {
    /// Discord's number for the type of interaction: 2 to 5.
    pub const fn discord_type(self) -> u8 {
        match self {
            Self::Slash | Self::User | Self::Message => 2,
            Self::Component => 3,
            Self::Autocomplete => 4,
            Self::Modal => 5,
        }
    }
}

/// Interactions that have these four in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InteractionCount {
    /// The shard they were sent to.
    pub shard: u32,
    /// Their kind.
    pub kind: InteractionKind,
    /// The command with its groups and subcommands ("shop buy"), or for components and modals the custom
    /// id up to its colon.
    pub command: Cow<'static, str>,
    /// In a guild, or else in a direct message with the bot.
    pub in_guild: bool,
    /// How many were sent.
    pub sent: u64,
    /// How many of them were answered in time.
    pub answered: u64,
}

/// One interaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InteractionRecord {
    /// Its id, a snowflake: holds the moment of creation.
    pub id: u64,
    /// The shard it was sent to.
    pub shard: u32,
    /// Its kind.
    pub kind: InteractionKind,
    /// As in [`InteractionCount::command`].
    pub command: Cow<'static, str>,
    /// The guild; None in a direct message.
    pub guild_id: Option<u64>,
    /// Who did it.
    pub user_id: u64,
    /// When it was handed to the socket, in Unix milliseconds.
    pub sent_at_ms: u64,
    /// When the first response was posted, in Unix milliseconds.
    pub answered_at_ms: Option<u64>,
    /// The type of that first response (4 message, 5 deferred, ...).
    pub answer_type: Option<u8>,
    /// Edits of the response and follow-up messages.
    pub followups: u32,
}

/// Something that happened to a guild. A client that was away when it did is told when it resumes, or by the next READY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuildRecord {
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// The shard that the guild is of.
    pub shard: u32,
    /// The guild.
    pub guild_id: u64,
    /// What.
    pub change: GuildChange,
    /// Its members.
    pub members: u32,
    /// When the bot joined it, in Unix milliseconds.
    pub joined_at_ms: u64,
}

/// A fault that was injected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRecord {
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// On which shard; faults for all connections name the shard they were injected on.
    pub shard: u32,
    /// What.
    pub fault: Fault,
    /// Whether there was a connection of this shard that it hit at once. If not, it waits for the next
    /// connection or comes to nothing, as each fault says.
    pub hit: bool,
}
