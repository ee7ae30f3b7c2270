//! A spool on a bad disk: files that are torn, flipped, truncated, missing or not ours, a disk that is full, and one that is
//! read-only. Whatever happens, the next process starts and ends by itself, its books add up, what is promised is stored
//! once or accounted for, and what could not be understood lies in quarantine.
//!
//! Accounted for: dropped in a receipt, or in a record or row that cannot be read any more. How many those are is known
//! from looking into the spool before and after the damage.
//!
//! `make test` runs the short form, `make torture` the long one. `SHARDLAKE_DAMAGES` says how often each kind, `SHARDLAKE_SEED`
//! repeats a run.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test may panic, and says its seed")]

mod yard;

use std::{
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::{process::Child, time::sleep};
use yard::{
    Compared, MEMORY_BYTES, PATIENCE, Pace, Yard,
    damage::{Damage, Holding},
    kill, left_in,
    mount::{self, Place, Small},
    proxy::{Fault, Proxy},
    rollup_mismatches,
};

const SHORT: usize = 1;
const SAFE: Pace = Pace { journal: "always", per_second: 4_000, batch_ms: 100, memory_bytes: MEMORY_BYTES };
/// Memory for a few batches, so that a disk that takes none costs rows.
const TIGHT: Pace = Pace { memory_bytes: 20_000, ..SAFE };
/// In the first seconds of a server nobody can tell that it was not started in between.
const UP_S: u64 = 3;
/// Processes that are killed to fill a spool: each may have recorded one interaction more than it said.
const KILLS: u64 = 2;

/// A yard whose ClickHouse can be out of reach.
struct Case {
    yard: Yard,
    random: StdRng,
    proxy: Proxy,
    away: Arc<AtomicBool>,
    cases: usize,
    /// Interactions that damage has cost, and that are accounted for.
    accounted: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_disk_costs_what_is_damaged_and_no_more() {
    let place = mount::in_a_namespace("a_bad_disk_costs_what_is_damaged_and_no_more");
    if place == Place::RanInNamespace {
        return;
    }
    let seed = yard::seed();
    let mut yard = Yard::open("a bad disk under the spool", seed).await;
    let away = Arc::new(AtomicBool::new(false));
    let is_away = Arc::clone(&away);
    let choose = move |_: &_| is_away.load(Relaxed).then_some(Fault::BlackHole(Duration::ZERO));
    let proxy = Proxy::start(yard.port, choose).await;
    yard.up_for(UP_S).await;
    let mut case = Case { yard, random: StdRng::seed_from_u64(seed), proxy, away, cases: 0, accounted: 0 };

    for _ in 0..yard::count("SHARDLAKE_DAMAGES", SHORT) {
        for damage in Damage::ALL {
            case.between_two_processes(damage).await;
        }
        case.under_a_running_process().await;
        if place == Place::Namespace {
            case.full().await;
            case.read_only().await;
            case.read_only_at_the_start().await;
        }
    }
    if place == Place::NoMounting {
        // Not captured, so that it is seen in a run that passes.
        let missing = "disk.rs: NOT TESTED: a full and a read-only disk. Mounting needs root or user namespaces.";
        writeln!(io::stderr(), "\n{missing}\n").unwrap();
        case.yard.record.kinds.insert("full, read-only: not tested, this machine mounts nothing".to_owned(), 0);
    }
    case.settle().await;
}

impl Case {
    fn begin(&mut self, kind: &str) {
        println!("case {}: {kind}", self.cases);
        self.yard.begin(&format!("case-{}", self.cases));
        self.cases += 1;
        self.yard.record.count += 1;
        *self.yard.record.kinds.entry(kind.to_owned()).or_default() += 1;
    }

    /// A process that is recording.
    async fn start(&mut self, pace: Pace) -> Child {
        let before = self.yard.said().len();
        let mut process = self.yard.record(self.proxy.port, pace);
        let input = process.stdin.take(); // waiting would close it
        let ended = tokio::select! {
            () = self.yard.working(before) => None,
            status = process.wait() => Some(status.unwrap()),
        };
        self.yard.record.crashes += u64::from(ended.is_some());
        assert_eq!(ended, None, "it ended by itself");
        process.stdin = input;
        process
    }

    async fn pause(&mut self, shortest_ms: u64) {
        sleep(Duration::from_millis(self.random.random_range(shortest_ms..2 * shortest_ms))).await;
    }

    async fn end_by_kill(&mut self, mut process: Child) {
        kill(process.id().unwrap());
        process.wait().await.unwrap();
    }

    /// Two processes fill a spool and are killed; of what the first one left, some has landed since, or all, or nothing.
    async fn fill(&mut self) {
        self.away.store(true, Relaxed);
        let process = self.start(SAFE).await;
        self.pause(250).await;
        if self.random.random() {
            self.away.store(false, Relaxed);
            self.pause(100).await;
        }
        self.end_by_kill(process).await;
        self.away.store(true, Relaxed);
        let process = self.start(SAFE).await;
        self.pause(250).await;
        self.end_by_kill(process).await;
    }

    async fn between_two_processes(&mut self, damage: Damage) {
        self.begin(damage.kind());
        let (spool, mut kills) = (self.yard.spool(), 0);
        while kills == 0 || !damage.is_possible(&spool) {
            self.fill().await;
            kills += KILLS;
        }
        let before = Holding::of(&spool);
        damage.happen(&spool, &mut self.random);
        let after = Holding::of(&spool);

        self.away.store(false, Relaxed);
        let process = self.start(SAFE).await;
        let receipt = self.yard.end(process).await;
        assert_eq!(dropped(&receipt), 0, "{receipt}");
        let mut at_risk = before.journal_rows_missing_in(&after);
        for ((boot, batch), rows) in before.batches_missing_in(&after) {
            at_risk += (rows - self.landed(boot, batch).await).cast_signed();
        }
        let at_risk = u64::try_from(at_risk).unwrap();
        let missing = self.compare(at_risk).await;
        assert!(at_risk - missing <= kills, "{at_risk} rows were damaged, {missing} are missing");

        let set_aside = left_in(&spool.join("quarantine"));
        for damaged in after.damaged.iter().filter(|file| !file.ends_with("ledger")) {
            let name = damaged.file_name().unwrap().to_str().unwrap();
            assert!(set_aside.iter().any(|kept| kept == name), "{name} is not in quarantine, there is {set_aside:?}");
        }
        assert!(Holding::of(&spool).is_empty(), "the spool is empty");
    }

    async fn landed(&self, boot: u64, batch: u64) -> u64 {
        let sql = "SELECT sum(rows) FROM batches \
                   WHERE table = 'interactions' AND boot = {boot:UInt64} AND batch = {batch:UInt64}";
        self.yard.admin().query_raw(sql).param("boot", boot).param("batch", batch).fetch_one().await.unwrap()
    }

    async fn under_a_running_process(&mut self) {
        self.begin("segments, gone or flipped under a running process");
        self.fill().await;
        let segments = yard::damage::segments(&self.yard.spool());
        let process = self.start(SAFE).await;
        let damage = if self.random.random() { Damage::MissingSegment } else { Damage::FlippedBits };
        for _ in &segments {
            damage.happen(&self.yard.spool(), &mut self.random);
        }
        self.pause(100).await;
        self.away.store(false, Relaxed);
        let receipt = self.yard.end(process).await;
        self.compare(dropped(&receipt)).await;
    }

    /// Compares, and returns how many promised interactions are not stored. `accounted`: as many as this are explained.
    async fn compare(&mut self, accounted: u64) -> u64 {
        let Compared { said, missing, twice } = self.yard.compare().await;
        let lost = missing.saturating_sub(accounted);
        self.accounted += missing.min(accounted);
        self.yard.record.lost += lost;
        self.yard.record.twice += twice;
        println!("said {said}, missing {missing} of which {accounted} are accounted for, twice {twice}");
        assert!(said > 100, "there is something to compare");
        assert_eq!((lost, twice), (0, 0), "lost and twice, of {said}");
        missing
    }

    async fn full(&mut self) {
        self.begin("disk full");
        let disk = Small::mount(&self.yard.spool());
        self.away.store(true, Relaxed);
        let process = self.start(TIGHT).await;
        self.pause(200).await;
        let filler = disk.fill();
        self.pause(500).await;
        let room_again = self.random.random();
        if room_again {
            std::fs::remove_file(&filler).unwrap();
            self.pause(200).await;
        }
        self.away.store(false, Relaxed);
        let receipt = self.yard.end(process).await;
        let missing = self.compare(dropped(&receipt)).await;
        assert_eq!(missing, dropped(&receipt), "what was dropped is missing\n{receipt}");
        let _ = std::fs::remove_file(filler); // it may be gone
        self.next_one_finds_nothing(disk).await;
    }

    async fn read_only(&mut self) {
        self.begin("disk read-only while a process runs");
        let disk = Small::mount(&self.yard.spool());
        self.away.store(true, Relaxed);
        let process = self.start(TIGHT).await;
        self.pause(200).await;
        disk.cover_read_only();
        self.pause(500).await;
        let mended = self.random.random();
        if mended {
            disk.uncover();
            self.pause(200).await;
        }
        self.away.store(false, Relaxed);
        let receipt = self.yard.end(process).await;
        let missing = self.compare(dropped(&receipt)).await;
        assert_eq!(missing, dropped(&receipt), "what was dropped is missing\n{receipt}");
        if !mended {
            disk.uncover();
        }
        self.next_one_finds_nothing(disk).await;
    }

    async fn read_only_at_the_start(&mut self) {
        self.begin("disk read-only at the start");
        let disk = Small::mount(&self.yard.spool());
        self.fill().await;
        disk.make_read_only(true);
        let refused = self.yard.record(self.proxy.port, SAFE);
        let ended = self.yard.record.in_time(PATIENCE, refused.wait_with_output()).await.unwrap();
        assert_eq!(ended.status.code(), Some(1), "it says that it cannot use the directory, and promises nothing");
        disk.make_read_only(false);
        self.away.store(false, Relaxed);
        self.next_one_finds_nothing(disk).await;
    }

    /// Another process on the same disk lands what is left, and nothing twice.
    async fn next_one_finds_nothing(&mut self, disk: Small) {
        let accounted = self.yard.compare().await.missing;
        let process = self.start(SAFE).await;
        self.yard.end(process).await;
        let before = self.accounted;
        self.compare(accounted).await;
        self.accounted = before;
        assert_eq!(left_in(&self.yard.spool()), [""; 0], "nothing is left, and nothing was set aside");
        disk.unmount();
    }

    async fn settle(mut self) {
        let mismatches = rollup_mismatches(&self.yard.admin()).await;
        self.yard.record.rollup_mismatches = mismatches.len() as u64;
        #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
        self.yard.record.measure("interactions that damage has cost, accounted for", self.accounted as f64, "");
        println!("{:?}", self.yard.record);
        assert_eq!(mismatches, [], "batches of which raw rows and what the materialized view counted differ");
        self.yard.close().await;
    }
}

/// Interactions that a receipt says were dropped.
fn dropped(receipt: &str) -> u64 {
    let line = receipt.lines().find(|line| line.starts_with("interactions ")).unwrap();
    line.split_whitespace().nth(5).unwrap().parse().unwrap()
}
