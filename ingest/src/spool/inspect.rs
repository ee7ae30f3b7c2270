//! A look into a spool's directory that changes nothing: for the person on call.
//!
//! It works while a process holds the directory, and does not disturb it. What it shows is then a moment that may be gone:
//! journals are read before segments, so a row that moves from one to the other meanwhile is seen twice rather than not at
//! all, and an end that is just being written is not called damage.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io::{self, ErrorKind, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use lz4_flex::frame::FrameDecoder;
use rustix::fs::{FlockOperation, flock};
use shardlake_schema::{
    Row, Table, TimeMs,
    rows::{GatewayCount, GuildEvent, Interaction, Process, Sample, ShardEvent},
};

use super::{
    disk::{SpoolError, read_body, read_bounded, segment_id, segment_name, segment_path},
    ledger::{self, Decision, Place},
    recovery::{Scanned, Stored, scan},
    segment::{Damage, Head},
};
use crate::{journal, placement};

/// What lies in a spool's directory.
#[derive(Debug)]
#[non_exhaustive]
pub struct Contents {
    /// A process holds the directory: what is below may have changed since.
    pub in_use: bool,
    /// Batches that have not landed, oldest first.
    pub batches: Vec<Batch>,
    /// Batches that are settled, whose segment is not yet gone.
    pub settled: u64,
    /// Files of rows that are in no batch yet, or just became one.
    pub journals: Vec<JournalFile>,
    /// What lies in `quarantine/`.
    pub set_aside: Vec<SetAside>,
    /// What cannot be read.
    pub damaged: Vec<Damaged>,
    /// Bytes of all segments.
    pub segment_bytes: u64,
}

/// A batch on disk.
#[derive(Debug)]
#[non_exhaustive]
pub struct Batch {
    /// The table it is for, by its name: a newer version may know more tables.
    pub table: String,
    /// The cluster that recorded it.
    pub cluster: String,
    /// The boot that sealed it.
    pub boot: u64,
    /// Its sequence in that boot.
    pub batch: u64,
    /// Rows in it.
    pub rows: u64,
    /// Time of its earliest row.
    pub first_time: TimeMs,
    /// Time of its latest row.
    pub last_time: TimeMs,
    /// When it was sealed.
    pub sealed_at: TimeMs,
    /// The attempt whose token is in force.
    pub attempt: u32,
    /// What it takes on disk.
    pub bytes: u64,
    /// `<cluster>-<boot>-<table>-<batch>`: what a file with this batch is called, without its ending.
    pub file_stem: String,
    place: Place,
    length: usize,
}

/// A file of the journal.
#[derive(Debug)]
#[non_exhaustive]
pub struct JournalFile {
    /// Its name.
    pub name: String,
    /// The table of its rows.
    pub table: Table,
    /// The boot that recorded them.
    pub boot: u64,
    /// Rows that can be read.
    pub rows: u64,
    /// Times of the earliest and the latest row.
    pub times: Option<(TimeMs, TimeMs)>,
    /// Its length.
    pub bytes: u64,
    /// All of its rows are in [`Contents::batches`] too; the next process only removes it.
    pub in_batches: bool,
    /// Numbers of the batches that its rows make.
    batches: Range<u64>,
}

/// A file in `quarantine/`.
#[derive(Debug)]
#[non_exhaustive]
pub struct SetAside {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// A batch that ClickHouse refused. Anything else was damaged, or never was ours.
    pub refused: bool,
}

/// Something that cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub struct Damaged {
    /// The file, below the spool's directory.
    pub file: PathBuf,
    /// Where it begins, in bytes.
    pub at: u64,
    /// What is wrong.
    pub what: String,
}

/// Ending of a refused batch in `quarantine/`.
const REFUSED: &str = ".arrows.lz4";

