//! Damaged files by the thousand: whatever the bytes are, the readers of segments, ledgers and journals do not panic, end,
//! and accept nothing whose checksum is wrong. Half of the files get their checksums mended after the damage, so that what
//! lies behind a checksum is fuzzed too.
//!
//! No reader allocates by a number that it has read: a length only ever selects bytes that are there. So memory is bounded
//! by the file, which is what [`check_segment`] holds the heads to.
//!
//! `make test` runs the short form; `SHARDLAKE_FUZZ=10000000 cargo test --release` a long one, in some minutes.
//! `SHARDLAKE_SEED` repeats a run.

use std::{
    collections::{BTreeMap, HashMap},
    env,
    sync::Arc,
    thread,
};

use rand::{Rng, RngExt as _, SeedableRng as _, rngs::StdRng};
use shardlake_schema::{
    Labels, TimeMs,
    rows::{Interaction, Sample},
};

use super::{
    ledger::{self, Decision, Place},
    recovery::scan,
    segment::{self, Head},
    tests::{batch, sent},
};
use crate::journal::{self, Journal};

// What was run goes where the long tests leave their results.
#[path = "../../tests/yard/record.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests of whole processes use the rest")]
pub(super) mod record;

const SHORT: u64 = 60_000;
/// Numbers that lengths are set to: the ends of every range, ours and the machine's.
const EXTREMES: [u32; 12] = [0, 1, 3, 4, 5, 4095, 4097, 65_537, 256 << 20, (256 << 20) + 1, i32::MAX as u32, u32::MAX];

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |number| number.parse().unwrap())
}

/// What the readers said, by their own words.
type Tally = BTreeMap<String, u64>;

