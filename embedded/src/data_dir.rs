//! The data directory: its layout, who may use it, and what has to lie in it before the first start.
//!
//! Two locks keep a second server out. Ours (`lock`) belongs to the process that called `start`, and refuses at once. The engine's
//! own (`engine/status`) outlives ours for a moment when that process was killed and its engine is still on its way down; a new
//! start waits for that, so that a service manager may restart a killed parent without a pause.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::info;

use crate::error::Error;

/// How long a start waits for an engine whose parent is gone. One without work needs 1.2 s, one with queries running about 5 s more.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(15);

/// How often it looks. Short against a start, which takes about 200 ms.
const ORPHAN_POLL: Duration = Duration::from_millis(50);

/// Databases that have to be on disk, and their identifiers: any value will do, as long as it stays the same.
///
/// Left to itself this engine keeps `system` in memory, and finds the files of yesterday's query log in its way on the second start;
/// and it makes `default` an overlay with the file system, in which every file of the machine is a table.
const DATABASES: [(&str, &str); 2] =
    [("system", "5a11ad1a-0000-4000-8000-000000000001"), ("default", "5a11ad1a-0000-4000-8000-000000000002")];

/// Where everything is. See the table at the head of the crate.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Of the data directory `root`, an absolute path.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn passwords(&self) -> PathBuf {
        self.root.join("passwords")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.root.join("config")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(crate) fn stderr_log(&self) -> PathBuf {
        self.log().join("stderr.log")
    }

    /// ClickHouse's own path.
    pub(crate) fn engine(&self) -> PathBuf {
        self.root.join("engine")
    }

    fn metadata(&self) -> PathBuf {
        self.engine().join("metadata")
    }
}

/// A data directory that this process holds. Dropping it lets go.
#[derive(Debug)]
pub(crate) struct DataDir {
    layout: Layout,
    lock: File,
}

impl DataDir {
    /// Creates what is missing and takes the lock.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        create_private(path)?;
        let root = path.canonicalize().map_err(|source| Error::File { action: "find", path: path.into(), source })?;
        // It goes into XML, which has no way to write these.
        if root.to_str().is_none_or(|text| text.contains(char::is_control)) {
            return Err(Error::BadOption {
                option: "the data directory",
                value: root.display().to_string(),
                expected: "use a path of UTF-8 text without control characters",
            });
        }
        let lock = lock(&root)?;
        let layout = Layout::new(root);
        for directory in [layout.passwords(), layout.config(), layout.log(), layout.metadata()] {
            create_private(&directory)?;
        }
        for (name, uuid) in DATABASES {
            let file = layout.metadata().join(name).with_extension("sql");
            if !file.exists() {
                write_private(&file, &format!("ATTACH DATABASE _ UUID '{uuid}'\nENGINE = Atomic\n"))?;
            }
        }
        Ok(Self { layout, lock })
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Waits until no engine holds `engine/`, for as long as an orphan may take to end.
    pub(crate) async fn wait_for_orphan(&self) -> Result<(), Error> {
        let deadline = Instant::now() + ORPHAN_TIMEOUT;
        let mut told = false;
        while let Some(pid) = self.engine_holder()? {
            if Instant::now() >= deadline {
                return Err(Error::PathInUse { path: self.layout.root.clone(), pid });
            }
            if !told {
                info!(path = %self.layout.root.display(), pid, "waiting for the previous engine to end");
                told = true;
            }
            sleep(ORPHAN_POLL).await;
        }
        Ok(())
    }

    /// `None` if no engine holds `engine/`, else its process where it says so.
    #[expect(clippy::option_option, reason = "not held; held by someone; held by a known process")]
    fn engine_holder(&self) -> Result<Option<Option<u32>>, Error> {
        match lock_status(&self.layout.engine())? {
            Status::Down(file) => {
                file.as_ref().map(let_go);
                Ok(None)
            }
            Status::Up(pid) => Ok(Some(pid)),
        }
    }
}

/// Whether a ClickHouse server is up on a path.
pub(crate) enum Status {
    /// None is, nor can one start while this file is locked; there is none where no server has been.
    Down(Option<File>),
    /// One is; its process, where it says so.
    Up(Option<u32>),
}

/// Locks the file that a server locks while it is up on `clickhouse_path`.
pub(crate) fn lock_status(clickhouse_path: &Path) -> Result<Status, Error> {
    let path = clickhouse_path.join("status");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Status::Down(None)),
        Err(source) => return Err(Error::File { action: "open", path, source }),
    };
    match file.try_lock() {
        Ok(()) => Ok(Status::Down(Some(file))),
        Err(TryLockError::WouldBlock) => Ok(Status::Up(engine_pid(&fs::read_to_string(&path).unwrap_or_default()))),
        Err(TryLockError::Error(source)) => Err(Error::File { action: "lock", path, source }),
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let_go(&self.lock);
    }
}

/// Unlocks a file now. Closing it is not enough: a child that another thread is just starting has a copy of it until it runs its
/// program, and the lock with it.
pub(crate) fn let_go(file: &File) {
    // If this fails, closing it has to do.
    let _ = file.unlock();
}

/// Takes `lock` in `root` and leaves this process's id in it, for the message that a second one gets.
fn lock(root: &Path) -> Result<File, Error> {
    let path = root.join("lock");
    let failed = |action| {
        let path = path.clone();
        move |source| Error::File { action, path, source }
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed("open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            file.read_to_string(&mut pid).map_err(failed("read"))?;
            return Err(Error::PathInUse { path: root.into(), pid: pid.trim().parse().ok() });
        }
        Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(failed("write"))?;
    Ok(file)
}

/// The process in an engine's `status` file, whose first line is `PID: 1234`.
fn engine_pid(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("PID: "))?.trim().parse().ok()
}

/// Creates a directory, with its parents, for the owner only. An existing one stays as it is.
fn create_private(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| Error::File {
        action: "create",
        path: path.into(),
        source,
    })
}

/// Replaces a file as a whole, readable and writable by the owner only.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    let new = path.with_added_extension("new");
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&new, path))
        .map_err(|source| Error::File { action: "write", path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_holder_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        match DataDir::open(&path) {
            Err(Error::PathInUse { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn the_engine_says_who_it_is() {
        assert_eq!(engine_pid("PID: 7864\nStarted at: 2026-11-20 10:48:39\nRevision: 54513\n"), Some(7864));
        assert_eq!(engine_pid(""), None);
    }
}
