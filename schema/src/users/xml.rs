//! The users as a file for `users.d/`: for servers that keep their users in files, as the embedded one does.

use std::fmt::Write as _;

use super::{READER_SETTINGS, Role, Users, UsersError};

impl Users {
    /// The users as XML for a file in the server's `users.d/`. It holds hashes: nobody but the server should read it.
    ///
    /// # Errors
    /// [`UsersError::NoPassword`].
    pub fn xml(&self) -> Result<String, UsersError> {
        let reader = self.name(Role::Reader);
        let mut users = String::new();
        for role in Role::ALL {
            let name = self.name(role);
            let hash = self.hashes.get(&role).ok_or(UsersError::NoPassword { role })?;
            let profile = if role == Role::Reader { &reader } else { "default" };
            let rights = self.rights(role).into_iter().fold(String::new(), |mut rights, right| {
                // Names are plain, so nothing here needs escaping.
                let _ = write!(rights, "\n                <query>GRANT {right}</query>"); // to a String
                rights
            });
            let _ = write!(
                users,
                "
        <{name}>
            <password_sha256_hex>{hash}</password_sha256_hex>
            <networks><ip>::/0</ip></networks>
            <profile>{profile}</profile>
            <quota>default</quota>
            <grants>{rights}
            </grants>
        </{name}>"
            );
        }
        Ok(format!(
            "<!-- Made by `shardlake schema users`. -->
<clickhouse>
    <profiles>
        <{reader}>{}
        </{reader}>
    </profiles>
    <users>{users}
    </users>
</clickhouse>
",
            profile()
        ))
    }
}

/// The reader's settings and what may be chosen for a query.
fn profile() -> String {
    let (mut values, mut constraints) = (String::new(), String::new());
    for setting in &READER_SETTINGS {
        let name = setting.name;
        if let Some(value) = setting.value {
            let _ = write!(values, "\n            <{name}>{value}</{name}>"); // writing to a String cannot fail
        }
        if setting.is_free {
            let bounds = setting.max.map(|max| format!("<min>1</min><max>{max}</max>")).unwrap_or_default();
            let _ = write!(constraints, "\n                <{name}>{bounds}<changeable_in_readonly/></{name}>");
        }
    }
    format!("{values}\n            <constraints>{constraints}\n            </constraints>")
}
