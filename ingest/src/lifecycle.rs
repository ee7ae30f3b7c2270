//! The life of one shard, as changes of its state. Pure: it is told what each poll of the shard showed, and answers with
//! the rows of `shard_events` that this amounts to.
//!
//! Close events alone would mislead: a connection that ends with a bare FIN yields none, and after an op 7 or op 9 the
//! close frame that arrives is the echo of our own. So one loss is one change of state into `disconnected`, and its cause
//! is read off the message of the same poll:
//!
//! | seen in the poll that left the connection | cause |
//! |---|---|
//! | op 7, op 9 | `op7`, `op9` |
//! | close frame with a code | `server_close` |
//! | code 1006 (twilight's word for no frame), last heartbeat unanswered for an interval | `zombied` |
//! | code 1006 otherwise | `reset` |
//! | an error | `protocol` |
//! | anything, after the bot called `Observed::close` | `client_close` |
//! | nothing | decided by the next sign: a close frame is the echo of our own close, `client_close`; else `silent` |

use std::time::{Duration, Instant};

use shardlake_schema::{Name, TimeMs, rows::ShardEvent};
use twilight_gateway::ShardState;
use twilight_model::gateway::{CloseFrame, OpCode};

use crate::names::Names;

/// Twilight's code for a connection that ended without a close frame.
const ABNORMAL_CLOSE: u16 = 1006;

/// What one poll of the shard showed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sign<'a> {
    /// Nothing yet: the shard is waiting.
    Nothing,
    /// HELLO, with the heartbeat interval.
    Hello(Option<Duration>),
    /// READY: a new session.
    Ready,
    /// RESUMED: the old session goes on.
    Resumed,
    /// Any other dispatch.
    Dispatch,
    /// op 7.
    Reconnect,
    /// op 9, and whether the session can be resumed.
    InvalidSession(bool),
    /// A close frame, or its absence.
    Close(Option<&'a CloseFrame<'static>>),
    /// Heartbeats and what else needs no row.
    Other,
    /// The stream yielded an error; whether it was a failed attempt to connect.
    Error { connect: bool },
}

impl Sign<'_> {
    /// The sign of an opcode that is not a dispatch.
    pub(crate) fn of_opcode(op: u8, payload: &str) -> Self {
        match OpCode::from(op) {
            Some(OpCode::Hello) => Sign::Hello(heartbeat_interval(payload)),
            Some(OpCode::Reconnect) => Sign::Reconnect,
            Some(OpCode::InvalidSession) => Sign::InvalidSession(payload.contains(r#""d":true"#)),
            _ => Sign::Other,
        }
    }
}

/// `{"t":null,"s":null,"op":10,"d":{"heartbeat_interval":41250,…}}`
fn heartbeat_interval(payload: &str) -> Option<Duration> {
    let (_, rest) = payload.split_once(r#""heartbeat_interval":"#)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
    digits.parse().ok().map(Duration::from_millis)
}

/// What the shard's own accessors said after the poll.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) now: TimeMs,
    pub(crate) state: ShardState,
    /// Latest heartbeat round trip.
    pub(crate) latency: Option<Duration>,
    /// When the last heartbeat went out, if it is still unanswered.
    pub(crate) unanswered_since: Option<Instant>,
    /// The bot has asked for a close.
    pub(crate) closing: bool,
}

/// The life of one shard so far.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    shard: u16,
    state: State,
    state_since: TimeMs,
    /// When it was last active; at first, when the observer was made.
    active_until: TimeMs,
    was_active: bool,
    heartbeat_interval: Option<Duration>,
    /// Dispatches replayed since the last HELLO.
    replayed: u32,
    /// A loss whose cause the next sign will tell.
    unexplained: Option<ShardEvent>,
    /// Time of the last row: the next one is later, so that sorting by time gives the order of events.
    told_until: TimeMs,
}

/// [`ShardState`] without the number of attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Disconnected,
    Identifying,
    Resuming,
    Active,
    FatallyClosed,
}

