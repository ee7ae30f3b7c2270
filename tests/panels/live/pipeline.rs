//! The pipeline behind history: the law that no row is lost, inserts, and the service that answers.

use serde_json::json;

use super::{lines, marked, number};
use crate::dashboard::{ANY, Panel, stacked};

/// Batches land within seconds; after five minutes the alert fires.
const WAITING_SECONDS: &[(f64, &str)] = &[(60.0, "orange"), (300.0, "red")];

/// Rows of all tables that nobody accounts for. While a row moves from one holder to the next it may be seen in both or
/// in neither, so the law has to be broken in every sample of five minutes before the panel says so.
const UNACCOUNTED: &str = "min_over_time(abs(\
     sum(shardlake_rows_observed_total{}) + sum(shardlake_rows_recovered_total{}) \
     - sum(shardlake_rows_landed_total{}) - sum(shardlake_rows_spooled{}) \
     - sum(shardlake_rows_in_memory{}) - sum(shardlake_rows_dropped_total{}))[5m:])";

pub(super) fn law() -> Vec<Panel> {
    vec![
        number(
            "Rows unaccounted for",
            "Rows observed, or left by an earlier process in its spool, less those that landed, are spooled, are in memory or were dropped: always 0. Anything else for five minutes is a fault of the recorder.",
            "short",
            UNACCOUNTED,
        )
        .with_thresholds(ANY)
        .sized(4, 8),
        stacked(lines(
            "The law",
            "Where every row is that the running processes observed or found in their spools. The stack reaches the line: no row is missing, none is counted twice.",
            "short",
            &[
                ("sum(shardlake_rows_landed_total{})", "landed"),
                ("sum(shardlake_rows_spooled{})", "spooled"),
                ("sum(shardlake_rows_in_memory{})", "in memory"),
                ("sum(shardlake_rows_dropped_total{})", "dropped"),
                ("sum(shardlake_rows_observed_total{}) + sum(shardlake_rows_recovered_total{})", "observed"),
            ],
        ))
        .with_override(
            "observed",
            vec![
                ("custom.stacking", json!({ "mode": "none" })),
                ("custom.fillOpacity", 0.into()),
                ("custom.lineWidth", 2.into()),
                ("color", json!({ "mode": "fixed", "fixedColor": "text" })),
            ],
        )
        .sized(10, 8),
        stacked(lines(
            "Rows on their way",
            "Rows that have not landed yet: in the queue, in the open batch, or in the spool. It rises while ClickHouse is away.",
            "short",
            &[
                ("sum by (table) (shardlake_rows_in_memory{})", "{{table}}, in memory"),
                ("sum by (table) (shardlake_rows_spooled{})", "{{table}}, spooled"),
            ],
        ))
        .sized(10, 8),
        lines(
            "Rows observed by table",
            "Rows recorded per second, kept or not.",
            "rowsps",
            &[("sum by (table) (rate(shardlake_rows_observed_total{}[$__rate_interval]))", "{{table}}")],
        )
        .sized(8, 8),
        lines(
            "Rows landed by table",
            "Rows acknowledged by ClickHouse per second.",
            "rowsps",
            &[("sum by (table) (rate(shardlake_rows_landed_total{}[$__rate_interval]))", "{{table}}")],
        )
        .sized(8, 8),
        lines(
            "Rows dropped by reason",
            "Rows dropped per second. With the queue or the spool full, ClickHouse is away or too slow for longer than they last.",
            "rowsps",
            &[("sum by (table, reason) (rate(shardlake_rows_dropped_total{}[$__rate_interval])) > 0",
                "{{table}}: {{reason}}",
            )],
        )
        .with_defaults(json!({ "noValue": "nothing dropped" }))
        .sized(8, 8),
    ]
}

pub(super) fn spool() -> Vec<Panel> {
    vec![
        lines(
            "Spool on disk",
            "Bytes of batches in the directory of the spool. A healthy line keeps none there, unless its journal is set to always.",
            "bytes",
            &[("sum by (cluster) (shardlake_spool_bytes{})", "{{cluster}}")],
        )
        .sized(6, 8),
        lines(
            "Rows recovered",
            "Rows that the running process found in its spool when it started: what its predecessor had not landed.",
            "short",
            &[("sum by (cluster) (shardlake_rows_recovered_total{}) > 0", "{{cluster}}")],
        )
        .with_defaults(json!({ "noValue": "nothing recovered" }))
        .sized(6, 8),
        lines(
            "Files set aside",
            "Files that the running process put into the quarantine of its spool: damaged ones, and batches that ClickHouse refuses. A person has to look: `shardlake spool ls`.",
            "short",
            &[("sum by (cluster) (shardlake_spool_quarantined_total{}) > 0", "{{cluster}}")],
        )
        .with_defaults(json!({ "noValue": "nothing set aside" }))
        .sized(6, 8),
        lines(
            "Rows that the journal missed",
            "Rows per second that the journal could not write, because the disk is full or fails: a kill of the process would lose them.",
            "rowsps",
            &[("sum by (cluster) (rate(shardlake_journal_failures_total{}[$__rate_interval])) > 0", "{{cluster}}")],
        )
        .with_defaults(json!({ "noValue": "none" }))
        .sized(6, 8),
    ]
}

