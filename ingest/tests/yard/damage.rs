//! What can happen to the directory of a spool, and what it may cost.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use rand::{Rng as _, RngExt as _, rngs::StdRng};
use shardlake_ingest::inspect::{self, Contents};

/// Longest piece that is torn off an end: shorter than any record, so that it is the last one that is torn.
const TORN_BYTES: u64 = 200;
const NOISE_BYTES: usize = 3_000;

/// Damage to a directory that no process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    TornSegment,
    TruncatedSegment,
    FlippedBits,
    ZeroedEnd,
    MissingSegment,
    AlienSegment,
    EmptySegment,
    FolderAsSegment,
    AlienFile,
    MissingLedger,
    DamagedLedger,
    DamagedJournal,
    MissingJournal,
}

impl Damage {
    pub const ALL: [Damage; 13] = [
        Damage::TornSegment,
        Damage::TruncatedSegment,
        Damage::FlippedBits,
        Damage::ZeroedEnd,
        Damage::MissingSegment,
        Damage::AlienSegment,
        Damage::EmptySegment,
        Damage::FolderAsSegment,
        Damage::AlienFile,
        Damage::MissingLedger,
        Damage::DamagedLedger,
        Damage::DamagedJournal,
        Damage::MissingJournal,
    ];

    /// Whether there is something to damage: a kill may come just when all rows of a table are in segments, or none.
    pub fn is_possible(self, spool: &Path) -> bool {
        match self {
            Damage::DamagedJournal | Damage::MissingJournal => !journals(spool).is_empty(),
            _ => !segments(spool).is_empty(),
        }
    }

    /// The name for the record.
    pub fn kind(self) -> &'static str {
        match self {
            Damage::TornSegment => "segment, its last record torn",
            Damage::TruncatedSegment => "segment, truncated anywhere",
            Damage::FlippedBits => "segment, flipped bits",
            Damage::ZeroedEnd => "segment, its end zeroed",
            Damage::MissingSegment => "segment, missing",
            Damage::AlienSegment => "alien file with a segment's name",
            Damage::EmptySegment => "empty file with a segment's name",
            Damage::FolderAsSegment => "folder with a segment's name",
            Damage::AlienFile => "alien file",
            Damage::MissingLedger => "ledger, missing",
            Damage::DamagedLedger => "ledger, damaged",
            Damage::DamagedJournal => "journal, damaged",
            Damage::MissingJournal => "journal, missing",
        }
    }

    pub fn happen(self, spool: &Path, random: &mut StdRng) {
        match self {
            Damage::TornSegment => {
                let segment = one_of(segments(spool), random);
                shorten(&segment, length(&segment) - random.random_range(1..=TORN_BYTES));
            }
            Damage::TruncatedSegment => {
                let segment = one_of(segments(spool), random);
                shorten(&segment, random.random_range(0..length(&segment)));
            }
            Damage::FlippedBits => flip_bits(&one_of(segments(spool), random), random),
            Damage::ZeroedEnd => {
                let segment = one_of(segments(spool), random);
                let (all, good) = (length(&segment), random.random_range(0..length(&segment)));
                shorten(&segment, good);
                OpenOptions::new().write(true).open(segment).unwrap().set_len(all).unwrap();
            }
            Damage::MissingSegment => fs::remove_file(one_of(segments(spool), random)).unwrap(),
            Damage::AlienSegment => fs::write(new_segment(spool, random), noise(random)).unwrap(),
            Damage::EmptySegment => fs::write(new_segment(spool, random), "").unwrap(),
            Damage::FolderAsSegment => fs::create_dir(new_segment(spool, random)).unwrap(),
            Damage::AlienFile => fs::write(spool.join("core.1234"), noise(random)).unwrap(),
            Damage::MissingLedger => fs::remove_file(spool.join("ledger")).unwrap(),
            Damage::DamagedLedger => damage_ledger(&spool.join("ledger"), random),
            Damage::DamagedJournal => {
                let journal = one_of(journals(spool), random);
                if random.random() {
                    flip_bits(&journal, random);
                } else {
                    shorten(&journal, random.random_range(0..length(&journal)));
                }
            }
            Damage::MissingJournal => fs::remove_file(one_of(journals(spool), random)).unwrap(),
        }
    }
}