/// Reads everything in `directory` once.
///
/// # Errors
/// [`SpoolError::Io`] if the directory is not there or cannot be listed. A file that cannot be read is
/// [`Contents::damaged`].
pub fn inspect(directory: &Path) -> Result<Contents, SpoolError> {
    let failed = |source| SpoolError::Io { path: directory.to_owned(), source };
    let contents = Contents {
        in_use: is_in_use(directory),
        batches: Vec::new(),
        settled: 0,
        journals: Vec::new(),
        set_aside: Vec::new(),
        damaged: Vec::new(),
        segment_bytes: 0,
    };
    let mut look = Look { directory, contents };
    look.at_journals().map_err(failed)?;
    look.at_segments().map_err(failed)?;
    look.at_quarantine().map_err(failed)?;
    Ok(look.contents)
}

/// Writes a batch to `out` as an Arrow IPC stream, its compression removed.
///
/// # Errors
/// If the batch is damaged, landed meanwhile, or cannot be written.
pub fn export(directory: &Path, batch: &Batch, out: &mut impl Write) -> io::Result<()> {
    let body = read_body(directory, batch.place, batch.length)?;
    io::copy(&mut FrameDecoder::new(&*body), out)?;
    Ok(())
}

/// The same for a batch that ClickHouse refused.
///
/// # Errors
/// If the file is gone or damaged, or the batch cannot be written.
pub fn export_refused(directory: &Path, refused: &SetAside, out: &mut impl Write) -> io::Result<()> {
    let file = File::open(directory.join("quarantine").join(&refused.name))?;
    io::copy(&mut FrameDecoder::new(file), out)?;
    Ok(())
}

/// Whether a process holds the directory. Finding out takes its lock, shared and for a moment: see `lock` in disk.rs.
fn is_in_use(directory: &Path) -> bool {
    File::open(directory.join("lock"))
        .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK))
}

struct Look<'a> {
    directory: &'a Path,
    contents: Contents,
}

impl Look<'_> {
    fn at_journals(&mut self) -> io::Result<()> {
        let names = names_in(&self.directory.join("journal"))?;
        // Files sort by table, boot and first batch: the last one of a table is the one that is being written.
        let newest: BTreeMap<_, _> =
            names.iter().filter_map(|name| journal::identify(name).map(|(table, ..)| (table, name))).collect();
        for name in &names {
            let file = Path::new("journal").join(name);
            let Some((table, boot, first_batch)) = journal::identify(name) else {
                self.damaged(file, 0, "it does not belong here");
                continue;
            };
            let bytes = match journal::read(&self.directory.join(&file)) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::NotFound => continue, // it was sealed meanwhile
                Err(error) => {
                    self.damaged(file, 0, &error);
                    continue;
                }
            };
            let Counted { rows, times, partitions, end } = count(table, &bytes);
            let being_written = self.contents.in_use && newest.get(&table) == Some(&name);
            if let Some(end) = end.filter(|_| !being_written) {
                self.damaged(file, end as u64, "the row here is torn or damaged, and nothing behind it can be read");
            }
            let bytes = bytes.len() as u64;
            let name = name.clone();
            let batches = first_batch..first_batch.saturating_add(partitions.len() as u64);
            let in_batches = false; // known once the segments were read
            self.contents.journals.push(JournalFile { name, table, boot, rows, times, bytes, in_batches, batches });
        }
        Ok(())
    }

    fn at_segments(&mut self) -> io::Result<()> {
        let names = names_in(self.directory)?;
        if names.is_empty() && !self.directory.exists() {
            return Err(ErrorKind::NotFound.into());
        }
        let decisions = self.ledger();
        let newest = names.iter().filter_map(|name| segment_id(name)).max();
        for name in &names {
            match segment_id(name) {
                Some(id) => self.at_segment(id, newest == Some(id), &decisions),
                None if matches!(&**name, "lock" | "ledger" | "ledger.new" | "quarantine" | "journal") => {}
                None if matches!(&**name, placement::FILE | placement::FILE_NEW) => {}
                None => self.damaged(name, 0, "it does not belong here"),
            }
        }
        self.contents.batches.sort_by_key(|batch| (batch.boot, batch.batch));
        let known: BTreeSet<_> =
            self.contents.batches.iter().map(|batch| (&*batch.table, batch.boot, batch.batch)).collect();
        for journal in &mut self.contents.journals {
            let known = |batch| known.contains(&(journal.table.name(), journal.boot, batch));
            journal.in_batches = journal.rows > 0 && journal.batches.clone().all(known);
        }
        Ok(())
    }

    fn ledger(&mut self) -> HashMap<Place, Decision> {
        let bytes = match read_bounded(&self.directory.join("ledger")) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                self.damaged("ledger", 0, &error);
                Vec::new()
            }
        };
        let (decisions, damaged) = ledger::read(&bytes);
        let being_written =
            |first: usize| self.contents.in_use && first / ledger::RECORD_BYTES == bytes.len() / ledger::RECORD_BYTES;
        if let Some((records, first)) = damaged.filter(|(_, first)| !being_written(*first)) {
            self.damaged("ledger", first as u64, &format!("{records} decisions cannot be read, this is the first"));
        }
        decisions
    }

    fn at_segment(&mut self, id: u64, newest: bool, decisions: &HashMap<Place, Decision>) {
        let bytes = match read_bounded(&segment_path(self.directory, id)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return, // its batches landed meanwhile
            Err(error) => return self.damaged(segment_name(id), 0, &error),
        };
        let Scanned { batches, settled, good_bytes, damage } = scan(id, &bytes, decisions);
        self.contents.segment_bytes += bytes.len() as u64;
        self.contents.settled += settled;
        self.contents.batches.extend(batches.into_iter().map(Batch::from));
        let being_written = self.contents.in_use && newest && damage == Some(Damage::Torn);
        if let Some(damage) = damage.filter(|_| !being_written) {
            self.damaged(segment_name(id), good_bytes, &format!("{damage}; nothing behind that can be read"));
        }
    }

    fn at_quarantine(&mut self) -> io::Result<()> {
        let quarantine = self.directory.join("quarantine");
        for name in names_in(&quarantine)? {
            let bytes = fs::symlink_metadata(quarantine.join(&name)).map_or(0, |metadata| metadata.len());
            let refused = name.ends_with(REFUSED);
            self.contents.set_aside.push(SetAside { name, bytes, refused });
        }
        Ok(())
    }

    fn damaged(&mut self, file: impl Into<PathBuf>, at: u64, what: &(impl ToString + ?Sized)) {
        self.contents.damaged.push(Damaged { file: file.into(), at, what: what.to_string() });
    }
}

