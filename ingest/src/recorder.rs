//! The front door: what a bot holds, and what all parts of a recorder share.

use std::{
    collections::BTreeSet,
    hash::Hasher as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};
use shardlake_schema::{Name, TimeMs, rows::Interaction};
use siphasher::sip::SipHasher24;
use tokio::{net::TcpListener, task::JoinSet};
use twilight_gateway::Shard;
use twilight_model::application::interaction as twilight;

use crate::{
    account::Account,
    config::{Config, Interactions},
    error::Error,
    exporter,
    metrics::Metrics,
    names::Dictionary,
    observe::Observed,
    outside,
    pipeline::{self, Lanes},
    placement,
    row::{self, Seen},
    sample,
    shutdown::{self, Receipt},
    track::{Outcome, Timer, Tracker},
    watch::{self, ShardCell},
    writer::Writer,
};

/// Records what a cluster process sees and does.
///
/// Cheap to clone; all clones are one recorder. Its tasks live on the tokio runtime that it was started on.
#[derive(Debug, Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
    tasks: Arc<Mutex<Option<Tasks>>>,
}

/// What has to be ended at shutdown, in this order.
#[derive(Debug)]
pub(crate) struct Tasks {
    /// They only produce rows: ended at once.
    pub(crate) watchers: JoinSet<()>,
    /// They carry rows: ended when they are empty.
    pub(crate) lanes: JoinSet<()>,
    /// The lane of `processes`, which carries the receipt of the others.
    pub(crate) last_lane: JoinSet<()>,
    /// The thread that the lanes run on.
    pub(crate) _writer: Writer,
}

impl Recorder {
    /// Starts recording. Needs no ClickHouse to be there: rows wait until it is.
    ///
    /// # Errors
    /// [`Error::Setting`] if a setting is out of its range, [`Error::Spool`] if the spool's directory cannot be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(config: Config) -> Result<Self, Error> {
        check(&config)?;
        let shared = Arc::new(Shared::new(config)?);
        shared.metrics.watch(&shared)?;

        let writer = Writer::start().map_err(Error::Thread)?;
        let (lanes, last_lane) = pipeline::start(&shared, writer.handle());
        let mut watchers = JoinSet::new();
        watchers.spawn(watch::run(Arc::clone(&shared)));
        if !shared.config.sample_every.is_zero() {
            watchers.spawn(sample::run(Arc::clone(&shared)));
        }
        let tasks = Tasks { watchers, lanes, last_lane, _writer: writer };
        Ok(Self { shared, tasks: Arc::new(Mutex::new(Some(tasks))) })
    }

    /// Wraps a shard so that everything it sees is recorded. The bot's loop stays as it is.
    pub fn observe<Q>(&self, shard: Shard<Q>) -> Observed<Q> {
        Observed::new(shard, Arc::clone(&self.shared))
    }

    /// Runs `handler` and records how long it took and how it ended: success, error (its kind is the name of `E`), panic
    /// or cancelled. What the handler returns is passed through.
    ///
    /// Cancel safety: dropping the future drops the handler and records `cancelled`.
    ///
    /// # Errors
    /// Only what `handler` returns.
    pub async fn track<T, E>(
        &self,
        interaction: &twilight::Interaction,
        handler: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let timer = self.timer(interaction);
        let result = handler.await;
        timer.result(&result);
        result
    }

    /// A timer for an interaction whose handling does not fit one future.
    pub fn timer(&self, interaction: &twilight::Interaction) -> Timer {
        let id = interaction.id.get();
        if !self.shared.tracker.mark_tracked(id) {
            // It did not come through an observed shard: its clock starts now.
            let shards = self.shared.config.shards;
            let guild = interaction.guild_id.map_or(0, twilight_model::id::Id::get);
            let shard = u16::try_from((guild >> 22) % u64::from(shards.total)).unwrap_or_default();
            self.shared.begin(&row::seen(interaction), shard, TimeMs::now(), true);
        }
        Timer::new(Arc::clone(&self.shared), id)
    }

    /// The first response (or deferral) to an interaction was sent now, by whichever part of the bot knows.
    pub fn responded(&self, interaction_id: u64) {
        self.shared.tracker.responded(interaction_id);
    }

    /// Serves `/metrics`, `/healthz` and `/readyz` on `listener` until `shutdown` is done.
    ///
    /// # Errors
    /// [`Error::Exporter`] if the listener fails.
    pub async fn serve_metrics(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        exporter::serve(Arc::clone(&self.shared), listener, shutdown).await
    }

    /// The books of all tables, as they stand now.
    pub fn accounts(&self) -> Vec<Account> {
        self.shared.accounts()
    }

    /// Identity of this start, as stored in `processes.boot`.
    pub fn boot(&self) -> u64 {
        self.shared.boot
    }

    /// Drains everything within `deadline`, in order: open interactions, batches, inserts, and last the process's own
    /// row, which carries the receipt. Later calls, and calls on clones, return the receipt as it stands.
    ///
    /// Drop every [`Observed`] first. Rows recorded during or after the drain are refused and counted.
    pub async fn shutdown(&self, reason: &'static str, deadline: Duration) -> Receipt {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(tasks) = tasks {
            shutdown::drain(&self.shared, tasks, reason, deadline).await;
        }
        Receipt { accounts: self.accounts() }
    }
}

