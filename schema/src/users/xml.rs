//! The users as a file for `users.d/`: for servers that keep their users in files, as the embedded one does.

use std::fmt::Write as _;

use super::{IN_CLUSTERS, Role, Users, UsersError};

impl Users {
    /// The users as XML for a file in the server's `users.d/`. It holds hashes: nobody but the server should read it.
    ///
    /// # Errors
    /// [`UsersError::NoPassword`].
    pub fn xml(&self) -> Result<String, UsersError> {
        let (mut profiles, mut users) = (String::new(), String::new());
        for role in Role::ALL {
            let name = self.name(role);
            let hash = self.hashes.get(&role).ok_or(UsersError::NoPassword { role })?;
            let has_profile = !role.settings().is_empty();
            let profile = if has_profile { &name } else { "default" };
            let rights = self.rights(role).into_iter().fold(String::new(), |mut rights, right| {
                // Names are plain, so nothing here needs escaping.
                let _ = write!(rights, "\n                <query>GRANT {right}</query>"); // to a String
                rights
            });
            if has_profile {
                let _ = write!(profiles, "\n        <{name}>{}\n        </{name}>", self.profile(role)); // to a String
            }
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
    <profiles>{profiles}
    </profiles>
    <users>{users}
    </users>
</clickhouse>
"
        ))
    }

    /// A user's settings and what may be chosen for a query.
    fn profile(&self, role: Role) -> String {
        let (mut values, mut constraints) = (String::new(), String::new());
        for setting in role.settings() {
            let name = setting.name;
            if let Some(value) = setting.value {
                let _ = write!(values, "\n            <{name}>{value}</{name}>"); // writing to a String cannot fail
            }
            if setting.is_free {
                let min = self.least(setting).map(|least| format!("<min>{least}</min>")).unwrap_or_default();
                let max = setting.max.map(|max| format!("<max>{max}</max>")).unwrap_or_default();
                let _ = write!(constraints, "\n                <{name}>{min}{max}<changeable_in_readonly/></{name}>");
            }
        }
        if role == Role::Reader && self.in_cluster() {
            let (name, value) = IN_CLUSTERS;
            let _ = write!(values, "\n            <{name}>{value}</{name}>");
        }
        if !constraints.is_empty() {
            let _ = write!(values, "\n            <constraints>{constraints}\n            </constraints>");
        }
        values
    }
}
