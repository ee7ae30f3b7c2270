//! Two clients that write down what they see, and the patience to wait for it.

use shardlake_simulator::{DispatchTally, LedgerSnapshot, Scenario, Simulator};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use twilight_gateway::queue::InMemoryQueue;
use twilight_gateway::{ConfigBuilder, EventTypeFlags, Intents, Message, Shard, ShardId, ShardState, parse};
use twilight_model::gateway::event::GatewayEventDeserializer;

/// How long a condition may take to come true before the test has failed. Far more than any takes.
const DEADLINE: Duration = Duration::from_mins(1);

/// A small Discord that is quick to beat and to let in.
pub(crate) fn scenario(shards: u32) -> Scenario {
    Scenario {
        shards,
        guilds: 3 * shards,
        users: 500,
        max_concurrency: shards,
        identify_window_ms: 0,
        heartbeat_interval_ms: 200,
        ack_delay_ms: 0,
        // A slow machine is not what these tests are about.
        answer_deadline_ms: 60_000,
        ..Scenario::default()
    }
}

/// Waits until `check` yields something.
pub(crate) async fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "never came true: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the ledger says so.
pub(crate) async fn until_ledger(
    simulator: &Simulator,
    what: &str,
    mut check: impl FnMut(&LedgerSnapshot) -> bool,
) -> LedgerSnapshot {
    let look = || Some(simulator.ledger()).filter(|ledger| check(ledger));
    until(what, look).await
}

/// What one type of dispatch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) live: u64,
    pub(crate) live_bytes: u64,
    /// While the shard was resuming.
    pub(crate) replayed: u64,
}

/// What a shard went through.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) dispatches: BTreeMap<String, Seen>,
    /// Dispatches by name, other opcodes as `op7`, closes as `close 4000`, errors as `error`, the end as
    /// `end`: each with the state after it.
    pub(crate) trace: Vec<(String, ShardState)>,
    /// What twilight could not make sense of.
    pub(crate) errors: Vec<String>,
    pub(crate) state: Option<ShardState>,
    /// Acknowledged heartbeats of this connection.
    pub(crate) beats: u32,
}

impl Log {
    pub(crate) fn count(&self, event: &str) -> usize {
        self.trace.iter().filter(|(name, _)| name == event).count()
    }

    /// The trace from its `n`th entry on, without heartbeats and without guilds.
    pub(crate) fn story_since(&self, n: usize) -> Vec<&str> {
        let names = self.trace[n..].iter().map(|(name, _)| name.as_str());
        names.filter(|name| !matches!(*name, "op11" | "GUILD_CREATE")).collect()
    }

    fn take(&mut self, message: &Message, state: ShardState) {
        let name = match message {
            Message::Close(frame) => {
                format!("close {}", frame.as_ref().map_or(1005, |frame| frame.code))
            }
            Message::Text(text) => self.take_text(text, state),
        };
        self.trace.push((name, state));
    }

    fn take_text(&mut self, text: &str, state: ShardState) -> String {
        let head = GatewayEventDeserializer::from_json(text).expect("t, s and op before d");
        if let Err(error) = parse(text.to_owned(), EventTypeFlags::all()) {
            self.errors.push(format!("{error:?}"));
        }
        let Some(event) = head.event_type() else {
            return format!("op{}", head.op());
        };
        let seen = self.dispatches.entry(event.to_owned()).or_default();
        if state == ShardState::Resuming {
            seen.replayed += 1;
        } else {
            seen.live += 1;
            seen.live_bytes += text.len() as u64;
        }
        event.to_owned()
    }
}

/// One twilight shard in a task.
pub(crate) struct Client {
    log: Arc<Mutex<Log>>,
    /// While true, the shard is not polled: a bot whose handler takes long.
    pub(crate) paused: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Client {
    /// Shard `id` of as many as the scenario has, with everything allowed.
    pub(crate) fn start(simulator: &Simulator, id: u32, shards: u32) -> Self {
        Self::with(simulator, simulator.token(), ShardId::new(id, shards), Intents::all())
    }

    pub(crate) fn with(simulator: &Simulator, token: &str, id: ShardId, intents: Intents) -> Self {
        // A crate of the workspace enables TLS; without a provider twilight's builder panics. A second
        // installation fails, and that is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = ConfigBuilder::new(token.to_owned(), intents)
            .proxy_url(simulator.gateway_url())
            .queue(InMemoryQueue::new(0, 0, Duration::ZERO, 0))
            .build();
        let log = Arc::new(Mutex::new(Log::default()));
        let paused = Arc::new(AtomicBool::new(false));
        let shard = Shard::with_config(id, config);
        let task = tokio::spawn(follow(shard, Arc::clone(&log), Arc::clone(&paused)));
        Self { log, paused, task }
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("no panic while following")
    }

    pub(crate) async fn until(&self, what: &str, mut check: impl FnMut(&Log) -> bool) {
        until(what, || check(&self.log()).then_some(())).await;
    }

    /// Waits until the session stands and `guilds` guilds are there.
    pub(crate) async fn ready(&self, guilds: usize) {
        self.until("READY and the guilds", |log| {
            log.state == Some(ShardState::Active) && log.count("GUILD_CREATE") >= guilds
        })
        .await;
    }

    /// Waits until everything the ledger says was delivered to shard `id` is here, and holds what was
    /// counted against it, type by type.
    pub(crate) async fn agrees_with(&self, simulator: &Simulator, id: u32) {
        until("the client has what the ledger says", || {
            let (ledger, log) = (simulator.ledger(), self.log());
            let tallies = ledger.shards[&id].dispatches.values();
            let sent: u64 = tallies.map(DispatchTally::distinct).sum();
            let seen = log.dispatches.values();
            let got: u64 = seen.map(|seen| seen.live + seen.replayed).sum();
            (got == sent).then_some(())
        })
        .await;
        let (ledger, log) = (simulator.ledger(), self.log());
        for (event, tally) in &ledger.shards[&id].dispatches {
            let seen = log.dispatches.get(event.as_ref()).copied().unwrap_or_default();
            assert_eq!(seen.live, tally.live - tally.resent, "{event} live, shard {id}");
            assert_eq!(seen.replayed, tally.late + tally.resent, "{event} replayed, shard {id}");
            if tally.resent == 0 {
                assert_eq!(seen.live_bytes, tally.live_bytes, "{event} bytes, shard {id}");
            }
        }
        assert_eq!(log.errors, [""; 0], "twilight parses everything");
    }
}

/// Polls the shard as a bot does, and looks at its state also while nothing comes.
async fn follow(mut shard: Shard, log: Arc<Mutex<Log>>, paused: Arc<AtomicBool>) {
    use futures_util::StreamExt as _;
    loop {
        while paused.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(5)).await;
        }
        let item = tokio::select! {
            item = shard.next() => item,
            () = sleep(Duration::from_millis(10)) => {
                let mut log = log.lock().expect("no panic while following");
                log.state = Some(shard.state());
                log.beats = shard.latency().periods();
                continue;
            }
        };
        let mut log = log.lock().expect("no panic while following");
        let state = shard.state();
        log.state = Some(state);
        log.beats = shard.latency().periods();
        match item {
            Some(Ok(message)) => log.take(&message, state),
            Some(Err(_)) => log.trace.push(("error".to_owned(), state)),
            None => {
                log.trace.push(("end".to_owned(), state));
                return;
            }
        }
    }
}
