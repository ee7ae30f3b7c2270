//! How a role reaches ClickHouse. The password comes from the environment or a file, never from a flag: a command line
//! is readable by every user of the machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::Args;
use clickhouse::Client;
use serde::Deserialize;
use shardlake_ingest::Secret;

/// Environment variable with the password.
pub(crate) const PASSWORD_VARIABLE: &str = "SHARDLAKE_CLICKHOUSE_PASSWORD";

/// Environment variable with the key that user ids are hashed with.
pub(crate) const USER_KEY_VARIABLE: &str = "SHARDLAKE_USER_KEY";

const DEFAULT_URL: &str = "http://127.0.0.1:8123";
const DEFAULT_DATABASE: &str = "shardlake";
const DEFAULT_USER: &str = "default";

#[allow(clippy::struct_field_names, reason = "the names are those of flags and settings")]
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClickhouseOptions {
    /// HTTP address of ClickHouse [default: <http://127.0.0.1:8123>]. Of a ClickHouse cluster: one of each shard, separated by
    /// commas, where a cluster writes, spools are replayed, or a schema is applied.
    #[arg(long, env = "SHARDLAKE_CLICKHOUSE_URL")]
    pub(crate) clickhouse_url: Option<String>,
    /// Database [default: shardlake].
    #[arg(long, env = "SHARDLAKE_CLICKHOUSE_DATABASE")]
    pub(crate) clickhouse_database: Option<String>,
    /// User [default: default]. Its password: `SHARDLAKE_CLICKHOUSE_PASSWORD`, or the file below.
    #[arg(long, env = "SHARDLAKE_CLICKHOUSE_USER")]
    pub(crate) clickhouse_user: Option<String>,
    /// File with the user's password.
    #[arg(long, env = "SHARDLAKE_CLICKHOUSE_PASSWORD_FILE")]
    pub(crate) clickhouse_password_file: Option<PathBuf>,
}

impl ClickhouseOptions {
    /// `self`, and what it lacks from `file`.
    pub(crate) fn or(self, file: Self) -> Self {
        Self {
            clickhouse_url: self.clickhouse_url.or(file.clickhouse_url),
            clickhouse_database: self.clickhouse_database.or(file.clickhouse_database),
            clickhouse_user: self.clickhouse_user.or(file.clickhouse_user),
            clickhouse_password_file: self.clickhouse_password_file.or(file.clickhouse_password_file),
        }
    }

    pub(crate) fn url(&self) -> &str {
        self.clickhouse_url.as_deref().unwrap_or(DEFAULT_URL)
    }

    pub(crate) fn database(&self) -> &str {
        self.clickhouse_database.as_deref().unwrap_or(DEFAULT_DATABASE)
    }

    pub(crate) fn user(&self) -> &str {
        self.clickhouse_user.as_deref().unwrap_or(DEFAULT_USER)
    }

    pub(crate) fn password(&self) -> anyhow::Result<Secret> {
        Ok(secret(PASSWORD_VARIABLE, self.clickhouse_password_file.as_deref())?.unwrap_or_default())
    }

    /// For a role that talks to one server.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        match &self.clients()?[..] {
            [client] => Ok(client.clone()),
            several => {
                bail!("the address of ClickHouse names {} servers, and this needs one: name any of them", several.len())
            }
        }
    }

    /// For a role that talks to each server of a ClickHouse cluster, in the order of the setting.
    pub(crate) fn clients(&self) -> anyhow::Result<Vec<Client>> {
        let password = self.password()?;
        let client = |url: &str| {
            let client = Client::default().with_url(url.trim()).with_database(self.database());
            client.with_user(self.user()).with_password(password.reveal())
        };
        Ok(self.url().split(',').map(client).collect())
    }
}

/// A secret from a file if one is named, else from the environment.
pub(crate) fn secret(variable: &str, file: Option<&Path>) -> anyhow::Result<Option<Secret>> {
    if let Some(path) = file {
        let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        return Ok(Some(text.trim_end().into()));
    }
    Ok(env::var(variable).ok().filter(|value| !value.is_empty()).map(Secret::from))
}
