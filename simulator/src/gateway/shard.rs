//! One shard: its session, the connection it has just now, and what is counted about it. All of it outlives
//! a connection.

mod membership;

use super::session::{NotResumed, Session};
use crate::ledger::{InteractionRecord, ShardLedger};
use crate::payload;
use crate::world::World;
use bytes::Bytes;
pub(super) use membership::Standings;
use std::sync::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;

/// Something that a client may have to be told.
#[derive(Debug)]
pub(crate) struct Happening {
    pub(crate) event: &'static str,
    /// The dispatch's `d`.
    pub(crate) data: String,
    /// False for what happens in direct messages.
    pub(crate) in_guild: bool,
    /// For an `INTERACTION_CREATE`. Boxed: one in twenty has it.
    pub(crate) interaction: Option<Box<InteractionRecord>>,
}

/// What a connection is told to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// Make this go wrong.
    Fault(crate::faults::Fault),
    /// Another connection has taken the shard over.
    Replaced,
}

/// The connection that a shard has just now.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) connection: u64,
    pub(crate) orders: Sender<Order>,
}

/// What is to happen to the next connection, once.
#[derive(Debug, Default)]
pub(crate) struct Armed {
    pub(crate) hello: bool,
    pub(crate) identify: bool,
    pub(crate) resume: bool,
    pub(crate) reject_identify: Option<u16>,
}

/// One shard.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) id: u32,
    replay_limit: usize,
    state: Mutex<State>,
    /// There is something to pull.
    pub(super) news: Notify,
    /// There is room in the ring, or a session, or its guilds are announced.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    session: Option<Session>,
    live: Option<Live>,
    armed: Armed,
    ledger: ShardLedger,
    sessions_started: u64,
    standings: Standings,
}

impl Shard {
    pub(crate) fn new(id: u32, replay_limit: usize) -> Self {
        Self { id, replay_limit, state: Mutex::default(), news: Notify::new(), room: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while counting")
    }

    pub(crate) fn ledger(&self) -> ShardLedger {
        self.state().ledger.clone()
    }

    /// Counts something.
    pub(super) fn count(&self, count: impl FnOnce(&mut ShardLedger)) {
        count(&mut self.state().ledger);
    }

    pub(crate) fn arm(&self, set: impl FnOnce(&mut Armed)) {
        set(&mut self.state().armed);
    }

    /// Takes what is armed for this occasion.
    pub(crate) fn claim<T>(&self, take: impl FnOnce(&mut Armed) -> T) -> T {
        take(&mut self.state().armed)
    }

    pub(crate) fn reject_next_identify(&self, code: u16) {
        self.arm(|armed| armed.reject_identify = Some(code));
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.state().live.is_some()
    }

    /// Tells the shard's connection to do something; false when it has none.
    pub(crate) fn order(&self, order: Order) -> bool {
        let state = self.state();
        let live = state.live.as_ref();
        live.is_some_and(|live| live.orders.try_send(order).is_ok())
    }

    /// This connection is the shard's from now on.
    pub(super) fn attach(&self, live: Live) {
        if let Some(former) = self.state().live.replace(live) {
            // It may be gone already.
            let _ = former.orders.try_send(Order::Replaced);
        }
    }

    /// The connection is over; the session stays.
    pub(super) fn detach(&self, connection: u64) {
        let mut state = self.state();
        if state.live.as_ref().is_some_and(|live| live.connection == connection) {
            state.live = None;
            if let Some(session) = &mut state.session {
                // Nobody is in a replay any more: what was sent makes room again.
                session.rewind(session.sent_seq());
            }
        }
        drop(state);
        self.room.notify_waiters();
    }

    /// The session is gone, and what it had not sent with it.
    pub(crate) fn forget(&self) {
        self.state().forget();
        self.room.notify_waiters();
    }

    /// A new session for the attached connection: READY, then a `GUILD_CREATE` per guild.
    pub(super) fn start_session(&self, world: &World, intents: u64) {
        let mut state = self.state();
        state.forget();
        state.sessions_started += 1;
        state.ledger.sessions += 1;
        let fate = crate::random::mix(world.scenario.seed ^ state.sessions_started);
        let id = format!("{:08x}{:08x}{fate:016x}", self.id, state.sessions_started);
        let guilds = state.standings.present(world.population.guilds_of(self.id));
        let told = World::wanted(intents, "GUILD_CREATE", true);
        let unannounced = guilds.iter().filter(|_| told).copied().collect();
        let mut session = Session::new(id, intents, unannounced);
        let of = (self.id, world.scenario.shards);
        let url = world.resume_url(self.id);
        let ready = payload::ready(&world.population, of, &guilds, &session.id, &url);
        session.push("READY", &ready, None);
        if !told {
            let tally = state.ledger.dispatches.entry("GUILD_CREATE".into());
            tally.or_default().withheld += guilds.len() as u64;
        }
        state.session = Some(session);
        drop(state);
        self.news.notify_one();
        self.room.notify_waiters();
    }

    /// The attached connection goes on with this session: replay, then RESUMED.
    pub(super) fn resume(&self, session_id: &str, seq: u64) -> Result<(), NotResumed> {
        let mut state = self.state();
        let State { session, ledger, .. } = &mut *state;
        let session = session.as_mut().filter(|session| session.id == session_id).ok_or(NotResumed::Gone)?;
        session.resume(seq, ledger)?;
        ledger.resumed += 1;
        drop(state);
        self.news.notify_one();
        Ok(())
    }

    /// Waits until the shard has a session that is through with its guilds and has room for more.
    /// The intents of that session.
    pub(crate) async fn ready_for_traffic(&self) -> u64 {
        let ready = |state: &mut State| {
            let session = state.session.as_mut()?;
            let ready = session.takes_more(self.replay_limit);
            ready.then_some(session.intents)
        };
        self.when(ready).await
    }

    /// Waits until everything that came up was handed to a socket, or is lost.
    pub(crate) async fn drained(&self) {
        let drained = |state: &mut State| {
            let session = state.session.as_ref();
            session.is_none_or(Session::is_drained).then_some(())
        };
        self.when(drained).await;
    }

    /// Waits until `check` yields something.
    async fn when<T>(&self, mut check: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Before looking: a change in between must wake us.
            room.as_mut().enable();
            if let Some(found) = check(&mut self.state()) {
                return found;
            }
            room.await;
        }
    }

