//! The race: our writer against what a bot's author writes by hand with the `clickhouse` crate.
//!
//! The same interactions, the same tables with their materialized views, the same server, each contestant in a process of
//! its own, in turn. The clean course measures speed and cost, the other one what is left after faults. The events are
//! models that twilight has parsed; a contestant's time begins with the first one it is given, and ends when the server
//! has acknowledged the last row. Both end in order: ours with its receipt, the other one with the end of its inserter.
//!
//! `make bench BENCH="--bench race"`; words behind choose courses and lanes: `BENCH="--bench race -- clean spill inserter"`.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "a bench prints, and may panic")]

// What a contestant does.
mod contestant;

mod events;

mod ours;

mod by_hand;

// Where it does it.
mod server;

mod clean;

mod faulty;

#[path = "../../ingest/tests/yard/proxy.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests of the writer, which use all of it")]
mod proxy;

use std::env;

use crate::contestant::Lane;

const COURSES: [&str; 2] = ["clean", "faulty"];

fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error means that there is one already
    if contestant::run() {
        return;
    }
    let chosen: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_chosen = |name: &str, others: &[&str]| {
        chosen.iter().any(|chosen| chosen == name) || !chosen.iter().any(|chosen| others.contains(&chosen.as_str()))
    };
    let lanes: Vec<Lane> =
        Lane::ALL.into_iter().filter(|lane| is_chosen(lane.word(), &Lane::ALL.map(Lane::word))).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        if is_chosen("clean", &COURSES) {
            for batch_rows in clean::BATCH_ROWS {
                println!("{}", clean::run(&lanes, batch_rows).await);
            }
        }
        if is_chosen("faulty", &COURSES) {
            println!("{}", faulty::run(&lanes).await);
        }
    });
}
