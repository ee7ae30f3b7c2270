use std::{
    fs,
    path::{Path, PathBuf},
};

use shardlake_schema::{Labels, Name, rows::Sample};

use super::*;
use crate::journal;

pub(super) fn batch(sequence: u64) -> Frozen {
    Frozen {
        table: Table::Samples,
        id: BatchId { cluster: Name::from("c"), boot: 1, batch: sequence },
        rows: 10,
        first_time: TimeMs(1),
        last_time: TimeMs(2),
        sealed_at: TimeMs(3),
        body: Bytes::from(vec![u8::try_from(sequence).unwrap(); 100]),
    }
}

struct Fixture {
    spool: Spool,
    book: Arc<Book>,
}

impl Fixture {
    /// Room for two batches in memory.
    fn new(when_full: WhenFull, disk: Option<Arc<Disk>>, journal: Journal) -> Self {
        let book = Arc::new(Book::new(Table::Samples));
        let config = config::Spool { memory_bytes: 250, journal, ..config::Spool::default() };
        Self { spool: Spool::new(&config, when_full, disk, Arc::clone(&book)), book }
    }

    fn in_memory(when_full: WhenFull) -> Self {
        Self::new(when_full, None, Journal::Spill)
    }

    /// A spool over `directory`, with what an earlier one left there.
    fn on_disk(directory: &Path, journal: Journal) -> Self {
        Self::on_disk_of(directory, journal, 1 << 20)
    }

    fn on_disk_of(directory: &Path, journal: Journal, budget_bytes: u64) -> Self {
        let (disk, recovered) = Disk::open(directory, budget_bytes).unwrap();
        let fixture = Self::new(WhenFull::DropOldest, Some(Arc::new(disk)), journal);
        for stored in recovered.batches {
            fixture.spool.take_up(Table::Samples, stored);
        }
        fixture
    }

    fn push(&self, sequences: impl IntoIterator<Item = u64>) -> &Self {
        for sequence in sequences {
            self.book.observed.fetch_add(10, Relaxed);
            self.book.batched.fetch_add(10, Relaxed);
            self.spool.push(batch(sequence));
        }
        self
    }

    /// Everything that is there, acknowledged one by one: sequence, attempt, whether it may have been sent.
    async fn drain(&self) -> Vec<(u64, u32, bool)> {
        self.spool.close();
        let mut seen = Vec::new();
        while let Some(lent) = self.spool.next().await {
            let sequence = lent.batch.id.batch;
            assert_eq!(lent.batch.body, batch(sequence).body, "the bytes of batch {sequence}");
            seen.push((sequence, lent.sent.map_or(0, |sent| sent.attempt), lent.sent.is_some()));
            self.spool.landed();
        }
        assert!(self.book.account().holds(), "{:?}", self.book.account());
        seen
    }
}

/// As an inserter says it.
pub(super) fn sent(attempt: u32) -> Sent {
    Sent { attempt, pieces_log2: 0, at: TimeMs(1_800_000_000_123) }
}

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_lent_batch_never_gives_way() {
    let fixture = Fixture::in_memory(WhenFull::DropOldest);
    fixture.push([1]);
    assert_eq!(fixture.spool.next().await.unwrap().batch.id.batch, 1);
    fixture.push(2..=4);
    assert_eq!(fixture.book.account().dropped(), 20, "batches 2 and 3 gave way to 4");
    assert_eq!(fixture.drain().await, [(1, 0, false), (4, 0, false)]);
}

#[tokio::test]
async fn the_newest_gives_way_when_told_so() {
    let fixture = Fixture::in_memory(WhenFull::DropNewest);
    fixture.push(1..=4);
    assert_eq!(fixture.drain().await, [(1, 0, false), (2, 0, false)]);
    assert_eq!(fixture.spool.oldest_sealed_at(), None);
}

#[tokio::test]
async fn a_full_memory_spills_and_keeps_the_order() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::on_disk(directory.path(), Journal::Spill);
    fixture.push([1, 2]);
    assert_eq!(files(directory.path()), ["ledger", "lock", "quarantine"], "a healthy line does not touch the disk");
    fixture.push(3..=9);
    assert_eq!(fixture.book.account().dropped(), 0);
    let sequences: Vec<_> = fixture.drain().await.into_iter().map(|(sequence, ..)| sequence).collect();
    assert_eq!(sequences, (1..=9).collect::<Vec<_>>());
    assert_eq!(files(directory.path()), ["ledger", "lock", "quarantine"], "settled segments are gone");
}

