//! A process that records interactions one after the other and says which ones it has recorded: for tests that kill it,
//! take its ClickHouse away, or damage its spool.
//!
//! `steady <ClickHouse> <user> <spool> <journal> <said> <first id> <interactions per second> <age of a batch in ms>
//! <memory for batches in bytes>`; the password is in `CLICKHOUSE_PASSWORD`. Each id is appended to the file `said` after
//! its interaction was recorded, so an id in there is a promise. It runs until it is killed or its standard input ends,
//! drains then, and prints its receipt and a line of JSON: how long the bot's loop was held up.
//!
//! The bot has one thread, so whatever holds up the loop holds up everything. Each call that records is timed, without the
//! time in which the thread wanted to run and the machine had no core for it, and a ticker says how late it is. With
//! `nothing` as the journal nothing is recorded: the same loop, in which a call only burns as much time. What that process
//! measures is the machine's.

#![allow(clippy::print_stdout, reason = "an example speaks to its terminal")]

use std::{
    env,
    error::Error,
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::FileExt as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use shardlake_ingest::{Config, Journal, Recorder, Shards};
use tokio::{
    io::AsyncReadExt as _,
    time::{interval, sleep},
};
use twilight_model::{application::interaction::Interaction, id::Id};

/// Interactions are recorded in bursts of this length, as a gateway delivers them.
const BURST: Duration = Duration::from_millis(10);
/// What it may take at its end to land what it still holds.
const DRAIN: Duration = Duration::from_secs(45);
const TICK: Duration = Duration::from_millis(1);
/// What a call takes that records nothing: as long as one that does, in a debug build.
const PRETENDED: Duration = Duration::from_micros(30);
/// Spreads guilds over all numbers, as hashing does: rows that are all alike would shrink to nothing in a batch.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
/// A call that takes longer is counted.
const LONG: Duration = Duration::from_millis(5);
/// Names of commands, as many as a large bot has.
const COMMANDS: u64 = 40;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error means that there is one already
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [_, _, _, _, said, first_id, per_second, _, _] = arguments.as_slice() else {
        return Err("nine arguments are needed, see the head of the source".into());
    };
    let recorder = start(&arguments)?;
    let mut said = OpenOptions::new().create(true).append(true).open(said)?;
    let (mut id, per_second): (u64, f64) = (first_id.parse()?, per_second.parse()?);
    let commands: Vec<_> = (0..COMMANDS).map(interaction).collect::<Result<_, _>>()?;

    let lateness = Arc::new(Mutex::new(Delays::default()));
    tokio::spawn(tick(Arc::clone(&lateness)));
    let (mut calls, mut calls_by_the_clock) = (Delays::default(), Delays::default());
    let mut longest_on_core = Duration::ZERO;
    let cores = Cores::open();
    let mut bursts = interval(BURST);
    let mut due = 0.0;
    let mut input = tokio::io::stdin();
    let mut ignored = [0; 1];
    loop {
        tokio::select! {
            _ = bursts.tick() => {}
            _ = input.read(&mut ignored) => break,
        }
        due += per_second * BURST.as_secs_f64();
        while due >= 1.0 {
            let mut interaction = commands[usize::try_from(id % COMMANDS)?].clone();
            interaction.id = Id::new(id);
            interaction.guild_id = Some(Id::new(id.wrapping_mul(SPREAD) | 1));
            let (waited, on_core, started) = (cores.waited_for(), on_core(), Instant::now());
            match &recorder {
                Some(recorder) => recorder.timer(&interaction).success(),
                None => while started.elapsed() < PRETENDED {},
            }
            let took = started.elapsed();
            let held_up = took.saturating_sub(cores.waited_for().saturating_sub(waited));
            if held_up > calls.longest {
                longest_on_core = self::on_core().saturating_sub(on_core);
            }
            calls.note(held_up);
            calls_by_the_clock.note(took);
            said.write_all(format!("{id}\n").as_bytes())?; // in one write: a kill must not cut it
            (id, due) = (id + 1, due - 1.0);
        }
    }
    let held_up = serde_json::json!({
        "calls": calls.figures(), "calls_by_the_clock": calls_by_the_clock.figures(),
        "longest_call_on_core_us": longest_on_core.as_micros(),
        "ticker": lateness.lock().unwrap_or_else(PoisonError::into_inner).figures(),
    });
    let Some(recorder) = recorder else {
        println!("{held_up}");
        return Ok(());
    };
    let receipt = recorder.shutdown("its input ended", DRAIN).await;
    println!("{receipt}{held_up}");
    if receipt.holds() { Ok(()) } else { Err("the receipt does not add up".into()) }
}

