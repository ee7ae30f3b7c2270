//! What is read at scrape time: shards, books and names as they are at that moment. The vectors only carry the values
//! from `collect` to whoever scrapes.

use std::sync::{Mutex, PoisonError, Weak, atomic::Ordering::Relaxed};

use prometheus::{
    Counter, Gauge, GaugeVec, IntCounter, IntCounterVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use rustix::time::{ClockId, clock_gettime};
use shardlake_schema::TimeMs;

use crate::recorder::Shared;

/// See the head of this file.
pub(super) struct Live {
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
    cpu_seconds: Counter,
    rows_observed: IntCounterVec,
    rows_recovered: IntCounterVec,
    rows_landed: IntCounterVec,
    rows_dropped: IntCounterVec,
    rows_in_memory: GaugeVec,
    rows_spooled: GaugeVec,
    oldest_unlanded_seconds: GaugeVec,
    spool_bytes: Gauge,
    spool_quarantined: IntCounter,
    journal_failures: IntCounter,
    names_refused: IntCounterVec,
    history_dropped: IntCounter,
}

impl Live {
    pub(super) fn new(shared: Weak<Shared>) -> prometheus::Result<Self> {
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
            cpu_seconds: Counter::new("process_cpu_seconds_total", "CPU time of the whole process, user and system")?,
            rows_observed: counter("shardlake_rows_observed_total", "Rows recorded, kept or not", &["table"])?,
            rows_recovered: counter(
                "shardlake_rows_recovered_total",
                "Rows that an earlier process had left in the spool",
                &["table"],
            )?,
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
            spool_bytes: Gauge::new("shardlake_spool_bytes", "Bytes of batches in the spool's directory")?,
            spool_quarantined: IntCounter::new(
                "shardlake_spool_quarantined_total",
                "Files set aside in the spool's quarantine: damaged ones, and batches that ClickHouse refused",
            )?,
            journal_failures: IntCounter::new(
                "shardlake_journal_failures_total",
                "Rows that the journal could not write: a kill of the process would lose them",
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

    fn collectors(&self) -> [&dyn Collector; 20] {
        [
            &self.shard_latency_seconds,
            &self.shard_up,
            &self.shard_ratelimited,
            &self.shards_connected,
            &self.shards_configured,
            &self.guilds,
            &self.uptime_seconds,
            &self.cpu_seconds,
            &self.rows_observed,
            &self.rows_recovered,
            &self.rows_landed,
            &self.rows_dropped,
            &self.rows_in_memory,
            &self.rows_spooled,
            &self.oldest_unlanded_seconds,
            &self.spool_bytes,
            &self.spool_quarantined,
            &self.journal_failures,
            &self.names_refused,
            &self.history_dropped,
        ]
    }

    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
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
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu_seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        self.cpu_seconds.inc_by((cpu_seconds - self.cpu_seconds.get()).max(0.0));
    }

    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    fn read_books(&self, shared: &Shared) {
        let now = TimeMs::now();
        let mut all_dropped = 0;
        for lane in shared.lanes.all() {
            let account = lane.book.account();
            let table = [account.table.name()];
            raise(&self.rows_observed.with_label_values(&table), account.observed);
            raise(&self.rows_recovered.with_label_values(&table), account.recovered);
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
        // All lanes share one directory.
        if let Some(disk) = shared.lanes.all()[0].spool.disk() {
            self.spool_bytes.set(disk.bytes() as f64);
            raise(&self.spool_quarantined, disk.quarantined.load(Relaxed));
            raise(&self.journal_failures, disk.journal_failed.load(Relaxed));
        }
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
