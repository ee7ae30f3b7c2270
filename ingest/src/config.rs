//! What a [`crate::Recorder`] can be told. Every field has a default but the three that nobody can guess: which cluster
//! this is, which shards it runs, and where ClickHouse is.

use std::{fmt, path::PathBuf, time::Duration};

use serde::Deserialize;

/// Settings of a [`crate::Recorder`]. Build it with [`Config::new`] and change what you need.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name of this cluster, unique among the processes of the bot, such as `0` or `eu-3`. At most 100 bytes.
    pub cluster: String,
    /// The shards that this process runs.
    pub shards: Shards,
    /// Where rows go.
    pub clickhouse: Clickhouse,
    /// When a batch is sealed.
    pub batch: BatchLimits,
    /// Rows a table's queue can hold between two looks of its batcher (every 100 ms). Default 16,384: 160,000 events/s. That of
    /// `guild_events` is never longer than 4,096.
    pub queue_rows: usize,
    /// Where sealed batches wait that ClickHouse has not taken yet.
    pub spool: Spool,
    /// Who has to give way when a queue or the spool is full. Default: the oldest.
    pub when_full: WhenFull,
    /// What happens to received interactions. Default: wait for [`crate::Recorder::track`].
    pub interactions: Interactions,
    /// A shard that is not connected for this long is recorded as stuck. Default 2 min: longer than twilight's connect
    /// timeout and several back-offs. A fleet whose identify queue takes longer wants more.
    pub stuck_after: Duration,
    /// How often the process's own series are stored in `samples`. Default 30 s. Zero: never.
    pub sample_every: Duration,
    /// Delimiter in the custom ids of components and modals: what comes before it is stored as the command. Default `:`.
    pub custom_id_delimiter: char,
    /// Key under which user ids are hashed (`SHARDLAKE_USER_KEY`). Without one no user is ever stored.
    pub user_key: Option<Secret>,
    /// Where this process serves `/metrics`, as others reach it. Stored in `processes`; empty if it does not.
    pub metrics_address: String,
}

impl Config {
    /// The defaults, for this cluster with these shards, into the ClickHouse at `clickhouse_url`.
    pub fn new(cluster: impl Into<String>, shards: Shards, clickhouse_url: impl Into<String>) -> Self {
        Self {
            cluster: cluster.into(),
            shards,
            clickhouse: Clickhouse::new(clickhouse_url),
            batch: BatchLimits::for_fleet(shards),
            queue_rows: 16_384,
            spool: Spool::default(),
            when_full: WhenFull::DropOldest,
            interactions: Interactions::UntilFinished,
            stuck_after: Duration::from_mins(2),
            sample_every: Duration::from_secs(30),
            custom_id_delimiter: ':',
            user_key: None,
            metrics_address: String::new(),
        }
    }
}

/// A contiguous range of shards of a bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shards {
    /// First shard id of this process.
    pub first: u16,
    /// How many shards this process runs.
    pub count: u16,
    /// How many shards the whole bot has.
    pub total: u16,
}

/// Where rows go.
#[derive(Debug, Clone)]
pub struct Clickhouse {
    /// HTTP address, such as `http://127.0.0.1:8123` or `https://clickhouse.example:8443`. For a ClickHouse cluster one per
    /// shard, separated by commas, the same list in all processes of the bot: the cluster's name picks one, and a spool that
    /// holds rows keeps to the one it had. Append to the list, and replace in place; do not reorder it.
    pub url: String,
    /// Database. Default `shardlake`.
    pub database: String,
    /// User. Default `default`.
    pub user: String,
    /// Password of the user. Default empty.
    pub password: Secret,
}

impl Clickhouse {
    /// The defaults, at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), database: "shardlake".into(), user: "default".into(), password: Secret::default() }
    }

    /// Points a client at this place.
    pub(crate) fn reach(&self, client: clickhouse::Client) -> clickhouse::Client {
        client
            .with_url(&self.url)
            .with_database(&self.database)
            .with_user(&self.user)
            .with_password(self.password.reveal())
            .with_product_info("shardlake-ingest", env!("CARGO_PKG_VERSION"))
    }
}

/// Inserts per second into one table that all clusters of a bot may cost ClickHouse together; there are six tables. Each
/// makes a small part in its table and in each table of its views, nine for interactions, and that is what a server runs
/// out of: 100 clusters, 8 inserts/s in all, cost it half a core, however few rows they have (`make bench BENCH="--bench
/// fleet"`). ClickHouse's own advice is one per second and table.
const FLEET_INSERTS_PER_S: u32 = 4;

/// Age of a batch in a small fleet.
const SHORTEST_AGE: Duration = Duration::from_secs(5);

