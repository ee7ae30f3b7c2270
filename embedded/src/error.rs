//! What can go wrong. Every message says what happened, to what, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why the embedded server did not start, stop or stay up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine library is not where it should be.
    #[error(
        "there is no ClickHouse engine library at {path}: run `make engine` (or embedded/fetch-engine.sh), or set \
         SHARDLAKE_ENGINE to a libchdb.so"
    )]
    NoLibrary {
        /// Where it was looked for.
        path: PathBuf,
    },

    /// Neither this program nor one beside it can run the engine.
    #[error(
        "there is no program that can run the ClickHouse engine beside {exe}: build it with \
         `cargo build -p shardlake-embedded` (shardlake-engine), or set a launcher"
    )]
    NoLauncher {
        /// The program that is running now.
        exe: PathBuf,
    },

    /// An option that ClickHouse could not work with. Nothing was started.
    #[error("{option} cannot be {value:?}: {expected}")]
    BadOption {
        /// The option's name.
        option: &'static str,
        /// What it was; never a password.
        value: String,
        /// What it has to be.
        expected: &'static str,
    },

    /// A server is already up on this data directory.
    #[error(
        "{path} is in use by another ClickHouse server{}: stop that one, or choose another directory",
        .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    PathInUse {
        /// The data directory.
        path: PathBuf,
        /// The process that holds it, where known.
        pid: Option<u32>,
    },

    /// The port is taken, or may not be opened by this user.
    #[error(
        "cannot listen on 127.0.0.1:{port} ({source}): stop what uses it, or choose another port (0 takes a free one)"
    )]
    Port {
        /// The port that was asked for.
        port: u16,
        /// What the system said.
        source: io::Error,
    },

    /// A file or directory could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The child process could not be started or waited for.
    #[error("cannot run {program} as the ClickHouse engine: {source}")]
    Process {
        /// The program of the child.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The engine ended by itself: while starting, or later without having been asked to.
    #[error("the ClickHouse engine ended ({status}); its last words, from {log}:\n{stderr}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// The end of what it wrote to standard error.
        stderr: String,
        /// The file that has all of it.
        log: PathBuf,
    },

    /// The engine is running, and did not answer in time. It was killed.
    #[error(
        "the ClickHouse engine did not answer on 127.0.0.1:{port} within {waited:?}; a large data directory may need a longer \
         start timeout; its last words, from {log}:\n{stderr}"
    )]
    NotReady {
        /// The HTTP port that was asked.
        port: u16,
        /// How long it was given.
        waited: Duration,
        /// The end of what it wrote to standard error.
        stderr: String,
        /// The file that has all of it.
        log: PathBuf,
    },

    /// The engine did not stop in time. It was killed, which loses no acknowledged row.
    #[error("the ClickHouse engine did not stop within {waited:?} and was killed; what it had acknowledged is on disk")]
    NotStopped {
        /// How long it was given.
        waited: Duration,
    },
}
