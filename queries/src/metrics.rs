//! The service's own series, on `/metrics`. Each is declared here, once.

use std::time::Instant;

use prometheus::{Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

/// Seconds, from an answer out of memory to the longest query that is allowed.
const DURATION_BUCKETS_S: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The label of requests for questions that do not exist: their names come from outside and have no bound.
const UNKNOWN: &str = "(unknown)";

/// The status of a request whose client went away before the answer.
const CANCELLED: &str = "cancelled";

/// All series of one service.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    duration: HistogramVec,
    rows_read: IntCounterVec,
    in_flight: IntGauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let requests = IntCounterVec::new(
            Opts::new(
                "shardlake_queries_requests_total",
                "Requests by question and HTTP status; cancelled: the client left",
            ),
            &["question", "status"],
        );
        let duration = HistogramVec::new(
            HistogramOpts::new("shardlake_queries_duration_seconds", "From the request to its answer")
                .buckets(DURATION_BUCKETS_S.to_vec()),
            &["question"],
        );
        let rows_read = IntCounterVec::new(
            Opts::new("shardlake_queries_rows_read_total", "Rows that ClickHouse read to answer the question itself"),
            &["question"],
        );
        let in_flight = IntGauge::new("shardlake_queries_in_flight", "Requests being answered now");

        let valid = "the names and labels above are valid and distinct";
        let (requests, duration) = (requests.expect(valid), duration.expect(valid));
        let (rows_read, in_flight) = (rows_read.expect(valid), in_flight.expect(valid));
        let registry = Registry::new();
        registry.register(Box::new(requests.clone())).expect(valid);
        registry.register(Box::new(duration.clone())).expect(valid);
        registry.register(Box::new(rows_read.clone())).expect(valid);
        registry.register(Box::new(in_flight.clone())).expect(valid);
        Self { registry, requests, duration, rows_read, in_flight }
    }

    /// Watches one request for `question`; `None`: there is no such question.
    pub(crate) fn watch(&self, question: Option<String>) -> Watch<'_> {
        self.in_flight.inc();
        let question = question.unwrap_or_else(|| UNKNOWN.to_owned());
        Watch { metrics: self, question, started: Instant::now(), status: None }
    }

    /// The Prometheus text format, version 0.0.4.
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("every family has a name and a sample");
        text
    }
}

/// Counts its request when it is dropped: as cancelled, unless it was finished.
pub(crate) struct Watch<'a> {
    metrics: &'a Metrics,
    question: String,
    started: Instant,
    status: Option<u16>,
}

impl Watch<'_> {
    /// ClickHouse has read so many rows.
    pub(crate) fn read(&self, rows: u64) {
        self.metrics.rows_read.with_label_values(&[&self.question]).inc_by(rows);
    }

    /// The request has its answer.
    pub(crate) fn finish(mut self, status: u16) {
        self.status = Some(status);
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        let status = self.status.map_or_else(|| CANCELLED.to_owned(), |status| status.to_string());
        self.metrics.requests.with_label_values(&[self.question.as_str(), &status]).inc();
        self.metrics.duration.with_label_values(&[&self.question]).observe(self.started.elapsed().as_secs_f64());
    }
}
