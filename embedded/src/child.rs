//! The child process: gives the engine a console to sit at, and ends it when told to.
//!
//! The console is a pseudo-terminal whose other end this process holds itself. The engine's prompt waits on it for the whole life of
//! the server, and is answered with `exit` once: when the leash (standard input, a pipe from the parent) ends, because the parent
//! dropped it or died, or on SIGTERM, SIGINT or SIGHUP.

use std::error::Error;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Signal, getpid, kill_process, setsid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::runtime::{self, Runtime};
use tokio::signal::unix::{Signal as SignalStream, SignalKind, signal};

use crate::config;
use crate::data_dir::Layout;
use crate::engine;
use crate::sandbox;

/// How long the engine may take to stop. It gives running queries 5 s of it.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// An engine whose parent is gone has nobody else to end it. Later than the parent would, so that the parent gets to say so.
const ORPHAN_STOP_TIMEOUT: Duration = Duration::from_secs(35);

/// `exit` is said again this often, because a prompt that is just being set up forgets what was typed before. All of it together is
/// less than the 4,096 bytes that a terminal holds, so that writing never blocks.
const EXIT_PERIOD: Duration = Duration::from_millis(200);

/// Set before the engine is asked to end: whatever happens without it is a failure.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// Runs the engine in this process until it is told to stop. `args` are what [`Clickhouse`](crate::Clickhouse) puts after the
/// arguments of its [`Launcher`](crate::Launcher): the engine library, and the data directory.
///
/// Does not return once the engine is loaded: the process ends with it, with status 0 if it was told to stop.
///
/// To be called first thing in `main`, before any thread is started: it takes over standard input and the process's signals.
pub fn engine_main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let (Some(library), Some(root), None) = (args.next(), args.next(), args.next()) else {
        eprintln!(
            "expected an engine library and a data directory; this is not started by hand: use `shardlake clickhouse`"
        );
        return ExitCode::from(2);
    };
    if let Err(error) = run(Path::new(&library), &Layout::new(root)) {
        eprintln!("{error}");
        engine::exit(1);
    }
    if !STOPPING.load(Ordering::SeqCst) {
        // It has said why on standard error.
        engine::exit(1);
    }
    engine::exit(0)
}

fn run(library: &Path, layout: &Layout) -> Result<(), Box<dyn Error>> {
    // Away from the parent's terminal: its Ctrl-C is for the parent, which still has rows to write here. Refused only to the leader of
    // a process group, which is on its own already.
    let _ = setsid();
    let leash = rustix::io::dup(rustix::stdio::stdin())?;
    let console = open_console().map_err(|error| format!("cannot open a pseudo-terminal for the engine: {error}"))?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let told_to_stop = {
        let _context = runtime.enter();
        [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal)
    };
    let [term, int, hup] = told_to_stop;
    let told_to_stop = [term?, int?, hup?];

    let transcript = console.try_clone()?;
    thread::Builder::new().name("transcript".into()).spawn(move || discard(transcript))?;
    thread::Builder::new().name("leash".into()).spawn(move || hold(leash.into()))?;
    thread::Builder::new().name("stop".into()).spawn(move || stop_when_told(&runtime, told_to_stop, console))?;

    let engine = engine::Library::open(library).map_err(|error| {
        let cause = error.source().map(|cause| format!(" ({cause})")).unwrap_or_default();
        format!("cannot load the engine from {}: {error}{cause}", library.display())
    })?;
    if let Err(error) = sandbox::confine(layout) {
        eprintln!("the engine is not confined to its directory, so any of its users can read files: {error}");
    }
    engine.serve(&arguments(&layout.config()))?;
    Ok(())
}

/// Makes a new pseudo-terminal this process's standard input, and returns the end that types into it.
fn open_console() -> io::Result<File> {
    let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&keyboard)?;
    unlockpt(&keyboard)?;
    let name = ptsname(&keyboard, Vec::new())?;
    let terminal: OwnedFd = rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
    rustix::stdio::dup2_stdin(&terminal)?;
    Ok(keyboard.into())
}

/// Reads what the prompt shows, so that the terminal never fills up.
fn discard(mut transcript: File) {
    let mut buffer = [0; 4096];
    while matches!(transcript.read(&mut buffer), Ok(1..)) {}
}

/// Waits for the end of the leash, which is then the same as a SIGTERM. Nobody writes to it.
fn hold(mut leash: File) {
    let mut buffer = [0; 64];
    while matches!(leash.read(&mut buffer), Ok(1..)) {}
    // It cannot fail: a process may signal itself.
    let _ = kill_process(getpid(), Signal::TERM);
}

fn stop_when_told(runtime: &Runtime, [mut term, mut int, mut hup]: [SignalStream; 3], mut console: File) {
    runtime.block_on(async {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            _ = hup.recv() => {}
        }
        STOPPING.store(true, Ordering::SeqCst);
        let say_exit = async {
            let mut period = tokio::time::interval(EXIT_PERIOD);
            loop {
                period.tick().await;
                // If this fails, the time runs out.
                let _ = console.write_all(b"exit\n");
            }
        };
        let _: Result<(), _> = tokio::time::timeout(ORPHAN_STOP_TIMEOUT, say_exit).await;
    });
    // Acknowledged rows are on disk; whatever hangs is not worth an engine that stays for ever.
    let _ = kill_process(getpid(), Signal::KILL);
}

/// The command line of `clickhouse-local`. With `--interactive` and a terminal it keeps going after an exception in a connection.
fn arguments(config: &Path) -> [CString; 4] {
    let file = |option: &str, name: &str| {
        let mut argument = OsString::from(option);
        argument.push(config.join(name));
        argument.into_vec()
    };
    [
        b"clickhouse".to_vec(),
        file("--config-file=", config::MAIN_FILE),
        file("--queries-file=", config::START_FILE),
        b"--interactive".to_vec(),
    ]
    .map(|argument| CString::new(argument).expect("an argument of a process has no NUL inside"))
}