#[tokio::test]
async fn what_a_process_leaves_the_next_one_takes_up() {
    let directory = tempfile::tempdir().unwrap();
    let killed = Fixture::on_disk(directory.path(), Journal::Always);
    killed.push(1..=4);
    killed.spool.next().await.unwrap();
    killed.spool.landed();
    killed.spool.next().await.unwrap();
    killed.spool.sending(sent(1)).unwrap();
    drop(killed); // nothing is written on the way out, as in a kill

    let next = Fixture::on_disk(directory.path(), Journal::Always);
    assert_eq!(next.book.account().recovered, 30);
    assert_eq!(next.push([5]).drain().await, [(2, 1, true), (3, 0, true), (4, 0, true), (5, 0, false)]);
    drop(next);
    assert!(Fixture::on_disk(directory.path(), Journal::Always).drain().await.is_empty());
}

#[tokio::test]
async fn trouble_saves_what_waits_and_a_landing_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::on_disk(directory.path(), Journal::Spill);
    fixture.push([1, 2]);
    fixture.spool.next().await.unwrap();
    fixture.spool.in_trouble();
    fixture.push([3]);
    drop(fixture);

    let next = Fixture::on_disk(directory.path(), Journal::Spill);
    assert_eq!(next.book.account().recovered, 30);
    next.push([4]);
    assert_eq!(next.drain().await.len(), 4);
}

#[tokio::test]
async fn at_the_end_memory_goes_to_disk_or_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let with_disk = Fixture::on_disk(directory.path(), Journal::Spill);
    with_disk.push([1, 2]).spool.leave();
    let account = with_disk.book.account();
    assert_eq!((account.spooled, account.dropped()), (20, 0));
    drop(with_disk);
    assert_eq!(Fixture::on_disk(directory.path(), Journal::Spill).drain().await.len(), 2);

    let without = Fixture::in_memory(WhenFull::DropOldest);
    without.push([1, 2]).spool.leave();
    let account = without.book.account();
    assert_eq!((account.spooled, account.dropped()), (0, 20));
}

#[tokio::test]
async fn a_refused_batch_is_kept_for_a_person() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::on_disk(directory.path(), Journal::Spill);
    fixture.push([1]);
    let lent = fixture.spool.next().await.unwrap();
    fixture.spool.refused(&lent.batch);
    let kept = directory.path().join("quarantine").join("c-1-samples-1.arrows.lz4");
    assert_eq!(fs::read(kept).unwrap(), batch(1).body);
    assert_eq!(fixture.book.account().dropped(), 10);
}

#[test]
fn a_second_user_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = Disk::open(directory.path(), 1 << 20).unwrap();
    let second = Disk::open(directory.path(), 1 << 20).unwrap_err();
    assert!(matches!(second, SpoolError::InUse { .. }), "{second}");
    drop(first);
    Disk::open(directory.path(), 1 << 20).unwrap();
}

#[tokio::test]
async fn a_full_budget_leaves_batches_in_memory_to_the_policy() {
    let directory = tempfile::tempdir().unwrap();
    let (disk, _) = Disk::open(directory.path(), 600).unwrap(); // room for two records
    let fixture = Fixture::new(WhenFull::DropOldest, Some(Arc::new(disk)), Journal::Always);
    fixture.push(1..=6);
    let account = fixture.book.account();
    assert!(account.dropped() > 0 && account.holds());
    let left: Vec<_> = fixture.drain().await.into_iter().map(|(sequence, ..)| sequence).collect();
    assert!(left.starts_with(&[1]) && left.ends_with(&[6]), "on disk the oldest, in memory the newest: {left:?}");
}

/// Fills a directory with five batches and returns the path of the segment.
fn written(directory: &Path) -> PathBuf {
    Fixture::on_disk(directory, Journal::Always).push(1..=5);
    directory.join(files(directory).into_iter().find(|name| name.ends_with("segment")).unwrap())
}

#[tokio::test]
async fn a_segment_cut_anywhere_yields_what_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let segment = written(directory.path());
    let whole = fs::read(&segment).unwrap();
    let record = (whole.len() - segment::HEADER_BYTES) / 5;
    for length in 0..=whole.len() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(segment.file_name().unwrap()), &whole[..length]).unwrap();
        let (_, recovered) = Disk::open(directory.path(), 1 << 20).unwrap();
        let expected = length.saturating_sub(segment::HEADER_BYTES) / record;
        assert_eq!(recovered.batches.len(), expected, "cut to {length} of {}", whole.len());
        let torn = length < segment::HEADER_BYTES || !(length - segment::HEADER_BYTES).is_multiple_of(record);
        assert_eq!(recovered.quarantined, u64::from(torn), "cut to {length}");
    }
}

