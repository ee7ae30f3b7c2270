//! What a caller may choose about the server.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::error::Error;
use crate::launch::Launcher;
use crate::users::User;

/// Enough for a bot of a thousand clusters on a machine that also runs other things. ClickHouse lowers it by itself to nine
/// tenths of what the machine has.
const DEFAULT_MEMORY_LIMIT_BYTES: u64 = 4 << 30;

/// Below this the engine cannot even load its own code and caches (idle: about 250 MiB).
const MIN_MEMORY_LIMIT_BYTES: u64 = 512 << 20;

/// A start takes under a second; a directory with very many parts, or a busy disk, may take long.
const DEFAULT_START_TIMEOUT: Duration = Duration::from_mins(1);

/// The longest name that ClickHouse can turn into a directory.
const MAX_DATABASE_NAME_BYTES: usize = 206;

/// How to start a [`Clickhouse`](crate::Clickhouse).
#[derive(Clone)]
pub struct Options {
    pub(crate) path: PathBuf,
    pub(crate) http_port: u16,
    pub(crate) tcp_port: Option<u16>,
    /// And the number of this server's shard in it.
    pub(crate) cluster: Option<(Cluster, usize)>,
    pub(crate) passwords: BTreeMap<User, String>,
    pub(crate) databases: Vec<String>,
    pub(crate) launcher: Option<Launcher>,
    pub(crate) log_level: LogLevel,
    pub(crate) memory_limit_bytes: u64,
    pub(crate) start_timeout: Duration,
    pub(crate) take_back_tokens: bool,
}

/// How much the server writes to `log/clickhouse.log`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogLevel {
    /// Failed queries and worse.
    Error,
    /// Also what may become a problem. The default.
    #[default]
    Warning,
    /// Also the normal course of things.
    Information,
    /// Everything; about a megabyte a minute.
    Trace,
}

