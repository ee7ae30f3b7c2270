//! One shard: its session, the connection it has just now, and what is counted about it. All of it outlives
//! a connection.

use super::session::{NotResumed, Session};
use crate::ledger::{InteractionRecord, ShardLedger};
use crate::payload;
use crate::world::World;
use bytes::Bytes;
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
        let guilds = world.population.guilds_of(self.id);
        let told = World::wanted(intents, "GUILD_CREATE", true);
        let unannounced = guilds.iter().filter(|_| told).copied().collect();
        let mut session = Session::new(id, intents, unannounced);
        let of = (self.id, world.scenario.shards);
        let url = world.resume_url(self.id);
        let ready = payload::ready(&world.population, of, &session.id, &url);
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
        let Happening { event, data, in_guild, interaction } = happening;
        let mut state = self.state();
        let State { session, ledger, .. } = &mut *state;
        match session {
            Some(session) if World::wanted(session.intents, event, in_guild) => {
                session.push(event, &data, interaction);
            }
            Some(_) => ledger.dispatches.entry(event.into()).or_default().withheld += 1,
            None => ledger.dispatches.entry(event.into()).or_default().lost += 1,
        }
        drop(state);
        self.news.notify_one();
    }

    /// Hands up to about `bytes` to the connection, counted as sent. Empty: nothing to send, or the
    /// shard has another connection by now.
    pub(super) fn pull(&self, world: &World, connection: u64, bytes: usize) -> Vec<Bytes> {
        let mut state = self.state();
        let State { session, live, ledger, .. } = &mut *state;
        let mut pulled = Vec::new();
        let (Some(session), Some(live)) = (session, live) else {
            return pulled;
        };
        if live.connection != connection {
            return pulled;
        }
        let mut left = bytes;
        while left > 0 {
            if session.is_drained() && !session.announce(world) {
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
mod tests {
    use super::{Happening, Live, NotResumed, Shard};
    use crate::ledger::DispatchTally;
    use crate::scenario::Scenario;
    use crate::world::World;
    use tokio::sync::mpsc;

    /// No GUILDS intent: READY is all there is.
    const MESSAGES: u64 = 1 << 9;
    const MESSAGE: Happening =
        Happening { event: "MESSAGE_CREATE", data: String::new(), in_guild: true, interaction: None };

    fn world() -> World {
        let scenario = Scenario { shards: 1, guilds: 1, replay_limit: 4, ..Scenario::default() };
        World::new(scenario, ([127, 0, 0, 1], 0).into())
    }

    fn attach(shard: &Shard, connection: u64) {
        // Nobody gives orders here.
        let (orders, _) = mpsc::channel(1);
        shard.attach(Live { connection, orders });
    }

    fn tally(shard: &Shard, event: &str) -> DispatchTally {
        shard.ledger().dispatches.get(event).copied().unwrap_or_default()
    }

    fn session_id(shard: &Shard) -> String {
        shard.state().session.as_ref().expect("started").id.clone()
    }

    #[test]
    fn a_dispatch_counts_once_and_a_copy_counts_as_resent() {
        let world = world();
        let shard = &world.shards[0];
        attach(shard, 1);
        shard.start_session(&world, MESSAGES);
        shard.push(MESSAGE);
        assert_eq!(shard.pull(&world, 1, usize::MAX).len(), 2, "READY and one");
        shard.detach(1);
        shard.push(MESSAGE);

        attach(shard, 2);
        // The client has READY only: the first message is sent again, the second for the first time.
        shard.resume(&session_id(shard), 1).expect("resumable");
        shard.push(MESSAGE);
        assert_eq!(shard.pull(&world, 2, usize::MAX).len(), 4);
        let messages = tally(shard, "MESSAGE_CREATE");
        assert_eq!((messages.live, messages.late, messages.resent), (2, 1, 1));
        assert_eq!(messages.distinct(), 3);
        assert_eq!(tally(shard, "RESUMED").live, 1);
    }

    #[test]
    fn a_resumed_that_was_cut_off_is_not_replayed() {
        let world = world();
        let shard = &world.shards[0];
        attach(shard, 1);
        shard.start_session(&world, MESSAGES);
        shard.pull(&world, 1, usize::MAX);
        for connection in 2..4 {
            shard.detach(connection - 1);
            attach(shard, connection);
            shard.resume(&session_id(shard), 1).expect("resumable");
            assert_eq!(shard.pull(&world, connection, usize::MAX).len(), 1);
        }
        let resumed = tally(shard, "RESUMED");
        assert_eq!((resumed.live, resumed.lost, resumed.resent), (1, 1, 0));
    }

    #[tokio::test]
    async fn what_was_not_sent_makes_traffic_wait_and_what_was_sent_makes_room() {
        let world = world();
        let shard = &world.shards[0];
        attach(shard, 1);
        shard.start_session(&world, MESSAGES);
        shard.pull(&world, 1, usize::MAX);
        shard.detach(1);
        for _ in 0..4 {
            assert_eq!(shard.ready_for_traffic().await, MESSAGES);
            shard.push(MESSAGE);
        }
        // READY was sent, and could be sent again: what waits does not push it out.
        let mut full = std::pin::pin!(shard.ready_for_traffic());
        tokio::select! {
            biased;
            _ = &mut full => panic!("the ring is full"),
            () = std::future::ready(()) => {}
        }
        attach(shard, 2);
        shard.resume(&session_id(shard), 0).expect("nothing was let go");
        shard.pull(&world, 2, usize::MAX);
        full.await;
        assert_eq!(tally(shard, "MESSAGE_CREATE").late, 4);
    }

    #[test]
    fn a_session_s_end_loses_what_was_not_sent() {
        let world = world();
        let shard = &world.shards[0];
        attach(shard, 1);
        shard.start_session(&world, MESSAGES);
        shard.pull(&world, 1, usize::MAX);
        shard.push(MESSAGE);
        shard.forget();
        shard.push(MESSAGE);
        assert_eq!(tally(shard, "MESSAGE_CREATE").lost, 2);
        assert_eq!(shard.resume("unknown", 1), Err(NotResumed::Gone));
    }
}
