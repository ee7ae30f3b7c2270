//! What a test measured: one line of JSON, appended to the file that `SHARDLAKE_RESULTS` names, if it names one. `make
//! torture` makes `tests/results/` of these lines. A test that fails leaves its line too, and it never says that all is well.
//! Figures beside the faults go along in `measured`, some with a goal: tests do not judge times, `torture.js` does.

use std::{
    collections::BTreeMap,
    env,
    fs::OpenOptions,
    io::Write as _,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::time::timeout;

#[derive(Debug)]
pub struct Record {
    fault: &'static str,
    seed: u64,
    /// Faults so far.
    pub count: u64,
    /// Of `count`, by kind; empty if there is only one.
    pub kinds: BTreeMap<String, u64>,
    /// Promised interactions that are not stored.
    pub lost: u64,
    /// Stored more than once.
    pub twice: u64,
    /// Batches of which raw rows and rollup differ.
    pub rollup_mismatches: u64,
    /// Processes that ended otherwise than asked.
    pub crashes: u64,
    /// Conditions that did not come true in time.
    pub hangs: u64,
    /// What else was measured, by name.
    measured: BTreeMap<&'static str, Value>,
    started: Instant,
}

impl Record {
    pub fn new(fault: &'static str, seed: u64) -> Self {
        Self {
            fault,
            seed,
            count: 0,
            kinds: BTreeMap::new(),
            lost: 0,
            twice: 0,
            rollup_mismatches: 0,
            crashes: 0,
            hangs: 0,
            measured: BTreeMap::new(),
            started: Instant::now(),
        }
    }

    /// Notes a figure.
    pub fn measure(&mut self, name: &'static str, value: f64, unit: &'static str) {
        self.measured.insert(name, json!({ "value": value, "unit": unit }));
    }

    /// Notes a figure that is to be `at_most` so large.
    pub fn measure_against(&mut self, name: &'static str, value: f64, unit: &'static str, at_most: f64) {
        self.measured.insert(name, json!({ "value": value, "unit": unit, "at_most": at_most }));
    }

    /// Waits for something that has to happen.
    pub async fn in_time<T>(&mut self, patience: Duration, condition: impl Future<Output = T>) -> T {
        let result = timeout(patience, condition).await;
        self.hangs += u64::from(result.is_err());
        result.expect("it came true in time")
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Ok(path) = env::var("SHARDLAKE_RESULTS") else { return };
        let line = json!({
            "fault": self.fault, "count": self.count, "kinds": self.kinds, "lost": self.lost, "twice": self.twice,
            "rollup_mismatches": self.rollup_mismatches, "crashes": self.crashes, "hangs": self.hangs,
            "measured": self.measured, "seed": self.seed, "seconds": self.started.elapsed().as_secs(), "passed": !thread::panicking(),
        });
        let mut results = OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(results, "{line}").unwrap();
    }
}
