//! The spool against a list: whatever is asked of it in whatever order, with little memory, a small disk and kills in
//! between, the law holds at every step, order is kept, nothing that was settled is handed out again, and after a kill
//! exactly those batches come back that were on disk and not settled.
//!
//! `PROPTEST_CASES=10000` runs more than the short form.

use std::{collections::BTreeSet, fs, sync::Arc};

use futures_util::FutureExt as _;
use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};
use tempfile::TempDir;

use super::{
    disk::Limits,
    fuzz::record::Record,
    tests::{batch, sent},
    *,
};

/// Every batch of [`batch`] has so many rows, and its body so many bytes.
const ROWS: u64 = 10;
const BODY_BYTES: usize = 100;

#[derive(Debug, Clone, Copy)]
enum Step {
    Push,
    Next,
    Landed,
    Refused,
    Attempt,
    InTrouble,
    /// The process ends in order, and the next one starts.
    Leave,
    /// The process is killed, and the next one starts.
    Kill,
}

#[derive(Debug, Clone)]
struct Setup {
    journal: Journal,
    when_full: WhenFull,
    memory_bytes: usize,
    limits: Limits,
}

fn setups() -> impl Strategy<Value = Setup> {
    let ample = 1 << 20;
    (
        select(vec![Journal::Spill, Journal::Always]),
        select(vec![WhenFull::DropOldest, WhenFull::DropNewest]),
        select(vec![0, BODY_BYTES, 250, 1000]),
        select(vec![0, 300, 900, ample, ample]),
        select(vec![1, 500, ample]),
        select(vec![32, 96, ample]),
    )
        .prop_map(|(journal, when_full, memory_bytes, budget, segment, ledger)| Setup {
            journal,
            when_full,
            memory_bytes,
            limits: Limits { budget, segment, leave_free: 0, ledger },
        })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Push),
        6 => Just(Step::Next),
        4 => Just(Step::Landed),
        1 => Just(Step::Refused),
        2 => Just(Step::Attempt),
        1 => Just(Step::InTrouble),
        1 => Just(Step::Leave),
        2 => Just(Step::Kill),
    ];
    vec(step, 1..80)
}

/// A batch, as the list knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    sequence: u64,
    attempt: u32,
    doubtful: bool,
}

impl Known {
    fn new(batch: &Frozen, sent: Option<Sent>) -> Self {
        Self { sequence: batch.id.batch, attempt: sent.map_or(0, |sent| sent.attempt), doubtful: sent.is_some() }
    }
}

/// A batch, as it really is.
#[derive(Debug, Clone, Copy)]
struct Real {
    known: Known,
    in_memory: bool,
    on_disk: bool,
}

struct World {
    directory: TempDir,
    setup: Setup,
    spool: Spool,
    book: Arc<Book>,
    /// The list.
    waiting: Vec<Known>,
    lent: bool,
    /// Sequences that must never be seen again.
    gone: BTreeSet<u64>,
    pushed: u64,
    /// Of this process.
    landed: u64,
    dropped: u64,
}

impl World {
    fn new(setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (spool, book) = open(&directory, &setup);
        let (waiting, gone) = (Vec::new(), BTreeSet::new());
        Self { directory, setup, spool, book, waiting, lent: false, gone, pushed: 0, landed: 0, dropped: 0 }
    }

