//! `kill -9` of the process that records, and of ClickHouse, at random moments: nothing that was recorded is lost, and
//! nothing lands twice, in raw tables and in what materialized views made of them.
//!
//! `make test` runs the short form, `make torture` the long one. `SHARDLAKE_KILLS` says how many, `SHARDLAKE_SEED` repeats a run.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test may panic, and says its seed")]

mod yard;

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::time::sleep;
use yard::{MEMORY_BYTES, Pace, Yard, kill};

const SHORT: usize = 6;
const SAFE: Pace = Pace { journal: "always", per_second: 2_000, batch_ms: 100, memory_bytes: MEMORY_BYTES };

fn kills() -> usize {
    yard::count("SHARDLAKE_KILLS", SHORT)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_nothing_that_it_recorded() {
    let seed = yard::seed();
    let mut yard = Yard::open("kill -9 of the recording process", seed).await;
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..kills() {
        let before = yard.said().len();
        let mut process = yard.record(yard.port, SAFE);
        yard.working(before).await;
        sleep(Duration::from_millis(random.random_range(0..400))).await;
        kill(process.id().unwrap());
        process.wait().await.unwrap();
        yard.record.count += 1;
    }
    yard.settle(SAFE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_clickhouse_loses_nothing_and_doubles_nothing() {
    let seed = yard::seed();
    let mut yard = Yard::open("kill -9 of ClickHouse", seed).await;
    let mut random = StdRng::seed_from_u64(seed);
    let spill = Pace { journal: "spill", ..SAFE };
    let process = yard.record(yard.port, spill);
    yard.working(0).await;
    for _ in 0..kills() {
        sleep(Duration::from_millis(random.random_range(50..500))).await;
        yard.kill_clickhouse().await;
        yard.record.count += 1;
        sleep(Duration::from_millis(random.random_range(0..200))).await;
        yard.start_clickhouse().await;
    }
    yard.end(process).await;
    yard.settle(spill).await;
}
