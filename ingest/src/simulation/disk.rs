//! `std::fs` for the code under test: real files, and faults on the way to them.
//!
//! Only what changes files can fail. What a kill may damage is the operation it comes in the midst of; what a power loss
//! may damage is the end of every file, as far back as its last sync.

pub(crate) use std::fs::{read, read_dir};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{FileExt, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use rand::{RngExt as _, rngs::StdRng};

use super::outside::{count, inside};

/// The state of a simulated disk, and of the process that uses it.
pub(super) struct Disk {
    chance: StdRng,
    pub(super) trouble: Trouble,
    /// Operations until the process is killed in the midst of one.
    pub(super) killed_in: Option<u32>,
    pub(super) dead: bool,
    /// What a power loss leaves of each file at least, in bytes.
    synced: BTreeMap<PathBuf, Synced>,
}

struct Synced {
    /// A file that was renamed while it was open is still the same.
    inode: u64,
    bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Trouble {
    None,
    /// Nothing finds room.
    Full,
    /// Each operation fails with this probability.
    Failing(f64),
}

/// What becomes of an operation.
struct Fate {
    /// How much of it is done, 0 to 1.
    share: f64,
    /// What the caller hears.
    error: Option<io::Error>,
}

#[derive(Clone, Copy, PartialEq)]
enum Operation {
    /// Needs room.
    Write,
    /// A rename, a sync, a cut: needs none.
    Other,
}

impl Disk {
    pub(super) fn new(chance: StdRng) -> Self {
        Self { chance, trouble: Trouble::None, killed_in: None, dead: false, synced: BTreeMap::new() }
    }

    fn fate(&mut self, operation: Operation) -> Fate {
        let failed = |error: io::Error, share| Fate { share, error: Some(error) };
        let io_error = || io::Error::from_raw_os_error(5); // EIO
        if self.dead {
            return failed(io_error(), 0.0);
        }
        if let Some(left) = &mut self.killed_in {
            if *left == 0 {
                self.dead = true;
                return failed(io_error(), self.chance.random());
            }
            *left -= 1;
        }
        match (self.trouble, operation) {
            (Trouble::Full, Operation::Write) => failed(ErrorKind::StorageFull.into(), self.chance.random()),
            (Trouble::Failing(probability), Operation::Write | Operation::Other)
                if self.chance.random_bool(probability) =>
            {
                let share = if operation == Operation::Write { self.chance.random() } else { 0.0 };
                failed(io_error(), share)
            }
            _ => Fate { share: 1.0, error: None },
        }
    }

    /// Cuts the end off every file, somewhere behind its last sync, or leaves zeros there.
    pub(super) fn lose_power(&mut self) {
        for (path, Synced { bytes: synced, .. }) in &mut self.synced {
            let Ok(file) = fs::OpenOptions::new().write(true).open(path) else { continue };
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            if length > *synced {
                let kept = self.chance.random_range(*synced..=length);
                let whole = self.chance.random_range(*synced..=kept);
                file.set_len(if self.chance.random_bool(0.5) { whole } else { kept }).expect("a file can be cut");
                let zeros = file.metadata().map_or(0, |metadata| metadata.len()).saturating_sub(whole);
                file.write_all_at(&vec![0; usize::try_from(zeros).unwrap_or(0)], whole).expect("it is as long as that");
            }
            *synced = file.metadata().map_or(0, |metadata| metadata.len());
        }
    }
}

fn fate(operation: Operation) -> Fate {
    let fate = inside(|inside| {
        let was_dead = inside.disk.dead;
        (inside.disk.fate(operation), was_dead)
    });
    let Some((fate, was_dead)) = fate else { return Fate { share: 1.0, error: None } };
    if fate.error.is_some() && !was_dead {
        count("operations of the disk that failed");
    }
    fate
}

/// Does the operation as a whole or not at all.
fn all_or_nothing<T>(operation: Operation, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let fate = fate(operation);
    let done = if fate.share > 0.5 { Some(work()) } else { None };
    match (fate.error, done) {
        (Some(error), _) => Err(error),
        (None, Some(done)) => done,
        (None, None) => Err(ErrorKind::Other.into()),
    }
}

/// Writes a part of `bytes`, or all.
fn write_part(bytes: &[u8], write: impl FnOnce(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let fate = fate(Operation::Write);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a length is a length"
    )]
    let written = (bytes.len() as f64 * fate.share) as usize;
    write(&bytes[..written])?;
    fate.error.map_or(Ok(()), Err)
}

/// A file has just been made, or made empty: a power loss may leave nothing of it.
fn note_new(path: &Path) {
    inside(|inside| {
        let Ok(metadata) = fs::metadata(path) else { return };
        inside.disk.synced.insert(path.to_owned(), Synced { inode: metadata.ino(), bytes: 0 });
    });
}

pub(crate) fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    all_or_nothing(Operation::Other, || fs::create_dir_all(path))
}