impl State {
    pub(crate) fn of(state: ShardState) -> Self {
        match state {
            ShardState::Disconnected { .. } => State::Disconnected,
            ShardState::Identifying => State::Identifying,
            ShardState::Resuming => State::Resuming,
            ShardState::Active => State::Active,
            ShardState::FatallyClosed => State::FatallyClosed,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            State::Disconnected => "disconnected",
            State::Identifying => "identifying",
            State::Resuming => "resuming",
            State::Active => "active",
            State::FatallyClosed => "fatally_closed",
        }
    }

    const fn is_connected(self) -> bool {
        matches!(self, State::Identifying | State::Resuming | State::Active)
    }
}

impl Lifecycle {
    pub(crate) fn new(shard: u16, state: ShardState, now: TimeMs) -> Self {
        Self {
            shard,
            state: State::of(state),
            state_since: now,
            active_until: now,
            was_active: false,
            heartbeat_interval: None,
            replayed: 0,
            unexplained: None,
            told_until: TimeMs(0),
        }
    }

    /// Whether a poll that yielded nothing of note and left this state has changed nothing.
    pub(crate) fn is_steady(&self, state: ShardState) -> bool {
        self.state == State::of(state) && self.unexplained.is_none()
    }

    /// Takes in one poll; pushes the changes it amounts to into `events`.
    pub(crate) fn see(&mut self, sign: &Sign<'_>, reading: Reading, names: &Names, events: &mut Vec<ShardEvent>) {
        let next = State::of(reading.state);
        let before = events.len();
        self.explain(sign, next, events);
        // A HELLO on a connection that we thought alive: the loss and the new connection fell into one poll.
        if matches!(sign, Sign::Hello(_)) && matches!(self.state, State::Active | State::Resuming) {
            let lost = Reading { state: ShardState::Disconnected { reconnect_attempts: 0 }, ..reading };
            let event = self.lose(&Sign::Nothing, State::Disconnected, lost, names);
            events.push(ShardEvent { cause: "silent".into(), ..event });
        }

        let mut hello = None;
        match sign {
            Sign::Reconnect => events.push(self.event("reconnect_requested", next, reading)),
            Sign::InvalidSession(resumable) => {
                let event = self.event("invalid_session", next, reading);
                events.push(ShardEvent { resumable: u8::from(*resumable), ..event });
            }
            Sign::Close(frame) => events.push(self.closed(*frame, next, reading, names)),
            Sign::Error { connect: true } => events.push(self.event("connect_failed", next, reading)),
            Sign::Hello(interval) => {
                self.heartbeat_interval = *interval;
                self.replayed = 0;
                if next == State::Identifying {
                    hello = Some(self.event("identifying", next, reading));
                }
            }
            Sign::Dispatch if next == State::Resuming => self.replayed = self.replayed.saturating_add(1),
            _ => {}
        }
        self.change(sign, next, reading, names, events);
        events.extend(hello);
        for event in &mut events[before..] {
            event.time = event.time.max(TimeMs(self.told_until.0 + 1));
            self.told_until = event.time;
        }
    }

    /// The shard is given up by its owner: a loss that still waits for its explanation is told as it is.
    pub(crate) fn end(&mut self, events: &mut Vec<ShardEvent>) {
        events.extend(self.unexplained.take());
    }

    fn explain(&mut self, sign: &Sign<'_>, next: State, events: &mut Vec<ShardEvent>) {
        // After our own close frame, what was under way still arrives before Discord's answer: that explains nothing yet.
        let telling = matches!(sign, Sign::Close(_) | Sign::Error { .. } | Sign::Hello(_));
        if !telling && next == State::Disconnected {
            return;
        }
        if let Some(mut event) = self.unexplained.take() {
            if matches!(sign, Sign::Close(_)) {
                event.cause = "client_close".into();
                event.initiator = "client".into();
            }
            events.push(event);
        }
    }

    fn change(&mut self, sign: &Sign<'_>, next: State, reading: Reading, names: &Names, events: &mut Vec<ShardEvent>) {
        if next == self.state {
            return;
        }
        if self.state.is_connected() && !next.is_connected() {
            let event = self.lose(sign, next, reading, names);
            let silent = event.cause.as_str() == "silent";
            if silent { self.unexplained = Some(event) } else { events.push(event) }
        } else if next == State::Active {
            events.push(self.recover(sign, reading));
        } else {
            // A HELLO may find the state at `disconnected` still, if connecting and HELLO fell into one poll.
            if self.state == State::Disconnected && next == State::Resuming {
                events.push(self.event("connecting", State::Identifying, reading));
            }
            let name = match next {
                State::Resuming => "resuming",
                _ => "connecting",
            };
            if next.is_connected() {
                events.push(self.event(name, next, reading));
            }
        }
        if next == State::FatallyClosed {
            events.push(self.event("fatal", next, reading));
        }
        self.enter(next, reading.now);
    }

