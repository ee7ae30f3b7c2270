//! What a cluster can be told: flags over environment over file. Secrets come from the environment or from files that
//! the configuration names, never from a flag.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Deserialize;
use shardlake_ingest::{
    BatchLimits, Clickhouse, Config, DEFAULT_METRICS_PORT, Interactions, Journal, Secret, Shards, Spool,
};
use twilight_gateway::Intents;

use super::plan::Plan;
use crate::clickhouse_options::{ClickhouseOptions, USER_KEY_VARIABLE, secret};

/// How long a shard waits for Discord's answer to its close frame: one round trip, generously.
pub(super) const CLOSE_DEADLINE: Duration = Duration::from_secs(3);
/// How long the whole drain may take by default. Kubernetes kills after 30 s, docker after 10.
const DRAIN_DEADLINE: Duration = Duration::from_secs(8);

/// Everything but what Discord allows on request only (members, presences, message content).
const DEFAULT_INTENTS: Intents = Intents::all()
    .difference(Intents::GUILD_MEMBERS)
    .difference(Intents::GUILD_PRESENCES)
    .difference(Intents::MESSAGE_CONTENT);

const TOKEN_VARIABLE: &str = "DISCORD_TOKEN";

#[derive(Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Options {
    /// File with any of these settings, in TOML, named like the flags with `_` for `-`.
    #[arg(long, env = "SHARDLAKE_CONFIG")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Number of this cluster, from 0.
    #[arg(long, env = "SHARDLAKE_CLUSTER")]
    cluster: Option<u16>,
    /// How many clusters the bot has [default: 1].
    #[arg(long, env = "SHARDLAKE_CLUSTERS")]
    clusters: Option<u16>,
    /// Name of this cluster in tables and metrics [default: its number].
    #[arg(long, env = "SHARDLAKE_CLUSTER_NAME")]
    cluster_name: Option<String>,
    /// Shards of the whole bot, or `auto` for what Discord recommends [default: auto].
    #[arg(long, env = "SHARDLAKE_TOTAL_SHARDS")]
    total_shards: Option<String>,
    /// IDENTIFYs per 5 s in this process [default: this cluster's part of what Discord allows, at least 1].
    #[arg(long, env = "SHARDLAKE_CONCURRENCY")]
    concurrency: Option<u16>,
    /// Bits of the gateway intents [default: all that need no approval].
    #[arg(long, env = "SHARDLAKE_INTENTS")]
    intents: Option<u64>,
    /// File with the bot's token; without it the token is read from `DISCORD_TOKEN`.
    #[arg(long, env = "DISCORD_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// File with the key that user ids are hashed with; without it `SHARDLAKE_USER_KEY`; without both no user is stored.
    #[arg(long, env = "SHARDLAKE_USER_KEY_FILE")]
    user_key_file: Option<PathBuf>,
    /// Gateway address; only for a simulated Discord or a proxy.
    #[arg(long, env = "SHARDLAKE_GATEWAY_URL")]
    gateway_url: Option<String>,
    /// REST address, as `host:port` without TLS; only for a simulated Discord or a proxy.
    #[arg(long, env = "SHARDLAKE_REST_PROXY")]
    rest_proxy: Option<String>,
    /// Address for /metrics, /healthz and /readyz, or `off` [default: 0.0.0.0:9191].
    #[arg(long, env = "SHARDLAKE_METRICS_LISTEN")]
    metrics_listen: Option<String>,
    /// Age at which a batch is sent, in ms [default: 5000, more in a fleet of more than 20 clusters].
    #[arg(long, env = "SHARDLAKE_BATCH_AGE_MS")]
    batch_age_ms: Option<u64>,
    /// Directory for rows that ClickHouse has not taken yet, of this cluster alone; without it they are in memory only.
    #[arg(long, env = "SHARDLAKE_SPOOL")]
    spool: Option<PathBuf>,
    /// What goes into that directory: `off`, `spill` (batches in trouble) or `always` (every row) [default: spill].
    #[arg(long, env = "SHARDLAKE_JOURNAL", value_parser = journal)]
    journal: Option<Journal>,
    /// How often the process's own series are stored, in ms; 0: never [default: 30000].
    #[arg(long, env = "SHARDLAKE_SAMPLE_EVERY_MS")]
    sample_every_ms: Option<u64>,
    /// A shard without a session for this long is stuck, in ms [default: 120000].
    #[arg(long, env = "SHARDLAKE_STUCK_AFTER_MS")]
    stuck_after_ms: Option<u64>,
    /// How long the drain may take, in ms [default: 8000].
    #[arg(long, env = "SHARDLAKE_DRAIN_DEADLINE_MS")]
    drain_deadline_ms: Option<u64>,
    /// Answer interactions with a small demonstration bot.
    #[arg(long)]
    #[serde(skip)]
    answer: bool,
    /// Stop when standard input ends: for a parent that may be killed.
    #[arg(long, hide = true)]
    #[serde(skip)]
    until_input_ends: bool,
    #[command(flatten)]
    #[serde(flatten)]
    clickhouse: ClickhouseOptions,
}

