//! Who may log in, and with which password.
//!
//! Passwords live in the data directory, one file per user, readable by its owner only, so that they outlive restarts and can be
//! handed on as files: `shardlake cluster --clickhouse-password-file`, Grafana's `$__file{}`. The server's own configuration holds hashes.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::data_dir::write_private;
use crate::error::Error;

/// 128 bits, so that nobody guesses it over the network.
const PASSWORD_BYTES: usize = 16;

/// A user of the embedded server. Its rights are in `config.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum User {
    /// May do everything: migrations, and a look around.
    Admin,
    /// May insert into and select from the granted databases, and look at its own running queries.
    Writer,
    /// May select from the granted databases, within limits on time, memory and result.
    Reader,
}

impl User {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Writer, Self::Reader];

    /// The name to log in with.
    ///
    /// The administrator is not called `default`: that name is the engine's own console, which has no password and which nobody
    /// else can log in as.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Writer => "writer",
            Self::Reader => "reader",
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What to log in with. `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// The password, in printable ASCII.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The password of every user.
#[derive(Clone)]
pub(crate) struct Passwords(BTreeMap<User, String>);

impl Passwords {
    /// The passwords that are in force: the chosen one, else the one in the user's file, else a new one. Afterwards the files hold
    /// what is in force.
    pub(crate) fn settle(directory: &Path, chosen: &BTreeMap<User, String>) -> Result<Self, Error> {
        let settle = |user: User| {
            let file = directory.join(user.name());
            let kept = match std::fs::read_to_string(&file) {
                Ok(text) => Some(text.trim().to_owned()).filter(|password| !password.is_empty()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(source) => return Err(Error::File { action: "read", path: file, source }),
            };
            let password = match chosen.get(&user).cloned().or_else(|| kept.clone()) {
                Some(password) => password,
                None => new_password()?,
            };
            if kept.as_ref() != Some(&password) {
                write_private(&file, &password)?;
            }
            Ok((user, password))
        };
        User::ALL.into_iter().map(settle).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn of(&self, user: User) -> &str {
        &self.0[&user]
    }

    pub(crate) fn credentials(&self, user: User) -> Credentials {
        Credentials { user: user.name().to_owned(), password: self.of(user).to_owned() }
    }
}

fn new_password() -> Result<String, Error> {
    let source = Path::new("/dev/urandom");
    let mut random = [0; PASSWORD_BYTES];
    File::open(source).and_then(|mut file| file.read_exact(&mut random)).map_err(|error| Error::File {
        action: "read",
        path: source.into(),
        source: error,
    })?;
    Ok(hex(&random))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String takes any text");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn passwords_are_made_once_and_kept_private() {
        let directory = tempfile::tempdir().unwrap();
        let first = Passwords::settle(directory.path(), &BTreeMap::new()).unwrap();
        let second = Passwords::settle(directory.path(), &BTreeMap::new()).unwrap();
        for user in User::ALL {
            assert_eq!(first.of(user).len(), 2 * PASSWORD_BYTES);
            assert_eq!(first.of(user), second.of(user));
            let mode = directory.path().join(user.name()).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_ne!(first.of(User::Admin), first.of(User::Reader));
        assert!(!format!("{:?}", first.credentials(User::Admin)).contains(first.of(User::Admin)));
    }

    #[test]
    fn a_chosen_password_replaces_the_kept_one() {
        let directory = tempfile::tempdir().unwrap();
        let kept = Passwords::settle(directory.path(), &BTreeMap::new()).unwrap();
        let chosen = BTreeMap::from([(User::Reader, "chosen".to_owned())]);
        Passwords::settle(directory.path(), &chosen).unwrap();
        let later = Passwords::settle(directory.path(), &BTreeMap::new()).unwrap();
        assert_eq!(later.of(User::Reader), "chosen");
        assert_eq!(later.of(User::Writer), kept.of(User::Writer));
    }
}