    fn real(&self) -> Vec<Real> {
        let real = |held: &Held| Real {
            known: Known::new(&held.batch, held.sent),
            in_memory: held.in_memory,
            on_disk: held.on_disk.is_some(),
        };
        self.spool.lock().waiting.iter().map(real).collect()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Push => self.push(),
            Step::Next if !self.lent => self.next(),
            Step::Landed if self.lent => {
                self.spool.landed();
                self.landed += ROWS;
                self.settle();
            }
            Step::Refused if self.lent => {
                self.spool.refused(&batch(self.waiting[0].sequence));
                self.dropped += ROWS;
                self.settle();
            }
            Step::Attempt if self.lent => {
                let attempt = self.waiting[0].attempt + 1;
                self.spool.sending(sent(attempt)).unwrap();
                (self.waiting[0].attempt, self.waiting[0].doubtful) = (attempt, true);
            }
            Step::InTrouble => {
                self.spool.in_trouble();
                let saved = self.real().iter().all(|real| real.on_disk);
                assert!(saved || !self.disk_is_ample(), "what waits is on disk");
            }
            Step::Leave => self.leave(),
            Step::Kill => self.kill(),
            Step::Next | Step::Landed | Step::Refused | Step::Attempt => {} // nothing is lent, or something is
        }
    }

    fn push(&mut self) {
        self.pushed += 1;
        self.book.observed.fetch_add(ROWS, Relaxed);
        self.book.batched.fetch_add(ROWS, Relaxed);
        self.spool.push(batch(self.pushed));
        self.waiting.push(Known { sequence: self.pushed, attempt: 0, doubtful: false });
        self.note_dropped(self.setup.when_full);
    }

    /// Who is missing was dropped, and it was the right one.
    fn note_dropped(&mut self, policy: WhenFull) {
        let real = self.real();
        let there: BTreeSet<u64> = real.iter().map(|real| real.known.sequence).collect();
        let missing: Vec<u64> =
            self.waiting.iter().map(|known| known.sequence).filter(|sequence| !there.contains(sequence)).collect();
        let lent = self.lent.then(|| self.waiting[0].sequence);
        let stayed = real.iter().filter(|real| !real.on_disk).map(|real| real.known.sequence);
        let stayed: Vec<u64> = stayed.filter(|sequence| Some(*sequence) != lent).collect();
        for sequence in &missing {
            assert_ne!(Some(*sequence), lent, "the lent batch never gives way");
            match policy {
                WhenFull::DropOldest => assert!(stayed.iter().all(|other| other > sequence), "{stayed:?} {sequence}"),
                WhenFull::DropNewest => assert!(stayed.iter().all(|other| other < sequence), "{stayed:?} {sequence}"),
            }
        }
        self.dropped += ROWS * missing.len() as u64;
        self.waiting.retain(|known| there.contains(&known.sequence));
        self.gone.extend(missing);
    }

    fn next(&mut self) {
        let lent = self.spool.next().now_or_never().flatten();
        assert_eq!(lent.is_some(), !self.waiting.is_empty());
        let Some(lent) = lent else { return };
        self.lent = true;
        let known = Known::new(&lent.batch, lent.sent);
        assert_eq!(known, self.waiting[0], "the oldest, with the attempt in force");
        assert_eq!(lent.batch.body, batch(known.sequence).body);
    }

    fn settle(&mut self) {
        self.lent = false;
        self.gone.insert(self.waiting.remove(0).sequence);
    }

    fn leave(&mut self) {
        self.lent = false;
        self.spool.leave();
        let real = self.real();
        assert!(real.iter().all(|real| real.on_disk && !real.in_memory), "in order: on disk, or dropped");
        let before = self.waiting.len();
        let there: BTreeSet<u64> = real.iter().map(|real| real.known.sequence).collect();
        let (left, lost): (Vec<Known>, _) = self.waiting.iter().partition(|known| there.contains(&known.sequence));
        assert!(left.len() == before || !self.disk_is_ample(), "an ample disk takes everything");
        self.dropped += ROWS * lost.len() as u64;
        self.gone.extend(lost.iter().map(|known| known.sequence));
        self.waiting = left;
        self.check();
        self.kill();
    }

    fn kill(&mut self) {
        let real = self.real();
        let survive = |real: &&Real| real.on_disk;
        let expected: Vec<_> = real.iter().filter(survive).map(|real| Known { doubtful: true, ..real.known }).collect();
        if self.setup.journal == Journal::Always && self.disk_is_ample() {
            assert_eq!(expected.len(), self.waiting.len(), "every batch was on disk");
        }
        let lost = real.iter().filter(|real| !real.on_disk).map(|real| real.known.sequence);
        self.gone.extend(lost);
        self.waiting = expected;
        (self.lent, self.landed, self.dropped) = (false, 0, 0);
        // Its lock goes with it, before the next one asks.
        drop(std::mem::replace(
            &mut self.spool,
            Spool::new(&config::Spool::default(), WhenFull::default(), None, Arc::clone(&self.book)),
        ));
        (self.spool, self.book) = open(&self.directory, &self.setup);
        assert_eq!(self.book.account().recovered, ROWS * self.waiting.len() as u64);
    }

    fn disk_is_ample(&self) -> bool {
        self.setup.limits.budget >= 1 << 20
    }

    fn check(&self) {
        let real = self.real();
        let known: Vec<_> = real.iter().map(|real| real.known).collect();
        assert_eq!(known, self.waiting);
        assert!(known.is_sorted_by(|a, b| a.sequence < b.sequence), "order is kept: {known:?}");
        assert!(known.iter().all(|known| !self.gone.contains(&known.sequence)), "settled once is settled for good");
        assert!(real.iter().all(|real| real.in_memory || real.on_disk), "nothing is nowhere");

        let account = self.book.account();
        assert!(account.holds(), "{account:?}");
        assert_eq!(
            (account.spooled, account.landed, account.dropped()),
            (ROWS * real.len() as u64, self.landed, self.dropped)
        );

        let bodies = BODY_BYTES * real.iter().filter(|real| real.in_memory).count();
        assert_eq!(self.spool.lock().in_memory, bodies);
        let lent_bytes = if self.lent && real[0].in_memory { BODY_BYTES } else { 0 };
        assert!(bodies <= self.setup.memory_bytes.max(lent_bytes), "memory has a limit");
        self.check_disk(real.iter().any(|real| real.on_disk));
    }

    fn check_disk(&self, in_use: bool) {
        let disk = self.spool.disk.as_ref().unwrap();
        let files = fs::read_dir(self.directory.path()).unwrap().map(Result::unwrap);
        let segments = files.filter(|file| file.file_name().to_string_lossy().ends_with(".segment"));
        let sizes: Vec<u64> = segments.map(|file| file.metadata().unwrap().len()).collect();
        assert_eq!(sizes.iter().sum::<u64>(), disk.bytes(), "what is counted is there: {sizes:?}");
        assert!(disk.bytes() <= self.setup.limits.budget + segment::HEADER_BYTES as u64, "the disk's budget");
        assert!(in_use || disk.bytes() <= segment::HEADER_BYTES as u64, "settled segments go: {sizes:?}");
        let looked = inspect::inspect(self.directory.path()).unwrap();
        assert!(looked.damaged.is_empty() && looked.in_use, "{looked:?}");
    }
}

fn open(directory: &TempDir, setup: &Setup) -> (Spool, Arc<Book>) {
    let (disk, recovered) = Disk::open_within(directory.path(), setup.limits).unwrap();
    assert_eq!(recovered.quarantined, 0);
    let book = Arc::new(Book::new(Table::Samples));
    let Setup { journal, when_full, memory_bytes, .. } = *setup;
    let config = config::Spool { memory_bytes, journal, ..config::Spool::default() };
    let spool = Spool::new(&config, when_full, Some(Arc::new(disk)), Arc::clone(&book));
    for stored in recovered.batches {
        spool.take_up(Table::Samples, stored);
    }
    (spool, book)
}

#[test]
fn a_spool_is_a_list_that_survives_kills() {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let mut record = Record::new("the spool, kills of it included, against a list", 0);
    record.count = u64::from(config.cases);
    let checked = TestRunner::new(config).run(&(setups(), steps()), |(setup, steps)| {
        let mut world = World::new(setup);
        for step in steps {
            world.step(step);
            world.check();
        }
        Ok(())
    });
    checked.unwrap_or_else(|failure| panic!("{failure}"));
}