#[tokio::test]
async fn a_flipped_byte_costs_only_what_lies_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let segment = written(directory.path());
    let whole = fs::read(&segment).unwrap();
    let record = (whole.len() - segment::HEADER_BYTES) / 5;
    for position in 0..whole.len() {
        let directory = tempfile::tempdir().unwrap();
        let mut damaged = whole.clone();
        damaged[position] ^= 0x40;
        fs::write(directory.path().join(segment.file_name().unwrap()), &damaged).unwrap();
        let (_, recovered) = Disk::open(directory.path(), 1 << 20).unwrap();
        let expected = position.saturating_sub(segment::HEADER_BYTES) / record;
        assert_eq!(recovered.batches.len(), expected, "byte {position}");
        assert_eq!(recovered.quarantined, 1, "byte {position}");
        // What was set aside is not read again, and the rest is still there.
        drop(recovered);
        let (_, again) = Disk::open(directory.path(), 1 << 20).unwrap();
        assert_eq!(again.batches.len(), expected, "byte {position}, opened again");
    }
}

#[tokio::test]
async fn strange_files_are_set_aside_and_the_rest_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    written(directory.path());
    fs::write(directory.path().join("notes.txt"), "hello").unwrap();
    fs::write(directory.path().join("00000000000000000099.segment"), "SHRDLAKX and no more of it").unwrap();
    fs::create_dir(directory.path().join("00000000000000000098.segment")).unwrap();
    fs::write(directory.path().join("ledger"), [7; 100]).unwrap();
    let (_, recovered) = Disk::open(directory.path(), 1 << 20).unwrap();
    assert_eq!((recovered.batches.len(), recovered.quarantined), (5, 3));
    let quarantine = directory.path().join("quarantine");
    assert_eq!(files(&quarantine), ["00000000000000000098.segment", "00000000000000000099.segment", "notes.txt"]);
}

#[tokio::test]
async fn a_batch_that_cannot_be_read_back_is_counted_and_the_next_one_goes() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::on_disk(directory.path(), Journal::Always);
    fixture.push(1..=4); // 1 and 2 are in memory too
    let segment = directory.path().join("00000000000000000001.segment");
    fs::OpenOptions::new().write(true).open(segment).unwrap().set_len(20).unwrap();
    let left: Vec<_> = fixture.drain().await.into_iter().map(|(sequence, ..)| sequence).collect();
    assert_eq!(left, [1, 2]);
    assert_eq!(fixture.book.account().dropped(), 20);
}

/// Two batches that were made of one file of a journal.
fn journalled(directory: &Path, fixture: &Fixture) -> PathBuf {
    let journal = journal::Journal::new::<Sample>(directory, 7, Arc::default()).unwrap();
    let (name, kind, labels) = ("up".into(), "gauge".into(), Labels::default());
    journal.append(Sample { time: TimeMs(1), name, kind, labels, value: 1.0 }, |_, _| true);
    let sealed = Arc::new(journal.close_file(|| ()).sealed);
    for sequence in [1, 2] {
        fixture.book.observed.fetch_add(10, Relaxed);
        fixture.book.batched.fetch_add(10, Relaxed);
        fixture.spool.push_journalled(batch(sequence), Arc::clone(&sealed), None);
    }
    if let Some(sealed) = Arc::into_inner(sealed) {
        sealed.remove();
    }
    directory.join("journal/samples-7-0000000001.rows")
}

#[tokio::test]
async fn a_journal_goes_once_its_batches_are_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::on_disk(directory.path(), Journal::Always);
    assert!(!journalled(directory.path(), &fixture).exists());
    assert_eq!(fixture.drain().await.len(), 2);
}

#[tokio::test]
async fn a_disk_without_room_keeps_the_journal_until_its_batches_have_landed() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::on_disk_of(directory.path(), Journal::Always, 0);
    let file = journalled(directory.path(), &fixture);
    fixture.spool.next().await.unwrap();
    assert!(file.exists());
    fixture.spool.landed();
    assert!(file.exists(), "the second batch needs it");
    fixture.spool.leave();
    assert_eq!(fixture.book.account().spooled, 10, "the journal has it");
    assert!(file.exists());
    fixture.spool.next().await.unwrap();
    fixture.spool.landed();
    assert!(!file.exists());
}
