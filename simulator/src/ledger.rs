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

mod snapshot;

pub use snapshot::{
    DispatchTally, FaultRecord, GuildRecord, InteractionCount, InteractionKind, InteractionRecord, LedgerSnapshot,
    ShardLedger,
};

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

/// Single interactions kept: about 150 MB at worst, 20 minutes of the Stress profile on 16 shards.
pub const MOST_INTERACTIONS: usize = 1_000_000;
/// Faults kept: storms over thousands of shards fit, a run of days stays bounded.
const MOST_FAULTS: usize = 100_000;
/// Changes of guilds kept: an outage of 100 shards' guilds and its end fit.
const MOST_GUILD_CHANGES: usize = 500_000;

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
    guilds: VecDeque<GuildRecord>,
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

    pub(crate) fn guilds(&self, records: Vec<GuildRecord>) {
        let mut everyone = self.everyone.lock().expect("no panic while counting");
        everyone.guilds.extend(records);
        let too_many = everyone.guilds.len().saturating_sub(MOST_GUILD_CHANGES);
        everyone.guilds.drain(..too_many);
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
            guilds: everyone.guilds.iter().copied().collect(),
        }
    }
}

fn key_of(record: &InteractionRecord) -> CountKey {
    let in_guild = record.guild_id.is_some();
    (record.shard, record.kind, record.command.clone(), in_guild)
}
