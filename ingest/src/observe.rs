//! A wrapper around twilight's `Shard` that sees everything the shard sees, and lets everything through untouched.
//!
//! It is a `Stream` of the same items, so `next_event` works on it as on the shard. Every dispatch is counted from its raw
//! text, also of types that the bot never parses; only interactions and guild membership are parsed, and of these only the
//! fields that a row needs. The shard's state is compared after every poll, because some losses yield no message at all.

use std::{
    borrow::Cow,
    fmt,
    ops::{Deref, DerefMut},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use futures_util::Stream;
use shardlake_schema::{TimeMs, rows::ShardEvent};
use twilight_gateway::{
    CloseFrame, Message, Shard, ShardState,
    error::{ReceiveMessageError, ReceiveMessageErrorType},
    queue::{InMemoryQueue, Queue},
};
use twilight_model::gateway::event::GatewayEventDeserializer;

use crate::{
    dispatches::Dispatches,
    guilds::Guilds,
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
    guilds: Guilds,
    /// Reused between polls.
    events: Vec<ShardEvent>,
    /// [`Observed::close`] was called on this connection.
    closing: AtomicBool,
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
            guilds: Guilds::new(id, shared.started_at),
            events: Vec::new(),
            closing: AtomicBool::new(false),
            shared,
        };
        Self { shard, eye }
    }

    /// [`Shard::close`], and a note that the loss that follows is the bot's own doing. A close that goes through a
    /// `MessageSender` is mostly recognised too, by the order of events.
    pub fn close(&self, frame: CloseFrame<'static>) {
        self.eye.closing.store(true, Relaxed);
        self.shard.close(frame);
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
        if let Some(now) = self.dispatches.roll() {
            self.guilds.pass(now);
            self.hand_over_guilds();
        }
        let sign = match item {
            Some(Ok(Message::Text(payload))) => self.read(payload, State::of(state)),
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
        self.change(&sign, shard, TimeMs::now());
    }

    /// Counts a payload and parses what is of interest.
    fn read(&mut self, payload: &str, state: State) -> Sign<'static> {
        let event = match header(payload) {
            Header::Dispatch(event) => event,
            Header::Other(op) => return Sign::of_opcode(op, payload),
            Header::None => return Sign::Other,
        };
        self.dispatches.count(&event, payload.len(), state == State::Resuming);
        match &*event {
            "INTERACTION_CREATE" => {
                let now = TimeMs::now();
                self.parsed(row::received(payload), |eye, seen| eye.shared.received(&seen, eye.cell.shard, now));
                return Sign::Dispatch;
            }
            "READY" => {
                self.parsed(row::ready(payload), |eye, guilds| eye.guilds.ready(&guilds, TimeMs::now()));
                self.hand_over_guilds();
                return Sign::Ready;
            }
            "RESUMED" => return Sign::Resumed,
            "GUILD_CREATE" => self.parsed(row::guild(payload), |eye, guild| eye.guilds.create(guild, TimeMs::now())),
            "GUILD_DELETE" => self.parsed(row::guild(payload), |eye, guild| eye.guilds.delete(guild, TimeMs::now())),
            _ => return Sign::Dispatch,
        }
        self.hand_over_guilds();
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
            closing: self.closing.load(Relaxed),
        };
        let had_session = self.lifecycle.was_active();
        self.lifecycle.see(sign, reading, &self.shared.names.close_reasons, &mut self.events);
        self.hand_over(had_session);
        self.cell.note(shard);
        self.cell.note_state(reading.state, matches!(sign, Sign::Hello(_)), now);
    }

    fn hand_over_guilds(&mut self) {
        for row in self.guilds.rows.drain(..) {
            self.shared.lanes.guild_events.push(row);
        }
        self.cell.set_guilds(self.guilds.len());
    }

    fn hand_over(&mut self, had_session: bool) {
        let shard = [self.cell.shard_label()];
        for event in self.events.drain(..) {
            match event.event.as_str() {
                "connecting" => self.closing.store(false, Relaxed),
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

/// What the beginning of a payload says.
enum Header<'a> {
    Dispatch(Cow<'a, str>),
    Other(u8),
    None,
}

fn header(payload: &str) -> Header<'_> {
    if let Some(event) = as_discord_writes_it(payload) {
        return Header::Dispatch(Cow::Borrowed(event));
    }
    let Some(header) = GatewayEventDeserializer::from_json(payload) else { return Header::None };
    match header.into_parts() {
        (0, _, Some(event)) => Header::Dispatch(event),
        (op, ..) => Header::Other(op),
    }
}

/// `{"t":"MESSAGE_CREATE","s":42,"op":0,"d":…`: the type, in a tenth of the time that searching for the fields takes.
fn as_discord_writes_it(payload: &str) -> Option<&str> {
    let rest = payload.strip_prefix(r#"{"t":""#)?;
    // The search of `str` is made for long texts; the name ends after about 15 bytes.
    let (event, rest) = rest.split_at(rest.bytes().position(|byte| byte == b'"')?);
    let rest = rest.strip_prefix(r#"","s":"#)?.trim_start_matches(|digit: char| digit.is_ascii_digit());
    rest.starts_with(r#","op":0,"#).then_some(event)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(payload: &str) -> String {
        match header(payload) {
            Header::Dispatch(event) => event.into_owned(),
            Header::Other(op) => format!("op {op}"),
            Header::None => "nothing".into(),
        }
    }

    #[test]
    fn a_header_is_read_in_whatever_order_it_comes() {
        assert_eq!(read(r#"{"t":"MESSAGE_CREATE","s":42,"op":0,"d":{"t":"x","op":7}}"#), "MESSAGE_CREATE");
        assert_eq!(read(r#"{"op":0,"t":"MESSAGE_CREATE","s":42,"d":{}}"#), "MESSAGE_CREATE");
        assert_eq!(read(r#"{ "t": "TYPING_START", "s": 1, "op": 0, "d": {} }"#), "TYPING_START");
        assert_eq!(read(r#"{"t":null,"s":null,"op":11}"#), "op 11");
        assert_eq!(read(r#"{"t":"NOT_A_DISPATCH","s":1,"op":7,"d":null}"#), "op 7");
        for odd in ["", "{", r#"{"t":"#, r#"{"t":""#, "null", r#"{"t":"X","s":"#] {
            assert_eq!(read(odd), "nothing", "{odd}");
        }
    }
}
