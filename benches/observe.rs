//! What observing costs the bot's own thread, per event.
//!
//! One thread runs nothing but a bot's loop; the simulated Discord and the recorder's own tasks run on others. The CPU
//! time of that one thread is read before and after a fixed number of events, once with the bare shard and once with the
//! observed one, in turn. The median of the differences is what `Observed` costs.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its result, and may panic")]

use std::{hint::black_box, path::Path, thread, time::Duration};

use futures_util::Stream;
use rustix::time::{ClockId, clock_gettime};
use shardlake_ingest::{Config, Interactions, Journal, Recorder, Shards};
use shardlake_simulator::{Mix, Profile, Scenario, Simulator, Traffic};
use tokio::runtime::{self, Runtime};
use twilight_gateway::{
    ConfigBuilder, Event, EventTypeFlags, Intents, Message, Shard, ShardId, StreamExt as _, error::ReceiveMessageError,
    queue::InMemoryQueue,
};

const EVENTS: u32 = 100_000;
const ROUNDS: usize = 5;

fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error means that there is one already
    println!("{:<18}{:>12}{:>16}{:>14}{:>12}", "traffic", "bytes/event", "bare µs/event", "observed", "difference");
    let rows = [
        ("typical", Mix::Typical, Journal::Off),
        ("no interactions", Mix::NoInteractions, Journal::Off),
        ("interactions", Mix::Interactions, Journal::Off),
        ("the same, always", Mix::Interactions, Journal::Always),
    ];
    for (name, mix, journal) in rows {
        let mut bare = Vec::new();
        let mut observed = Vec::new();
        let mut bytes = 0.0;
        for _ in 0..ROUNDS {
            bare.push(run(mix, None).0);
            let (cost, size) = run(mix, Some(journal));
            observed.push(cost);
            bytes = size;
        }
        let difference = median(bare.iter().zip(&observed).map(|(bare, observed)| observed - bare).collect());
        let (bare, observed) = (median(bare), median(observed));
        println!("{name:<18}{bytes:>12.0}{bare:>16.3}{observed:>14.3}{difference:>12.3}");
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// CPU of the bot's thread per event, µs, and the mean size of an event.
fn run(mix: Mix, observed: Option<Journal>) -> (f64, f64) {
    let others = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let scenario = Scenario { shards: 1, guilds: 100, replay_limit: 1_000, ..Scenario::default() };
    let discord = others.block_on(Simulator::start(scenario)).unwrap();
    let spool = tempfile::tempdir().unwrap();
    let recorder = recorder(&others, spool.path(), observed.unwrap_or_default());
    let (token, url) = (discord.token().to_owned(), discord.gateway_url());

    let bot = thread::spawn(move || {
        let own = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        own.block_on(async {
            let queue = InMemoryQueue::new(0, 1_000, Duration::from_mins(1), 1_000);
            let config = ConfigBuilder::new(token, Intents::all()).proxy_url(url).queue(queue).build();
            let shard = Shard::with_config(ShardId::ONE, config);
            if observed.is_some() { read(recorder.observe(shard)).await } else { read(shard).await }
        })
    });
    let traffic = Traffic { mix, ..Traffic::of(Profile::Stress).unpaced() };
    let run = {
        let _inside = others.enter();
        discord.traffic(&traffic)
    };
    let result = bot.join().unwrap();
    drop(run);
    others.shutdown_background();
    result
}

/// A recorder whose ClickHouse is away: what is measured ends at the queue.
fn recorder(others: &Runtime, spool: &Path, journal: Journal) -> Recorder {
    let _inside = others.enter();
    let mut config = Config::new("0", Shards { first: 0, count: 1, total: 1 }, "http://127.0.0.1:9");
    config.interactions = Interactions::OnReceipt;
    config.user_key = Some("key".into());
    (config.spool.directory, config.spool.journal) = (Some(spool.to_owned()), journal);
    Recorder::start(config).unwrap()
}

/// The bot's loop, which wants no event. Counts raw messages so that both kinds of shard do the same.
async fn read<S>(mut shard: S) -> (f64, f64)
where
    S: Stream<Item = Result<Message, ReceiveMessageError>> + Unpin,
{
    // READY and the guilds first, so that only traffic is measured.
    while !matches!(
        shard.next_event(EventTypeFlags::all()).await,
        Some(Ok(Event::MessageCreate(_) | Event::InteractionCreate(_)))
    ) {}
    let mut bytes: u32 = 0;
    let started_s = thread_cpu_s();
    for _ in 0..EVENTS {
        let message = futures_util::StreamExt::next(&mut shard).await;
        if let Some(Ok(Message::Text(text))) = &message {
            bytes += u32::try_from(text.len()).unwrap();
        }
        black_box(message).unwrap().unwrap();
    }
    let took_s = thread_cpu_s() - started_s;
    (took_s * 1e6 / f64::from(EVENTS), f64::from(bytes) / f64::from(EVENTS))
}

fn thread_cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    #[allow(clippy::cast_precision_loss, reason = "a bench does not run for years")]
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    seconds
}