impl From<Stored> for Batch {
    fn from(Stored { place, length, head, sent }: Stored) -> Self {
        let file_stem = head.file_stem();
        let Head { table, cluster, boot, batch, rows, first_time_ms, last_time_ms, sealed_at_ms } = head;
        Self {
            table,
            cluster,
            boot,
            batch,
            rows,
            first_time: TimeMs(first_time_ms),
            last_time: TimeMs(last_time_ms),
            sealed_at: TimeMs(sealed_at_ms),
            attempt: sent.attempt,
            bytes: length as u64,
            file_stem,
            place,
            length,
        }
    }
}

/// The rows of a journal's file.
struct Counted {
    rows: u64,
    times: Option<(TimeMs, TimeMs)>,
    partitions: BTreeSet<u32>,
    /// Where they end, if that is not the end of the file.
    end: Option<usize>,
}

fn count(table: Table, bytes: &[u8]) -> Counted {
    match table {
        Table::Interactions => count_rows::<Interaction>(bytes),
        Table::ShardEvents => count_rows::<ShardEvent>(bytes),
        Table::GatewayCounts => count_rows::<GatewayCount>(bytes),
        Table::GuildEvents => count_rows::<GuildEvent>(bytes),
        Table::Samples => count_rows::<Sample>(bytes),
        Table::Processes => count_rows::<Process>(bytes),
    }
}

fn count_rows<R: Row>(bytes: &[u8]) -> Counted {
    let (mut rows, mut partitions) = (0, BTreeSet::new());
    let mut times: Option<(TimeMs, TimeMs)> = None;
    let end = journal::each_row(bytes, |row: R| {
        rows += 1;
        partitions.insert(R::TABLE.partition(row.time()));
        let (first, last) = times.unwrap_or((row.time(), row.time()));
        times = Some((first.min(row.time()), last.max(row.time())));
    });
    Counted { rows, times, partitions, end }
}

/// Names in a folder, sorted; none if it is not there.
fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names: Vec<String> = names.collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}