/// The recorder that the arguments ask for, if they ask for one.
fn start(arguments: &[String]) -> Result<Option<Recorder>, Box<dyn Error>> {
    let [url, user, spool, journal, _, _, _, batch_ms, memory_bytes] = arguments else { return Ok(None) };
    let mut config = Config::new("0", Shards { first: 0, count: 1, total: 1 }, url);
    config.clickhouse.user.clone_from(user);
    config.clickhouse.password = env::var("CLICKHOUSE_PASSWORD")?.into();
    config.spool.directory = Some(spool.into());
    config.spool.journal = match journal.as_str() {
        "always" => Journal::Always,
        "spill" => Journal::Spill,
        "nothing" => return Ok(None),
        other => return Err(format!("there is no journal called {other}").into()),
    };
    config.spool.memory_bytes = memory_bytes.parse()?;
    config.batch.max_age = Duration::from_millis(batch_ms.parse()?);
    Ok(Some(Recorder::start(config)?))
}

async fn tick(lateness: Arc<Mutex<Delays>>) {
    loop {
        let started = Instant::now();
        sleep(TICK).await;
        let late = started.elapsed().saturating_sub(TICK);
        lateness.lock().unwrap_or_else(PoisonError::into_inner).note(late);
    }
}

/// How long something took, counted in steps: the memory of the process is measured too, so this must not grow.
struct Delays {
    steps: Vec<u64>,
    longest: Duration,
}

impl Delays {
    const STEP_US: u128 = 10;
    /// The last step has everything from 100 ms on.
    const STEPS: usize = 10_000;

    fn step_of(delay: Duration) -> usize {
        usize::try_from(delay.as_micros() / Self::STEP_US).unwrap_or(usize::MAX).min(Self::STEPS - 1)
    }

    fn note(&mut self, delay: Duration) {
        self.steps[Self::step_of(delay)] += 1;
        self.longest = self.longest.max(delay);
    }

    fn figures(&self) -> serde_json::Value {
        let count: u64 = self.steps.iter().sum();
        let mut above = count / 1000;
        let step = self.steps.iter().enumerate().rev().find(|(_, times)| {
            let found = **times > above;
            above = above.saturating_sub(**times);
            found
        });
        let p999_us = step.map_or(0, |(step, _)| (step as u128 + 1) * Self::STEP_US);
        let long = self.steps.iter().skip(Self::step_of(LONG)).sum::<u64>();
        serde_json::json!({ "count": count, "longest_us": self.longest.as_micros(), "p999_us": p999_us, "long": long })
    }
}

impl Default for Delays {
    fn default() -> Self {
        Self { steps: vec![0; Self::STEPS], longest: Duration::ZERO }
    }
}

/// The machine's cores, as this thread gets them.
struct Cores(Option<File>);

impl Cores {
    fn open() -> Self {
        Self(File::open("/proc/thread-self/schedstat").ok())
    }

    /// For how long this thread has wanted to run and could not; zero where Linux does not say.
    fn waited_for(&self) -> Duration {
        let mut text = [0; 64];
        let read = self.0.as_ref().and_then(|file| file.read_at(&mut text, 0).ok()).unwrap_or(0);
        let text = String::from_utf8_lossy(&text[..read]);
        let waited_ns = text.split_whitespace().nth(1).and_then(|number| number.parse().ok());
        Duration::from_nanos(waited_ns.unwrap_or(0))
    }
}

/// For how long this thread has had a core: what a call takes beyond that it has slept, or waited for a lock.
fn on_core() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

fn interaction(command: u64) -> serde_json::Result<Interaction> {
    serde_json::from_value(serde_json::json!({
        "id": "1", "type": 2, "token": "t", "version": 1, "application_id": "1", "attachment_size_limit": 1,
        "authorizing_integration_owners": {}, "entitlements": [], "guild_id": "77", "locale": "en-GB", "context": 0,
        "app_permissions": "0", "data": { "id": "5", "name": format!("command{command}"), "type": 1 },
        "user": { "id": "9", "username": "a", "discriminator": "0", "avatar": null },
    }))
}
