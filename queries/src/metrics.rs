//! The service's own series, on `/metrics`. Each is declared here, once.

use std::{sync::Arc, time::Instant};

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder, core::Collector,
};

use crate::error::AskError;

/// Seconds, from an answer out of memory to the longest query that is allowed.
const DURATION_BUCKETS_S: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The label of requests for questions that do not exist: their names come from outside and have no bound.
const UNKNOWN: &str = "(unknown)";

/// The status of a request whose client went away before the answer.
const CANCELLED: &str = "cancelled";

/// The status of an export that failed after its first byte.
const BROKEN_OFF: &str = "broken_off";

/// Where an answer came from, if no query was made for it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reuse {
    /// Kept from an earlier request.
    Cached,
    /// Made for another request at the same time.
    Shared,
}

/// All series of one service.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    duration: HistogramVec,
    rows_read: IntCounterVec,
    bytes_sent: IntCounterVec,
    reused: IntCounterVec,
    limited: IntCounterVec,
    refused: IntCounterVec,
    in_flight: IntGauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let counter =
            |name, help, labels: &[&str]| registered(&registry, IntCounterVec::new(Opts::new(name, help), labels));
        let duration = HistogramOpts::new("shardlake_queries_duration_seconds", "From the request to its answer's end")
            .buckets(DURATION_BUCKETS_S.to_vec());
        Self {
            requests: counter(
                "shardlake_queries_requests_total",
                "Requests by question and HTTP status; cancelled: the client left; broken_off: failed after its first byte",
                &["question", "status"],
            ),
            duration: registered(&registry, HistogramVec::new(duration, &["question"])),
            rows_read: counter(
                "shardlake_queries_rows_read_total",
                "Rows that ClickHouse read to answer the question itself; of an export, what it had read at the first byte",
                &["question"],
            ),
            bytes_sent: counter(
                "shardlake_queries_sent_bytes_total",
                "Bytes of answers, before compression",
                &["question"],
            ),
            reused: counter(
                "shardlake_queries_reused_total",
                "Answers for which no query was made: cached, or shared with another request at the same time",
                &["question", "how"],
            ),
            limited: counter(
                "shardlake_queries_limited_total",
                "Requests that a limit ended, by the code of the error",
                &["question", "limit"],
            ),
            refused: counter(
                "shardlake_queries_refused_total",
                "Requests that were not let in, by the code of the error: no key, or no room",
                &["code"],
            ),
            in_flight: registered(
                &registry,
                IntGauge::new("shardlake_queries_in_flight", "Requests being answered now"),
            ),
            registry,
        }
    }

    /// Watches one request for `question`; `None`: there is no such question.
    pub(crate) fn watch(self: &Arc<Self>, question: Option<String>) -> Watch {
        self.in_flight.inc();
        let question = question.unwrap_or_else(|| UNKNOWN.to_owned());
        Watch { metrics: Arc::clone(self), question, started: Instant::now(), status: None }
    }

    /// A request was not let in.
    pub(crate) fn refuse(&self, error: &AskError) {
        self.refused.with_label_values(&[error.code()]).inc();
    }

    /// The Prometheus text format, version 0.0.4.
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("every family has a name and a sample");
        text
    }
}

fn registered<T: Collector + Clone + 'static>(registry: &Registry, series: prometheus::Result<T>) -> T {
    let valid = "the names and labels above are valid and distinct";
    let series = series.expect(valid);
    registry.register(Box::new(series.clone())).expect(valid);
    series
}

/// Counts its request when it is dropped: as cancelled, unless it was finished.
#[derive(Debug)]
pub(crate) struct Watch {
    metrics: Arc<Metrics>,
    question: String,
    started: Instant,
    status: Option<String>,
}

impl Watch {
    /// ClickHouse has read so many rows.
    pub(crate) fn read(&self, rows: u64) {
        self.metrics.rows_read.with_label_values(&[&self.question]).inc_by(rows);
    }

    /// So much of the answer goes to the client.
    pub(crate) fn sent(&self, bytes: usize) {
        self.metrics.bytes_sent.with_label_values(&[&self.question]).inc_by(bytes as u64);
    }

    /// The answer was there already.
    pub(crate) fn reused(&self, how: Reuse) {
        let how = match how {
            Reuse::Cached => "cached",
            Reuse::Shared => "shared",
        };
        self.metrics.reused.with_label_values(&[self.question.as_str(), how]).inc();
    }

    /// The request has its answer.
    pub(crate) fn finish(mut self, status: u16) {
        self.status = Some(status.to_string());
    }

    /// The request has none.
    pub(crate) fn fail(self, error: &AskError) {
        self.limited(error);
        self.finish(error.status().as_u16());
    }

    /// The request has a part of its answer.
    pub(crate) fn break_off(&mut self, error: &AskError) {
        tracing::warn!(question = self.question, %error, "an export broke off");
        self.limited(error);
        self.status = Some(BROKEN_OFF.to_owned());
    }

    fn limited(&self, error: &AskError) {
        if let Some(limit) = error.limit() {
            self.metrics.limited.with_label_values(&[self.question.as_str(), limit]).inc();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        let status = self.status.as_deref().unwrap_or(CANCELLED);
        self.metrics.requests.with_label_values(&[self.question.as_str(), status]).inc();
        self.metrics.duration.with_label_values(&[&self.question]).observe(self.started.elapsed().as_secs_f64());
    }
}
