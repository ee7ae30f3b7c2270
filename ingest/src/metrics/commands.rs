//! The series of finished commands. A command's series are found by one look, instead of one look for each of them; what
//! fails is rare, and is looked up as it comes.

use std::sync::{OnceLock, PoisonError, RwLock};

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};
use rustc_hash::FxHashMap;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Commands {
    finished: IntCounterVec,
    errors: IntCounterVec,
    seconds: HistogramVec,
    /// Bounded by the limit of distinct commands.
    by_name: RwLock<FxHashMap<Box<str>, Series>>,
}

/// The series of one command.
#[derive(Debug)]
struct Series {
    seconds: Histogram,
    /// Set by the first success, so that a command that never had one has no such series.
    succeeded: OnceLock<IntCounter>,
}

impl Commands {
    pub(super) fn new(finished: IntCounterVec, errors: IntCounterVec, seconds: HistogramVec) -> Self {
        Self { finished, errors, seconds, by_name: RwLock::default() }
    }

    /// Counts a command that ended after `seconds`. `command` is a known name; so is `error_type`, that of a failure.
    pub(crate) fn finished(&self, command: &str, seconds: f64, error_type: Option<&str>) {
        // A panic cannot happen while a lock is held, so a poisoned one still guards a whole map.
        let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = by_name.get(command) {
            return self.count(series, command, seconds, error_type);
        }
        drop(by_name);

        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        let series = by_name.entry(command.into()).or_insert_with(|| Series {
            seconds: self.seconds.with_label_values(&[command]),
            succeeded: OnceLock::new(),
        });
        self.count(series, command, seconds, error_type);
    }

    fn count(&self, series: &Series, command: &str, seconds: f64, error_type: Option<&str>) {
        series.seconds.observe(seconds);
        if let Some(error_type) = error_type {
            self.finished.with_label_values(&[command, "error"]).inc();
            self.errors.with_label_values(&[command, error_type]).inc();
        } else {
            series.succeeded.get_or_init(|| self.finished.with_label_values(&[command, "success"])).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{config::Config, config::Shards, metrics::Metrics};

    #[test]
    fn a_series_appears_with_what_it_counts() {
        let config = Config::new("0", Shards { first: 0, count: 1, total: 1 }, "http://127.0.0.1:9");
        let metrics = Metrics::new(&config).unwrap();
        let lines = || {
            let text = prometheus::TextEncoder::new().encode_to_string(&metrics.registry.gather()).unwrap();
            let mut lines: Vec<_> = text
                .lines()
                .filter(|line| line.starts_with("discord_app_commands") || line.starts_with("discord_command_errors"))
                .map(str::to_owned)
                .collect();
            lines.sort();
            lines
        };
        metrics.commands.finished("play", 0.01, Some("Timeout"));
        assert_eq!(
            lines(),
            [
                r#"discord_app_commands_total{command="play",status="error",cluster="0"} 1"#,
                r#"discord_command_errors_total{command="play",error_type="Timeout",cluster="0"} 1"#,
            ]
        );
        metrics.commands.finished("play", 0.01, None);
        metrics.commands.finished("play", 0.01, None);
        metrics.commands.finished("stop", 0.01, None);
        assert_eq!(
            lines(),
            [
                r#"discord_app_commands_total{command="play",status="error",cluster="0"} 1"#,
                r#"discord_app_commands_total{command="play",status="success",cluster="0"} 2"#,
                r#"discord_app_commands_total{command="stop",status="success",cluster="0"} 1"#,
                r#"discord_command_errors_total{command="play",error_type="Timeout",cluster="0"} 1"#,
            ]
        );
        let seconds = metrics.registry.gather().into_iter();
        let observed: u64 = seconds
            .filter(|family| family.name() == "discord_app_command_duration_seconds")
            .flat_map(|mut family| family.take_metric())
            .map(|metric| metric.get_histogram().get_sample_count())
            .sum();
        assert_eq!(observed, 4);
    }
}
