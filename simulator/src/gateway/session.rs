//! One session of a shard: sequence numbers, and the ring from which a replay comes.
//!
//! Dispatches go into the ring; the connection pulls them out from a cursor. A RESUME moves the cursor back
//! to what the client says it has, and what lies between that and the RESUMED is the replay. Up to
//! `replay_limit` dispatches or [`MOST_BYTES`] stay in the ring after they were sent, for a replay; as many
//! may wait to be sent, and then traffic waits too. So nothing that came up is ever lost but with its
//! session.

use super::shard::Standings;
use crate::ledger::{InteractionRecord, ShardLedger};
use crate::payload;
use crate::snowflake::now_ms;
use crate::world::World;
use bytes::Bytes;
use std::collections::VecDeque;

/// Text that a ring holds on either side of its cursor: 4 s of the Stress profile. With 16 shards like
/// that it is 256 MiB, and twice as much when all their clients are away.
const MOST_BYTES: usize = 16 << 20;

/// How a RESUME ends when it is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotResumed {
    /// The session is gone, or too much has happened since.
    Gone,
    /// The client claims to have what was never sent.
    InvalidSeq,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: String,
    pub(super) intents: u64,
    /// Of the newest dispatch.
    seq: u64,
    /// Oldest first.
    ring: VecDeque<Dispatch>,
    /// Of what lies from the cursor on.
    unsent_bytes: usize,
    /// Of what lies before the cursor.
    sent_bytes: usize,
    /// The next of `ring` for the connection; what lies before it has been sent.
    cursor: usize,
    /// The newest dispatch that was ever handed to a socket.
    sent_seq: u64,
    /// The newest dispatch that the ring let go of.
    gone_seq: u64,
    /// Up to here a dispatch is part of the replay that is going on.
    replay_until: u64,
    /// Guilds that READY named and of which nothing has been said yet.
    unannounced: VecDeque<usize>,
}

#[derive(Debug)]
struct Dispatch {
    seq: u64,
    event: &'static str,
    text: Bytes,
    /// Until it is sent.
    interaction: Option<Box<InteractionRecord>>,
}

impl Session {
    /// Nothing has come up yet; `unannounced` are the guilds that READY names.
    pub(super) fn new(id: String, intents: u64, unannounced: VecDeque<usize>) -> Self {
        Self {
            id,
            intents,
            seq: 0,
            ring: VecDeque::new(),
            unsent_bytes: 0,
            sent_bytes: 0,
            cursor: 0,
            sent_seq: 0,
            gone_seq: 0,
            replay_until: 0,
            unannounced,
        }
    }

    /// The client has everything up to `seq`: replay what it lacks, then RESUMED.
    pub(super) fn resume(&mut self, seq: u64, ledger: &mut ShardLedger) -> Result<(), NotResumed> {
        if seq > self.sent_seq {
            return Err(NotResumed::InvalidSeq);
        }
        if seq < self.gone_seq {
            return Err(NotResumed::Gone);
        }
        self.drop_unreceived_resumed(seq, ledger);
        self.rewind(seq);
        self.replay_until = self.seq;
        self.push("RESUMED", r#"{"_trace":["simulated"]}"#, None);
        Ok(())
    }

    pub(super) fn sent_seq(&self) -> u64 {
        self.sent_seq
    }

    /// Whether everything that came up was sent.
    pub(super) fn is_drained(&self) -> bool {
        self.cursor == self.ring.len()
    }

    /// The event types of what would be lost with this session.
    pub(super) fn never_sent(&self) -> impl Iterator<Item = &'static str> {
        self.ring.iter().filter(|d| d.seq > self.sent_seq).map(|d| d.event)
    }

    pub(super) fn push(&mut self, event: &'static str, data: &str, interaction: Option<Box<InteractionRecord>>) {
        self.seq += 1;
        let text = Bytes::from(payload::dispatch(event, self.seq, data));
        self.unsent_bytes += text.len();
        self.ring.push_back(Dispatch { seq: self.seq, event, text, interaction });
    }

    /// What there is to say of the next guild, made only now: a thousand guilds are megabytes.
    pub(super) fn announce(&mut self, world: &World, standings: &Standings) -> bool {
        while let Some(guild) = self.unannounced.pop_front() {
            // One that is gone by now has had its farewell.
            if let Some((event, data)) = standings.announcement(&world.population, guild) {
                self.push(event, &data, None);
                return true;
            }
        }
        false
    }

    /// Whether more may come up: the guilds are through, and not too much waits to be sent.
    pub(super) fn takes_more(&self, replay_limit: usize) -> bool {
        self.unannounced.is_empty() && self.ring.len() - self.cursor < replay_limit && self.unsent_bytes < MOST_BYTES
    }

    /// Lets go of the oldest that were sent.
    pub(super) fn let_go(&mut self, replay_limit: usize) {
        while self.cursor > replay_limit || self.sent_bytes > MOST_BYTES {
            let Some(oldest) = self.ring.pop_front() else { return };
            self.cursor -= 1;
            self.sent_bytes -= oldest.text.len();
            self.gone_seq = oldest.seq;
        }
    }

    /// Moves the cursor behind the dispatch with this sequence number.
    pub(super) fn rewind(&mut self, seq: u64) {
        self.cursor = self.ring.partition_point(|d| d.seq <= seq);
        let bytes = |(sent, unsent), (n, dispatch): (usize, &Dispatch)| {
            let len = dispatch.text.len();
            if n < self.cursor { (sent + len, unsent) } else { (sent, unsent + len) }
        };
        (self.sent_bytes, self.unsent_bytes) = self.ring.iter().enumerate().fold((0, 0), bytes);
    }

    /// The dispatch at the cursor goes to a socket.
    pub(super) fn send_next(&mut self, world: &World, ledger: &mut ShardLedger) -> Bytes {
        let dispatch = &mut self.ring[self.cursor];
        self.cursor += 1;
        self.unsent_bytes -= dispatch.text.len();
        self.sent_bytes += dispatch.text.len();
        let tally = ledger.dispatches.entry(dispatch.event.into()).or_default();
        let bytes = dispatch.text.len() as u64;
        if dispatch.seq <= self.sent_seq {
            tally.resent += 1;
            return dispatch.text.clone();
        }
        self.sent_seq = dispatch.seq;
        if dispatch.seq <= self.replay_until {
            tally.late += 1;
            tally.late_bytes += bytes;
        } else {
            tally.live += 1;
            tally.live_bytes += bytes;
        }
        if let Some(mut record) = dispatch.interaction.take() {
            record.sent_at_ms = now_ms();
            world.ledger.interaction_sent(*record);
        }
        dispatch.text.clone()
    }

    /// A RESUMED says that a replay is over, so an old one must not come up in the next replay.
    fn drop_unreceived_resumed(&mut self, seq: u64, ledger: &mut ShardLedger) {
        let sent_seq = self.sent_seq;
        let tally = ledger.dispatches.entry("RESUMED".into()).or_default();
        self.ring.retain(|dispatch| {
            let unreceived = dispatch.event == "RESUMED" && dispatch.seq > seq;
            if unreceived {
                tally.lost += 1;
                if dispatch.seq <= sent_seq {
                    tally.live -= 1;
                    tally.live_bytes -= dispatch.text.len() as u64;
                }
            }
            !unreceived
        });
    }
}