pub fn segments(spool: &Path) -> Vec<PathBuf> {
    files(spool, ".segment")
}

fn journals(spool: &Path) -> Vec<PathBuf> {
    let mut journals = files(&spool.join("journal"), ".rows");
    journals.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("interactions-"));
    journals
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_str().unwrap().ends_with(ending) && length(path) > TORN_BYTES);
    paths.sort();
    paths
}

fn one_of(mut paths: Vec<PathBuf>, random: &mut StdRng) -> PathBuf {
    assert!(!paths.is_empty(), "there is something to damage");
    paths.swap_remove(random.random_range(0..paths.len()))
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn shorten(path: &Path, bytes: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

fn flip_bits(path: &Path, random: &mut StdRng) {
    let mut bytes = fs::read(path).unwrap();
    for _ in 0..random.random_range(1..=3) {
        let at = random.random_range(0..bytes.len());
        bytes[at] ^= 1 << random.random_range(0..8);
    }
    // In place: a process may have it open.
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(&bytes, 0).unwrap();
}

fn damage_ledger(path: &Path, random: &mut StdRng) {
    let bytes = length(path);
    match random.random_range(0..3) {
        0 if bytes > 0 => flip_bits(path, random),
        1 if bytes > 0 => shorten(path, random.random_range(0..bytes)),
        _ => fs::write(path, noise(random)).unwrap(),
    }
}

fn noise(random: &mut StdRng) -> Vec<u8> {
    let mut noise = vec![0; random.random_range(1..NOISE_BYTES)];
    random.fill_bytes(&mut noise);
    noise
}

/// A name that no segment has: soon to be used, far away, or the last that there is.
fn new_segment(spool: &Path, random: &mut StdRng) -> PathBuf {
    let newest = segments(spool).pop().unwrap();
    let newest: u64 = newest.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let number = match random.random_range(0..3) {
        0 => newest + random.random_range(1..4),
        1 => newest + (1 << random.random_range(8..60)),
        _ => u64::MAX,
    };
    spool.join(format!("{number:020}.segment"))
}

/// Interactions that a spool holds and that have not landed: what damage may cost.
pub struct Holding {
    batches: BTreeMap<(u64, u64), u64>,
    in_journals: u64,
    /// Files that cannot be understood.
    pub damaged: BTreeSet<PathBuf>,
}

impl Holding {
    pub fn of(spool: &Path) -> Self {
        let Contents { batches, journals, damaged, .. } = inspect::inspect(spool).unwrap();
        let batches = batches.into_iter().filter(|batch| batch.table == "interactions");
        let journals = journals.iter().filter(|journal| journal.table.name() == "interactions" && !journal.in_batches);
        Self {
            batches: batches.map(|batch| ((batch.boot, batch.batch), batch.rows)).collect(),
            in_journals: journals.map(|journal| journal.rows).sum(),
            damaged: damaged.into_iter().map(|damaged| damaged.file).collect(),
        }
    }

    /// Batches, with their rows, that are not in `later` any more.
    pub fn batches_missing_in(&self, later: &Self) -> Vec<((u64, u64), u64)> {
        let gone = self.batches.iter().filter(|(id, _)| !later.batches.contains_key(id));
        gone.map(|(id, rows)| (*id, *rows)).collect()
    }

    /// How many rows fewer `later` holds in journals; of a batch whose journal counts instead, they are more.
    pub fn journal_rows_missing_in(&self, later: &Self) -> i64 {
        self.in_journals.cast_signed() - later.in_journals.cast_signed()
    }

    pub fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.in_journals == 0 && self.damaged.is_empty()
    }
}
