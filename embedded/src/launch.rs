//! What the child process is made of: the engine library, and the program that loads it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// The version of the engine's npm package that `fetch-engine.sh` gets, and that everything here is tested with.
pub const ENGINE_VERSION: &str = "26.7.3-stable.1";

/// The binary whose hidden subcommand `engine` calls [`engine_main`](crate::engine_main).
const MAIN_PROGRAM: &str = "shardlake";

/// The binary of this package, for every other program: tests, examples, bots that embed the server.
const ENGINE_PROGRAM: &str = "shardlake-engine";

/// Where the engine library is: `SHARDLAKE_ENGINE` if that is set, else the cache that `fetch-engine.sh` fills.
///
/// # Errors
/// [`Error::NoLibrary`] if there is no file.
pub fn library() -> Result<PathBuf, Error> {
    let path = match env::var_os("SHARDLAKE_ENGINE").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => cache_dir().join("shardlake/engine").join(ENGINE_VERSION).join("libchdb.so"),
    };
    // Absolute, because the loader looks for a bare name among the system's libraries.
    match std::path::absolute(&path) {
        Ok(path) if path.is_file() => Ok(path),
        _ => Err(Error::NoLibrary { path }),
    }
}

/// The same directory as in `fetch-engine.sh`.
fn cache_dir() -> PathBuf {
    match env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()) {
        Some(path) => path.into(),
        None => env::home_dir().unwrap_or_default().join(".cache"),
    }
}

/// The program that becomes the child process. It has to call [`engine_main`](crate::engine_main) with the arguments that follow
/// [`args`](Self::with_args).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launcher {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
}

impl Launcher {
    /// The program at this path, without arguments of its own.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), args: Vec::new() }
    }

    /// Arguments before those that [`engine_main`](crate::engine_main) reads, such as the name of a subcommand.
    #[must_use]
    pub fn with_args<I: IntoIterator<Item: Into<OsString>>>(mut self, args: I) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// `shardlake engine` if this program is `shardlake`; else the `shardlake-engine` beside this program, or one directory above
    /// it, which is where cargo puts it for tests and examples.
    ///
    /// # Errors
    /// [`Error::NoLauncher`] if there is neither.
    pub fn find() -> Result<Self, Error> {
        let exe =
            env::current_exe().map_err(|source| Error::Process { program: "the running program".into(), source })?;
        Self::for_exe(&exe).ok_or(Error::NoLauncher { exe })
    }

    fn for_exe(exe: &Path) -> Option<Self> {
        if exe.file_name()? == MAIN_PROGRAM {
            return Some(Self::new(exe).with_args(["engine"]));
        }
        let beside = exe.parent()?;
        [Some(beside), beside.parent()]
            .into_iter()
            .flatten()
            .map(|directory| directory.join(ENGINE_PROGRAM))
            .find(|program| program.is_file())
            .map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_program_runs_itself_again() {
        let launcher = Launcher::for_exe(Path::new("/opt/bin/shardlake")).unwrap();
        assert_eq!(launcher, Launcher::new("/opt/bin/shardlake").with_args(["engine"]));
    }

    #[test]
    fn another_program_takes_the_engine_beside_it_or_above_it() {
        let target = tempfile::tempdir().unwrap();
        let deps = target.path().join("deps");
        std::fs::create_dir(&deps).unwrap();
        let test = deps.join("lifecycle-0123");
        assert_eq!(Launcher::for_exe(&test), None);

        let above = target.path().join(ENGINE_PROGRAM);
        std::fs::write(&above, "").unwrap();
        assert_eq!(Launcher::for_exe(&test), Some(Launcher::new(above)));

        let beside = deps.join(ENGINE_PROGRAM);
        std::fs::write(&beside, "").unwrap();
        assert_eq!(Launcher::for_exe(&test), Some(Launcher::new(beside)));
    }

    #[test]
    fn the_fetch_script_gets_the_version_that_is_looked_for() {
        assert!(include_str!("../fetch-engine.sh").contains(&format!("version=\"{ENGINE_VERSION}\"")));
    }
}
