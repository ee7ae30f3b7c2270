//! The dashboard Usage, on ClickHouse: what people do with the bot. For whoever develops it, so it opens with a month.

use serde_json::Value;
use shardlake_queries::Catalogue;

use crate::{
    dashboard::{CLICKHOUSE, Clusters, Dashboard, ERROR_RATIO, Panel, Row},
    fleet::{RESPONSE_MS, bars, colored},
    question::{ALL_CLUSTERS, all, clusters_query},
};

/// A day: of users and guilds people ask for the daily active ones.
const DAY_S: &str = "86400";

pub(crate) fn dashboard(catalogue: &Catalogue) -> Value {
    Dashboard {
        uid: "shardlake-usage",
        title: "Shardlake: Usage",
        description: "Who uses the bot and for what, from ClickHouse: users, guilds and commands.",
        source: CLICKHOUSE,
        from: "now-30d",
        refresh: "15m",
        clusters: Clusters { query: clusters_query(catalogue, &CLICKHOUSE), all: ALL_CLUSTERS },
        others: &[("shardlake-fleet", "Fleet"), ("shardlake-live", "Live")],
        rows: vec![
            Row { title: "Users", panels: users(catalogue) },
            Row { title: "Guilds", panels: guilds(catalogue) },
            Row { title: "Commands", panels: commands(catalogue) },
        ],
    }
    .json()
}

fn users(catalogue: &Catalogue) -> Vec<Panel> {
    vec![
        all(catalogue, "users/active")
            .given("step", DAY_S)
            .select("time, users", "ORDER BY time")
            .timeseries("Daily active users"),
        all(catalogue, "users/retention").table("Users who come back").sized(12, 8),
        all(catalogue, "interactions/heatmap").table("Interactions by hour of the week"),
    ]
}

fn guilds(catalogue: &Catalogue) -> Vec<Panel> {
    let growth = all(catalogue, "guilds/growth");
    vec![
        growth.select("time, guilds", "ORDER BY time").timeseries("Guilds").sized(8, 8),
        bars(
            growth
                .given("step", DAY_S)
                .select("time, joined, left", "ORDER BY time")
                .timeseries("Guilds joined and left"),
        )
        .sized(8, 8),
        all(catalogue, "guilds/activity")
            .given("step", DAY_S)
            .select("time, guilds", "ORDER BY time")
            .timeseries("Daily active guilds")
            .sized(8, 8),
        colored(all(catalogue, "guilds/top").table("Top guilds"), "error_ratio", ERROR_RATIO).sized(12, 8),
        all(catalogue, "guilds/churn").table("Guilds that left").sized(12, 8),
    ]
}

fn commands(catalogue: &Catalogue) -> Vec<Panel> {
    let adoption = all(catalogue, "commands/adoption").given("step", DAY_S);
    let stats = all(catalogue, "commands/stats").table("Commands in detail");
    vec![
        adoption.select("time, command, users", "ORDER BY time").timeseries("Daily users of commands"),
        adoption
            .select("time, command, guild_share", "ORDER BY time")
            .timeseries("Share of active guilds that use a command"),
        colored(colored(stats, "error_ratio", ERROR_RATIO), "response_p95_ms", RESPONSE_MS),
        colored(all(catalogue, "commands/errors").table("Errors of commands"), "error_ratio", ERROR_RATIO),
    ]
}