    fn enter(&mut self, next: State, now: TimeMs) {
        if self.state == State::Active {
            self.active_until = now;
        }
        self.was_active |= next == State::Active;
        self.state = next;
        self.state_since = now;
    }

    fn lose(&mut self, sign: &Sign<'_>, next: State, reading: Reading, names: &Names) -> ShardEvent {
        let (cause, initiator, frame) = match sign {
            _ if reading.closing => ("client_close", "client", None),
            Sign::Reconnect => ("op7", "server", None),
            Sign::InvalidSession(_) => ("op9", "server", None),
            Sign::Close(Some(frame)) if frame.code == ABNORMAL_CLOSE => {
                (if self.is_zombied(reading) { "zombied" } else { "reset" }, "network", None)
            }
            Sign::Close(frame) => ("server_close", "server", *frame),
            Sign::Error { .. } => ("protocol", "client", None),
            _ => ("silent", "network", None),
        };
        let event = ShardEvent {
            cause: cause.into(),
            initiator: initiator.into(),
            close_code: frame.map_or(0, |frame| frame.code),
            close_reason: frame.map_or(Name::EMPTY, |frame| names.intern(&frame.reason)),
            ..self.event("disconnected", next, reading)
        };
        self.enter(next, reading.now);
        self.heartbeat_interval = None; // the next connection has to say its own before it can be a zombie
        event
    }

    /// Twilight tells a dead peer and a broken connection apart as little as the close code does, but its heartbeat does:
    /// unanswered for an interval. Not quite a whole one, because the heartbeat left a little after its tick.
    fn is_zombied(&self, reading: Reading) -> bool {
        match (reading.unanswered_since, self.heartbeat_interval) {
            (Some(sent), Some(interval)) => sent.elapsed() >= interval.mul_f64(0.9),
            _ => false,
        }
    }

    fn closed(&self, frame: Option<&CloseFrame<'static>>, next: State, reading: Reading, names: &Names) -> ShardEvent {
        let code = frame.map_or(0, |frame| frame.code);
        // A frame that arrives when we have left already is the answer to our own.
        let initiator = match (self.state.is_connected() && !reading.closing, code) {
            (_, ABNORMAL_CLOSE) => "network",
            (true, _) => "server",
            (false, _) => "client",
        };
        ShardEvent {
            initiator: initiator.into(),
            close_code: code,
            close_reason: frame.map_or(Name::EMPTY, |frame| names.intern(&frame.reason)),
            ..self.event("closed", next, reading)
        }
    }

    fn recover(&mut self, sign: &Sign<'_>, reading: Reading) -> ShardEvent {
        let resumed = matches!(sign, Sign::Resumed);
        ShardEvent {
            downtime_ms: reading.now.since_ms(self.active_until),
            replayed: if resumed { std::mem::take(&mut self.replayed) } else { 0 },
            resumable: 1,
            ..self.event(if resumed { "resumed" } else { "ready" }, State::Active, reading)
        }
    }

    /// Whether the shard has had a session before: tells a reconnect from a first connect.
    pub(crate) fn was_active(&self) -> bool {
        self.was_active
    }

    fn event(&self, event: &'static str, state: State, reading: Reading) -> ShardEvent {
        ShardEvent {
            time: reading.now,
            shard: self.shard,
            event: event.into(),
            state: state.as_str().into(),
            cause: Name::EMPTY,
            initiator: Name::EMPTY,
            close_code: 0,
            close_reason: Name::EMPTY,
            resumable: 0,
            in_state_ms: reading.now.since_ms(self.state_since),
            downtime_ms: 0,
            replayed: 0,
            latency_ms: reading.latency.map_or(0.0, |latency| latency.as_secs_f32() * 1000.0),
        }
    }
}

#[cfg(test)]
mod tests;
