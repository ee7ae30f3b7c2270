//! The part of the spool that outlives the process: a directory of segments and one ledger.
//!
//! ```text
//! <directory>/lock                      held while a process uses the directory
//! <directory>/00000000000000000001.segment   batches, appended until it is large enough; see segment.rs
//! <directory>/ledger                    what became of them; see ledger.rs
//! <directory>/placement                 the address that batches are sent to; see placement.rs
//! <directory>/quarantine/               what could not be understood, and batches that ClickHouse refuses
//! ```
//!
//! Rules:
//! - A batch is written once and never changed. A segment goes when every batch in it is settled, as a whole file.
//! - Opening reads everything once. What is damaged, torn or strange is moved to `quarantine/` and counted; the rest goes
//!   on. Nothing is ever read twice in search of a better result, so recovery ends.
//! - What a kill of the process survives: everything, because written bytes belong to the kernel. What a power loss
//!   survives: what the kernel had written back by then; a torn end is found by its checksum.
//! - A full or failing disk is an answer, not a crash: the batch stays in memory, and the spool's policy decides.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind, Read as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock, statvfs};

use super::{
    ledger::{Decision, Ledger, Place, Sent},
    recovery::{Recovered, Recovery},
    segment::{self, Head},
};
use crate::outside::fs::{self, File, OpenOptions};

/// A segment is closed once it is this large. Small enough that disk space comes back soon after batches land.
const SEGMENT_BYTES: u64 = 4 << 20;
/// Free space that is left to others on the same file system. A bot that fills the last block takes its host down.
const LEAVE_FREE_BYTES: u64 = 64 << 20;
/// The ledger is not written anew before it is this large: 32,768 decisions.
const LEDGER_BYTES: u64 = 1 << 20;
/// Who only looks (inspect.rs) takes the lock for some microseconds; who finds it taken tries again for so long.
const LOCK_PATIENCE: Duration = Duration::from_millis(5);
/// Longest file that recovery reads: one segment that was closed by one very large batch.
const MAX_FILE_BYTES: u64 = SEGMENT_BYTES + segment::MAX_BODY_BYTES as u64 + 4096;

/// Why a spool directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// Another process uses it, or another recorder of this one.
    #[error("{} is used by another process; give each cluster a spool directory of its own", .directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// It holds rows that may have landed on a server that the configuration does not name.
    #[error(
        "{} holds rows that were sent to {address}, which is none of ClickHouse's addresses now; name it again, or land them \
         there with `shardlake spool replay`; if it is the same server under a new name, write that into {}",
        .directory.display(),
        .directory.join(crate::placement::FILE).display()
    )]
    Elsewhere {
        /// The directory.
        directory: PathBuf,
        /// Where its rows were sent.
        address: String,
    },
    /// It cannot be made, locked, listed or written to.
    #[error("the spool cannot use {}; check that it exists and may be written to", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a batch was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("the spool's budget or the disk is full")]
    Full,
    #[error("the disk does not take it")]
    Failed(#[source] io::Error),
}

/// What a directory may hold, and how, in bytes. See the constants for the reasons.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) budget: u64,
    pub(super) segment: u64,
    /// 0: free space is not watched.
    pub(super) leave_free: u64,
    pub(super) ledger: u64,
}

#[derive(Debug)]
pub(crate) struct Disk {
    directory: PathBuf,
    limits: Limits,
    state: Mutex<State>,
    /// Bytes in segments, for the gauge.
    bytes: AtomicU64,
    /// Files, or ends of files, that were set aside since this process opened the directory.
    pub(crate) quarantined: AtomicU64,
    /// By the journals of all tables: rows that they could not write.
    pub(crate) journal_failed: Arc<AtomicU64>,
    _lock: File,
}

#[derive(Debug)]
struct State {
    ledger: Ledger,
    /// The segment that is appended to.
    open: Option<Open>,
    next_segment: u64,
    segments: BTreeMap<u64, Segment>,
}

#[derive(Debug)]
struct Open {
    id: u64,
    file: File,
}

#[derive(Debug, Default)]
pub(super) struct Segment {
    pub(super) bytes: u64,
    pub(super) unsettled: u64,
}

