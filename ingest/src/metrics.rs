//! Every series that a cluster process exposes, declared once.
//!
//! The names `discord_*` and `argus_*`, their labels and buckets are those that operators of Discord bots already have
//! dashboards for; `shardlake_*` are ours. Every series carries `cluster`. Live state (shards, books, queues) is read at
//! scrape time, so a gauge can never be stale; what is counted on the hot path has its child looked up once.
//! Ids of guilds, users and channels are never labels.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use shardlake_schema::{Table, TimeMs, answer::Verdict};

use crate::{batch::Frozen, config::Config, recorder::Shared};

/// Buckets of command durations, seconds: those of the dashboards that exist.
const COMMAND_SECONDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Buckets of insert durations, seconds: a healthy insert takes milliseconds, the longest that we wait for one minute.
const INSERT_SECONDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Buckets of rows per batch: from one straggler to the largest batch.
const BATCH_ROWS: &[f64] = &[1.0, 10.0, 100.0, 1_000.0, 10_000.0, 50_000.0];

/// What is counted as it happens.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    pub(crate) gateway_events: IntCounterVec,
    pub(crate) interactions: IntCounterVec,
    pub(crate) app_commands: IntCounterVec,
    pub(crate) command_errors: IntCounterVec,
    pub(crate) command_seconds: HistogramVec,
    pub(crate) shard_disconnects: IntCounterVec,
    pub(crate) shard_reconnects: IntCounterVec,
    pub(crate) event_loop_lag_seconds: Gauge,
    pub(crate) instrumentation_errors: IntCounterVec,
    inserts: IntCounterVec,
    insert_seconds: HistogramVec,
    insert_bytes: IntCounterVec,
    batch_rows: HistogramVec,
}

impl Metrics {
    pub(crate) fn new(config: &Config) -> prometheus::Result<Self> {
        let labels = [("cluster".to_owned(), config.cluster.clone())].into();
        let registry = Registry::new_custom(None, Some(labels))?;
        let counter =
            |name, help, labels: &[&str]| register(&registry, IntCounterVec::new(Opts::new(name, help), labels)?);
        let histogram = |name, help, buckets: &[f64], labels: &[&str]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            register(&registry, HistogramVec::new(options, labels)?)
        };

        let info = register(
            &registry,
            GaugeVec::new(
                Opts::new("discord_bot_info", "Always 1; the labels tell the versions"),
                &["library_version", "shardlake_version"],
            )?,
        )?;
        info.with_label_values(&["twilight 0.18", env!("CARGO_PKG_VERSION")]).set(1.0);
        register(&registry, Gauge::new("argus_up", "Always 1: this process records")?)?.set(1.0);