/// Age of a batch in the largest fleet, from 960 clusters on: well below the ten minutes after which `deploy/prometheus`
/// says that rows do not land. `queries/catalogue/clusters/list.sql` allows for it when it calls a cluster silent.
pub(crate) const LONGEST_AGE: Duration = Duration::from_mins(4);

/// When a batch is sealed: whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Rows in a batch, 1 to 500,000. Default 50,000. One batch must fit one insert block of the server
    /// (1,048,449 rows), or it would not land atomically.
    pub max_rows: usize,
    /// Memory of the rows in a batch, in bytes, before they are encoded. Default 16 MiB: 90,000 interactions.
    pub max_bytes: usize,
    /// Age of the oldest row in a batch, in every table. Default: [`BatchLimits::for_fleet`]. Each table of each process
    /// seals at moments of its own, so that a fleet that was started at once does not insert at once.
    pub max_age: Duration,
}

impl BatchLimits {
    /// The defaults for one of the clusters that share a bot's shards evenly. An insert costs the server the same for ten
    /// rows as for a thousand, so what grows with the fleet is the age: 5 s up to 20 clusters, 25 s for 100, and
    /// never more than four minutes, at which more than 960 clusters pass the budget.
    pub fn for_fleet(shards: Shards) -> Self {
        let clusters = u32::from(shards.total).div_ceil(u32::from(shards.count.max(1)));
        let within_budget = Duration::from_secs(1) * clusters / FLEET_INSERTS_PER_S;
        Self { max_rows: 50_000, max_bytes: 16 << 20, max_age: within_budget.clamp(SHORTEST_AGE, LONGEST_AGE) }
    }
}

/// Where sealed batches wait for ClickHouse.
#[derive(Debug, Clone)]
pub struct Spool {
    /// Directory that this cluster alone uses. Without one the spool holds memory only, and what it holds is lost with
    /// the process. Default: none.
    pub directory: Option<PathBuf>,
    /// Memory for batches, per table, in bytes of compressed Arrow. Default 16 MiB: at the normal load of 16 shards about
    /// an hour of interactions.
    pub memory_bytes: usize,
    /// Disk space for batches of all tables. Default 1 GiB.
    pub disk_bytes: u64,
    /// What goes to disk, and when. Default: [`Journal::Spill`].
    pub journal: Journal,
}

impl Default for Spool {
    fn default() -> Self {
        Self { directory: None, memory_bytes: 16 << 20, disk_bytes: 1 << 30, journal: Journal::Spill }
    }
}

/// What goes to disk, and when. Without a directory nothing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Journal {
    /// Nothing: what a process has not landed when it ends is lost, and counted if it ends in order.
    Off,
    /// Sealed batches, when an insert has failed, when memory is full, and at shutdown. A healthy line never touches the
    /// disk; a process that is killed while all is well loses what it had not landed, at most one batch per table.
    #[default]
    Spill,
    /// Every row as soon as it is recorded, and every batch before its first attempt. A kill of the process loses nothing
    /// that was recorded; a power loss loses what the kernel had not written back, usually the last 30 seconds. It costs
    /// one write to the kernel per row (`make bench BENCH="--bench hot_path"`). A row that the disk does not take is in
    /// memory only, as without a journal, and counted in `shardlake_journal_failures_total`.
    ///
    /// What is counted over a window of 10 s, `gateway_counts`, is a row once the window has ended, and not before.
    Always,
}

/// Who gives way when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The oldest rows go: after an outage the newest are there.
    #[default]
    DropOldest,
    /// The newest rows go: the beginning of an incident is there.
    DropNewest,
}

/// What happens to an interaction that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interactions {
    /// Its row is written when its handler ends, or when its token expires.
    #[default]
    UntilFinished,
    /// Its row is written on receipt: for a process that only watches, while another one answers.
    OnReceipt,
}

/// A string that never shows itself in a log.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl From<&str> for Secret {
    fn from(secret: &str) -> Self {
        Self(secret.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_as_old_as_the_fleet_is_large() {
        let age_ms = |count, total| BatchLimits::for_fleet(Shards { first: 0, count, total }).max_age.as_millis();
        assert_eq!([age_ms(16, 16), age_ms(16, 160), age_ms(16, 320)], [5_000; 3]);
        assert_eq!([age_ms(1, 100), age_ms(16, 16 * 100), age_ms(1, 400)], [25_000, 25_000, 100_000]);
        assert_eq!(age_ms(16, 16 * 100 + 1), 25_250, "a cluster that is not full counts");
        assert_eq!(age_ms(1, u16::MAX), LONGEST_AGE.as_millis());
        assert_eq!(age_ms(0, 1), 5_000, "refused later, by name");
    }
}
