//! What a tracked interaction costs the bot's thread: from the parsed interaction to the queued row, gauges included.
//!
//! Each call is timed by itself, so that the tail shows too; the clock's own cost is measured and named beside it.

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

#[tokio::main]
async fn main() {
    let interactions: Vec<Interaction> = (0..CALLS).map(interaction).collect();
    println!("{:<16}{:>12}{:>12}{:>12}", "journal", "median ns", "p99 ns", "p99.9 ns");
    report("clock alone", (0..CALLS).map(|_| Instant::now().elapsed()).collect());
    let directory = tempfile::tempdir().unwrap();
    for (name, journal) in [("off", Journal::Off), ("spill", Journal::Spill), ("always", Journal::Always)] {
        let mut config = Config::new("0", Shards { first: 0, count: 1, total: 1 }, "http://127.0.0.1:9");
        config.spool.directory = Some(directory.path().join(name));
        config.spool.journal = journal;
        config.user_key = Some("key".into());
        let recorder = Recorder::start(config).unwrap();
        let mut took = Vec::with_capacity(CALLS);
        for burst in interactions.chunks(BURST) {
            for interaction in burst {
                let started = Instant::now();
                black_box(&recorder).timer(interaction).success();
                took.push(started.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        report(name, took);
        drop(recorder);
        let _ = fs::remove_dir_all(directory.path().join(name)); // the next one has a folder of its own
    }
}

fn report(name: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |share: usize| took[took.len() * share / 1000 - 1].as_nanos();
    println!("{name:<16}{:>12}{:>12}{:>12}", at(500), at(990), at(999));
}

fn interaction(number: usize) -> Interaction {
    let id = (350_000_000_000_u64 << 22) + number as u64;
    serde_json::from_value(serde_json::json!({
        "id": id.to_string(), "type": 2, "token": "t", "version": 1, "application_id": "1", "attachment_size_limit": 1,
        "authorizing_integration_owners": {}, "entitlements": [], "guild_id": "77", "locale": "en-GB", "context": 0,
        "app_permissions": "0", "data": { "id": "5", "name": format!("command{}", number % 40), "type": 1 },
        "user": { "id": "9", "username": "a", "discriminator": "0", "avatar": null },
    }))
    .unwrap()
}
