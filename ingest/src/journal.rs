//! Rows on disk before they are in a batch: with a journal a row is safe from a kill of the process as soon as it was
//! recorded.
//!
//! ```text
//! <spool>/journal/<table>-<boot>-<first batch>.rows
//! header   "SHRDROWS"  version u32  crc32 u32 of these twelve bytes
//! record   length u32 of the row   crc32 u32 of length and row   the row, see Row::put
//! ```
//!
//! One file holds the rows of one seal, and nothing else. When the batcher seals, it takes exactly the rows of the file out
//! of the queue and starts the next one. The name says which numbers their batches have, one per partition in order; so
//! whoever finds a file, however often and whatever became of its rows meanwhile, makes the same batches of it, looks for
//! them in ClickHouse, and sends what is missing. The file goes once each of its batches has landed, is on disk, or was
//! dropped. A row that the disk does not take goes into batches of its own. A row that the full queue does not take is in
//! the file all the same, and is read back when that is sealed.
//!
//! Appending is one write to a file, into the kernel's memory: it survives a kill of the process, not a power loss.

use std::{
    io::{self, Read as _},
    mem,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use shardlake_schema::{Row, Table};

use crate::outside::fs::{self, File, OpenOptions};

const MAGIC: &[u8; 8] = b"SHRDROWS";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
/// Length and checksum.
const RECORD_HEAD_BYTES: usize = 8;
/// Longest row: names are limited to 100 bytes, and a sample has a handful of labels.
const MAX_ROW_BYTES: usize = 64 << 10;
/// Longest file that recovery reads: the largest batch, of rows with long names.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// A file whose rows are in batches now.
#[derive(Debug)]
pub(crate) struct Sealed {
    path: PathBuf,
}

impl Sealed {
    /// Its rows, up to its end or the first that is damaged; and whether there was damage.
    pub(crate) fn rows<R: Row>(&self) -> io::Result<(Vec<R>, bool)> {
        let bytes = read(&self.path)?;
        let mut rows = Vec::new();
        let damage = each_row(&bytes, |row| rows.push(row));
        Ok((rows, damage.is_some()))
    }

    /// Its rows need it no more.
    pub(crate) fn remove(&self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(file = %self.path.display(), %error, "a journal whose rows are safe cannot be removed");
            }
            _ => {}
        }
    }
}

/// The end of a file.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) sealed: Sealed,
    /// Number of the first batch that its rows go into.
    pub(crate) first_batch: u64,
    /// Number of the first batch that the rows go into which it did not take.
    pub(crate) first_missed_batch: u64,
    /// Rows in it that are not in the queue.
    pub(crate) only_here: u64,
}

/// The journal of one table.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    /// Begins the names of this process's files.
    prefix: String,
    state: Mutex<State>,
    /// Rows of all journals that could not be written: they are in memory only, as without a journal.
    failed: Arc<AtomicU64>,
}

#[derive(Debug)]
struct State {
    /// Number of the first batch that the rows of the present file go into.
    next_batch: u64,
    file: Option<File>,
    bytes: u64,
    /// Of its rows.
    partitions: Vec<u32>,
    /// Of the rows since it was begun that it did not take.
    missed_partitions: Vec<u32>,
    /// Rows in it that are not in the queue.
    only_here: u64,
    /// Reused for every row.
    record: Vec<u8>,
}

impl Journal {
    pub(crate) fn new<R: Row>(spool: &Path, boot: u64, failed: Arc<AtomicU64>) -> io::Result<Self> {
        let directory = spool.join("journal");
        fs::create_dir_all(&directory)?;
        let state = State {
            next_batch: 1,
            file: None,
            bytes: 0,
            partitions: Vec::new(),
            missed_partitions: Vec::new(),
            only_here: 0,
            record: Vec::new(),
        };
        let prefix = format!("{}-{boot}-", R::TABLE);
        Ok(Self { directory, prefix, state: Mutex::new(state), failed })
    }

    /// Writes a row, and runs `queue` before any other row can be written: the queue holds rows in the journal's order.
    /// `queue` hears whether the row was written, and says whether it took it.
    pub(crate) fn append<R: Row>(&self, row: R, queue: impl FnOnce(R, bool) -> bool) {
        // Nothing panics while the lock is held; a poisoned lock still guards whole data.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.write(&mut state, &row);
        if let Err(error) = &written
            && self.failed.fetch_add(1, Relaxed) == 0
        {
            tracing::error!(%error, "the journal cannot be written, rows are in memory only");
        }
        let partition = R::TABLE.partition(row.time());
        let partitions = if written.is_ok() { &mut state.partitions } else { &mut state.missed_partitions };
        if !partitions.contains(&partition) {
            partitions.push(partition);
        }
        if !queue(row, written.is_ok()) && written.is_ok() {
            state.only_here += 1;
        }
    }