    /// Something happened. What nobody may be told, or nobody is there to be told, is counted.
    pub(crate) fn push(&self, happening: Happening) {
        self.state().tell(happening);
        self.news.notify_one();
    }

    /// Hands up to about `bytes` to the connection, counted as sent. Empty: nothing to send, or the
    /// shard has another connection by now.
    pub(super) fn pull(&self, world: &World, connection: u64, bytes: usize) -> Vec<Bytes> {
        let mut state = self.state();
        let State { session, live, ledger, standings, .. } = &mut *state;
        let mut pulled = Vec::new();
        let (Some(session), Some(live)) = (session, live) else {
            return pulled;
        };
        if live.connection != connection {
            return pulled;
        }
        let mut left = bytes;
        while left > 0 {
            if session.is_drained() && !session.announce(world, standings) {
                break;
            }
            let text = session.send_next(world, ledger);
            left = left.saturating_sub(text.len());
            pulled.push(text);
        }
        session.let_go(self.replay_limit);
        drop(state);
        self.room.notify_waiters();
        pulled
    }

    /// Members of one of the shard's guilds, as the client asked for.
    pub(super) fn push_members(&self, world: &World, guild_id: u64, limit: u64, nonce: &str) {
        if let Some(guild) = world.population.find(self.id, guild_id) {
            self.push(Happening {
                event: "GUILD_MEMBERS_CHUNK",
                data: payload::member_chunk(&world.population, guild, limit, nonce),
                in_guild: true,
                interaction: None,
            });
        }
    }
}

impl State {
    fn tell(&mut self, Happening { event, data, in_guild, interaction }: Happening) {
        match &mut self.session {
            Some(session) if World::wanted(session.intents, event, in_guild) => {
                session.push(event, &data, interaction);
            }
            Some(_) => self.ledger.dispatches.entry(event.into()).or_default().withheld += 1,
            None => self.ledger.dispatches.entry(event.into()).or_default().lost += 1,
        }
    }

    fn forget(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        for event in session.never_sent() {
            self.ledger.dispatches.entry(event.into()).or_default().lost += 1;
        }
    }
}

#[cfg(test)]
mod tests;