pub(super) fn inserts() -> Vec<Panel> {
    vec![
        marked(
            lines(
                "Oldest batch that waits",
                "Age of the oldest sealed batch that has not landed; 0: none waits.",
                "s",
                &[("max by (cluster) (shardlake_oldest_unlanded_age_seconds{})", "{{cluster}}")],
            ),
            WAITING_SECONDS,
        ),
        lines(
            "Attempts by result",
            "Attempts to insert a batch per second, by what ClickHouse's answer means.",
            "ops",
            &[("sum by (result) (rate(shardlake_inserts_total{}[$__rate_interval]))", "{{result}}")],
        ),
        lines(
            "Duration of an attempt, p95",
            "From sending a batch to ClickHouse's answer, 95th percentile.",
            "s",
            &[("histogram_quantile(0.95, sum by (table, le) (rate(shardlake_insert_duration_seconds_bucket{}[$__rate_interval])))",
                "{{table}}",
            )],
        )
        .sized(8, 8),
        lines(
            "Rows per batch",
            "Mean size of landed batches. Small ones cost ClickHouse parts.",
            "short",
            &[("sum by (table) (rate(shardlake_batch_rows_sum{}[$__rate_interval])) \
                 / sum by (table) (rate(shardlake_batch_rows_count{}[$__rate_interval]))",
                "{{table}}",
            )],
        )
        .sized(8, 8),
        stacked(lines(
            "Bytes sent",
            "Compressed bytes of batches per second, by result: retries cost bytes too.",
            "binBps",
            &[("sum by (result) (rate(shardlake_insert_bytes_total{}[$__rate_interval]))", "{{result}}")],
        ))
        .sized(8, 8),
    ]
}

pub(super) fn answers() -> Vec<Panel> {
    vec![
        lines(
            "Requests",
            "Requests per second, by HTTP status; cancelled: the client left.",
            "reqps",
            &[("sum by (status) (rate(shardlake_queries_requests_total[$__rate_interval]))", "{{status}}")],
        )
        .with_defaults(json!({ "noValue": "no requests" }))
        .sized(6, 8),
        lines(
            "Duration by question, p95",
            "From the request to its answer, 95th percentile.",
            "s",
            &[("histogram_quantile(0.95, sum by (question, le) (rate(shardlake_queries_duration_seconds_bucket[$__rate_interval])))",
                "{{question}}",
            )],
        )
        .sized(6, 8),
        lines(
            "Rows read by question",
            "Rows per second that ClickHouse read to answer.",
            "rowsps",
            &[("sum by (question) (rate(shardlake_queries_rows_read_total[$__rate_interval]))", "{{question}}")],
        )
        .sized(6, 8),
        lines(
            "Requests in flight",
            "Requests being answered, by instance of the service.",
            "short",
            &[("shardlake_queries_in_flight", "{{instance}}")],
        )
        .sized(6, 8),
        lines(
            "Turned away or ended by a limit",
            "Requests per second that were not let in (no key, or no room), and those that a limit ended, by the error's code.",
            "reqps",
            &[
                ("sum by (code) (rate(shardlake_queries_refused_total[$__rate_interval]))", "{{code}}"),
                ("sum by (limit) (rate(shardlake_queries_limited_total[$__rate_interval]))", "{{limit}}"),
            ],
        )
        .sized(8, 8),
        lines(
            "Answers without a query",
            "Answers per second that were kept from before, or shared with another request at the same time.",
            "reqps",
            &[("sum by (how) (rate(shardlake_queries_reused_total[$__rate_interval]))", "{{how}}")],
        )
        .sized(8, 8),
        lines(
            "Bytes of answers by question",
            "Bytes per second before compression.",
            "binBps",
            &[("sum by (question) (rate(shardlake_queries_sent_bytes_total[$__rate_interval]))", "{{question}}")],
        )
        .sized(8, 8),
    ]
}
