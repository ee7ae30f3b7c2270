//! The race: our writer against what a bot's author writes by hand with the `clickhouse` crate.
//!
//! The same interactions, the same tables with their materialized views, the same server, each contestant in a process of
//! its own, in turn. The clean course measures speed and cost, the other one what is left after faults. The events are
//! models that twilight has parsed; a contestant's time begins with the first one it is given, and ends when the server
//! has acknowledged the last row. Both end in order: ours with its receipt, the other one with the end of its inserter.
//!
//! `make bench BENCH="--bench race"`; with `-- clean` or `-- faulty` behind, one course only.

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

fn main() {
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error means that there is one already
    if contestant::run() {
        return;
    }
    let wanted = |course: &str| {
        let mut courses = env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
        courses.peek().is_none() || courses.any(|argument| argument == course)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        if wanted("clean") {
            println!("{}", clean::run(&Lane::ALL).await);
        }
        if wanted("faulty") {
            println!("{}", faulty::run(&Lane::ALL).await);
        }
    });
}
