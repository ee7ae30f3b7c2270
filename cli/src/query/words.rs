//! How fresh and how complete an answer is, in a line.

use axum::http::HeaderMap;
use console::Style;

use super::{
    answer::{Freshness, Meta},
    number::{duration, grouped},
};

/// Clusters send something every 30 s by default, and more seldom in a large fleet: more than this is a sign.
const BEHIND_MS: i64 = 60_000;

/// Most gaps, and most clusters, that are named.
const NAMED: usize = 3;

/// A line about an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    /// Whether it is good news.
    pub(super) is_good: bool,
}

impl Line {
    /// In green or red, where whoever reads it sees colours.
    pub(super) fn painted(&self, on_stderr: bool) -> String {
        let color = if self.is_good { Style::new().green() } else { Style::new().red().bold() };
        let color = if on_stderr { color.for_stderr() } else { color };
        color.apply_to(&self.text).to_string()
    }
}

/// From the document's own words.
pub(super) fn of_document(meta: &Meta) -> Line {
    let gaps: Vec<String> = meta
        .gaps
        .iter()
        .take(NAMED)
        .map(|gap| {
            let numbers = match gap.missing {
                1 => gap.first_batch.to_string(),
                _ => format!("{} to {}", gap.first_batch, gap.last_batch),
            };
            format!("{} {numbers} of cluster {}", gap.table, gap.cluster)
        })
        .collect();
    let complete = complete(meta.complete, meta.missing_batches, &gaps, meta.gaps.len() > NAMED);
    let behind: Vec<&Freshness> = meta.freshness.iter().filter(|cluster| cluster.behind_ms > BEHIND_MS).collect();
    Line {
        is_good: meta.complete != Some(false) && behind.is_empty() && !meta.freshness.is_empty(),
        text: format!("{complete}; {}", fresh(&meta.freshness, behind)),
    }
}

/// From the reply's head, which is all that formats without a place for it have. `None`: it says nothing.
pub(super) fn of_head(head: &HeaderMap) -> Option<Line> {
    let says = |name: &str| head.get(name).and_then(|value| value.to_str().ok());
    let is_complete = match says("shardlake-complete")? {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    };
    let missing = says("shardlake-missing-batches").and_then(|count| count.parse().ok()).unwrap_or_default();
    let behind_ms = says("shardlake-behind-ms").and_then(|ms| ms.parse().ok()).filter(|ms| *ms > BEHIND_MS);
    let behind = behind_ms.map(|ms| format!("; a cluster is {} behind", whole_seconds(ms))).unwrap_or_default();
    let limit = says("shardlake-limit").map(|limit| format!("; what follows after --limit {limit} is left out"));
    let text = complete(is_complete, missing, &[], false) + &behind + &limit.unwrap_or_default();
    Some(Line { text, is_good: is_complete != Some(false) && behind_ms.is_none() })
}

/// ` · 2026-10-01 12:00 to 2026-10-02 12:00 UTC, by 1h`
pub(super) fn range(meta: &Meta) -> String {
    let (Some(from), Some(to)) = (&meta.from, &meta.to) else { return String::new() };
    let second = |moment: &str| moment.get(.."2026-10-01T12:00:00".len()).unwrap_or(moment).replacen('T', " ", 1);
    let (from, to) = (second(from), second(to));
    let minute = |moment: &str| moment.strip_suffix(":00").unwrap_or(moment).to_owned();
    let (from, to) =
        if from.ends_with(":00") && to.ends_with(":00") { (minute(&from), minute(&to)) } else { (from, to) };
    let step = meta.step.as_ref().map(|step| format!(", by {step}")).unwrap_or_default();
    format!(" · {from} to {to} {}{step}", meta.time_zone)
}

/// That there is more, and how to get it.
pub(super) fn limited(meta: &Meta) -> Option<String> {
    let go_on = match &meta.next_cursor {
        Some(cursor) => format!(", or go on with --param cursor={cursor}"),
        None => String::new(),
    };
    meta.limited.then(|| format!("There is more: raise --limit{go_on}"))
}