pub(crate) fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    all_or_nothing(Operation::Other, || {
        fs::rename(from, to)?;
        inside(|inside| {
            if let Some(synced) = inside.disk.synced.remove(from) {
                inside.disk.synced.insert(to.to_owned(), synced);
            }
        });
        Ok(())
    })
}

pub(crate) fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    all_or_nothing(Operation::Other, || {
        fs::remove_file(path)?;
        inside(|inside| inside.disk.synced.remove(path));
        Ok(())
    })
}

pub(crate) fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<u64> {
    let copied = all_or_nothing(Operation::Write, || fs::copy(from, &to));
    note_new(to.as_ref());
    copied
}

pub(crate) fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let written = write_part(bytes.as_ref(), |bytes| fs::write(&path, bytes));
    note_new(path.as_ref());
    written
}

#[derive(Debug)]
pub(crate) struct File(fs::File);

impl File {
    pub(crate) fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self(fs::File::open(path)?))
    }

    pub(crate) fn metadata(&self) -> io::Result<fs::Metadata> {
        self.0.metadata()
    }

    pub(crate) fn set_len(&self, bytes: u64) -> io::Result<()> {
        all_or_nothing(Operation::Other, || self.0.set_len(bytes))
    }

    /// Notes only, in a simulation, that there is nothing to lose any more: waiting for a real disk takes milliseconds.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        all_or_nothing(Operation::Other, || {
            if inside(|_| ()).is_none() {
                return self.0.sync_data();
            }
            let metadata = self.0.metadata()?;
            inside(|inside| {
                let mut known = inside.disk.synced.values_mut();
                if let Some(synced) = known.find(|synced| synced.inode == metadata.ino()) {
                    synced.bytes = metadata.len();
                }
            });
            Ok(())
        })
    }
}

impl Read for File {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write_part(bytes, |bytes| self.0.write_all(bytes)).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl FileExt for File {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        write_part(bytes, |bytes| self.0.write_all_at(bytes, offset)).map(|()| bytes.len())
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[derive(Debug)]
pub(crate) struct OpenOptions {
    options: fs::OpenOptions,
    creates: bool,
    truncates: bool,
}

impl OpenOptions {
    pub(crate) fn new() -> Self {
        Self { options: fs::OpenOptions::new(), creates: false, truncates: false }
    }

    pub(crate) fn write(&mut self, write: bool) -> &mut Self {
        self.options.write(write);
        self
    }

    pub(crate) fn create(&mut self, create: bool) -> &mut Self {
        self.options.create(create);
        self.creates |= create;
        self
    }

    pub(crate) fn create_new(&mut self, create_new: bool) -> &mut Self {
        self.options.create_new(create_new);
        self.creates |= create_new;
        self
    }

    pub(crate) fn truncate(&mut self, truncate: bool) -> &mut Self {
        self.options.truncate(truncate);
        self.truncates |= truncate;
        self
    }

    pub(crate) fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref();
        let is_new = self.truncates || self.creates && !path.exists();
        let operation = if is_new { Operation::Write } else { Operation::Other };
        let file = all_or_nothing(operation, || self.options.open(path))?;
        if is_new {
            note_new(path);
        }
        Ok(File(file))
    }
}
