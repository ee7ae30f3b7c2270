//! Do the clusters' rows arrive? The catalogue's own questions, asked as everybody asks them.

use serde_json::{Map, Value};

use super::finding::{Findings, Level, count, some};
use crate::query::{Source, duration};

/// A cluster sends something every 30 s by default: as long as two of them are missed, nothing has happened.
const BEHIND_S: f64 = 60.0;
/// The spool holds about an hour by default; this is when somebody must look.
const FAR_BEHIND_S: f64 = 900.0;

/// Most gaps that are named.
const NAMED: usize = 5;

/// A cluster that runs, as far as ClickHouse knows.
pub(super) struct Cluster {
    pub(super) name: String,
    pub(super) shards_total: u64,
}

type Row = Map<String, Value>;

/// The findings, and the clusters that run.
pub(super) async fn check(source: &Source) -> (Findings, Vec<Cluster>) {
    let mut found = Findings::about("clusters");
    let mut running = Vec::new();
    match rows(source, "/v1/clusters/list?from=-24h").await {
        Ok(clusters) => {
            running = clusters
                .iter()
                .filter(|row| text(row, "state") == "running")
                .map(|row| Cluster { name: text(row, "cluster").to_owned(), shards_total: whole(row, "shards_total") })
                .collect();
            states(&clusters, &running, &mut found);
        }
        Err(why) => found.fail(format!("clusters cannot be listed: {why}"), READ),
    }
    match rows(source, "/v1/pipeline/freshness?from=-24h").await {
        Ok(clusters) => freshness(&clusters, &running, &mut found),
        Err(why) => found.fail(format!("freshness cannot be read: {why}"), READ),
    }
    match rows(source, "/v1/pipeline/completeness?from=-24h").await {
        Ok(gaps) => completeness(&gaps, &mut found),
        Err(why) => found.fail(format!("gaps cannot be looked for: {why}"), READ),
    }
    (found, running)
}

const READ: &str = "let the user read the database, as the reader of `shardlake schema users` may";

fn states(clusters: &[Row], running: &[Cluster], found: &mut Findings) {
    let name = |row: &&Row| text(row, "cluster").to_owned();
    if clusters.is_empty() {
        found.warn(
            "no cluster was heard of in the last day",
            "start `shardlake cluster`, or check that its ClickHouse is this one",
        );
        return;
    }
    if !running.is_empty() {
        found.ok(format!(
            "{}: {}",
            are(running.len(), "runs", "run"),
            some(&running.iter().map(|cluster| cluster.name.clone()).collect::<Vec<_>>())
        ));
    }
    for row in clusters.iter().filter(|row| text(row, "state") == "silent") {
        let (cluster, host, seen) = (name(&row), text(row, "host"), text(row, "last_seen_at"));
        found.fail(
            format!("cluster {cluster} is silent, last seen on {host} at {seen}"),
            "it died, or ClickHouse is out of its reach: look at its log on that host; what it recorded is in its spool",
        );
    }
    let stopped: Vec<String> =
        clusters.iter().filter(|row| text(row, "state") == "stopped").map(|row| name(&row)).collect();
    if !stopped.is_empty() {
        found.ok(format!(
            "{} stopped in order within the last day: {}",
            count(stopped.len(), "cluster", "clusters"),
            some(&stopped)
        ));
    }
    let total = |row: &&Row| whole(row, "shards_total");
    let mut totals: Vec<u64> =
        clusters.iter().filter(|row| text(row, "state") == "running").map(|row| total(&row)).collect();
    totals.sort_unstable();
    totals.dedup();
    if totals.len() > 1 {
        found.warn(
            format!("clusters disagree on how many shards the bot has: {totals:?}"),
            "restart those of the older number: a guild belongs to a shard by their total",
        );
    }
}

fn freshness(clusters: &[Row], running: &[Cluster], found: &mut Findings) {
    let mut in_time = 0;
    for row in clusters {
        let cluster = text(row, "cluster");
        let is_running = running.iter().any(|known| known.name == cluster);
        if let Some(behind_s) =
            row.get("behind_ms").and_then(Value::as_f64).map(|ms| ms / 1_000.0).filter(|_| is_running)
        {
            if behind_s <= BEHIND_S {
                in_time += 1;
            } else {
                let level = if behind_s > FAR_BEHIND_S { Level::Failed } else { Level::Warning };
                let spooled = whole(row, "rows_spooled");
                found.bad(level, format!("cluster {cluster} is {} behind; {spooled} rows waited in its spool when it last said so", duration(behind_s)),
                    "look at shardlake_inserts_total and shardlake_oldest_unlanded_age_seconds on its /metrics, and at its log");
            }
        }
        let dropped = whole(row, "rows_dropped");
        if dropped > 0 {
            found.warn(
                format!("cluster {cluster} dropped {dropped} rows in the last day"),
                "shardlake_rows_dropped_total on its /metrics names the reason: a larger spool, or a ClickHouse that is less often away",
            );
        }
    }
    if in_time > 0 {
        found.ok(format!("{} up to date", are(in_time, "is", "are")));
    }
}

fn completeness(gaps: &[Row], found: &mut Findings) {
    if gaps.is_empty() {
        found.ok("no batch of the last day is missing");
    }
    for row in gaps.iter().take(NAMED) {
        let batches = count(usize::try_from(whole(row, "missing")).unwrap_or(usize::MAX), "batch", "batches");
        let (table, first, last) = (text(row, "table_name"), whole(row, "first_batch"), whole(row, "last_batch"));
        let when = format!("between {} and {}", text(row, "after"), text(row, "before"));
        found.fail(
            format!("{batches} of {table} of cluster {} did not land: {first} to {last}, {when}", text(row, "cluster")),
            "look for them in the cluster's spool with `shardlake spool ls`; `shardlake spool replay` lands them",
        );
    }
    if gaps.len() > NAMED {
        found.fail(
            format!("and {} more gaps", gaps.len() - NAMED),
            "`shardlake query pipeline/completeness --since 1d` names all of them",
        );
    }
}

fn are(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(number, "cluster", "clusters"), if number == 1 { one } else { many })
}

async fn rows(source: &Source, path: &str) -> anyhow::Result<Vec<Row>> {
    #[derive(serde::Deserialize)]
    struct Answer {
        rows: Vec<Row>,
    }
    let answer: Answer = serde_json::from_slice(&source.document(path).await?)?;
    Ok(answer.rows)
}

fn text<'a>(row: &'a Row, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn whole(row: &Row, name: &str) -> u64 {
    row.get(name).and_then(Value::as_u64).unwrap_or_default()
}