fn journal(name: &str) -> Result<Journal, String> {
    match name {
        "off" => Ok(Journal::Off),
        "spill" => Ok(Journal::Spill),
        "always" => Ok(Journal::Always),
        _ => Err("expected off, spill or always".into()),
    }
}

/// The same, settled.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) cluster: u16,
    pub(super) clusters: u16,
    pub(super) cluster_name: String,
    /// `None`: what Discord recommends.
    pub(super) total_shards: Option<u16>,
    pub(super) concurrency: Option<u16>,
    pub(super) intents: Intents,
    pub(super) token: Secret,
    pub(super) gateway_url: Option<String>,
    pub(super) rest_proxy: Option<String>,
    pub(super) metrics_listen: Option<SocketAddr>,
    pub(super) drain_deadline: Duration,
    pub(super) answer: bool,
    pub(super) until_input_ends: bool,
    user_key: Option<Secret>,
    batch_age: Option<Duration>,
    spool: Option<PathBuf>,
    journal: Option<Journal>,
    sample_every: Option<Duration>,
    stuck_after: Option<Duration>,
    clickhouse: ClickhouseOptions,
    clickhouse_password: Secret,
}

impl Options {
    /// Reads the file, fills in what flags and environment left open, and checks it.
    pub(super) fn settle(self) -> anyhow::Result<Settings> {
        let file = match &self.config {
            Some(path) => {
                let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
                toml::from_str(&text).with_context(|| format!("{} is not a configuration", path.display()))?
            }
            None => Options::default(),
        };
        self.or(file).check()
    }

    fn or(self, file: Options) -> Options {
        Options {
            config: self.config,
            cluster: self.cluster.or(file.cluster),
            clusters: self.clusters.or(file.clusters),
            cluster_name: self.cluster_name.or(file.cluster_name),
            total_shards: self.total_shards.or(file.total_shards),
            concurrency: self.concurrency.or(file.concurrency),
            intents: self.intents.or(file.intents),
            token_file: self.token_file.or(file.token_file),
            user_key_file: self.user_key_file.or(file.user_key_file),
            gateway_url: self.gateway_url.or(file.gateway_url),
            rest_proxy: self.rest_proxy.or(file.rest_proxy),
            metrics_listen: self.metrics_listen.or(file.metrics_listen),
            batch_age_ms: self.batch_age_ms.or(file.batch_age_ms),
            spool: self.spool.or(file.spool),
            journal: self.journal.or(file.journal),
            sample_every_ms: self.sample_every_ms.or(file.sample_every_ms),
            stuck_after_ms: self.stuck_after_ms.or(file.stuck_after_ms),
            drain_deadline_ms: self.drain_deadline_ms.or(file.drain_deadline_ms),
            answer: self.answer,
            until_input_ends: self.until_input_ends,
            clickhouse: self.clickhouse.or(file.clickhouse),
        }
    }