impl Options {
    /// A server whose data is in `path`, which is created if it is missing, on a free HTTP port.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            http_port: 0,
            tcp_port: None,
            cluster: None,
            passwords: BTreeMap::new(),
            databases: vec!["shardlake".to_owned()],
            launcher: None,
            log_level: LogLevel::default(),
            memory_limit_bytes: DEFAULT_MEMORY_LIMIT_BYTES,
            start_timeout: DEFAULT_START_TIMEOUT,
            take_back_tokens: true,
        }
    }

    /// The port of the HTTP interface. 0, the default, takes a free one.
    #[must_use]
    pub fn with_http_port(mut self, port: u16) -> Self {
        self.http_port = port;
        self
    }

    /// Also listens on the native TCP protocol. 0 takes a free port. Default: not at all.
    #[must_use]
    pub fn with_tcp_port(mut self, port: u16) -> Self {
        self.tcp_port = Some(port);
        self
    }

    /// Makes it shard number `shard`, from 1, of a ClickHouse cluster; its native TCP port is the one that the cluster has for it.
    /// Default: it knows of no other server.
    #[must_use]
    pub fn with_cluster(mut self, cluster: Cluster, shard: usize) -> Self {
        self.tcp_port = cluster.tcp_port(shard);
        self.cluster = Some((cluster, shard));
        self
    }

    /// The password of one user, in printable ASCII. Make it long: other users can see its hash. Default: made once, kept in the data
    /// directory. A password given here replaces the kept one.
    #[must_use]
    pub fn with_password(mut self, user: User, password: impl Into<String>) -> Self {
        self.passwords.insert(user, password.into());
        self
    }

    /// The databases in which the writer may insert and select, and the reader select. Default: `shardlake`. They need not exist
    /// yet. Names are letters, digits and underscores, and do not begin with a digit.
    #[must_use]
    pub fn with_databases<I: IntoIterator<Item: Into<String>>>(mut self, databases: I) -> Self {
        self.databases = databases.into_iter().map(Into::into).collect();
        self
    }

    /// The program that becomes the child process. Default: [`Launcher::find`].
    #[must_use]
    pub fn with_launcher(mut self, launcher: Launcher) -> Self {
        self.launcher = Some(launcher);
        self
    }

    /// How much the server logs. Default: [`LogLevel::Warning`].
    #[must_use]
    pub fn with_log_level(mut self, level: LogLevel) -> Self {
        self.log_level = level;
        self
    }

    /// The memory that ClickHouse lets its queries and caches have, in bytes; at least 512 MiB, default 4 GiB. It is what the server
    /// counts, not a limit of the process: the process may peak above it.
    #[must_use]
    pub fn with_memory_limit_bytes(mut self, bytes: u64) -> Self {
        self.memory_limit_bytes = bytes;
        self
    }

    /// How long the server may take until it answers. Default: 60 s.
    #[must_use]
    pub fn with_start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Leaves tokens that a killed server noted without keeping their rows, as a server does which nobody prepares
    /// ([`take_back_spent_tokens`](crate::take_back_spent_tokens)): their retries store nothing. For tests of what a client makes of that.
    #[must_use]
    pub fn with_spent_tokens(mut self) -> Self {
        self.take_back_tokens = false;
        self
    }

    /// Refuses what would end up as broken configuration, grants or headers.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for name in &self.databases {
            if !is_identifier(name) {
                return Err(Error::BadOption {
                    option: "a database name",
                    value: name.clone(),
                    expected: "use letters, digits and underscores, and do not begin with a digit",
                });
            }
        }
        for (user, password) in &self.passwords {
            if password.is_empty() || !password.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(Error::BadOption {
                    option: "the password",
                    value: format!("(of {user})"),
                    expected: "use at least one printable ASCII character, and no spaces",
                });
            }
        }
        if let Some((cluster, shard)) = &self.cluster {
            cluster.check(*shard)?;
        }
        if self.memory_limit_bytes < MIN_MEMORY_LIMIT_BYTES {
            return Err(Error::BadOption {
                option: "the memory limit",
                value: self.memory_limit_bytes.to_string(),
                expected: "give it at least 512 MiB (536870912 bytes)",
            });
        }
        Ok(())
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("path", &self.path)
            .field("http_port", &self.http_port)
            .field("tcp_port", &self.tcp_port)
            .field("cluster", &self.cluster)
            .field("passwords_of", &self.passwords.keys())
            .field("databases", &self.databases)
            .field("launcher", &self.launcher)
            .field("log_level", &self.log_level)
            .field("memory_limit_bytes", &self.memory_limit_bytes)
            .field("start_timeout", &self.start_timeout)
            .field("take_back_tokens", &self.take_back_tokens)
            .finish()
    }
}

impl LogLevel {
    /// The name that ClickHouse's configuration has for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Information => "information",
            Self::Trace => "trace",
        }
    }
}

pub(crate) fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.len() <= MAX_DATABASE_NAME_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_name_cannot_smuggle_a_grant() {
        for name in ["", "a.b", "a b", "1a", "a`", "a;", "*", "ä", &"a".repeat(300)] {
            let refused = Options::new("x").with_databases([name]).check();
            assert!(matches!(refused, Err(Error::BadOption { option: "a database name", .. })), "{name:?}");
        }
        for name in ["shardlake", "_a", "A1"] {
            Options::new("x").with_databases([name]).check().unwrap();
        }
    }

    #[test]
    fn a_password_fits_into_a_header_and_stays_out_of_messages() {
        for password in ["", "two words", "line\nbreak", "pässword"] {
            let refused = Options::new("x").with_password(User::Reader, password).check().unwrap_err().to_string();
            assert!(refused.contains("of reader") && (password.is_empty() || !refused.contains(password)), "{refused}");
        }
        let options = Options::new("x").with_password(User::Admin, "hunter2");
        options.check().unwrap();
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