pub(crate) fn check(config: &Config) -> Result<(), Error> {
    let refuse = |setting, value: String, expected| Err(Error::Setting { setting, value, expected });
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if config.cluster.is_empty() || config.cluster.len() > 100 || !config.cluster.chars().all(plain) {
        return refuse("cluster", config.cluster.clone(), "1 to 100 of the characters A-Z a-z 0-9 . _ -");
    }
    let shards = config.shards;
    if shards.count == 0 || u32::from(shards.first) + u32::from(shards.count) > u32::from(shards.total) {
        return refuse("shards", format!("{shards:?}"), "a range of at least one shard within the total");
    }
    let addresses = placement::addresses(&config.clickhouse.url);
    let distinct = addresses.iter().collect::<BTreeSet<_>>().len();
    if addresses.contains(&"") || distinct < addresses.len() {
        let expected = "an address, or one per shard of a ClickHouse cluster, separated by commas, each once";
        return refuse("clickhouse.url", format!("{:?}", config.clickhouse.url), expected);
    }
    if !(1..=500_000).contains(&config.batch.max_rows) {
        return refuse("batch.max_rows", config.batch.max_rows.to_string(), "1 to 500,000");
    }
    // A full queue on top of a full batch still fits one insert block of the server, 1,048,449 rows.
    if !(16..=1 << 19).contains(&config.queue_rows) {
        return refuse("queue_rows", config.queue_rows.to_string(), "16 to 524,288");
    }
    Ok(())
}

/// What all parts of a recorder share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) cluster: Name,
    pub(crate) boot: u64,
    pub(crate) started_at: TimeMs,
    pub(crate) lanes: Lanes,
    pub(crate) metrics: Metrics,
    pub(crate) names: Dictionary,
    pub(crate) tracker: Tracker,
    shards: Mutex<Vec<Arc<ShardCell>>>,
    /// Keyed with the user key; `None` without one.
    user_hasher: Option<SipHasher24>,
}

impl Shared {
    pub(crate) fn new(mut config: Config) -> Result<Self, Error> {
        let started_at = outside::now();
        let metrics = Metrics::new(&config)?;
        let (cluster, boot) = (Name::from(config.cluster.clone()), boot_id(started_at));
        let (lanes, address) = Lanes::open(&config, &cluster, boot)?;
        if address != config.clickhouse.url {
            tracing::info!(address, "the shard of the ClickHouse cluster that this process writes to");
        }
        config.clickhouse.url = address;
        Ok(Self {
            lanes,
            cluster,
            boot,
            started_at,
            metrics,
            names: Dictionary::new(),
            tracker: Tracker::default(),
            shards: Mutex::default(),
            user_hasher: config.user_key.as_ref().map(|key| user_hasher(key.reveal())),
            config,
        })
    }

