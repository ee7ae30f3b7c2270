//! One WebSocket connection, from HELLO to its end.
//!
//! A single task does everything, and never waits for one direction only: [`progress`] reads and writes
//! in the same poll, so heartbeats are read and acknowledged in the middle of a burst that the client is
//! slow to take. Writes are batched: dispatches are pulled [`PULL_BYTES`] at a time, and flushed when
//! nothing more is due.

mod commands;

mod ending;

use super::compression::Encoder;
use super::protocol;
use super::shard::{Live, Order};
use crate::faults::Fault;
use crate::payload;
use crate::world::World;
use bytes::Bytes;
use ending::End;
pub(crate) use ending::reset;
use futures_util::{SinkExt as _, StreamExt as _};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_websockets::{Config, Limits, Message, ServerBuilder, WebSocketStream};

/// Pulled and written before looking at the other direction again.
const PULL_BYTES: usize = 64 << 10;
/// The longest message taken from a client. Discord's limit is 4,096 and has its own close code; this
/// one only keeps a hostile client from filling the memory.
const MOST_MESSAGE_BYTES: usize = 64 << 10;

/// Faults that wait for one connection; another one comes to nothing.
const MOST_ORDERS: usize = 64;

type Socket = WebSocketStream<TcpStream>;

/// The connection's task.
struct Connection {
    world: Arc<World>,
    id: u64,
    socket: Socket,
    encoder: Encoder,
    orders: mpsc::Receiver<Order>,
    /// For the shard, once it is known.
    live: Live,
    /// Known from IDENTIFY or RESUME on.
    shard: Option<u32>,
    phase: Phase,
    quiet: Quiet,
    /// Not dispatches; they go first.
    outbox: VecDeque<String>,
    /// When to acknowledge which heartbeat.
    acks: VecDeque<Instant>,
    /// There may be something to pull.
    news: bool,
    /// Something was written and not flushed.
    unflushed: bool,
    commands: commands::Limit,
}

/// How far the client has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// IDENTIFY or RESUME is expected, for the first time or, after opcode 9, again.
    Unidentified,
    /// Known, but nothing is dispatched: not yet (the silences), or after opcode 7 not any more.
    Identified,
    /// The session's dispatches are pulled.
    Dispatching,
}

/// What is kept from the client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quiet {
    Nothing,
    /// By [`Fault::AcksWithheld`].
    Acks,
    /// By [`Fault::Mute`], or because the client has sent its close frame.
    Everything,
}

/// Serves a gateway connection whose HTTP request has not been read yet.
pub(crate) async fn serve(world: Arc<World>, stream: TcpStream) {
    // Best effort: a socket that has already failed fails again below.
    let _ = stream.set_nodelay(true);
    let handshake = ServerBuilder::new()
        .config(Config::default().flush_threshold(PULL_BYTES))
        .limits(Limits::default().max_payload_len(Some(MOST_MESSAGE_BYTES)))
        .accept(stream)
        .await;
    let (request, mut socket) = match handshake {
        Ok(accepted) => accepted,
        Err(error) => return tracing::debug!(%error, "no WebSocket handshake"),
    };
    world.ledger.connection(true);
    let address = Address::of(request.uri().path(), request.uri().query());
    let Some(encoder) = Encoder::new(address.compress.as_deref()) else {
        let close = protocol::DECODE_ERROR;
        return ending::close(&mut socket, close.0, close.1).await;
    };
    if address.version.is_some_and(|version| version != "10") || address.encoding_is_not_json {
        let close = protocol::INVALID_API_VERSION;
        return ending::close(&mut socket, close.0, close.1).await;
    }
    let (sender, orders) = mpsc::channel(MOST_ORDERS);
    let id = world.next_connection();
    let mut connection = Connection {
        live: Live { connection: id, orders: sender },
        id,
        socket,
        encoder,
        orders,
        shard: None,
        phase: Phase::Unidentified,
        quiet: Quiet::Nothing,
        outbox: VecDeque::new(),
        acks: VecDeque::new(),
        news: false,
        unflushed: false,
        commands: commands::Limit::new(),
        world: Arc::clone(&world),
    };
    connection.greet(address.shard);
    let end = connection.run().await;
    connection.finish(end).await;
}

