//! The dashboard Fleet, on ClickHouse: what happened, at any moment that is kept. For the person on call (from the top)
//! and for whoever plans capacity (widen the range).

use serde_json::{Value, json};
use shardlake_queries::Catalogue;

use crate::{
    dashboard::{ANY, CLICKHOUSE, Clusters, Dashboard, ERROR_RATIO, Panel, Row, colored_words, stacked, thresholds},
    question::{ALL_CLUSTERS, all, clusters_query},
};

/// Discord takes the first response within 3 s of the interaction; people notice one.
pub(crate) const RESPONSE_MS: &[(f64, &str)] = &[(1_000.0, "orange"), (2_500.0, "red")];
/// Batches land every few seconds, and every process samples itself twice a minute.
const BEHIND_MS: &[(f64, &str)] = &[(90_000.0, "orange"), (300_000.0, "red")];
/// Heartbeats take some 100 ms; past a second the process or its network is in trouble.
const LATENCY_MS: &[(f64, &str)] = &[(500.0, "orange"), (1_000.0, "red")];

/// Two minutes are what the process bears; after ten nobody comes back by himself.
const STUCK_S: &[(f64, &str)] = &[(120.0, "orange"), (600.0, "red")];
/// Past the last start Discord resets the bot's token; one restart of everything needs as many as there are shards.
const BUDGET_USED: &[(f64, &str)] = &[(0.5, "orange"), (0.8, "red")];

const SHARD_STATES: &[(&str, &str)] = &[
    ("active", "green"),
    ("resuming", "yellow"),
    ("identifying", "orange"),
    ("disconnected", "red"),
    ("fatally_closed", "dark-red"),
    ("silent", "purple"),
    ("stopped", "text"),
];

const VERDICTS: &[(&str, &str)] = &[
    ("more shards", "red"),
    ("more clusters", "red"),
    ("late deliveries", "orange"),
    ("watch", "yellow"),
    ("unknown", "purple"),
    ("enough", "green"),
];

const CLUSTER_STATES: &[(&str, &str)] = &[("running", "green"), ("stopped", "text"), ("silent", "red")];

pub(crate) fn dashboard(catalogue: &Catalogue) -> Value {
    Dashboard {
        uid: "shardlake-fleet",
        title: "Shardlake: Fleet",
        description: "What every cluster of the bot did, from ClickHouse, as far back as rows are kept.",
        source: CLICKHOUSE,
        from: "now-6h",
        refresh: "1m",
        clusters: Clusters { query: clusters_query(catalogue, &CLICKHOUSE), all: ALL_CLUSTERS },
        others: &[("shardlake-live", "Live"), ("shardlake-usage", "Usage")],
        rows: vec![
            Row { title: "In this range", panels: overview(catalogue) },
            Row { title: "Clusters", panels: clusters(catalogue) },
            Row { title: "Interactions", panels: interactions(catalogue) },
            Row { title: "Shards", panels: shards(catalogue) },
            Row { title: "Gateway", panels: gateway(catalogue) },
            Row { title: "Pipeline: what these answers rest on", panels: pipeline(catalogue) },
        ],
    }
    .json()
}

