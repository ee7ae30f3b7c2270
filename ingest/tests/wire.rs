//! A bad network between the recording process and ClickHouse: connections cut before, in and after a request, answers
//! lost, answers that are not ClickHouse's, slow bodies, black holes. Nothing that was recorded is lost, nothing lands
//! twice, in raw tables and in what materialized views made of them.
//!
//! `make test` runs the short form, `make torture` the long one. `SHARDLAKE_FAULTS` says how many, `SHARDLAKE_SEED` repeats a run.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test may panic, and says its seed")]

mod yard;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::time::sleep;
use yard::{
    MEMORY_BYTES, PATIENCE, Pace, Yard,
    proxy::{Fault, Proxy},
};

const SHORT: usize = 30;
/// Slower than the faults let batches land: each fault costs a pause of some hundred milliseconds. Batches are few enough that
/// the views of four servers side by side keep up with them.
const PACE: Pace = Pace { journal: "spill", per_second: 400, batch_ms: 250, memory_bytes: MEMORY_BYTES };
/// Of all requests, also those that look for a batch. With more, pauses would double faster than they end.
const SHARE: f64 = 0.2;
/// In the first seconds of a server nobody can tell that it was not started in between, and a late request lands beside
/// its successor.
const UP_S: u64 = 3;
/// One in so many is a black hole that outlasts the client's limits. That takes a minute, so the short form has none.
const FOR_GOOD_EVERY: usize = 500;

/// Draws a fault for some of the requests, until there were enough.
struct Draw {
    random: StdRng,
    left: usize,
    kinds: BTreeMap<String, u64>,
}

impl Draw {
    fn next(&mut self) -> Option<Fault> {
        if self.left == 0 || !self.random.random_bool(SHARE) {
            return None;
        }
        self.left -= 1;
        let fault = self.fault();
        *self.kinds.entry(fault.kind().to_owned()).or_default() += 1;
        Some(fault)
    }

    fn fault(&mut self) -> Fault {
        if self.left % FOR_GOOD_EVERY == FOR_GOOD_EVERY - 1 {
            return Fault::BlackHoleForGood;
        }
        let random = &mut self.random;
        match random.random_range(0..11) {
            0 => Fault::CutBeforeBody,
            1 => Fault::CutInBody(random.random_range(0..100)),
            2 => Fault::CutAfterBody,
            8 => Fault::LeftBehind,
            9 => Fault::HalfAnswered(random.random_range(0..100)),
            3 => Fault::AnswerLost,
            4 => Fault::AnswerTorn,
            5 => Fault::Instead { status: 500, forwarded: random.random() },
            6 => Fault::Instead { status: 503, forwarded: random.random() },
            7 => {
                if random.random() {
                    Fault::SlowBody
                } else {
                    Fault::SlowAnswer
                }
            }
            _ => Fault::BlackHole(Duration::from_millis(random.random_range(20..800))),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_network_loses_nothing_and_doubles_nothing() {
    let seed = yard::seed();
    let mut yard = Yard::open("a fault on the wire", seed).await;
    let random = StdRng::seed_from_u64(seed);
    let left = yard::count("SHARDLAKE_FAULTS", SHORT);
    let draw = Arc::new(Mutex::new(Draw { random, left, kinds: BTreeMap::new() }));
    let drawing = Arc::clone(&draw);
    let proxy = Proxy::start(yard.port, move |_| drawing.lock().unwrap().next()).await;

    yard.up_for(UP_S).await;
    let process = yard.record(proxy.port, PACE);
    let mut left = left;
    while left > 0 {
        let happened = async {
            while draw.lock().unwrap().left == left {
                sleep(Duration::from_millis(20)).await;
            }
        };
        yard.record.in_time(PATIENCE, happened).await;
        let draw = draw.lock().unwrap();
        left = draw.left;
        yard.record.kinds.clone_from(&draw.kinds);
        yard.record.count = draw.kinds.values().sum();
    }
    yard.end(process).await;
    yard.settle(PACE).await;
}