/// What a connection asks for by its address.
struct Address {
    shard: Option<u32>,
    version: Option<String>,
    encoding_is_not_json: bool,
    compress: Option<String>,
}

impl Address {
    fn of(path: &str, query: Option<&str>) -> Self {
        let query = query.unwrap_or_default();
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let mut found = pairs.filter(|(key, _)| *key == name);
            found.next().map(|(_, value)| value.to_owned())
        };
        let shard = path.strip_prefix("/shard/");
        Self {
            shard: shard.and_then(|rest| rest.trim_end_matches('/').parse().ok()),
            version: value("v"),
            encoding_is_not_json: value("encoding").is_some_and(|encoding| encoding != "json"),
            compress: value("compress"),
        }
    }
}

/// What [`progress`] got done.
enum Progress {
    Received(Message),
    /// The stream is over, in one way or another.
    Gone,
    Writable,
    Flushed,
}

/// Reads, and at the same time makes room for a write or flushes. Cancel safe: nothing is taken from
/// the stream without being returned.
async fn progress(socket: &mut Socket, write: bool, flush: bool) -> Progress {
    poll_fn(|cx| {
        match socket.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(message))) => return Poll::Ready(Progress::Received(message)),
            Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Progress::Gone),
            Poll::Pending => {}
        }
        let (done, progress) = match (write, flush) {
            (true, _) => (socket.poll_ready_unpin(cx), Progress::Writable),
            (false, true) => (socket.poll_flush_unpin(cx), Progress::Flushed),
            (false, false) => return Poll::Pending,
        };
        match done {
            Poll::Ready(Ok(())) => Poll::Ready(progress),
            Poll::Ready(Err(_)) => Poll::Ready(Progress::Gone),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

impl Connection {
    /// HELLO, or silence.
    fn greet(&mut self, hint: Option<u32>) {
        if let Some(shard) = self.world.claim_silent_hello(hint) {
            self.attach(shard);
            return;
        }
        let hello = payload::hello(self.world.scenario.heartbeat_interval_ms);
        self.send(protocol::HELLO, &hello);
    }

    async fn run(&mut self) -> End {
        let world = Arc::clone(&self.world);
        loop {
            self.acknowledge_due();
            let pulls = self.phase == Phase::Dispatching && self.news;
            let write = !self.muted() && (pulls || !self.outbox.is_empty());
            let next_ack = self.acks.front().copied();
            tokio::select! {
                biased;
                Some(order) = self.orders.recv() => {
                    if let Some(end) = self.obey(&order) {
                        return end;
                    }
                }
                progress = progress(&mut self.socket, write, self.unflushed) => match progress {
                    Progress::Received(message) => {
                        if let Some(end) = self.receive(&message) {
                            return end;
                        }
                    }
                    Progress::Writable => {
                        if !self.write() {
                            return End::Gone;
                        }
                    }
                    Progress::Flushed => self.unflushed = false,
                    Progress::Gone => return End::Gone,
                },
                () = wait_for_news(&world, self.shard), if !self.news => self.news = true,
                () = wait_until(next_ack) => {}
            }
        }
    }

    /// Writes what is due, up to [`PULL_BYTES`]; false when the socket takes nothing any more.
    fn write(&mut self) -> bool {
        while let Some(text) = self.outbox.pop_front() {
            if !self.write_one(Bytes::from(text)) {
                return false;
            }
        }
        let Some(shard) = self.shard.filter(|_| self.phase == Phase::Dispatching) else {
            return true;
        };
        let world = Arc::clone(&self.world);
        let pulled = world.shards[shard as usize].pull(&world, self.id, PULL_BYTES);
        self.news = !pulled.is_empty();
        pulled.into_iter().all(|text| self.write_one(text))
    }

    fn write_one(&mut self, text: Bytes) -> bool {
        self.unflushed = true;
        let message = self.encoder.encode(text);
        message.is_ok_and(|message| self.socket.start_send_unpin(message).is_ok())
    }

    /// Anything but a dispatch, with the next write.
    fn send(&mut self, op: u8, data: &str) {
        self.outbox.push_back(payload::op(op, data));
    }

    fn muted(&self) -> bool {
        self.quiet == Quiet::Everything
    }

    /// A heartbeat has come.
    fn heartbeat(&mut self) {
        self.count(|ledger| ledger.heartbeats += 1);
        if self.quiet == Quiet::Nothing {
            let delay = Duration::from_millis(self.world.scenario.ack_delay_ms);
            self.acks.push_back(Instant::now() + delay);
        }
    }

    fn acknowledge_due(&mut self) {
        while self.acks.front().is_some_and(|due| *due <= Instant::now()) {
            self.acks.pop_front();
            if !self.muted() {
                self.send(protocol::HEARTBEAT_ACK, "null");
                self.count(|ledger| ledger.heartbeat_acks += 1);
            }
        }
    }

    /// Something is to go wrong.
    fn obey(&mut self, order: &Order) -> Option<End> {
        let fault = match order {
            Order::Replaced => return Some(End::Close(protocol::SESSION_TIMED_OUT)),
            Order::Fault(fault) => *fault,
        };
        match fault {
            Fault::Reconnect => {
                self.phase = Phase::Identified;
                self.send_counted(protocol::RECONNECT, "null");
            }
            Fault::InvalidSession { resumable } => self.invalidate(resumable),
            Fault::HeartbeatRequest => self.send_counted(1, "null"),
            Fault::UnknownOpcode => self.send_counted(99, "null"),
            Fault::Close { code } => return Some(End::Close((code, "Simulated."))),
            Fault::Reset => return Some(End::Reset),
            Fault::CloseNeverCompleted => {
                self.phase = Phase::Identified;
                self.send_counted(protocol::RECONNECT, "null");
                return Some(End::Held);
            }
            Fault::Mute => self.quiet = Quiet::Everything,
            Fault::AcksWithheld => {
                self.quiet = Quiet::Acks;
                self.acks.clear();
            }
            Fault::UnknownDispatch => self.dispatch("SHARDLAKE_UNHEARD_OF", "null"),
            Fault::MalformedDispatch => self.dispatch("MESSAGE_CREATE", "{}"),
            // The world turns these into one of the others.
            Fault::Fin
            | Fault::SessionLost
            | Fault::Refuse { .. }
            | Fault::Guilds { .. }
            | Fault::RejectIdentify { .. }
            | Fault::HelloNeverSent
            | Fault::IdentifyNeverAnswered
            | Fault::ResumeNeverAnswered => return Some(End::Fin),
        }
        None
    }

    fn send_counted(&mut self, op: u8, data: &str) {
        self.count(|ledger| *ledger.opcodes_sent.entry(u64::from(op)).or_default() += 1);
        self.send(op, data);
    }

    /// Opcode 9. Nothing is dispatched on this connection any more.
    fn invalidate(&mut self, resumable: bool) {
        self.phase = Phase::Unidentified;
        if !resumable && let Some(shard) = self.shard {
            self.world.shards[shard as usize].forget();
        }
        let resumable = if resumable { "true" } else { "false" };
        self.send_counted(protocol::INVALID_SESSION, resumable);
    }

    /// An odd dispatch: part of the session like any other.
    fn dispatch(&mut self, event: &'static str, data: &str) {
        if let Some(shard) = self.shard {
            self.world.shards[shard as usize].push(super::shard::Happening {
                event,
                data: data.to_owned(),
                in_guild: true,
                interaction: None,
            });
        }
    }

    /// The shard is known: orders for it come here.
    fn attach(&mut self, shard: u32) {
        self.shard = Some(shard);
        self.world.shards[shard as usize].attach(self.live.clone());
    }

    fn count(&self, count: impl FnOnce(&mut crate::ledger::ShardLedger)) {
        if let Some(shard) = self.shard {
            self.world.shards[shard as usize].count(count);
        }
    }
}

async fn wait_for_news(world: &World, shard: Option<u32>) {
    match shard {
        Some(shard) => world.shards[shard as usize].news.notified().await,
        None => std::future::pending().await,
    }
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