    fn check(self) -> anyhow::Result<Settings> {
        let clusters = self.clusters.unwrap_or(1);
        let cluster = self.cluster.unwrap_or(0);
        if cluster >= clusters {
            bail!("cluster is {cluster}, but must be below clusters, which is {clusters}");
        }
        let total_shards = match self.total_shards.as_deref() {
            None | Some("auto") => None,
            Some(number) => Some(number.parse().with_context(|| {
                format!("total-shards is {number}, but must be `auto` or a number from 1 to 65,535")
            })?),
        };
        let metrics_listen = match self.metrics_listen.as_deref() {
            None => Some(SocketAddr::from(([0, 0, 0, 0], DEFAULT_METRICS_PORT))),
            Some("off") => None,
            Some(address) => Some(address.parse().with_context(|| {
                format!("metrics-listen is {address}, but must be `off` or an address with a port")
            })?),
        };
        let Some(token) = secret(TOKEN_VARIABLE, self.token_file.as_deref())? else {
            bail!("there is no token; set {TOKEN_VARIABLE}, or name a file with --token-file");
        };
        Ok(Settings {
            cluster,
            clusters,
            cluster_name: self.cluster_name.unwrap_or_else(|| cluster.to_string()),
            total_shards,
            concurrency: self.concurrency,
            intents: self.intents.map_or(DEFAULT_INTENTS, Intents::from_bits_truncate),
            token,
            gateway_url: self.gateway_url,
            rest_proxy: self.rest_proxy,
            metrics_listen,
            drain_deadline: self.drain_deadline_ms.map_or(DRAIN_DEADLINE, Duration::from_millis),
            answer: self.answer,
            until_input_ends: self.until_input_ends,
            user_key: secret(USER_KEY_VARIABLE, self.user_key_file.as_deref())?,
            batch_age: self.batch_age_ms.map(Duration::from_millis),
            spool: self.spool,
            journal: self.journal,
            sample_every: self.sample_every_ms.map(Duration::from_millis),
            stuck_after: self.stuck_after_ms.map(Duration::from_millis),
            clickhouse_password: self.clickhouse.password()?,
            clickhouse: self.clickhouse,
        })
    }
}

impl Settings {
    pub(super) fn recorder(&self, plan: &Plan) -> Config {
        let shards = Shards { first: plan.first, count: plan.count, total: plan.total };
        let defaults = Config::new(&self.cluster_name, shards, self.clickhouse.url());
        Config {
            clickhouse: Clickhouse {
                database: self.clickhouse.database().to_owned(),
                user: self.clickhouse.user().to_owned(),
                password: self.clickhouse_password.clone(),
                ..defaults.clickhouse
            },
            batch: BatchLimits { max_age: self.batch_age.unwrap_or(defaults.batch.max_age), ..defaults.batch },
            spool: Spool {
                directory: self.spool.clone(),
                journal: self.journal.unwrap_or(defaults.spool.journal),
                ..defaults.spool
            },
            interactions: if self.answer { Interactions::UntilFinished } else { Interactions::OnReceipt },
            stuck_after: self.stuck_after.unwrap_or(defaults.stuck_after),
            sample_every: self.sample_every.unwrap_or(defaults.sample_every),
            user_key: self.user_key.clone(),
            metrics_address: self.metrics_listen.map_or_else(String::new, |address| address.to_string()),
            ..defaults
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Options {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn flags_win_over_the_file() {
        let flags = Options { cluster: Some(2), ..Options::default() };
        let both = flags.or(file("cluster = 1\nclusters = 4\nclickhouse_url = \"http://c:1\"\n"));
        assert_eq!((both.cluster, both.clusters), (Some(2), Some(4)));
        assert_eq!(both.clickhouse.url(), "http://c:1");
    }

    #[test]
    fn a_misspelt_key_is_refused_by_name() {
        let error = toml::from_str::<Options>("clusterz = 1\n").unwrap_err();
        assert!(error.to_string().contains("clusterz"), "{error}");
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let refuse = |text: &str| file(text).check().unwrap_err().to_string();
        assert_eq!(refuse("cluster = 4\nclusters = 4\n"), "cluster is 4, but must be below clusters, which is 4");
        assert!(refuse("total_shards = \"some\"\n").starts_with("total-shards is some"));
        assert!(refuse("metrics_listen = \"9191\"\n").starts_with("metrics-listen is 9191"));
    }
}
