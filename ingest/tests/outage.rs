//! ClickHouse is away for a while and the bot goes on at full speed: nothing is lost, nothing lands twice, memory does
//! not grow past its setting, and everything lands soon after the return.
//!
//! Another process runs the same loop at the same time and records nothing: what it measures is the machine's.
//!
//! `make test` runs the short form, `make torture` the long one. `SHARDLAKE_OUTAGE_S` says how long ClickHouse is away. Times
//! are measured here and judged by `tests/results/torture.js`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test may panic")]

mod yard;

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::time::{interval, sleep};
use yard::{Compared, PATIENCE, Pace, Yard, record::Record};

const SHORT_S: usize = 5;
/// Batches before the outage, so that there is a process at work to compare with.
const HEALTHY: u32 = 4;
/// Memory that is full after some seconds: batches are on disk only then, also in the short form.
const BATCH_MEMORY_BYTES: usize = 256 << 10;
/// Batches of the age that a process of a small fleet has by default (`BatchLimits::for_fleet`).
const PACE: Pace = Pace { journal: "spill", per_second: 5_000, batch_ms: 5_000, memory_bytes: BATCH_MEMORY_BYTES };
/// In the short form they are younger, so that some are on disk before it is over.
const SHORT: Pace = Pace { batch_ms: 500, ..PACE };
/// Rarely: looking for the rows costs ClickHouse as much as inserting some.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What a process may need beside its batches: the open batch, its encoding, the queue, the table of interactions, and
/// what malloc keeps. The batches of ten minutes are more.
const WORKING_BYTES: u64 = 24 << 20;
/// How long it takes until all of that has been touched once: from then on memory does not grow.
const TOUCHED: Duration = Duration::from_mins(1);
/// The goals.
const DRAINED_S: f64 = 60.0;
const CALL_MS: f64 = 5.0;
const GROWN_MIB: f64 = 4.0;

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_loses_nothing_and_ends_soon_after_it_ends() {
    let outage = Duration::from_secs(yard::count("SHARDLAKE_OUTAGE_S", SHORT_S) as u64);
    let pace = if outage < TOUCHED { SHORT } else { PACE };
    let mut yard = Yard::open("ClickHouse away at 5,000 interactions/s", 0).await;
    let control = yard.record(yard.port, Pace { journal: "nothing", ..pace });
    let process = yard.record(yard.port, pace);
    let pid = process.id().unwrap();
    yard.working(0).await;
    sleep(HEALTHY * Duration::from_millis(pace.batch_ms)).await;

    let healthy_bytes = resident_bytes(pid);
    yard.clickhouse.take().unwrap().stop().await.unwrap();
    let resident = resident_for(outage, pid).await;
    let stored_bytes = fs::read_dir(yard.spool()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    yard.start_clickhouse().await;
    yard.record.count = 1;

    let drained = drained(&mut yard).await;
    let last_bytes = resident_bytes(pid);
    let held_up = figures(&yard.end(process).await);
    let control = figures(&yard.end(control).await);
    let Compared { said, .. } = yard.compare().await;

    let record = &mut yard.record;
    record.measure("ClickHouse away", outage.as_secs_f64(), "s");
    record.measure("interactions promised", count(said), "");
    record.measure("spool on disk at the end of the outage", mib(stored_bytes), "MiB");
    record.measure_against("drained after its return", drained.as_secs_f64(), "s", DRAINED_S);
    note_delays(record, &held_up, &control);

    let largest_bytes = largest(&resident);
    let allowed_bytes = healthy_bytes + pace.memory_bytes as u64 + WORKING_BYTES;
    record.measure("resident memory before", mib(healthy_bytes), "MiB");
    record.measure("resident memory, smallest", mib(resident.iter().copied().min().unwrap()), "MiB");
    record.measure_against("resident memory, largest", mib(largest_bytes), "MiB", mib(allowed_bytes));
    record.measure("resident memory after draining", mib(last_bytes), "MiB");
    let quarter = resident.len() / 4;
    let grown_mib = mib(largest(&resident[3 * quarter..])) - mib(largest(&resident[quarter..2 * quarter]));
    let grown = "resident memory, growth from the second quarter to the last";
    if outage >= 4 * TOUCHED {
        record.measure_against(grown, grown_mib, "MiB", GROWN_MIB);
    } else {
        record.measure(grown, grown_mib, "MiB");
    }
    println!("resident memory each second, MiB: {:.1?}", resident.iter().map(|bytes| mib(*bytes)).collect::<Vec<_>>());
    assert!(largest_bytes <= allowed_bytes, "{largest_bytes} bytes resident, {healthy_bytes} before the outage");
    yard.settle(pace).await;
}

/// How long the bot's loop was held up, and the loop that records nothing. On a machine that stalls even that one past the
/// goal, the longest call says nothing; how many calls were long still does.
fn note_delays(record: &mut Record, held_up: &Value, control: &Value) {
    let (calls, idle) = (&held_up["calls"], &control["calls"]);
    if ms(&idle["longest_us"]) <= CALL_MS {
        record.measure_against("call that records, longest", ms(&calls["longest_us"]), "ms", CALL_MS);
    } else {
        record.measure("call that records, longest", ms(&calls["longest_us"]), "ms");
    }
    // As many as without recording, and twice what such a difference varies by.
    let idle_long = idle["long"].as_f64().unwrap();
    let explained = (idle_long + 2.0 * (2.0 * idle_long).sqrt()).round();
    record.measure_against("calls that record, over 5 ms", calls["long"].as_f64().unwrap(), "", explained);
    record.measure("calls without recording, over 5 ms", idle_long, "");
    record.measure("call without recording, longest", ms(&idle["longest_us"]), "ms");
    record.measure("call that records, longest, of this on a core", ms(&held_up["longest_call_on_core_us"]), "ms");
    let by_the_clock = |figures: &Value| ms(&figures["calls_by_the_clock"]["longest_us"]);
    record.measure("call that records, longest, with waiting for a core", by_the_clock(held_up), "ms");
    record.measure("call without recording, longest, with waiting for a core", by_the_clock(control), "ms");
    record.measure("call that records, 99.9 %", ms(&calls["p999_us"]), "ms");
    record.measure("loop late, longest", ms(&held_up["ticker"]["longest_us"]), "ms");
    record.measure("loop late, 99.9 %", ms(&held_up["ticker"]["p999_us"]), "ms");
    record.measure("loop late without recording, longest", ms(&control["ticker"]["longest_us"]), "ms");
    record.measure("loop late without recording, 99.9 %", ms(&control["ticker"]["p999_us"]), "ms");
}

/// The memory of a process each second, for so long.
async fn resident_for(time: Duration, pid: u32) -> Vec<u64> {
    let mut resident = Vec::new();
    let (started, mut seconds) = (Instant::now(), interval(Duration::from_secs(1)));
    while started.elapsed() < time {
        seconds.tick().await;
        resident.push(resident_bytes(pid));
    }
    resident
}

fn largest(resident: &[u64]) -> u64 {
    resident.iter().copied().max().unwrap()
}

fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

/// How long it takes until everything has landed that was promised until now.
async fn drained(yard: &mut Yard) -> Duration {
    let returned = Instant::now();
    let (first, promised) = yard.first_and_number_said();
    let last = first + promised - 1;
    let admin = yard.admin();
    let landed = async {
        let sql = "SELECT count() FROM interactions WHERE interaction_id BETWEEN {first:UInt64} AND {last:UInt64}";
        while admin.query_raw(sql).param("first", first).param("last", last).fetch_one::<u64>().await.unwrap()
            < promised
        {
            sleep(LOOK_EVERY).await;
        }
    };
    yard.record.in_time(PATIENCE, landed).await;
    returned.elapsed()
}

/// The line about the bot's loop, the last one that a process prints.
fn figures(printed: &str) -> Value {
    serde_json::from_str(printed.lines().last().unwrap()).unwrap()
}

fn ms(microseconds: &Value) -> f64 {
    microseconds.as_f64().unwrap() / 1000.0
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn mib(bytes: u64) -> f64 {
    (bytes as f64 / f64::from(1 << 20) * 10.0).round() / 10.0
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn count(number: u64) -> f64 {
    number as f64
}
