//! The bot: its shards, what comes in, its commands, its processes.

use serde_json::json;

use super::{COMMAND_SECONDS, LAG_SECONDS, expression, lines, marked};
use crate::dashboard::{Panel, stacked};

/// Heartbeats take some 100 ms; past a second the process or its network is in trouble.
const LATENCY_SECONDS: &[(f64, &str)] = &[(0.5, "orange"), (1.0, "red")];

pub(super) fn shards() -> Vec<Panel> {
    vec![
        lines(
            "Shards down by cluster",
            "Shards that a process runs, less those with an active session. A resume takes seconds; a start identifies its shards one by one.",
            "short",
            &[("sum by (cluster) (discord_shards_configured{} - discord_shards_connected{})", "{{cluster}}")],
        )
        .with_defaults(json!({ "min": 0, "decimals": 0 })),
        marked(
            lines(
                "Heartbeat latency, slowest shard of each cluster",
                "Latest heartbeat round trip.",
                "s",
                &[("max by (cluster) (discord_shard_latency_seconds{})", "{{cluster}}")],
            ),
            LATENCY_SECONDS,
        ),
        lines(
            "Connections lost and recovered, per minute",
            "Lost for any cause, silent ones too; recovered by RESUMED or READY, drawn downwards. What stays lopsided is down.",
            "cpm",
            &[
                ("60 * sum by (cluster) (rate(discord_shard_disconnects_total{}[$__rate_interval]))", "lost, {{cluster}}"),
                ("-60 * sum by (cluster) (rate(discord_shard_reconnects_total{}[$__rate_interval]))",
                    "recovered, {{cluster}}",
                ),
            ],
        )
        .with_defaults(json!({ "noValue": "none lost" })),
        lines(
            "Shards down or held back",
            "Each shard without an active session, and each that may send no more commands for the moment.",
            "short",
            &[
                ("discord_shard_up{} == 0", "down, {{cluster}} / {{shard}}"),
                ("discord_shard_ws_ratelimited{} == 1", "held back, {{cluster}} / {{shard}}"),
            ],
        )
        .with_defaults(json!({
            "custom": { "drawStyle": "points", "pointSize": 6, "showPoints": "always" },
            "mappings": [{ "type": "value", "options": { "0": { "text": "down", "color": "red", "index": 0 }, "1": { "text": "held back", "color": "orange", "index": 1 } } }],
            "noValue": "all shards are up",
        })),
    ]
}

pub(super) fn gateway() -> Vec<Panel> {
    vec![
        stacked(lines(
            "Dispatches by cluster",
            "Dispatches received per second, replays included.",
            "eps",
            &[("sum by (cluster) (rate(discord_gateway_events_total{}[$__rate_interval]))", "{{cluster}}")],
        ))
        .sized(8, 8),
        lines(
            "Dispatches by type, ten most frequent",
            "Dispatches received per second, by type as Discord names it.",
            "eps",
            &[("topk(10, sum by (event) (rate(discord_gateway_events_total{}[$__rate_interval])))", "{{event}}")],
        )
        .sized(8, 8),
        stacked(lines(
            "Interactions by type",
            "Interactions received per second.",
            "reqps",
            &[("sum by (type) (rate(discord_interactions_total{}[$__rate_interval]))", "{{type}}")],
        ))
        .sized(8, 8),
    ]
}

pub(super) fn commands() -> Vec<Panel> {
    vec![
        lines(
            "Commands, ten most used",
            "Application commands finished per second.",
            "reqps",
            &[("topk(10, sum by (command) (rate(discord_app_commands_total{}[$__rate_interval])))", "{{command}}")],
        ),
        lines(
            "Failures, per minute",
            "Application commands that failed, by command and kind of error.",
            "cpm",
            &[(
                "60 * sum by (command, error_type) (rate(discord_command_errors_total{}[$__rate_interval])) > 0",
                "{{command}}: {{error_type}}",
            )],
        )
        .with_defaults(json!({ "noValue": "no failures" })),
        marked(
            lines(
                "Duration by cluster, p95",
                "Receipt of an application command to the end of its handler, 95th percentile.",
                "s",
                &[(
                    "histogram_quantile(0.95, sum by (cluster, le) (rate(discord_app_command_duration_seconds_bucket{}[$__rate_interval])))",
                    "{{cluster}}",
                )],
            ),
            COMMAND_SECONDS,
        ),
        marked(
            lines(
                "Duration by command, p95, ten slowest",
                "Receipt of an application command to the end of its handler, 95th percentile.",
                "s",
                &[(
                    "topk(10, histogram_quantile(0.95, sum by (command, le) (rate(discord_app_command_duration_seconds_bucket{}[$__rate_interval]))) > 0)",
                    "{{command}}",
                )],
            ),
            COMMAND_SECONDS,
        ),
    ]
}

pub(super) fn processes() -> Vec<Panel> {
    vec![
        marked(
            lines(
                "Event-loop lag",
                "How late the runtime woke a timer last time. A process that blocks its threads is late for heartbeats too.",
                "s",
                &[("max by (cluster) (discord_event_loop_lag_seconds{})", "{{cluster}}")],
            ),
            LAG_SECONDS,
        ),
        lines(
            "CPU",
            "Cores that each process keeps busy.",
            "short",
            &[("max by (cluster) (rate(process_cpu_seconds_total{}[$__rate_interval]))", "{{cluster}}")],
        ),
        lines(
            "Uptime",
            "Time since the recorder started: a line that falls to 0 is a restart.",
            "s",
            &[("max by (cluster) (discord_uptime_seconds{})", "{{cluster}}")],
        ),
        lines(
            "Guilds",
            "Guilds on the shards of each cluster, unavailable ones included.",
            "short",
            &[("sum by (cluster) (discord_guilds{})", "{{cluster}}")],
        ),
        lines(
            "Recorder's own trouble, per minute",
            "Failures inside the recorder that it swallowed, and names that it cut or replaced by (other).",
            "cpm",
            &[
                (
                    "60 * sum by (hook) (rate(argus_instrumentation_errors_total{}[$__rate_interval]))",
                    "failure in {{hook}}",
                ),
                ("60 * sum by (kind) (rate(shardlake_names_refused_total{}[$__rate_interval]))", "{{kind}} refused"),
            ],
        ),
        Panel::new(
            "table",
            "Versions",
            "Processes by the versions they run.",
            &[json!({
                "refId": "A",
                "editorMode": "code",
                "expr": expression("count by (library_version, shardlake_version) (discord_bot_info{})"),
                "format": "table",
                "instant": true,
                "range": false,
            })],
        )
        .sized(24, 4)
        .with_defaults(json!({ "unit": "locale" }))
        .with(json!({ "transformations": [{ "id": "organize", "options": {
            "excludeByName": { "Time": true },
            "renameByName": { "Value": "Processes", "library_version": "Library", "shardlake_version": "Shardlake" },
        } }] })),
    ]
}
