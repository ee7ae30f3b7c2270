//! The dashboards' PromQL, held to Prometheus' own parser and to the series that are declared.

use std::{collections::BTreeSet, process::Command};

use serde_json::{Value, json};

use crate::{live::CLUSTER_SELECTOR, panels, read};

/// The files that declare every series, of a cluster process and of the query service.
const DECLARATIONS: [&str; 4] =
    ["ingest/src/metrics.rs", "ingest/src/metrics/inserts.rs", "ingest/src/metrics/live.rs", "queries/src/metrics.rs"];

/// How the names of all series of ours begin. Those of the query service know no clusters.
const PREFIXES: [&str; 4] = ["discord_", "argus_", "process_", "shardlake_"];
const OF_THE_SERVICE: &str = "shardlake_queries_";

/// Series that no panel shows, and why.
const NOT_SHOWN: &[(&str, &str)] = &[
    (
        "argus_history_events_dropped_total",
        "the sum of shardlake_rows_dropped_total, under the name that existing alerts for Discord bots know",
    ),
    ("shardlake_insert_rows_total", "the law shows rows that landed; this one tells what failed attempts cost"),
];

/// Every expression of a dashboard, with the title of its panel.
fn expressions(dashboard: &Value) -> impl Iterator<Item = (&str, &str)> {
    panels(dashboard).flat_map(|panel| {
        let expressions = panel["targets"].as_array().unwrap().iter().filter_map(|target| target["expr"].as_str());
        expressions.map(|expression| (panel["title"].as_str().unwrap(), expression))
    })
}

/// Runs `promtool check rules` on a recording rule for each expression, its variables replaced.
pub(crate) fn check_with_promtool(dashboards: &[(&str, Value)]) {
    let expressions = dashboards.iter().flat_map(|(_, dashboard)| expressions(dashboard));
    let rules: Vec<Value> = (0..)
        .zip(expressions)
        .map(|(number, (title, expression))| {
            let expression =
                expression.replace("$__rate_interval", "5m").replace("$__range", "1h").replace("$cluster", ".*");
            assert!(!expression.contains('$'), "{title}: a variable that nothing replaces: {expression}");
            json!({ "record": format!("panel:{number}"), "expr": expression, "labels": { "title": title } })
        })
        .collect();
    assert!(rules.len() > 20, "the dashboards have fewer expressions than panels");

    // JSON is YAML too.
    let file = tempfile::NamedTempFile::with_suffix(".yml").unwrap();
    serde_json::to_writer(&file, &json!({ "groups": [{ "name": "panels", "rules": rules }] })).unwrap();
    let output = Command::new("promtool")
        .args(["check", "rules"])
        .arg(file.path())
        .output()
        .unwrap_or_else(|error| panic!("promtool cannot be started: {error}; run `make prometheus`"));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains(&format!("{} rules found", rules.len())), "{said}");
}

/// Every series that an expression names is declared, and is narrowed to the chosen clusters.
pub(crate) fn every_name_is_exported(dashboards: &[(&str, Value)]) {
    let declared = declared();
    for (path, dashboard) in dashboards {
        for (title, expression) in expressions(dashboard) {
            let names = names(expression);
            assert!(!names.is_empty(), "{path}, {title}: no series in {expression}");
            for name in names {
                assert!(declared.contains(family(&name, &declared)), "{path}, {title}: nothing exports {name}");
                let narrowed = expression.matches(&format!("{name}{{{CLUSTER_SELECTOR}")).count();
                let wanted = if name.starts_with(OF_THE_SERVICE) { 0 } else { expression.matches(&name).count() };
                assert_eq!(narrowed, wanted, "{path}, {title}: {name} with {CLUSTER_SELECTOR} in {expression}");
            }
        }
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            let query = variable["query"]["query"].as_str().and_then(|query| query.strip_prefix("label_values("));
            if let Some((name, label)) = query.and_then(|query| query.split_once(", ")) {
                assert!(declared.contains(name) && label == "cluster)", "{path}: {}", variable["query"]);
            }
        }
    }
}

/// Every declared series is in an expression, or excused in [`NOT_SHOWN`].
pub(crate) fn every_series_is_shown(dashboards: &[(&str, Value)]) {
    let declared = declared();
    let expressions = dashboards.iter().flat_map(|(_, dashboard)| expressions(dashboard));
    let mut shown: BTreeSet<String> = expressions
        .flat_map(|(_, expression)| names(expression))
        .map(|name| family(&name, &declared).to_owned())
        .collect();
    for (name, reason) in NOT_SHOWN {
        assert!(shown.insert((*name).to_owned()), "{name} is shown now, so it needs no excuse ({reason})");
    }
    assert_eq!(declared, shown, "declared series, and those that are shown or excused");
}

/// Names of all series that our programs expose: the texts in their declarations that look like one.
fn declared() -> BTreeSet<String> {
    let is_name = |text: &&str| {
        let plain = text.chars().all(|char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_');
        plain && PREFIXES.iter().any(|prefix| text.starts_with(prefix) && text != prefix)
    };
    // A label of discord_bot_info.
    let is_label = |text: &&str| *text == "shardlake_version";
    let files = DECLARATIONS.map(read);
    let texts = files.iter().flat_map(|file| file.split('"').skip(1).step_by(2));
    texts.filter(is_name).filter(|text| !is_label(text)).map(str::to_owned).collect()
}

/// The declared name behind the series of a histogram.
fn family<'a>(name: &'a str, declared: &BTreeSet<String>) -> &'a str {
    let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    of_histogram.filter(|family| declared.contains(*family)).unwrap_or(name)
}

/// Names of the series in an expression: words that are no function, number or operator.
fn names(expression: &str) -> BTreeSet<String> {
    let mut plain = expression.to_owned();
    for (opening, closing) in [("{", "}"), ("[", "]"), ("by (", ")")] {
        while let Some(start) = plain.find(opening) {
            let end = start + plain[start..].find(closing).expect("promtool found it valid") + closing.len();
            plain.replace_range(start..end, " ");
        }
    }
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == ':';
    let starts = plain.match_indices(is_part).map(|(at, _)| at);
    let starts = starts.filter(|at| !plain[..*at].ends_with(is_part));
    let word = |at: usize| {
        let rest = &plain[at..];
        let (word, rest) = rest.split_at(rest.find(|char| !is_part(char)).unwrap_or(rest.len()));
        let is_function = rest.trim_start().starts_with('(');
        let is_operator = ["or", "and", "unless"].contains(&word);
        (!is_function && !is_operator && !word.starts_with(|first: char| first.is_ascii_digit()))
            .then(|| word.to_owned())
    };
    starts.filter_map(word).collect()
}

#[test]
fn names_are_found() {
    let names = |expression| names(expression).into_iter().collect::<Vec<_>>();
    assert_eq!(
        names("60 * sum by (a, b) (rate(x_total{l=\"y\"}[5m])) / (count by (c) (z) > 0.5) or vector(0)"),
        ["x_total", "z"]
    );
    assert_eq!(names("min_over_time(abs(a - b{c=\"d\"})[5m:])"), ["a", "b"]);
}
