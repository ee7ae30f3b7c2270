//! What all connections share: the population, the shards and their sessions, the identify limits and
//! the ledger.

use crate::faults::Fault;
use crate::gateway::intents;
use crate::gateway::shard::{Armed, Order, Shard};
use crate::ledger::{FaultRecord, Ledger, LedgerSnapshot};
use crate::population::Population;
use crate::random::mix;
use crate::scenario::Scenario;
use crate::snowflake::now_ms;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One simulated Discord.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) population: Population,
    /// By number.
    pub(crate) shards: Vec<Shard>,
    pub(crate) ledger: Ledger,
    pub(crate) address: SocketAddr,
    /// Tells connections apart.
    connections: AtomicU64,
    door: Mutex<Door>,
}

/// Who may come in.
#[derive(Debug)]
struct Door {
    /// No gateway connection gets an answer before this.
    refuse_until: Option<Instant>,
    /// When each bucket (`shard % max_concurrency`) last let an IDENTIFY through.
    buckets: Vec<Option<Instant>>,
    /// IDENTIFYs left.
    session_starts: u32,
}

/// What becomes of an IDENTIFY, as far as the limits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Granted,
    /// Another one of this bucket was let through less than a window ago.
    TooEarly,
    /// The day's session starts are used up.
    Exhausted,
}

impl World {
    pub(crate) fn new(scenario: Scenario, address: SocketAddr) -> Self {
        let Scenario { seed, guilds, users, shards, .. } = scenario;
        Self {
            population: Population::new(seed, guilds, users, shards),
            shards: (0..shards).map(|id| Shard::new(id, scenario.replay_limit)).collect(),
            ledger: Ledger::new(now_ms()),
            address,
            connections: AtomicU64::new(0),
            door: Mutex::new(Door {
                refuse_until: None,
                buckets: vec![None; scenario.max_concurrency as usize],
                session_starts: scenario.session_starts,
            }),
            scenario,
        }
    }

    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// `ws://127.0.0.1:PORT`, without a trailing slash.
    pub(crate) fn gateway_url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Where a session of this shard resumes.
    pub(crate) fn resume_url(&self, shard: u32) -> String {
        format!("{}/shard/{shard}", self.gateway_url())
    }

    /// Whether gateway connections are to be reset unanswered just now.
    pub(crate) fn refuses(&self) -> bool {
        let door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        door.refuse_until.is_some_and(|until| Instant::now() < until)
    }

    /// Session starts left today.
    pub(crate) fn session_starts_left(&self) -> u32 {
        let door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        door.session_starts
    }

    /// An IDENTIFY asks to be let in.
    pub(crate) fn admit(&self, shard: u32) -> Admission {
        let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        if door.session_starts == 0 {
            return Admission::Exhausted;
        }
        let window = Duration::from_millis(self.scenario.identify_window_ms);
        let bucket = (shard % self.scenario.max_concurrency) as usize;
        let now = Instant::now();
        if door.buckets[bucket].is_some_and(|last| now < last + window) {
            return Admission::TooEarly;
        }
        door.buckets[bucket] = Some(now);
        door.session_starts -= 1;
        Admission::Granted
    }

    /// The shard that a connection which has not said so yet belongs to, if it must not get a HELLO.
    /// `hint` is the shard its address names.
    pub(crate) fn claim_silent_hello(&self, hint: Option<u32>) -> Option<u32> {
        let claims = |shard: &&Shard| shard.claim(|armed| std::mem::take(&mut armed.hello));
        let found = match hint {
            Some(hint) => self.shards.get(hint as usize).filter(claims),
            None => self.shards.iter().filter(|shard| !shard.is_connected()).find(claims),
        };
        found.map(|shard| shard.id)
    }

    /// Makes something go wrong. A shard that the scenario does not have is left alone.
    pub(crate) fn inject(&self, shard: u32, fault: Fault) {
        let Some(target) = self.shards.get(shard as usize) else {
            return;
        };
        let arm = |set: fn(&mut Armed)| target.arm(set);
        let order = match fault {
            Fault::Refuse { for_ms } => {
                let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
                door.refuse_until = Some(Instant::now() + Duration::from_millis(for_ms));
                None
            }
            Fault::SessionLost => {
                target.forget();
                Some(Fault::Fin)
            }
            Fault::RejectIdentify { code } => {
                target.reject_next_identify(code);
                Some(Fault::InvalidSession { resumable: false })
            }
            Fault::HelloNeverSent => {
                arm(|armed| armed.hello = true);
                Some(Fault::Fin)
            }
            Fault::IdentifyNeverAnswered => {
                arm(|armed| armed.identify = true);
                Some(Fault::InvalidSession { resumable: false })
            }
            Fault::ResumeNeverAnswered => {
                arm(|armed| armed.resume = true);
                Some(Fault::Fin)
            }
            Fault::Guilds { change, guilds } => {
                self.ledger.guilds(target.change_guilds(self, change, guilds));
                None
            }
            now => Some(now),
        };
        let hit = match order {
            Some(fault) => target.order(Order::Fault(fault)),
            None => matches!(fault, Fault::Guilds { .. }) && target.is_connected(),
        };
        tracing::info!(shard, ?fault, hit, "fault injected");
        self.ledger.fault(FaultRecord { at_ms: now_ms(), shard, fault, hit });
    }

    pub(crate) fn snapshot(&self) -> LedgerSnapshot {
        let shards = self.shards.iter().map(|shard| (shard.id, shard.ledger()));
        self.ledger.snapshot(now_ms(), shards.collect())
    }

    /// The token by which a client answers this interaction: nobody else knows the seed.
    pub(crate) fn interaction_token(&self, id: u64) -> String {
        let (a, b) = (mix(id ^ mix(self.scenario.seed)), mix(!id));
        format!("aW50ZXJhY3Rpb24{a:016x}{b:016x}{:016x}-{id}", mix(a ^ b))
    }

    /// The interaction that a token is for.
    pub(crate) fn interaction_of(&self, token: &str) -> Option<u64> {
        let id = token.rsplit_once('-')?.1.parse().ok()?;
        (self.interaction_token(id) == token).then_some(id)
    }

    /// Whether a client with these intents is told of this event type. `in_guild` tells a guild's message
    /// from a direct one.
    pub(crate) fn wanted(intents: u64, event: &str, in_guild: bool) -> bool {
        intents::needed(event, in_guild).is_none_or(|bits| intents & bits != 0)
    }
}