    fn write<R: Row>(&self, state: &mut State, row: &R) -> io::Result<()> {
        let State { record, .. } = state;
        record.clear();
        record.extend_from_slice(&[0; RECORD_HEAD_BYTES]);
        row.put(record);
        let length = u32::try_from(record.len() - RECORD_HEAD_BYTES).unwrap_or(u32::MAX).to_le_bytes();
        let crc = checksum(length, &record[RECORD_HEAD_BYTES..]);
        record[..4].copy_from_slice(&length);
        record[4..8].copy_from_slice(&crc.to_le_bytes());

        if state.file.is_none() {
            let path = self.path(state.next_batch);
            // What is there under this name is a file of ours whose header found no room.
            let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
            file.write_all_at(&header(), 0)?;
            (state.file, state.bytes) = (Some(file), HEADER_BYTES as u64);
        }
        if let Some(file) = &state.file {
            // A torn row is overwritten by the next one, and ends the file for a reader until then.
            file.write_all_at(&state.record, state.bytes)?;
            state.bytes += state.record.len() as u64;
        }
        Ok(())
    }

    /// Ends the present file. `drain` empties the queue meanwhile, so that it holds exactly the rows that are recorded from
    /// now on, which go to the next file.
    pub(crate) fn close_file(&self, drain: impl FnOnce()) -> Closed {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        drain();
        // What is left of a row that was not taken would be one more row of the file.
        if let Some(file) = state.file.as_ref().filter(|_| !state.missed_partitions.is_empty()) {
            let _ = file.set_len(state.bytes); // usually it is torn, and this is for the rest
        }
        let first_batch = state.next_batch;
        let first_missed_batch = first_batch + state.partitions.len() as u64;
        state.next_batch = first_missed_batch + state.missed_partitions.len() as u64;
        state.partitions.clear();
        state.missed_partitions.clear();
        (state.file, state.bytes) = (None, 0);
        let only_here = mem::take(&mut state.only_here);
        Closed { sealed: Sealed { path: self.path(first_batch) }, first_batch, first_missed_batch, only_here }
    }

    /// Rows in the present file that are not in the queue. They are not asked for any more.
    pub(crate) fn abandon(&self) -> u64 {
        mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).only_here)
    }

    fn path(&self, first_batch: u64) -> PathBuf {
        self.directory.join(format!("{}{first_batch:010}.rows", self.prefix))
    }
}

/// A file that an earlier process left behind.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) name: String,
    pub(crate) boot: u64,
    pub(crate) first_batch: u64,
    path: PathBuf,
}

/// The files of `R`'s table that earlier processes left behind, oldest first.
pub(crate) fn left_behind<R: Row>(spool: &Path) -> io::Result<Vec<Left>> {
    let mut left = Vec::new();
    let directory = spool.join("journal");
    if !directory.exists() {
        return Ok(left);
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some((table, boot, first_batch)) = identify(&name)
            && table == R::TABLE
        {
            left.push(Left { name, boot, first_batch, path: entry.path() });
        }
    }
    left.sort_by_key(|left| (left.boot, left.first_batch));
    Ok(left)
}

/// Whether an earlier process left rows of any table.
pub(crate) fn holds_rows(spool: &Path) -> io::Result<bool> {
    let directory = spool.join("journal");
    if !directory.exists() {
        return Ok(false);
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let is_ours = identify(&entry.file_name().to_string_lossy()).is_some();
        if is_ours && entry.metadata()?.len() > HEADER_BYTES as u64 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The table, the boot and the first batch in a file's name, if it is one of ours.
pub(crate) fn identify(name: &str) -> Option<(Table, u64, u64)> {
    let (table, rest) = name.strip_suffix(".rows")?.split_once('-')?;
    let (boot, first_batch) = rest.split_once('-')?;
    let table = Table::ALL.into_iter().find(|known| known.name() == table)?;
    Some((table, boot.parse().ok()?, first_batch.parse().ok()?))
}

/// A file's bytes; of one that is longer than any of ours, as many as the longest has.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Left {
    /// The file, for the batches that are made of it.
    pub(crate) fn sealed(&self) -> Sealed {
        Sealed { path: self.path.clone() }
    }

    /// Keeps a copy where a person can look at it; `false` if that failed.
    pub(crate) fn copy_aside(&self, spool: &Path) -> bool {
        let copied = fs::copy(&self.path, spool.join("quarantine").join(&self.name));
        tracing::error!(
            file = self.name,
            copied = copied.is_ok(),
            "the end of a journal is damaged, a copy was set aside"
        );
        copied.is_ok()
    }
}

fn header() -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn checksum(length: [u8; 4], row: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length);
    crc.update(row);
    crc.finalize()
}

/// Hands over the rows of a file one by one; returns where they end if that is not the end of the file. A torn last row
/// is what a kill leaves; it was never acknowledged.
pub(crate) fn each_row<R: Row>(bytes: &[u8], mut use_row: impl FnMut(R)) -> Option<usize> {
    if bytes.is_empty() {
        return None; // a kill came before the header
    }
    let Some(mut rest) = bytes.strip_prefix(&header()) else { return Some(0) };
    while !rest.is_empty() {
        let Some((row, after)) = parse_row(rest) else { return Some(bytes.len() - rest.len()) };
        use_row(row);
        rest = after;
    }
    None
}

fn parse_row<R: Row>(bytes: &[u8]) -> Option<(R, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let row_bytes = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= MAX_ROW_BYTES)?;
    let (row, rest) = rest.split_at_checked(row_bytes)?;
    if checksum(*length, row) != u32::from_le_bytes(*crc) {
        return None;
    }
    Some((R::take(row)?, rest))
}

#[cfg(test)]
mod tests;
