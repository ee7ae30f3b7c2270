//! The ground truth: what the simulator sent and what its clients sent, to hold a recorder's claims
//! against.
//!
//! # How dispatches are counted
//!
//! A dispatch belongs to one session of one shard and has one sequence number there. It is counted at
//! the moment it is handed to the socket of a connection, once under exactly one of these:
//!
//! * **`live`**: its first time on any connection, outside a replay. Also READY and RESUMED.
//! * **`late`**: its first time on any connection, but inside a replay: it came up while the client was
//!   away, and the client sees it between its RESUME and the RESUMED.
//! * **`resent`**: a further time, inside a replay. The client's RESUME named a lower sequence number, so
//!   it never got the first copy (cut off by a reset).
//!
//! So `live + late` is the number of **distinct dispatches delivered** ([`DispatchTally::distinct`]), and
//! a client that takes everything between RESUME and RESUMED for a replay sees exactly `live - resent`
//! outside replays and `late + resent` inside them, as long as no replay is cut off itself.
//! Two limits, both visible: a RESUMED that was cut off is moved from `live` to `lost`, because nobody
//! replays it; and when a session ends while data is still under way (a reset, then an IDENTIFY instead
//! of a RESUME; a client that was killed or closes by itself), nobody can tell what arrived. What was generated but never handed to a
//! socket because its session ended is `lost` too. What the client's intents did not ask for is
//! `withheld`.
//!
//! # Interactions
//!
//! An interaction is recorded when its dispatch is first handed to a socket (`live` or `late`), never
//! twice. Counts are complete; the list of single interactions keeps the newest
//! [`MOST_INTERACTIONS`] and says how many older ones it let go.
//!
//! Reading the ledger changes nothing and is not part of Discord.

use crate::faults::Fault;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

/// Single interactions kept: about 150 MB at worst, 20 minutes of the Stress profile on 16 shards.
pub const MOST_INTERACTIONS: usize = 1_000_000;
/// Faults kept: storms over thousands of shards fit, a run of days stays bounded.
const MOST_FAULTS: usize = 100_000;

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

/// Dispatches of one type on one shard; the module's head says what counts where.
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

/// Why a response to an interaction was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswerable {
    /// Never sent, too old, or a wrong token.
    Unknown,
    /// It has its response already.
    Acknowledged,
}

/// What is not per shard. Per-shard tallies lie with the shard, under its lock.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) started_at_ms: u64,
    everyone: Mutex<Everyone>,
    interactions: Mutex<Interactions>,
}

#[derive(Debug, Default)]
struct Everyone {
    connections_accepted: u64,
    connections_refused: u64,
    rest_calls: BTreeMap<String, u64>,
    faults: VecDeque<FaultRecord>,
}

#[derive(Debug, Default)]
struct Interactions {
    counts: BTreeMap<CountKey, (u64, u64)>,
    /// By id, which is by age.
    single: BTreeMap<u64, InteractionRecord>,
    truncated: u64,
}

type CountKey = (u32, InteractionKind, Cow<'static, str>, bool);

impl Ledger {
    pub(crate) fn new(started_at_ms: u64) -> Self {
        Self { started_at_ms, everyone: Mutex::default(), interactions: Mutex::default() }
    }

    pub(crate) fn connection(&self, accepted: bool) {
        let mut everyone = self.everyone.lock().expect("no panic while counting");
        if accepted {
            everyone.connections_accepted += 1;
        } else {
            everyone.connections_refused += 1;
        }
    }

    pub(crate) fn rest_call(&self, call: String) {
        let mut everyone = self.everyone.lock().expect("no panic while counting");
        *everyone.rest_calls.entry(call).or_default() += 1;
    }

    pub(crate) fn fault(&self, record: FaultRecord) {
        let mut everyone = self.everyone.lock().expect("no panic while counting");
        if everyone.faults.len() == MOST_FAULTS {
            everyone.faults.pop_front();
        }
        everyone.faults.push_back(record);
    }

    /// An interaction's dispatch goes to a socket for the first time.
    pub(crate) fn interaction_sent(&self, record: InteractionRecord) {
        let mut interactions = self.interactions.lock().expect("no panic while counting");
        interactions.counts.entry(key_of(&record)).or_default().0 += 1;
        interactions.single.insert(record.id, record);
        if interactions.single.len() > MOST_INTERACTIONS {
            interactions.single.pop_first();
            interactions.truncated += 1;
        }
    }

    /// The first response to an interaction.
    pub(crate) fn answered(
        &self,
        id: u64,
        answer_type: u8,
        now_ms: u64,
        deadline_ms: u64,
    ) -> Result<InteractionKind, Unanswerable> {
        let mut interactions = self.interactions.lock().expect("no panic while counting");
        let interactions = &mut *interactions;
        let record = interactions.single.get_mut(&id).ok_or(Unanswerable::Unknown)?;
        if record.answered_at_ms.is_some() {
            return Err(Unanswerable::Acknowledged);
        }
        if now_ms.saturating_sub(crate::snowflake::created_ms(id)) > deadline_ms {
            return Err(Unanswerable::Unknown);
        }
        record.answered_at_ms = Some(now_ms);
        record.answer_type = Some(answer_type);
        let count = interactions.counts.get_mut(&key_of(record));
        count.expect("counted when it was sent").1 += 1;
        Ok(record.kind)
    }

    /// An edit of the response, or a further message.
    pub(crate) fn followed_up(&self, id: u64) -> Result<(), Unanswerable> {
        let mut interactions = self.interactions.lock().expect("no panic while counting");
        match interactions.single.get_mut(&id) {
            Some(record) if record.answered_at_ms.is_some() => {
                record.followups += 1;
                Ok(())
            }
            _ => Err(Unanswerable::Unknown),
        }
    }

    /// The single interactions kept, oldest first.
    pub(crate) fn interactions(&self) -> Vec<InteractionRecord> {
        let interactions = self.interactions.lock().expect("no panic while counting");
        interactions.single.values().cloned().collect()
    }

    pub(crate) fn snapshot(&self, taken_at_ms: u64, shards: BTreeMap<u32, ShardLedger>) -> LedgerSnapshot {
        let everyone = self.everyone.lock().expect("no panic while counting");
        let interactions = self.interactions.lock().expect("no panic while counting");
        let count = |((shard, kind, command, in_guild), (sent, answered)): (&CountKey, &_)| InteractionCount {
            shard: *shard,
            kind: *kind,
            command: command.clone(),
            in_guild: *in_guild,
            sent: *sent,
            answered: *answered,
        };
        LedgerSnapshot {
            started_at_ms: self.started_at_ms,
            taken_at_ms,
            connections_accepted: everyone.connections_accepted,
            connections_refused: everyone.connections_refused,
            shards,
            interactions: interactions.counts.iter().map(count).collect(),
            interactions_truncated: interactions.truncated,
            rest_calls: everyone.rest_calls.clone(),
            faults: everyone.faults.iter().cloned().collect(),
        }
    }
}

fn key_of(record: &InteractionRecord) -> CountKey {
    let in_guild = record.guild_id.is_some();
    (record.shard, record.kind, record.command.clone(), in_guild)
}
