//! The demonstration's users: those of `shardlake schema users`, in a file of the server's `users.d/`, since the embedded
//! server keeps users in files.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::Context as _;
use clickhouse::Client;
use shardlake_schema::users::{Role, Users};

use super::DATABASE;

/// 128 bits, so that nobody guesses it.
const PASSWORD_BYTES: usize = 16;

/// Who logs in as what. Not to be printed.
pub(super) struct Accounts {
    users: Users,
    passwords: BTreeMap<Role, String>,
}

impl Accounts {
    /// Sets the users up in the data directory of a server that is not running. Passwords are made once and kept beside
    /// those of the server itself.
    pub(super) fn set_up(server: &Path) -> anyhow::Result<Self> {
        let (kept, users_d) = (server.join("passwords"), server.join("config/users.d"));
        for directory in [server, &kept, &server.join("config"), &users_d] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.with_context(|| format!("{} cannot be made", directory.display()))?;
        }
        let mut users = Users::of(DATABASE)?;
        let mut passwords = BTreeMap::new();
        for role in Role::ALL {
            let file = kept.join(users.name(role));
            let password = match fs::read_to_string(&file) {
                Ok(password) => password,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let password = new_password()?;
                    write_private(&file, &password)?;
                    password
                }
                Err(error) => return Err(error).with_context(|| format!("{} cannot be read", file.display())),
            };
            users = users.with_password(role, &password)?;
            passwords.insert(role, password);
        }
        write_private(&users_d.join("shardlake.xml"), &users.xml()?)?;
        Ok(Self { users, passwords })
    }

    pub(super) fn user(&self, role: Role) -> String {
        self.users.name(role)
    }

    pub(super) fn password(&self, role: Role) -> &str {
        &self.passwords[&role]
    }

    pub(super) fn client(&self, url: &str, role: Role) -> Client {
        let client = Client::default().with_url(url).with_database(DATABASE);
        client.with_user(self.user(role)).with_password(self.password(role))
    }
}

fn new_password() -> anyhow::Result<String> {
    let mut random = [0; PASSWORD_BYTES];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random)).context("no random numbers")?;
    Ok(random.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}"); // writing to a String cannot fail
        hex
    }))
}

/// For the owner's eyes only, from the first byte on.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("{} cannot be written", path.display()))
}