fn overview(catalogue: &Catalogue) -> Vec<Panel> {
    let clusters = all(catalogue, "clusters/list");
    let interactions = all(catalogue, "interactions/by_cluster");
    let freshness = all(catalogue, "pipeline/freshness");
    vec![
        clusters.select("countIf(state = 'running') AS running", "").stat(
            "Running clusters",
            "Clusters that were at work at the end of the range.",
            "short",
        ),
        clusters
            .select("countIf(state = 'silent') AS silent", "")
            .stat(
                "Silent clusters",
                "Clusters that did not stop in order and said nothing for two minutes: they died, or ClickHouse is out of their reach.",
                "short",
            )
            .with_thresholds(ANY),
        interactions.select("sum(interactions) AS interactions", "").stat(
            "Interactions",
            "Interactions received in the range, by all selected clusters.",
            "short",
        ),
        interactions
            .select("sum(errors) / nullIf(sum(tracked), 0) AS error_ratio", "")
            .stat(
                "Failed interactions",
                "Share of the interactions with a known outcome that ended in error, panic or timed_out.",
                "percentunit",
            )
            .with_thresholds(ERROR_RATIO)
            .with_defaults(json!({ "noValue": "none tracked" })),
        interactions
            .select("max(response_p95_ms) AS response_p95_ms", "")
            .stat(
                "Slowest cluster",
                "Receipt to first response, 95th percentile, of the cluster where it is worst. Discord gives up after 3 s.",
                "ms",
            )
            .with_thresholds(RESPONSE_MS)
            .with_defaults(json!({ "noValue": "no response" })),
        all(catalogue, "shards/disconnects")
            .select("sum(disconnects) AS disconnects", "")
            .stat("Lost connections", "Connections that shards lost in the range, for any cause, silent ones too.", "short")
            .with_thresholds(&[(1.0, "orange")]),
        freshness
            .select("max(behind_ms) AS behind_ms", "")
            .stat(
                "Furthest behind",
                "Time since a batch last landed, of the cluster where it is longest; those that stopped in order are left out. What is behind is not quiet: its rows are in its spool, or lost with it.",
                "ms",
            )
            .with_thresholds(BEHIND_MS)
            .with_defaults(json!({ "noValue": "none runs" })),
        freshness
            .select("sum(rows_dropped) AS rows_dropped", "")
            .stat("Dropped rows", "Rows that the processes seen in this range have dropped since they began: answers lack them.", "short")
            .with_thresholds(ANY),
    ]
}

fn clusters(catalogue: &Catalogue) -> Vec<Panel> {
    vec![
        words(all(catalogue, "clusters/list").table("Clusters"), "state", CLUSTER_STATES),
        words(all(catalogue, "clusters/capacity").table("Do I need more clusters?"), "verdict", VERDICTS),
        colored(
            colored(all(catalogue, "clusters/compare").table("Clusters compared"), "error_ratio", ERROR_RATIO),
            "response_p95_ms",
            RESPONSE_MS,
        ),
        colored(
            colored(
                all(catalogue, "interactions/by_cluster").table("Interactions by cluster"),
                "error_ratio",
                ERROR_RATIO,
            ),
            "response_p95_ms",
            RESPONSE_MS,
        ),
    ]
}

fn interactions(catalogue: &Catalogue) -> Vec<Panel> {
    let volume = all(catalogue, "interactions/volume");
    vec![
        bars(volume.select("time, cluster, interactions", "ORDER BY time").timeseries("Interactions over time")),
        bars(volume.select("time, cluster, errors", "ORDER BY time").timeseries("Failed interactions over time")),
        all(catalogue, "interactions/latency")
            .select("time, response_p50_ms, response_p95_ms, response_p99_ms", "ORDER BY time")
            .timeseries("Response times"),
        bars(
            all(catalogue, "interactions/outcomes")
                .select("time, succeeded, failed, panicked, timed_out, cancelled, unknown", "ORDER BY time")
                .timeseries("Outcomes"),
        ),
        colored(
            colored(all(catalogue, "commands/top").table("Top commands"), "error_ratio", ERROR_RATIO),
            "response_p95_ms",
            RESPONSE_MS,
        ),
    ]
}

