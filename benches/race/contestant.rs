//! A contestant runs in a process of its own: this program, started again with a job. So its CPU time and its memory are
//! those of a bot that does nothing else.

use std::{env, fs, path::PathBuf, process::Stdio, time::Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use crate::{by_hand, events::Events, ours};

/// The environment variable that carries the job; in a process that has it, this program is a contestant.
const JOB: &str = "SHARDLAKE_RACE_JOB";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Lane {
    /// `Recorder` with a spool, journal "spill".
    Spill,
    /// `Recorder` with a spool, journal "always".
    Always,
    /// The crate's `Inserter` as it is.
    Inserter,
    /// `Inserter` made fast: no validation of types, and synchronous inserts.
    Tuned,
    /// `Insert`, made fast in the same way: it sends while rows are written, which `Inserter` does not.
    Streamed,
}

impl Lane {
    pub(crate) const ALL: [Lane; 5] = [Lane::Spill, Lane::Always, Lane::Inserter, Lane::Tuned, Lane::Streamed];

    /// What chooses it on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Lane::Spill => "spill",
            Lane::Always => "always",
            Lane::Inserter => "inserter",
            Lane::Tuned => "tuned",
            Lane::Streamed => "streamed",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Lane::Spill => "shardlake, journal spill",
            Lane::Always => "shardlake, journal always",
            Lane::Inserter => "`Inserter`",
            Lane::Tuned => "`Inserter`, tuned",
            Lane::Streamed => "`Insert`, tuned",
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) lane: Lane,
    pub(crate) url: String,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) spool: PathBuf,
    pub(crate) rows: u64,
    /// 0: as fast as possible.
    pub(crate) per_second: u64,
    pub(crate) batch_rows: usize,
}

/// What a contestant says when it has crossed the line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Finish {
    /// From the first interaction to the last landed row.
    pub(crate) took_s: f64,
    /// From the first to the last recorded interaction.
    pub(crate) recording_s: f64,
    /// CPU time of the process over `took_s`.
    pub(crate) cpu_s: f64,
    /// Of `cpu_s`, in the thread that records, as a bot's handlers would.
    pub(crate) bot_cpu_s: f64,
    pub(crate) peak_bytes: u64,
    /// Rows that it knows it gave up.
    pub(crate) gave_up: u64,
}

/// Begins with the first interaction.
pub(crate) struct Stopwatch {
    started: Instant,
    cpu_s: f64,
    bot_cpu_s: f64,
    recorded: Option<(f64, f64)>,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            cpu_s: seconds(ClockId::ProcessCPUTime),
            bot_cpu_s: seconds(ClockId::ThreadCPUTime),
            recorded: None,
        }
    }

    /// The last interaction was recorded. To be called on the thread that did it.
    pub(crate) fn recorded(&mut self) {
        let bot_cpu_s = seconds(ClockId::ThreadCPUTime) - self.bot_cpu_s;
        self.recorded = Some((self.started.elapsed().as_secs_f64(), bot_cpu_s));
    }

    /// The last row has landed.
    pub(crate) fn stop(self, gave_up: u64) -> Finish {
        let (recording_s, bot_cpu_s) = self.recorded.expect("recording ended before");
        Finish {
            took_s: self.started.elapsed().as_secs_f64(),
            recording_s,
            cpu_s: seconds(ClockId::ProcessCPUTime) - self.cpu_s,
            bot_cpu_s,
            peak_bytes: peak_bytes(),
            gave_up,
        }
    }
}

/// Starts a contestant.
pub(crate) fn start(job: &Job) -> Child {
    Command::new(env::current_exe().unwrap())
        .env(JOB, serde_json::to_string(job).unwrap())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Waits for a contestant.
pub(crate) async fn finish(contestant: Child) -> Finish {
    let ended = contestant.wait_with_output().await.unwrap();
    assert!(ended.status.success(), "{ended:?}");
    serde_json::from_slice(&ended.stdout).unwrap()
}

/// Does the job that this process was started with, if it was; `false` if it is the race itself.
pub(crate) fn run() -> bool {
    let Ok(job) = env::var(JOB) else { return false };
    let job: Job = serde_json::from_str(&job).unwrap();
    let mut events = Events::new();
    let finish = match job.lane {
        Lane::Spill | Lane::Always => ours::run(&job, &mut events),
        Lane::Inserter | Lane::Tuned | Lane::Streamed => by_hand::run(&job, &mut events),
    };
    println!("{}", serde_json::to_string(&finish).unwrap());
    true
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    #[allow(clippy::cast_precision_loss, reason = "a bench does not run for years")]
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    seconds
}

/// The most memory that this process ever had resident.
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
