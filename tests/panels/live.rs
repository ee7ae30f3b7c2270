//! The dashboard Live, on Prometheus: how the processes are now.
//!
//! In the expressions below, `{}` and `{,` stand for a selector with the clusters that are chosen: [`expression`] writes
//! them out.

mod bot;
mod pipeline;

use serde_json::{Value, json};

use crate::dashboard::{ANY, Clusters, Dashboard, ERROR_RATIO, PROMETHEUS, Panel, Row, stat, thresholds, timeseries};

/// The selector that every series of a cluster process gets.
pub(crate) const CLUSTER_SELECTOR: &str = "cluster=~\"$cluster\"";

/// Discord takes the first response within 3 s of the interaction.
const COMMAND_SECONDS: &[(f64, &str)] = &[(1.0, "orange"), (2.5, "red")];
/// A loop that is late by this much makes heartbeats and answers late too.
const LAG_SECONDS: &[(f64, &str)] = &[(0.1, "orange"), (1.0, "red")];

pub(crate) fn dashboard() -> Value {
    Dashboard {
        uid: "shardlake-live",
        title: "Shardlake: Live",
        description: "What the cluster processes and the query service expose now, from Prometheus.",
        source: PROMETHEUS,
        from: "now-1h",
        refresh: "30s",
        clusters: Clusters {
            query: json!({ "refId": "clusters", "query": "label_values(argus_up, cluster)", "qryType": 1 }),
            all: ".*",
        },
        others: &[("shardlake-fleet", "Fleet: history")],
        rows: vec![
            Row { title: "Now", panels: overview() },
            Row { title: "Shards", panels: bot::shards() },
            Row { title: "Gateway", panels: bot::gateway() },
            Row { title: "Commands", panels: bot::commands() },
            Row { title: "Processes", panels: bot::processes() },
            Row {
                title: "Pipeline: the law, observed + recovered = landed + spooled + in memory + dropped",
                panels: pipeline::law(),
            },
            Row { title: "Pipeline: the spool's directory", panels: pipeline::spool() },
            Row { title: "Pipeline: inserts", panels: pipeline::inserts() },
            Row { title: "Answers: the query service, for all clusters", panels: pipeline::answers() },
        ],
    }
    .json()
}

fn overview() -> Vec<Panel> {
    vec![
        number("Processes", "Cluster processes that record and are scraped.", "short", "sum(argus_up{})"),
        number(
            "Shards down",
            "Shards that the scraped processes run, less those with an active session. A process that is gone takes its shards with it: see Processes.",
            "short",
            "sum(discord_shards_configured{}) - sum(discord_shards_connected{})",
        )
        .with_thresholds(ANY),
        number("Guilds", "Guilds on the connected shards, unavailable ones included.", "short", "sum(discord_guilds{})"),
        number(
            "Interactions",
            "Interactions received per second.",
            "reqps",
            "sum(rate(discord_interactions_total{}[$__rate_interval]))",
        ),
        number(
            "Failed commands",
            "Share of the finished application commands that failed.",
            "percentunit",
            "(sum(rate(discord_app_commands_total{,status=\"error\"}[$__rate_interval])) or vector(0)) \
                 / (sum(rate(discord_app_commands_total{}[$__rate_interval])) > 0)",
        )
        .with_thresholds(ERROR_RATIO)
        .with_defaults(json!({ "noValue": "no commands" })),
        number(
            "Commands, p95",
            "Receipt of an application command to the end of its handler, 95th percentile.",
            "s",
            "histogram_quantile(0.95, sum by (le) (rate(discord_app_command_duration_seconds_bucket{}[$__rate_interval])))",
        )
        .with_thresholds(COMMAND_SECONDS)
        .with_defaults(json!({ "noValue": "no commands" })),
        number(
            "Event-loop lag",
            "How late the runtime woke a timer last time, in the process where it is worst.",
            "s",
            "max(discord_event_loop_lag_seconds{})",
        )
        .with_thresholds(LAG_SECONDS),
        number(
            "Dropped rows",
            "Rows dropped in the range, for any reason: history lacks them.",
            "short",
            "sum(increase(shardlake_rows_dropped_total{}[$__range]))",
        )
        .with_thresholds(ANY),
    ]
}

/// One big number.
fn number(title: &str, description: &str, unit: &str, sum: &str) -> Panel {
    stat(title, description, unit, target("A", sum, ""))
}

/// Lines: pairs of an expression and the legend of each of its series.
fn lines(title: &str, description: &str, unit: &str, pairs: &[(&str, &str)]) -> Panel {
    let ids = ["A", "B", "C", "D", "E"];
    assert!(pairs.len() <= ids.len(), "{title}");
    let targets: Vec<Value> =
        ids.iter().zip(pairs).map(|(id, (expression, legend))| target(id, expression, legend)).collect();
    timeseries(title, description, unit, &targets)
}

/// With its thresholds as dashed lines.
fn marked(panel: Panel, steps: &[(f64, &str)]) -> Panel {
    panel.with_defaults(json!({
        "thresholds": thresholds(steps),
        "custom": { "thresholdsStyle": { "mode": "dashed" } },
    }))
}

fn target(id: &str, text: &str, legend: &str) -> Value {
    json!({
        "refId": id,
        "editorMode": "code",
        "expr": expression(text),
        "legendFormat": legend,
        "range": true,
        "instant": false,
    })
}

fn expression(text: &str) -> String {
    text.replace("{}", &format!("{{{CLUSTER_SELECTOR}}}")).replace("{,", &format!("{{{CLUSTER_SELECTOR},"))
}
