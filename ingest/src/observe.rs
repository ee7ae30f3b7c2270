//! A wrapper around twilight's `Shard` that sees everything the shard sees, and lets everything through untouched.
//!
//! It is a `Stream` of the same items, so `next_event` works on it as on the shard. Every dispatch is counted from its raw
//! text, also of types that the bot never parses; only interactions and guild membership are parsed, and of these only the
//! fields that a row needs. The shard's state is compared after every poll, because some losses yield no message at all.

use std::{
    collections::HashSet,
    fmt,
    ops::{Deref, DerefMut},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::Stream;
use shardlake_schema::{TimeMs, rows::ShardEvent};
use twilight_gateway::{
    Message, Shard, ShardState,
    error::{ReceiveMessageError, ReceiveMessageErrorType},
    queue::{InMemoryQueue, Queue},
};
use twilight_model::gateway::event::GatewayEventDeserializer;

use crate::{
    dispatches::Dispatches,
    lifecycle::{Lifecycle, Reading, Sign, State},
    recorder::Shared,
    row,
    watch::ShardCell,
};

type Item = Result<Message, ReceiveMessageError>;

/// A [`Shard`] whose events are recorded.
///
/// It dereferences to the shard, so its accessors and commands stay at hand. Drop it before
/// [`crate::Recorder::shutdown`]: dropping hands over the counts of the last seconds.
pub struct Observed<Q = InMemoryQueue> {
    shard: Shard<Q>,
    eye: Eye,
}

/// What watches the shard. Apart from the shard so that a panic in here cannot leave the shard half borrowed.
struct Eye {
    shared: Arc<Shared>,
    cell: Arc<ShardCell>,
    lifecycle: Lifecycle,
    dispatches: Dispatches,
    /// Guilds of this session, from `READY`, `GUILD_CREATE` and `GUILD_DELETE`.
    guilds: HashSet<u64>,
    /// Reused between polls.
    events: Vec<ShardEvent>,
}

impl<Q> Observed<Q> {
    pub(crate) fn new(shard: Shard<Q>, shared: Arc<Shared>) -> Self {
        // Discord's largest bots have a few thousand shards; a u16 holds 65,535.
        let id = u16::try_from(shard.id().number()).unwrap_or(u16::MAX);
        let cell = shared.watch_shard(id);
        let eye = Eye {
            cell,
            lifecycle: Lifecycle::new(id, shard.state(), TimeMs::now()),
            dispatches: Dispatches::new(Arc::clone(&shared), id),
            guilds: HashSet::new(),
            events: Vec::new(),
            shared,
        };
        Self { shard, eye }
    }
}

impl<Q: Queue + Unpin> Stream for Observed<Q> {
    type Item = Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.shard).poll_next(cx);
        let seen = catch_unwind(AssertUnwindSafe(|| this.eye.see(&polled, &this.shard)));
        if seen.is_err() {
            this.eye.shared.metrics.instrumentation_errors.with_label_values(&["observe"]).inc();
        }
        polled
    }
}

impl Eye {
    fn see<Q>(&mut self, polled: &Poll<Option<Item>>, shard: &Shard<Q>) {
        let state = shard.state();
        let Poll::Ready(item) = polled else {
            if !self.lifecycle.is_steady(state) {
                self.change(&Sign::Nothing, shard, TimeMs::now());
            }
            return;
        };
        let now = TimeMs::now();
        self.dispatches.roll(now);
        let sign = match item {
            Some(Ok(Message::Text(payload))) => self.read(payload, State::of(state), now),
            Some(Ok(Message::Close(frame))) => Sign::Close(frame.as_ref()),
            Some(Err(error)) => Sign::Error { connect: matches!(error.kind(), ReceiveMessageErrorType::Reconnect) },
            None => Sign::Nothing,
        };
        let ordinary = matches!(sign, Sign::Dispatch | Sign::Other | Sign::Nothing);
        if ordinary && self.lifecycle.is_steady(state) && state != ShardState::Resuming {
            if matches!(sign, Sign::Other) {
                self.cell.note(shard); // a heartbeat was answered: the latency is new
            }
            return;
        }
        self.change(&sign, shard, now);
    }

