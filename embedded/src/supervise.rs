//! Starting the engine in a child process, knowing when it is up, and ending it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Duration, sleep, timeout};
use tracing::{debug, info};

use crate::child::STOP_TIMEOUT;
use crate::config;
use crate::data_dir::{DataDir, Layout};
use crate::error::Error;
use crate::launch::{Launcher, library};
use crate::options::Options;
use crate::probe;
use crate::tokens::take_back_spent_tokens;
use crate::users::{Credentials, Passwords, User};

/// Between two looks at a starting engine. A start takes from 100 ms.
const READY_POLL: Duration = Duration::from_millis(20);

/// Between finding a free port and the engine's listening on it, somebody else can take it. Rare once, so never this often.
const FREE_PORT_ATTEMPTS: u32 = 5;

/// How much of the engine's standard error goes into a message: its last exception, without the stack traces before it.
const STDERR_TAIL_BYTES: u64 = 2048;

/// What the engine's console writes when one of its statements fails. It then waits for another, without having opened its listeners.
const CONSOLE_EXCEPTION: &str = "Received exception";

/// A running ClickHouse server.
///
/// Call [`stop`](Self::stop) to end it. Dropping it kills the engine, which loses no acknowledged row, yet cuts off what is in
/// flight. If this process dies, the engine stops by itself.
pub struct Clickhouse {
    engine: Engine,
    ports: Ports,
    url: String,
    passwords: Passwords,
    // Last, so that the lock is let go of after the engine was killed.
    directory: DataDir,
}

/// The child process.
struct Engine {
    child: Child,
    pid: u32,
    /// The engine runs for as long as this is open. Not left in `child`, which would close it on the first `wait`.
    leash: ChildStdin,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    http: u16,
    tcp: Option<u16>,
}

