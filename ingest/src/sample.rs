//! The process's own series, stored: any moment of the past can be read like `/metrics` now.

use std::sync::Arc;

use prometheus::proto::{LabelPair, MetricType};
use shardlake_schema::{Labels, Name, TimeMs, rows::Sample};
use tokio::time::{MissedTickBehavior, interval};

use crate::recorder::Shared;

pub(crate) async fn run(shared: Arc<Shared>) {
    let mut ticks = interval(shared.config.sample_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await; // the first one is immediate, before anything is there
    loop {
        ticks.tick().await;
        let from = Arc::clone(&shared);
        // Gathering takes milliseconds with many commands: not on the bot's threads.
        if let Ok(samples) = tokio::task::spawn_blocking(move || gather(&from)).await {
            for sample in samples {
                shared.lanes.samples.push(sample);
            }
        }
    }
}

/// Every series of the registry; of a histogram its sum and count.
fn gather(shared: &Shared) -> Vec<Sample> {
    let time = TimeMs::now();
    let mut samples = Vec::new();
    for family in shared.metrics.registry.gather() {
        let name: Arc<str> = family.name().into();
        for metric in family.get_metric() {
            let labels = labels(metric.get_label());
            let mut push = |name: Name, kind: &'static str, value| {
                samples.push(Sample { time, name, kind: kind.into(), labels: labels.clone(), value });
            };
            match family.get_field_type() {
                MetricType::COUNTER => push(Arc::clone(&name).into(), "counter", metric.get_counter().get_value()),
                MetricType::GAUGE => push(Arc::clone(&name).into(), "gauge", metric.get_gauge().get_value()),
                MetricType::HISTOGRAM => {
                    let histogram = metric.get_histogram();
                    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
                    let count = histogram.get_sample_count() as f64;
                    push(format!("{name}_sum").into(), "counter", histogram.get_sample_sum());
                    push(format!("{name}_count").into(), "counter", count);
                }
                MetricType::SUMMARY | MetricType::UNTYPED => {} // this process has none
            }
        }
    }
    samples
}

/// All labels but `cluster`, which is a column; the registry sorts them by name.
fn labels(pairs: &[LabelPair]) -> Labels {
    let others = pairs.iter().filter(|pair| pair.name() != "cluster");
    Labels(others.map(|pair| (pair.name().to_owned(), pair.value().to_owned())).collect())
}