impl Disk {
    /// Opens a directory, made if it is missing, and reads what an earlier process left there.
    pub(crate) fn open(directory: &Path, budget_bytes: u64) -> Result<(Self, Recovered), SpoolError> {
        let limits =
            Limits { budget: budget_bytes, segment: SEGMENT_BYTES, leave_free: LEAVE_FREE_BYTES, ledger: LEDGER_BYTES };
        Self::open_within(directory, limits)
    }

    pub(super) fn open_within(directory: &Path, limits: Limits) -> Result<(Self, Recovered), SpoolError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SpoolError::Io { path, source }
        };
        fs::create_dir_all(directory.join("quarantine")).map_err(failed(directory))?;
        let lock = lock(directory)?;

        let recovery = Recovery::run(directory).map_err(failed(directory))?;
        let Recovery { recovered, segments, next_segment, decisions, .. } = recovery;
        let ledger = Ledger::begin(directory, decisions, limits.ledger).map_err(failed(directory))?;
        let bytes = segments.values().map(|segment: &Segment| segment.bytes).sum();
        let disk = Self {
            directory: directory.to_owned(),
            limits,
            state: Mutex::new(State { ledger, open: None, next_segment, segments }),
            bytes: AtomicU64::new(bytes),
            quarantined: AtomicU64::new(recovered.quarantined),
            journal_failed: Arc::default(),
            _lock: lock,
        };
        Ok((disk, recovered))
    }

    /// Bytes in segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Writes a batch. It is safe from a kill of this process once this returns.
    ///
    /// Returns its place and the length of its record.
    pub(crate) fn write(&self, head: &Head, body: &[u8]) -> Result<(Place, usize), WriteError> {
        let record_head = segment::record_head(head, body);
        self.check_room((record_head.len() + body.len()) as u64)?;
        self.append(&record_head, body)
    }

    /// The same past the budget, and into the space that is left to others: for the one batch that cannot go on otherwise.
    pub(crate) fn write_beyond_limits(&self, head: &Head, body: &[u8]) -> Result<(Place, usize), WriteError> {
        self.append(&segment::record_head(head, body), body)
    }

    fn append(&self, record_head: &[u8], body: &[u8]) -> Result<(Place, usize), WriteError> {
        let length = (record_head.len() + body.len()) as u64;
        let mut state = self.lock();
        let id = self.open_segment(&mut state).map_err(write_error)?;
        let offset = state.segments.get(&id).map_or(0, |segment| segment.bytes);
        let Some(open) = &state.open else { return Err(WriteError::Failed(ErrorKind::NotFound.into())) };
        let written = open.file.write_all_at(record_head, offset);
        let written = written.and_then(|()| open.file.write_all_at(body, offset + record_head.len() as u64));
        if let Err(error) = written {
            // The record is torn. Cut it off; if even that fails, append to another segment from now on.
            if open.file.set_len(offset).is_err() {
                state.open = None;
            }
            return Err(write_error(error));
        }
        let segment = state.segments.entry(id).or_default();
        segment.bytes += length;
        segment.unsettled += 1;
        if segment.bytes >= self.limits.segment {
            state.open = None;
        }
        self.bytes.fetch_add(length, Relaxed);
        Ok((Place { segment: id, offset }, record_head.len() + body.len()))
    }

    fn check_room(&self, length: u64) -> Result<(), WriteError> {
        let Limits { budget, leave_free, .. } = self.limits;
        let leaves_room = || {
            let free = statvfs(&self.directory).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
            free >= length.saturating_add(leave_free)
        };
        let fits = self.bytes().saturating_add(length) <= budget && (leave_free == 0 || leaves_room());
        if fits { Ok(()) } else { Err(WriteError::Full) }
    }

    fn open_segment(&self, state: &mut State) -> io::Result<u64> {
        if let Some(open) = &state.open {
            return Ok(open.id);
        }
        let id = state.next_segment;
        let path = segment_path(&self.directory, id);
        state.next_segment += 1; // a failure may leave a file under the name
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        if let Err(error) = file.write_all_at(&segment::header(), 0) {
            let _ = fs::remove_file(&path); // on a full disk every batch would leave an empty file
            return Err(error);
        }
        state.segments.insert(id, Segment { bytes: segment::HEADER_BYTES as u64, unsettled: 0 });
        self.bytes.fetch_add(segment::HEADER_BYTES as u64, Relaxed);
        state.open = Some(Open { id, file });
        Ok(id)
    }

    /// Reads a batch back: `length` is that of its whole record.
    pub(crate) fn read(&self, place: Place, length: usize) -> io::Result<Bytes> {
        read_body(&self.directory, place, length)
    }

    /// The batch is about to be sent like this.
    pub(crate) fn sent(&self, place: Place, sent: Sent) -> io::Result<()> {
        self.lock().ledger.decide(place, Decision::Sent(sent))
    }

    /// The same for a token that was not used before: not even a power loss may make it a fresh one again.
    pub(crate) fn sent_anew(&self, place: Place, sent: Sent) -> io::Result<()> {
        let mut state = self.lock();
        state.ledger.decide(place, Decision::Sent(sent))?;
        state.ledger.sync()
    }

    /// The batch is settled; its segment goes if it was the last one there.
    pub(crate) fn settle(&self, place: Place) -> io::Result<()> {
        let mut state = self.lock();
        let noted = state.ledger.decide(place, Decision::Settled);
        let Some(segment) = state.segments.get_mut(&place.segment) else { return noted };
        segment.unsettled = segment.unsettled.saturating_sub(1);
        if segment.unsettled > 0 {
            return noted;
        }
        // Whether it was noted or not: what is gone does not come back, and a full disk needs the room.
        if state.open.as_ref().is_some_and(|open| open.id == place.segment) {
            state.open = None;
        }
        remove_if_there(&segment_path(&self.directory, place.segment))?;
        if let Some(segment) = state.segments.remove(&place.segment) {
            self.bytes.fetch_sub(segment.bytes, Relaxed);
        }
        state.ledger.forget(place.segment);
        Ok(())
    }

    /// Keeps a refused batch where a person can look at it: an Arrow stream in an LZ4 frame.
    pub(crate) fn quarantine(&self, head: &Head, body: &[u8]) -> io::Result<PathBuf> {
        let path = self.directory.join("quarantine").join(format!("{}.arrows.lz4", head.file_stem()));
        if let Err(error) = fs::write(&path, body) {
            let _ = fs::remove_file(&path); // half of it helps nobody, and the disk may be full
            return Err(error);
        }
        self.quarantined.fetch_add(1, Relaxed);
        Ok(path)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(directory: &Path) -> Result<File, SpoolError> {
    let path = directory.join("lock");
    let failed = |source| SpoolError::Io { path: path.clone(), source };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => thread::yield_now(),
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(SpoolError::InUse { directory: directory.to_owned() }),
            Err(errno) => return Err(failed(errno.into())),
        }
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    fs::remove_file(path).or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Reads a batch: `length` is that of its whole record.
pub(super) fn read_body(directory: &Path, place: Place, length: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; length];
    let file = File::open(segment_path(directory, place.segment))?;
    file.read_exact_at(&mut bytes, place.offset)?;
    let record = segment::record_at(&bytes, 0).map_err(|damage| io::Error::new(ErrorKind::InvalidData, damage))?;
    let body_bytes = record.body.len();
    Ok(Bytes::from(bytes).slice(length - body_bytes..))
}

pub(super) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "it is longer than any file of ours"));
    }
    Ok(bytes)
}

fn write_error(error: io::Error) -> WriteError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => WriteError::Full,
        _ => WriteError::Failed(error),
    }
}

pub(super) fn segment_name(id: u64) -> String {
    format!("{id:020}.segment")
}

pub(super) fn segment_path(directory: &Path, id: u64) -> PathBuf {
    directory.join(segment_name(id))
}

/// The number in a segment's name, if it is one of ours: far from the largest, so that the next one can be counted.
pub(super) fn segment_id(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".segment")?;
    let id = digits.parse().ok()?;
    (segment_name(id) == name && id <= u64::MAX / 2).then_some(id)
}