impl Clickhouse {
    /// Starts a server and returns once it answers.
    ///
    /// # Errors
    /// Any [`Error`] but [`Error::NotStopped`]. Nothing is left running.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time enabled.
    ///
    /// # Cancel safety
    /// Dropping the future kills what it has started.
    pub async fn start(options: Options) -> Result<Self, Error> {
        options.check()?;
        let library = library()?;
        let launcher = match options.launcher.clone() {
            Some(launcher) => launcher,
            None => Launcher::find()?,
        };
        let directory = DataDir::open(&options.path)?;
        directory.wait_for_orphan().await?;
        let layout = directory.layout();
        if options.take_back_tokens {
            let tokens = take_back_spent_tokens(&layout.engine())?;
            if tokens > 0 {
                info!(tokens, path = %layout.root().display(), "took back what a killed server had noted without its rows");
            }
        }
        let passwords = Passwords::settle(&layout.passwords(), &options.passwords)?;

        let free_ports = options.http_port == 0 || options.tcp_port == Some(0);
        let mut attempt = 1;
        loop {
            let ports = Ports::choose(&options)?;
            config::write(layout, &options, &passwords, ports.http, ports.tcp)?;
            let mut engine = Engine::spawn(&launcher, &library, layout)?;
            match engine.ready(ports, layout, &passwords, options.start_timeout).await {
                Ok(()) => {
                    let url = format!("http://127.0.0.1:{}", ports.http);
                    info!(url, pid = engine.pid, path = %layout.root().display(), "ClickHouse is up");
                    return Ok(Self { engine, ports, url, passwords, directory });
                }
                Err(Error::Port { port, .. }) if free_ports && attempt < FREE_PORT_ATTEMPTS => {
                    debug!(port, attempt, "a free port was taken before the engine had it");
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The address of the HTTP interface, such as `http://127.0.0.1:8123`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port of the HTTP interface.
    pub fn http_port(&self) -> u16 {
        self.ports.http
    }

    /// The port of the native TCP protocol, if it was asked for.
    pub fn tcp_port(&self) -> Option<u16> {
        self.ports.tcp
    }

    /// The engine's process.
    pub fn pid(&self) -> u32 {
        self.engine.pid
    }

    /// The data directory, absolute.
    pub fn path(&self) -> &Path {
        self.directory.layout().root()
    }

    /// What `user` logs in with.
    pub fn credentials(&self, user: User) -> Credentials {
        self.passwords.credentials(user)
    }

    /// Waits until the engine ends without having been asked to, and says how. For a caller that runs until something happens.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost, and it can be called again.
    pub async fn exited(&mut self) -> Error {
        match self.engine.child.wait().await {
            Ok(status) => ended(status, self.directory.layout()),
            Err(error) => lost(error),
        }
    }

    /// Ends the server cleanly: running queries get 5 seconds, then their connections are cut; the system logs are
    /// written out.
    ///
    /// # Errors
    /// [`Error::NotStopped`] if it had to be killed, [`Error::Ended`] if it had ended before, or failed to end cleanly.
    ///
    /// # Cancel safety
    /// Dropping the future kills the engine.
    pub async fn stop(self) -> Result<(), Error> {
        let Engine { mut child, pid, leash } = self.engine;
        drop(leash);
        match timeout(STOP_TIMEOUT, child.wait()).await {
            Ok(Ok(status)) if status.success() => {
                info!(url = self.url, pid, "ClickHouse has stopped");
                Ok(())
            }
            Ok(Ok(status)) => Err(ended(status, self.directory.layout())),
            Ok(Err(error)) => Err(lost(error)),
            Err(_late) => {
                child.kill().await.map_err(lost)?;
                Err(Error::NotStopped { waited: STOP_TIMEOUT })
            }
        }
    }
}

impl fmt::Debug for Clickhouse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clickhouse")
            .field("url", &self.url)
            .field("tcp_port", &self.ports.tcp)
            .field("pid", &self.engine.pid)
            .field("path", &self.directory.layout().root())
            .finish_non_exhaustive()
    }
}

impl Engine {
    fn spawn(launcher: &Launcher, library: &Path, layout: &Layout) -> Result<Self, Error> {
        let log = layout.stderr_log();
        let stderr = File::create(&log).map_err(|source| Error::File { action: "create", path: log, source })?;
        let failed = |source| Error::Process { program: launcher.program.clone(), source };
        let mut child = Command::new(&launcher.program)
            .args(&launcher.args)
            .arg(library)
            .arg(layout.root())
            // Secrets in this program's environment are none of the engine's business: a query can read `/proc/self/environ`.
            .env_clear()
            // Else the machine's time zone shows in every answer that does not name one.
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let leash = child.stdin.take().expect("standard input is a pipe");
        let pid = child.id().expect("the child was not waited for yet");
        Ok(Self { child, pid, leash })
    }

    /// Waits until the server answers, and is this one.
    async fn ready(
        &mut self,
        ports: Ports,
        layout: &Layout,
        passwords: &Passwords,
        limit: Duration,
    ) -> Result<(), Error> {
        let admin = passwords.credentials(User::Admin);
        let (engine, log) = (layout.engine(), layout.stderr_log());
        let complains = || last_words(&log).contains(CONSOLE_EXCEPTION);
        let answers = async {
            while !(probe::ping(ports.http).await && probe::serves(ports.http, &engine, &admin).await) {
                sleep(READY_POLL).await;
            }
        };
        let fails = async {
            while !complains() && matches!(self.child.try_wait(), Ok(None)) {
                sleep(READY_POLL).await;
            }
        };
        tokio::select! {
            () = answers => {
                // One listener may be open and the other not.
                if !complains() {
                    return Ok(());
                }
            }
            () = fails => {}
            () = sleep(limit) => {
                return Err(Error::NotReady { port: ports.http, waited: limit, stderr: last_words(&log), log });
            }
        }
        let status = if let Some(status) = self.child.try_wait().map_err(lost)? {
            status
        } else {
            self.child.start_kill().map_err(lost)?;
            self.child.wait().await.map_err(lost)?
        };
        // The engine gives its reason in words; the system knows which port.
        ports.probe()?;
        Err(ended(status, layout))
    }
}

impl Ports {
    /// The ports of the options, with a free one for each 0.
    fn choose(options: &Options) -> Result<Self, Error> {
        // Held together, so that they are not the same.
        let (http, _http) = bind(options.http_port)?;
        let tcp = options.tcp_port.map(bind).transpose()?;
        Ok(Self { http, tcp: tcp.as_ref().map(|(port, _)| *port) })
    }

    /// Whether they can be listened on.
    fn probe(self) -> Result<(), Error> {
        bind(self.http)?;
        self.tcp.map(bind).transpose()?;
        Ok(())
    }
}

fn bind(port: u16) -> Result<(u16, TcpListener), Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .and_then(|listener| Ok((listener.local_addr()?.port(), listener)))
        .map_err(|source| Error::Port { port, source })
}

/// The system has no news of the child. It has not been seen to happen.
fn lost(source: io::Error) -> Error {
    Error::Process { program: "the child process".into(), source }
}

fn ended(status: ExitStatus, layout: &Layout) -> Error {
    let log = layout.stderr_log();
    Error::Ended { status, stderr: last_words(&log), log }
}

/// The end of what the engine wrote to standard error.
fn last_words(log: &Path) -> String {
    let tail = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(STDERR_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(STDERR_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    match tail() {
        Ok(text) if text.is_empty() => "(none)".to_owned(),
        Ok(text) => text,
        Err(error) => format!("(cannot be read: {error})"),
    }
}
