//! Every series that a cluster process exposes, declared once.
//!
//! The names `discord_*` and `argus_*`, their labels and buckets are those that operators of Discord bots already have
//! dashboards for, `process_*` those of every Prometheus client; `shardlake_*` are ours. Every series carries `cluster`. Live
//! state (shards, books, queues) is read at scrape time, so a gauge can never be stale; what is counted on the hot path has
//! its child looked up once.
//! Ids of guilds, users and channels are never labels.

mod commands;
mod inserts;

mod live;

use std::sync::Arc;

use prometheus::{Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, core::Collector};

pub(crate) use self::inserts::InsertMetrics;
use self::{commands::Commands, inserts::Inserts, live::Live};
use crate::{config::Config, recorder::Shared};

/// Buckets of command durations, seconds: those of the dashboards that exist.
const COMMAND_SECONDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// What is counted as it happens.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    pub(crate) gateway_events: IntCounterVec,
    pub(crate) interactions: IntCounterVec,
    pub(crate) commands: Commands,
    pub(crate) shard_disconnects: IntCounterVec,
    pub(crate) shard_reconnects: IntCounterVec,
    pub(crate) event_loop_lag_seconds: Gauge,
    pub(crate) instrumentation_errors: IntCounterVec,
    pub(crate) inserts: Inserts,
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

        register_constants(&registry)?;
        let commands = Commands::new(
            counter(
                "discord_app_commands_total",
                "Application commands finished, by command and status",
                &["command", "status"],
            )?,
            counter(
                "discord_command_errors_total",
                "Application commands that failed, by kind of error",
                &["command", "error_type"],
            )?,
            histogram(
                "discord_app_command_duration_seconds",
                "Time from the receipt of an application command to the end of its handler",
                COMMAND_SECONDS,
                &["command"],
            )?,
        );
        let metrics = Self {
            gateway_events: counter(
                "discord_gateway_events_total",
                "Dispatches received, by type, replays included",
                &["event"],
            )?,
            interactions: counter("discord_interactions_total", "Interactions received, by type", &["type", "status"])?,
            commands,
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
            inserts: Inserts::new(&registry)?,
            registry,
        };
        metrics.start_at_zero(config);
        Ok(metrics)
    }

    /// Series exist before anything happens: a rate misses the first increment of a series that appears with it.
    fn start_at_zero(&self, config: &Config) {
        for hook in ["observe", "parse"] {
            self.instrumentation_errors.with_label_values(&[hook]);
        }
        for shard in config.shards.first..config.shards.first + config.shards.count {
            let shard = shard.to_string();
            self.shard_disconnects.with_label_values(&[&shard]);
            self.shard_reconnects.with_label_values(&[&shard]);
        }
    }

    /// Adds what is read from `shared` at scrape time.
    pub(crate) fn watch(&self, shared: &Arc<Shared>) -> prometheus::Result<()> {
        self.registry.register(Box::new(Live::new(Arc::downgrade(shared))?))
    }
}

fn register_constants(registry: &Registry) -> prometheus::Result<()> {
    let info = Opts::new("discord_bot_info", "Always 1; the labels tell the versions");
    let info = register(registry, GaugeVec::new(info, &["library_version", "shardlake_version"])?)?;
    info.with_label_values(&["twilight 0.18", env!("CARGO_PKG_VERSION")]).set(1.0);
    register(registry, Gauge::new("argus_up", "Always 1: this process records")?)?.set(1.0);
    Ok(())
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
