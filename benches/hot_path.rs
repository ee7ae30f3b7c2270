//! What a tracked interaction costs the bot's thread: from the parsed interaction to the queued row, gauges included.
//!
//! Each call is timed by itself, so that the tail shows too. Right before it its interaction is parsed, as in a bot: one
//! that was parsed long ago would have to come from main memory, and that is not ours. Right after it a control is timed,
//! arithmetic of about the same length that touches no memory: its tail is the machine's, whatever we do. The first call of
//! each burst finds the processor's caches filled by others, and is shown by itself too.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its result, and may panic")]

use std::{
    fs,
    hint::black_box,
    time::{Duration, Instant},
};

use shardlake_ingest::{Config, Journal, Recorder, Shards};
use twilight_model::application::interaction::Interaction;

const CALLS: usize = 200_000;
/// Between bursts the batcher empties the queue, as in a bot that is not saturated.
const BURST: usize = 1_000;
/// Steps of the control: about as long as a tracked interaction.
const CONTROL_STEPS: u64 = 1_000;

#[tokio::main]
async fn main() {
    let payloads: Vec<String> = (0..CALLS).map(payload).collect();
    println!("{:<16}{:>12}{:>12}{:>12}{:>14}", "journal", "median ns", "p99 ns", "p99.9 ns", "over 2 µs, %");
    report("clock alone", (0..CALLS).map(|_| Instant::now().elapsed()).collect());
    let directory = tempfile::tempdir().unwrap();
    for (name, journal) in [("off", Journal::Off), ("spill", Journal::Spill), ("always", Journal::Always)] {
        let mut config = Config::new("0", Shards { first: 0, count: 1, total: 1 }, "http://127.0.0.1:9");
        config.spool.directory = Some(directory.path().join(name));
        config.spool.journal = journal;
        config.user_key = Some("key".into());
        let recorder = Recorder::start(config).unwrap();
        let mut took = Vec::with_capacity(CALLS);
        let mut control = Vec::with_capacity(CALLS);
        for burst in payloads.chunks(BURST) {
            for payload in burst {
                let interaction: Interaction = serde_json::from_str(payload).unwrap();
                let started = Instant::now();
                black_box(&recorder).timer(&interaction).success();
                took.push(started.elapsed());
                let started = Instant::now();
                black_box(arithmetic());
                control.push(started.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (first, others) = took.iter().enumerate().partition::<Vec<_>, _>(|(number, _)| number % BURST == 0);
        let calls = |calls: Vec<(usize, &Duration)>| calls.into_iter().map(|(_, took)| *took).collect();
        report("  after a pause", calls(first));
        report("  all others", calls(others));
        report(name, took);
        report("  control", control);
        drop(recorder);
        let _ = fs::remove_dir_all(directory.path().join(name)); // the next one has a folder of its own
    }
}

/// Each step waits for the one before.
fn arithmetic() -> u64 {
    (0..CONTROL_STEPS)
        .fold(black_box(1), |sum: u64, step| sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step))
}

fn report(name: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |share: usize| took[took.len() * share / 1000 - 1].as_nanos();
    let slow = took.len() - took.partition_point(|took| *took <= Duration::from_micros(2));
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52 calls")]
    let slow_percent = slow as f64 * 100.0 / took.len() as f64;
    println!("{name:<16}{:>12}{:>12}{:>12}{slow_percent:>14.3}", at(500), at(990), at(999));
}

fn payload(number: usize) -> String {
    let id = (350_000_000_000_u64 << 22) + number as u64;
    serde_json::json!({
        "id": id.to_string(), "type": 2, "token": "t", "version": 1, "application_id": "1", "attachment_size_limit": 1,
        "authorizing_integration_owners": {}, "entitlements": [], "guild_id": "77", "locale": "en-GB", "context": 0,
        "app_permissions": "0", "data": { "id": "5", "name": format!("command{}", number % 40), "type": 1 },
        "user": { "id": "9", "username": "a", "discriminator": "0", "avatar": null },
    })
    .to_string()
}