fn shards(catalogue: &Catalogue) -> Vec<Panel> {
    let timeline = all(catalogue, "shards/timeline");
    let disconnects = all(catalogue, "shards/disconnects");
    let latency = all(catalogue, "shards/latency");
    // Samples are taken twice a minute: lines cross shorter gaps, a shard that is away for longer leaves one.
    let gaps = json!({ "custom": { "spanNulls": 90_000, "showPoints": "auto" } });
    vec![
        timeline
            .select("time, cluster, shard, state", "ORDER BY time, event")
            .shard_states("Shard states", SHARD_STATES),
        bars(disconnects.select("time, cluster, cause, disconnects", "ORDER BY time").timeseries("Lost connections"))
            .sized(12, 10),
        latency
            .select("time, cluster, shard, latency_max_ms", "ORDER BY time")
            .timeseries("Heartbeat latency by shard")
            .sized(12, 10)
            .with_defaults(gaps)
            .with_defaults(
                json!({ "thresholds": thresholds(LATENCY_MS), "custom": { "thresholdsStyle": { "mode": "dashed" } } }),
            ),
        timeline
            .select(
                "time, cluster, shard, event, cause, state, close_code",
                "WHERE event IN ('disconnected', 'connect_failed', 'stuck', 'fatal')\nORDER BY time DESC\nLIMIT 200",
            )
            .table("Trouble with shards, newest first"),
        colored(all(catalogue, "shards/stuck").table("Stuck shards"), "stuck_s", STUCK_S),
        all(catalogue, "shards/uptime").table("Uptime of shards, the worst first"),
        colored(all(catalogue, "shards/identify_budget").table("Session starts"), "budget_used", BUDGET_USED),
    ]
}

fn gateway(catalogue: &Catalogue) -> Vec<Panel> {
    let throughput = all(catalogue, "gateway/throughput");
    vec![
        stacked(throughput.select("time, cluster, dispatches_per_s", "ORDER BY time").timeseries("Dispatches"))
            .sized(8, 8),
        stacked(throughput.select("time, cluster, bytes_per_s", "ORDER BY time").timeseries("Traffic")).sized(8, 8),
        throughput
            .select("time, cluster, replayed_per_s", "ORDER BY time")
            .timeseries("Replayed after resumes")
            .sized(8, 8),
        bars(
            all(catalogue, "gateway/replays")
                .select("time, cluster, resumes", "ORDER BY time")
                .timeseries("Resumed sessions"),
        )
        .sized(8, 8),
        all(catalogue, "gateway/lag")
            .select("time, cluster, lag_p95_ms", "ORDER BY time")
            .timeseries("Delivery lag")
            .sized(8, 8),
        all(catalogue, "metrics/range")
            .given("name", "discord_event_loop_lag_seconds")
            .select("time, cluster, max", "ORDER BY time")
            .timeseries("Event-loop lag")
            .sized(8, 8)
            .with_defaults(json!({ "unit": "s" })),
    ]
}

fn pipeline(catalogue: &Catalogue) -> Vec<Panel> {
    let freshness = all(catalogue, "pipeline/freshness").table("Freshness");
    vec![
        colored(colored(freshness, "behind_ms", BEHIND_MS), "rows_dropped", ANY),
        colored(all(catalogue, "pipeline/completeness").table("Missing batches"), "missing", ANY),
        all(catalogue, "pipeline/lag").select("time, cluster, lag_p95_ms", "ORDER BY time").timeseries("Landing lag"),
        all(catalogue, "pipeline/storage").table("Storage").sized(12, 8),
        all(catalogue, "metrics/latest").table("Every metric at the end of the range"),
    ]
}

/// Buckets that add up to a total.
pub(crate) fn bars(panel: Panel) -> Panel {
    stacked(panel)
        .with_defaults(json!({ "custom": { "drawStyle": "bars", "fillOpacity": 80, "lineWidth": 0 } }))
        .with(json!({ "options": { "legend": { "calcs": ["sum", "max"], "sortBy": "Total" } } }))
}

/// Shows the words of a column in their colours.
fn words(panel: Panel, column: &str, colors: &[(&str, &str)]) -> Panel {
    let properties = vec![("mappings", colored_words(colors)), ("custom.cellOptions", json!({ "type": "color-text" }))];
    panel.with_override(column, properties)
}

/// Colours the numbers of a column.
pub(crate) fn colored(panel: Panel, column: &str, steps: &[(f64, &str)]) -> Panel {
    let properties = vec![
        ("thresholds", thresholds(steps)),
        ("color", json!({ "mode": "thresholds" })),
        ("custom.cellOptions", json!({ "type": "color-text" })),
    ];
    panel.with_override(column, properties)
}