    /// Counts a payload and parses what is of interest.
    fn read(&mut self, payload: &str, state: State, now: TimeMs) -> Sign<'static> {
        let Some(header) = GatewayEventDeserializer::from_json(payload) else {
            return Sign::Other;
        };
        let (op, _, event) = header.into_parts();
        let Some(event) = event.filter(|_| op == 0) else {
            return Sign::of_opcode(op, payload);
        };
        self.dispatches.count(&event, payload.len(), state == State::Resuming, now);
        match &*event {
            "INTERACTION_CREATE" => {
                self.parsed(row::received(payload), |eye, seen| eye.shared.received(&seen, eye.cell.shard, now));
            }
            "READY" => {
                self.parsed(row::ready(payload), |eye, guilds| eye.guilds = guilds);
                return Sign::Ready;
            }
            "RESUMED" => return Sign::Resumed,
            "GUILD_CREATE" => self.parsed(row::guild(payload), |eye, guild| {
                eye.guilds.insert(guild.id);
            }),
            "GUILD_DELETE" => self.parsed(row::guild(payload), |eye, guild| {
                if !guild.unavailable {
                    eye.guilds.remove(&guild.id);
                }
            }),
            _ => return Sign::Dispatch,
        }
        self.cell.set_guilds(self.guilds.len());
        Sign::Dispatch
    }

    fn parsed<T>(&mut self, parsed: serde_json::Result<T>, then: impl FnOnce(&mut Self, T)) {
        match parsed {
            Ok(value) => then(self, value),
            // The error's text may quote the payload, so it goes nowhere.
            Err(_) => self.shared.metrics.instrumentation_errors.with_label_values(&["parse"]).inc(),
        }
    }

    fn change<Q>(&mut self, sign: &Sign<'_>, shard: &Shard<Q>, now: TimeMs) {
        let latency = shard.latency();
        let reading = Reading {
            now,
            state: shard.state(),
            latency: latency.recent().first().copied(),
            unanswered_since: if latency.received().is_none() { latency.sent() } else { None },
        };
        let had_session = self.lifecycle.was_active();
        self.lifecycle.see(sign, reading, &self.shared.names.close_reasons, &mut self.events);
        self.hand_over(had_session);
        self.cell.note(shard);
        self.cell.note_state(reading.state, matches!(sign, Sign::Hello(_)), now);
        if matches!(sign, Sign::Ready) {
            self.cell.set_guilds(self.guilds.len());
        }
    }

    fn hand_over(&mut self, had_session: bool) {
        let shard = [self.cell.shard_label()];
        for event in self.events.drain(..) {
            match event.event.as_str() {
                "disconnected" => self.shared.metrics.shard_disconnects.with_label_values(&shard).inc(),
                "ready" | "resumed" if had_session => {
                    self.shared.metrics.shard_reconnects.with_label_values(&shard).inc();
                }
                _ => {}
            }
            self.shared.lanes.shard_events.push(event);
        }
    }
}

impl Drop for Eye {
    fn drop(&mut self) {
        self.lifecycle.end(&mut self.events);
        self.hand_over(false);
        self.shared.forget_shard(&self.cell);
    }
}

impl<Q> Deref for Observed<Q> {
    type Target = Shard<Q>;

    fn deref(&self) -> &Shard<Q> {
        &self.shard
    }
}

impl<Q> DerefMut for Observed<Q> {
    fn deref_mut(&mut self) -> &mut Shard<Q> {
        &mut self.shard
    }
}

impl<Q> fmt::Debug for Observed<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").field("shard", &self.shard.id()).finish_non_exhaustive()
    }
}