    /// An interaction came through an observed shard.
    pub(crate) fn received(&self, seen: &Seen<'_>, shard: u16, now: TimeMs) {
        let kind = row::kind_name(seen.kind);
        self.metrics.interactions.with_label_values(&[kind, "received"]).inc();
        match self.config.interactions {
            Interactions::UntilFinished => self.begin(seen, shard, now, false),
            Interactions::OnReceipt => self.lanes.interactions.push(row::opened(seen, self, shard, now)),
        }
    }

    fn begin(&self, seen: &Seen<'_>, shard: u16, now: TimeMs, tracked: bool) {
        let row = row::opened(seen, self, shard, now);
        if let Some(given_up) = self.tracker.begin(row, Instant::now(), tracked) {
            self.lanes.interactions.push(given_up);
        }
    }

    /// An interaction's handler ended.
    pub(crate) fn ended(&self, id: u64, outcome: Outcome) {
        if let Some(row) = self.tracker.end(id, outcome) {
            if row.r#type.as_str() == "application_command" {
                self.count_command(&row);
            }
            self.lanes.interactions.push(row);
        }
    }

    fn count_command(&self, row: &Interaction) {
        let error_type = match row.outcome.as_str() {
            "success" => None,
            outcome if row.error_type == Name::EMPTY => Some(outcome),
            _ => Some(row.error_type.as_str()),
        };
        self.metrics.commands.finished(row.command.as_str(), f64::from(row.duration_ms) / 1000.0, error_type);
    }

    /// The stored form of a user id: the lower half of a keyed hash, or 0 without a key.
    pub(crate) fn user_key(&self, user_id: u64) -> u32 {
        self.user_hasher.map_or(0, |hasher| keyed_hash(hasher, user_id))
    }

    pub(crate) fn watch_shard(&self, shard: u16) -> Arc<ShardCell> {
        let cell = Arc::new(ShardCell::new(shard, TimeMs::now()));
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&cell));
        cell
    }

    pub(crate) fn forget_shard(&self, cell: &Arc<ShardCell>) {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        shards.retain(|known| !Arc::ptr_eq(known, cell));
    }

    pub(crate) fn shards(&self) -> Vec<Arc<ShardCell>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn accounts(&self) -> Vec<Account> {
        self.lanes.all().iter().map(|lane| lane.book.account()).collect()
    }
}

/// Milliseconds since Discord's epoch in the upper 42 bits, like a snowflake, and 22 random ones: two processes that were
/// given the same cluster by mistake still differ.
fn boot_id(started_at: TimeMs) -> u64 {
    let since_epoch_ms = started_at.0.saturating_sub(TimeMs::DISCORD_EPOCH.0).cast_unsigned();
    since_epoch_ms << 22 | outside::random(0..1 << 22)
}

/// What `interactions.user_key` holds of a user whose rows were recorded with this key ([`Config::user_key`]).
pub fn user_key(key: &str, user_id: u64) -> u32 {
    keyed_hash(user_hasher(key), user_id)
}

#[allow(clippy::cast_possible_truncation, reason = "32 bits tell users apart well enough to count them")]
fn keyed_hash(mut hasher: SipHasher24, user_id: u64) -> u32 {
    hasher.write_u64(user_id);
    hasher.finish() as u32
}

/// `SipHash` is a keyed pseudorandom function: without the key nobody can test whether a hash belongs to a user.
fn user_hasher(key: &str) -> SipHasher24 {
    let digest = Sha256::digest(key);
    let mut siphash_key = [0; 16];
    siphash_key.copy_from_slice(&digest[..16]);
    SipHasher24::new_with_key(&siphash_key)
}