#[test]
fn readers_survive_whatever_lies_on_the_disk() {
    let executions = number("SHARDLAKE_FUZZ", SHORT);
    let seed = number("SHARDLAKE_SEED", 20_251);
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let mut record = record::Record::new("damaged bytes before every reader of the spool", seed);
    let files = Files::valid();
    let tallies: Vec<Tally> = thread::scope(|scope| {
        let run = |thread: u64| {
            let files = &files;
            move || files.fuzz(seed.wrapping_add(thread), executions / threads + 1)
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(run(thread))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut all = Tally::new();
    for (what, times) in tallies.into_iter().flatten() {
        *all.entry(what).or_default() += times;
    }
    (record.count, record.kinds) = (executions, all.clone());
    println!("SHARDLAKE_SEED={seed}, {executions} executions: {all:#?}");
    for what in ["Alien", "Newer", "Torn", "Checksum", "Nonsense", "record", "decision", "row", "end of rows"] {
        assert!(all.get(what).is_some_and(|times| *times > 0), "{what} was never seen: the fuzz does not reach it");
    }
}

/// Valid files, and where their numbers lie.
struct Files {
    segment: Vec<u8>,
    ledger: Vec<u8>,
    journal: Vec<u8>,
}

impl Files {
    fn valid() -> Self {
        let mut segment = segment::header().to_vec();
        for sequence in 1..=3 {
            let batch = batch(sequence);
            let body = &batch.body[..40];
            segment.extend_from_slice(&segment::record_head(&super::head_of(&batch), body));
            segment.extend_from_slice(body);
        }
        let mut ledger = Vec::new();
        for offset in 0..6 {
            let decision = if offset % 2 == 0 { Decision::Settled } else { Decision::Sent(sent(offset)) };
            ledger.extend_from_slice(&ledger::record(Place { segment: 1, offset: u64::from(offset) }, decision));
        }
        let spool = tempfile::tempdir().unwrap();
        let journal = Journal::new::<Sample>(spool.path(), 1, Arc::default()).unwrap();
        for time in 0..4 {
            let labels = Labels::default();
            let row = Sample { time: TimeMs(time), name: "up".into(), kind: "gauge".into(), labels, value: 1.0 };
            journal.append(row, |_, _| true);
        }
        let journal = journal::read(&spool.path().join("journal/samples-1-0000000001.rows")).unwrap();
        Self { segment, ledger, journal }
    }

    fn fuzz(&self, seed: u64, executions: u64) -> Tally {
        let mut random = StdRng::seed_from_u64(seed);
        let mut tally = Tally::new();
        let mut bytes = Vec::new();
        for execution in 0..executions {
            let (valid, mend): (&[u8], fn(&mut [u8])) = match execution % 3 {
                0 => (&self.segment, mend_segment),
                1 => (&self.ledger, mend_ledger),
                _ => (&self.journal, mend_journal),
            };
            bytes.clear();
            bytes.extend_from_slice(valid);
            for _ in 0..random.random_range(1..=4) {
                self.mutate(&mut bytes, &mut random);
            }
            if random.random() {
                mend(&mut bytes);
            }
            // Any reader may meet any file.
            check_segment(&bytes, &mut tally);
            check_ledger(&bytes, &mut tally);
            check_journal(&bytes, &mut tally);
        }
        tally
    }

    fn mutate(&self, bytes: &mut Vec<u8>, random: &mut StdRng) {
        let (Some(from), Some(to)) = (place(bytes.len(), random), place(bytes.len(), random)) else {
            bytes.extend_from_slice(&self.segment);
            return;
        };
        let (from, to) = (from.min(to), from.max(to));
        match random.random_range(0..10) {
            0 => bytes[from] ^= 1 << random.random_range(0..8),
            1 => bytes[from] = random.random(),
            2 => bytes.truncate(from),
            3 => drop(bytes.drain(from..to)),
            4 => bytes.extend_from_within(from..to),
            5 => {
                let other = [&self.segment, &self.ledger, &self.journal][random.random_range(0..3)];
                let start = place(other.len(), random).unwrap_or(0);
                bytes.splice(from..to, other[start..].iter().copied());
            }
            6 => overwrite(bytes, from, &EXTREMES[random.random_range(0..EXTREMES.len())].to_le_bytes()),
            7 => {
                // The length of a record or of a head in a segment, or of the first row in a journal.
                let at = [16, 25, 20, 8][random.random_range(0..4)];
                overwrite(bytes, at, &EXTREMES[random.random_range(0..EXTREMES.len())].to_le_bytes());
            }
            8 => {
                let mut noise = vec![0; random.random_range(0..64)];
                random.fill_bytes(&mut noise);
                bytes.extend_from_slice(&noise);
            }
            _ => bytes[from..to].fill(0),
        }
    }
}

fn place(length: usize, random: &mut StdRng) -> Option<usize> {
    (length > 0).then(|| random.random_range(0..length))
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    if let Some(room) = bytes.get_mut(at..at + with.len()) {
        room.copy_from_slice(with);
    }
}

// The formats once more, written down from the heads of the modules, so that a fault of a reader is not repeated here.

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Checksum of a segment's record at `at`, and where it ends.
fn segment_record(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let end = at.checked_add(9)?.checked_add(u32_at(bytes, at)? as usize)?;
    let body = bytes.get(at + 9..end)?;
    Some((crc32fast::hash(&[&bytes[at..at + 4], &bytes[at + 8..at + 9], body].concat()), end))
}

/// Checksum of a journal's row at `at`, and where it ends.
fn journal_record(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let end = at.checked_add(8)?.checked_add(u32_at(bytes, at)? as usize)?;
    let row = bytes.get(at + 8..end)?;
    Some((crc32fast::hash(&[&bytes[at..at + 4], row].concat()), end))
}

fn mend_header(bytes: &mut [u8]) {
    if bytes.len() >= 16 {
        let crc = crc32fast::hash(&bytes[..12]);
        overwrite(bytes, 12, &crc.to_le_bytes());
    }
}

fn mend_segment(bytes: &mut [u8]) {
    mend_header(bytes);
    let mut at = 16;
    while let Some((crc, end)) = segment_record(bytes, at) {
        overwrite(bytes, at + 4, &crc.to_le_bytes());
        at = end;
    }
}

fn mend_journal(bytes: &mut [u8]) {
    mend_header(bytes);
    let mut at = 16;
    while let Some((crc, end)) = journal_record(bytes, at) {
        overwrite(bytes, at + 4, &crc.to_le_bytes());
        at = end;
    }
}

fn mend_ledger(bytes: &mut [u8]) {
    for record in bytes.chunks_exact_mut(32) {
        let crc = crc32fast::hash(&record[..28]);
        overwrite(record, 28, &crc.to_le_bytes());
    }
}

fn check_segment(bytes: &[u8], tally: &mut Tally) {
    let mut at = 16;
    let mut records = 0;
    let mut damage = None;
    for record in segment::records(bytes) {
        assert_eq!(damage, None, "damage is the end");
        match record {
            Ok(record) => {
                let (crc, end) = segment_record(bytes, at).unwrap();
                assert_eq!((record.offset, record.end), (at as u64, end as u64));
                assert_eq!(u32_at(bytes, at + 4), Some(crc), "the checksum of an accepted record");
                let Head { table, cluster, .. } = &record.head;
                assert!(
                    table.len() + cluster.len() + record.body.len() <= end - at,
                    "a record holds more than its bytes"
                );
                (at, records) = (end, records + 1);
            }
            Err(error) => damage = Some(error),
        }
    }
    let scanned = scan(1, bytes, &HashMap::new());
    assert_eq!((scanned.batches.len(), scanned.damage), (records, damage));
    count(tally, "record", records);
    count(tally, &damage.map_or_else(|| "whole".to_owned(), |damage| format!("{damage:?}")), 1);
}

fn check_ledger(bytes: &[u8], tally: &mut Tally) {
    let (decisions, damaged) = ledger::read(bytes);
    let valid = |record: &[u8]| record.len() == 32 && u32_at(record, 28) == Some(crc32fast::hash(&record[..28]));
    let valid = bytes.chunks(32).filter(|record| valid(record)).count();
    let damaged = damaged.map_or(0, |(records, _)| records);
    assert!(decisions.len() <= valid && bytes.len().div_ceil(32) - damaged <= valid, "more than has a valid checksum");
    count(tally, "decision", decisions.len());
}

fn check_journal(bytes: &[u8], tally: &mut Tally) {
    let mut rows = 0;
    let end = journal::each_row(bytes, |_: Sample| rows += 1);
    let mut at = 16;
    for _ in 0..rows {
        let (crc, end) = journal_record(bytes, at).unwrap();
        assert_eq!(u32_at(bytes, at + 4), Some(crc), "the checksum of an accepted row");
        at = end;
    }
    let expected = if rows > 0 || end.is_some_and(|end| end > 0) { at } else { 0 };
    assert!(end.is_none_or(|end| end == expected) && (end.is_some() || [0, at].contains(&bytes.len())));
    journal::each_row(bytes, |_: Interaction| {}); // a table's rows under another table's name
    count(tally, "row", rows);
    count(tally, "end of rows", usize::from(end.is_some()));
}

fn count(tally: &mut Tally, what: &str, times: usize) {
    match tally.get_mut(what) {
        Some(count) => *count += times as u64,
        None => drop(tally.insert(what.to_owned(), times as u64)),
    }
}