/// ` · 20 rows from 1,234,567 of interactions in 12 ms`
pub(super) fn measured(rows: usize, meta: &Meta) -> String {
    let rows = match rows {
        1 => "1 row".to_owned(),
        rows => format!("{} rows", grouped(&rows.to_string())),
    };
    let read = grouped(&meta.rows_read.to_string());
    format!(" · {rows}, {read} read of {} in {:.0} ms", meta.table, meta.elapsed_ms.max(1.0))
}

fn complete(is_complete: Option<bool>, missing: u64, gaps: &[String], has_more: bool) -> String {
    match (is_complete, missing) {
        (None, _) => "nothing is known of its completeness: clusters do not write this table".to_owned(),
        (Some(true), _) => "complete".to_owned(),
        (Some(false), missing) => {
            let count = grouped(&missing.to_string());
            let are_missing = if missing == 1 { "batch is missing" } else { "batches are missing" };
            let named = if gaps.is_empty() {
                String::new()
            } else {
                format!(" ({}{})", gaps.join(", "), if has_more { ", …" } else { "" })
            };
            format!("NOT complete: {count} {are_missing}{named}")
        }
    }
}

fn fresh(all: &[Freshness], mut behind: Vec<&Freshness>) -> String {
    if all.is_empty() {
        return "no cluster has sent anything in the day before its end".to_owned();
    }
    behind.sort_by_key(|cluster| std::cmp::Reverse(cluster.behind_ms));
    let named: Vec<String> = behind
        .iter()
        .take(NAMED)
        .map(|cluster| format!("cluster {} is {} behind", cluster.cluster, whole_seconds(cluster.behind_ms)))
        .collect();
    match (behind.len(), all.len()) {
        (0, 1) => format!("cluster {} is up to date", all[0].cluster),
        (0, count) => format!("{count} clusters are up to date"),
        (1..=NAMED, _) => named.join(", "),
        (count, _) => format!("{count} of {} clusters are behind: {}, …", all.len(), named.join(", ")),
    }
}

fn whole_seconds(ms: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "no cluster is behind for so long")]
    duration((ms / 1_000) as f64)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn line(meta: Value) -> Line {
        of_document(&serde_json::from_value(meta).unwrap())
    }

    fn cluster(name: &str, behind_ms: i64) -> Value {
        json!({ "cluster": name, "behind_ms": behind_ms })
    }

    #[test]
    fn good_news_and_bad_news() {
        let good = line(json!({ "complete": true, "freshness": [cluster("0", 900), cluster("1", 0)] }));
        assert_eq!(good, Line { text: "complete; 2 clusters are up to date".into(), is_good: true });
        let gap = json!({ "cluster": "3", "table": "interactions", "first_batch": 7, "last_batch": 9, "missing": 3 });
        let bad = line(
            json!({ "complete": false, "missing_batches": 3, "gaps": [gap], "freshness": [cluster("2", 840_000)] }),
        );
        let text = "NOT complete: 3 batches are missing (interactions 7 to 9 of cluster 3); cluster 2 is 14m behind";
        assert_eq!(bad, Line { text: text.into(), is_good: false });
        let many: Vec<Value> = (0..9).map(|at| cluster(&at.to_string(), 100_000 + at * 1_000)).collect();
        let many = line(json!({ "complete": null, "freshness": many })).text;
        assert!(
            many.starts_with("nothing is known")
                && many.contains("9 of 9 clusters are behind: cluster 8 is 1m 48s behind,"),
            "{many}"
        );
        assert!(!line(json!({ "complete": true })).is_good, "silence is no good news");
    }

    #[test]
    fn a_head_without_a_body_s_words() {
        let mut head = HeaderMap::new();
        assert_eq!(of_head(&head), None);
        head.insert("shardlake-complete", "false".parse().unwrap());
        head.insert("shardlake-missing-batches", "1".parse().unwrap());
        assert_eq!(of_head(&head).unwrap().text, "NOT complete: 1 batch is missing");
        head.insert("shardlake-behind-ms", "840000".parse().unwrap());
        assert!(of_head(&head).unwrap().text.ends_with("missing; a cluster is 14m behind"));
        head.insert("shardlake-limit", "20".parse().unwrap());
        assert!(of_head(&head).unwrap().text.ends_with("behind; what follows after --limit 20 is left out"));
    }
}