        Ok(Self {
            gateway_events: counter(
                "discord_gateway_events_total",
                "Dispatches received, by type, replays included",
                &["event"],
            )?,
            interactions: counter("discord_interactions_total", "Interactions received, by type", &["type", "status"])?,
            app_commands: counter(
                "discord_app_commands_total",
                "Application commands finished, by command and status",
                &["command", "status"],
            )?,
            command_errors: counter(
                "discord_command_errors_total",
                "Application commands that failed, by kind of error",
                &["command", "error_type"],
            )?,
            command_seconds: histogram(
                "discord_app_command_duration_seconds",
                "Time from the receipt of an application command to the end of its handler",
                COMMAND_SECONDS,
                &["command"],
            )?,
            shard_disconnects: counter(
                "discord_shard_disconnects_total",
                "Connections lost, for any cause, silent ones too",
                &["shard"],
            )?,
            shard_reconnects: counter(
                "discord_shard_reconnects_total",
                "Recoveries after a lost connection, by RESUMED or READY",
                &["shard"],
            )?,
            event_loop_lag_seconds: register(
                &registry,
                Gauge::new("discord_event_loop_lag_seconds", "How late the runtime woke a timer last time")?,
            )?,
            instrumentation_errors: counter(
                "argus_instrumentation_errors_total",
                "Failures inside the recorder that it swallowed, by hook",
                &["hook"],
            )?,
            inserts: counter("shardlake_inserts_total", "Attempts to insert a batch, by result", &["table", "result"])?,
            insert_seconds: histogram(
                "shardlake_insert_duration_seconds",
                "Duration of one attempt to insert a batch",
                INSERT_SECONDS,
                &["table"],
            )?,
            insert_bytes: counter("shardlake_insert_bytes_total", "Compressed bytes of landed batches", &["table"])?,
            batch_rows: histogram("shardlake_batch_rows", "Rows of landed batches", BATCH_ROWS, &["table"])?,
            registry,
        })
    }

    /// Adds what is read from `shared` at scrape time.
    pub(crate) fn watch(&self, shared: &Arc<Shared>) -> prometheus::Result<()> {
        self.registry.register(Box::new(Live::new(Arc::downgrade(shared))?))
    }

    pub(crate) fn inserts(&self, table: Table) -> InsertMetrics {
        let table = [table.name()];
        InsertMetrics {
            attempts: self.inserts.clone(),
            seconds: self.insert_seconds.with_label_values(&table),
            bytes: self.insert_bytes.with_label_values(&table),
            rows: self.batch_rows.with_label_values(&table),
        }
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// The series of one table's inserts.
#[derive(Clone)]
pub(crate) struct InsertMetrics {
    attempts: IntCounterVec,
    seconds: prometheus::Histogram,
    bytes: IntCounter,
    rows: prometheus::Histogram,
}

impl InsertMetrics {
    /// Counts an attempt; `verdict` is `None` for one that landed.
    #[allow(clippy::cast_precision_loss)] // a batch has far fewer than 2^52 rows
    pub(crate) fn attempted(&self, verdict: Option<Verdict>, batch: &Frozen, took: Duration) {
        let result = verdict.map_or("landed", Verdict::as_str);
        self.attempts.with_label_values(&[batch.table.name(), result]).inc();
        self.seconds.observe(took.as_secs_f64());
        if verdict.is_none() {
            self.bytes.inc_by(batch.body.len() as u64);
            self.rows.observe(batch.rows as f64);
        }
    }
}

/// What is read at scrape time. The vectors only carry the values from `collect` to the caller.
struct Live {
    shared: Weak<Shared>,
    /// One reader at a time: two that raise the same counter at once would raise it twice.
    reading: Mutex<()>,
    shard_latency_seconds: GaugeVec,
    shard_up: GaugeVec,
    shard_ratelimited: GaugeVec,
    shards_connected: Gauge,
    shards_configured: Gauge,
    guilds: Gauge,
    uptime_seconds: Gauge,
    rows_observed: IntCounterVec,
    rows_landed: IntCounterVec,
    rows_dropped: IntCounterVec,
    rows_in_memory: GaugeVec,
    rows_spooled: GaugeVec,
    oldest_unlanded_seconds: GaugeVec,
    names_refused: IntCounterVec,
    history_dropped: IntCounter,
}

impl Live {
    fn new(shared: Weak<Shared>) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str, labels: &[&str]| GaugeVec::new(Opts::new(name, help), labels);
        let counter = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        Ok(Self {
            shared,
            reading: Mutex::new(()),
            shard_latency_seconds: gauge(
                "discord_shard_latency_seconds",
                "Latest heartbeat round trip of the shard",
                &["shard"],
            )?,
            shard_up: gauge("discord_shard_up", "1 while the shard has an active session", &["shard"])?,
            shard_ratelimited: gauge(
                "discord_shard_ws_ratelimited",
                "1 while the shard may send no more commands",
                &["shard"],
            )?,
            shards_connected: Gauge::new("discord_shards_connected", "Shards of this cluster with an active session")?,
            shards_configured: Gauge::new("discord_shards_configured", "Shards that this cluster runs")?,
            guilds: Gauge::new("discord_guilds", "Guilds on the shards of this cluster, unavailable ones included")?,
            uptime_seconds: Gauge::new("discord_uptime_seconds", "Time since the recorder started")?,
            rows_observed: counter("shardlake_rows_observed_total", "Rows recorded, kept or not", &["table"])?,
            rows_landed: counter("shardlake_rows_landed_total", "Rows acknowledged by ClickHouse", &["table"])?,
            rows_dropped: counter("shardlake_rows_dropped_total", "Rows dropped, by reason", &["table", "reason"])?,
            rows_in_memory: gauge("shardlake_rows_in_memory", "Rows in the queue and the open batch", &["table"])?,
            rows_spooled: gauge(
                "shardlake_rows_spooled",
                "Rows in sealed batches that wait for ClickHouse",
                &["table"],
            )?,
            oldest_unlanded_seconds: gauge(
                "shardlake_oldest_unlanded_age_seconds",
                "Age of the oldest sealed batch that has not landed; 0: none waits",
                &["table"],
            )?,
            names_refused: counter(
                "shardlake_names_refused_total",
                "Names cut or replaced by (other), by kind",
                &["kind"],
            )?,
            history_dropped: IntCounter::new(
                "argus_history_events_dropped_total",
                "Rows dropped in all tables, for any reason",
            )?,
        })
    }

    fn collectors(&self) -> [&dyn Collector; 15] {
        [
            &self.shard_latency_seconds,
            &self.shard_up,
            &self.shard_ratelimited,
            &self.shards_connected,
            &self.shards_configured,
            &self.guilds,
            &self.uptime_seconds,
            &self.rows_observed,
            &self.rows_landed,
            &self.rows_dropped,
            &self.rows_in_memory,
            &self.rows_spooled,
            &self.oldest_unlanded_seconds,
            &self.names_refused,
            &self.history_dropped,
        ]
    }

    #[allow(clippy::cast_precision_loss)] // counts and milliseconds far below 2^52
    fn read_shards(&self, shared: &Shared) {
        let shards = shared.shards();
        let mut connected = 0;
        let mut guilds = 0;
        for cell in &shards {
            let shard = cell.shard.to_string();
            let up = cell.is_active();
            connected += u32::from(up);
            guilds += cell.guilds();
            self.shard_up.with_label_values(&[&shard]).set(f64::from(u8::from(up)));
            self.shard_ratelimited.with_label_values(&[&shard]).set(f64::from(u8::from(cell.is_ratelimited())));
            if let Some(latency) = cell.latency() {
                self.shard_latency_seconds.with_label_values(&[&shard]).set(latency.as_secs_f64());
            }
        }
        self.shards_connected.set(f64::from(connected));
        self.shards_configured.set(f64::from(shared.config.shards.count));
        self.guilds.set(guilds as f64);
        self.uptime_seconds.set(f64::from(TimeMs::now().since_ms(shared.started_at)) / 1000.0);
    }

    #[allow(clippy::cast_precision_loss)]
    fn read_books(&self, shared: &Shared) {
        let now = TimeMs::now();
        let mut all_dropped = 0;
        for lane in shared.lanes.all() {
            let account = lane.book.account();
            let table = [account.table.name()];
            raise(&self.rows_observed.with_label_values(&table), account.observed);
            raise(&self.rows_landed.with_label_values(&table), account.landed);
            for (reason, rows) in account.dropped {
                raise(&self.rows_dropped.with_label_values(&[table[0], reason.as_str()]), rows);
            }
            all_dropped += account.dropped();
            self.rows_in_memory.with_label_values(&table).set(account.in_memory as f64);
            self.rows_spooled.with_label_values(&table).set(account.spooled as f64);
            let age_ms = lane.spool.oldest_sealed_at().map_or(0, |sealed_at| now.since_ms(sealed_at));
            self.oldest_unlanded_seconds.with_label_values(&table).set(f64::from(age_ms) / 1000.0);
        }
        raise(&self.history_dropped, all_dropped);
        for names in shared.names.all() {
            let refused = names.refused.load(Relaxed);
            raise(&self.names_refused.with_label_values(&[names.kind]), refused);
        }
    }
}

/// Brings a counter up to a total that is counted elsewhere.
fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

impl Collector for Live {
    fn desc(&self) -> Vec<&Desc> {
        self.collectors().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = self.shared.upgrade() {
            self.read_shards(&shared);
            self.read_books(&shared);
        }
        self.collectors().into_iter().flat_map(Collector::collect).collect()
    }
}
