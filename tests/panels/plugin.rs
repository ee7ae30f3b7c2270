//! What Grafana's ClickHouse plugin does with a target: expands macros and variables, asks over HTTP, and makes frames of
//! the rows. Expansions are those of its version 4; only the macros that our queries use.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    lake::{CLUSTERS, Lake},
    question::{ALL_CLUSTERS, FORMAT_TIMESERIES},
};

/// A range that ends now, and the width of a bucket that Grafana chooses for it on a panel of some 1,400 pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) length_s: i64,
    interval_ms: u64,
}

pub(crate) const RANGES: [Range; 3] = [
    Range { length_s: 5 * 60, interval_ms: 200 },
    Range { length_s: 6 * 3_600, interval_ms: 15_000 },
    Range { length_s: 30 * 86_400, interval_ms: 1_800_000 },
];

/// What is chosen for the variable `cluster`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Selection {
    All,
    /// There was nothing to choose from.
    Nothing,
    Some(&'static [&'static str]),
}

impl Selection {
    /// The variable with the format `singlequote`. The text for all is put in as it is.
    fn singlequoted(&self) -> String {
        let quote = |name: &&str| format!("'{}'", name.replace('\'', "\\'"));
        match self {
            Selection::All => ALL_CLUSTERS.to_owned(),
            Selection::Nothing => String::new(),
            Selection::Some(names) => names.iter().map(quote).collect::<Vec<_>>().join(","),
        }
    }

    /// The clusters of the lake that it means.
    fn clusters(&self) -> BTreeSet<String> {
        let names = match self {
            Selection::All | Selection::Nothing => &CLUSTERS[..],
            Selection::Some(names) => names,
        };
        names.iter().map(|name| (*name).to_owned()).collect()
    }
}

/// `sql` as it goes to ClickHouse.
///
/// # Panics
/// If a macro or variable is left.
pub(crate) fn expand(sql: &str, range: Range, now_ms: i64, interval_min_ms: u64, selection: &Selection) -> String {
    let from_ms = now_ms - range.length_s * 1_000;
    let interval_s = range.interval_ms.max(interval_min_ms).max(1_000) / 1_000;
    let expanded = sql
        .replace("${cluster:singlequote}", &selection.singlequoted())
        .replace("$__fromTime_ms", &format!("fromUnixTimestamp64Milli({from_ms})"))
        .replace("$__toTime_ms", &format!("fromUnixTimestamp64Milli({now_ms})"))
        .replace("$__interval_s", &interval_s.to_string());
    assert!(!expanded.contains('$'), "a macro or variable that nothing expands:\n{expanded}");
    expanded
}

/// Rows and columns of an answer, in ClickHouse's format `JSONCompact`.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Name and type of each column.
    columns: Vec<(String, String)>,
    rows: Vec<Vec<Value>>,
}

impl Answer {
    pub(crate) fn parse(document: &str) -> Self {
        let document: Value = serde_json::from_str(document).unwrap_or_else(|error| panic!("{error}: {document}"));
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        let list = |value: &Value| value.as_array().unwrap().clone();
        Self {
            columns: list(&document["meta"]).iter().map(|meta| (word(&meta["name"]), word(&meta["type"]))).collect(),
            rows: list(&document["data"]).iter().map(list).collect(),
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|(column, _)| column == name)
    }

    /// The texts of a column.
    pub(crate) fn column(&self, name: &str) -> Vec<&str> {
        let at = self.position(name).unwrap_or_else(|| panic!("no column {name}: {:?}", self.columns));
        self.rows.iter().map(|row| row[at].as_str().unwrap()).collect()
    }
}

/// Asks what `panel` asks, and holds the answer to what the plugin needs to draw it.
pub(crate) async fn check(lake: &Lake, panel: &Value, range: Range, selection: &Selection) {
    let interval_min_ms = panel["interval"].as_str().map_or(0, |interval| {
        1_000 * interval.strip_suffix('s').and_then(|seconds| seconds.parse::<u64>().ok()).expect("such as 10s")
    });
    for target in panel["targets"].as_array().unwrap() {
        let sql = expand(target["rawSql"].as_str().unwrap(), range, lake.now_ms, interval_min_ms, selection);
        let answer = lake.ask(&sql).await;
        let place = format!("{}, {range:?}, {selection:?}\n{sql}\n{:?}", panel["title"], answer.columns);
        assert!(!answer.rows.is_empty(), "no rows: {place}");
        if answer.position("cluster").is_some() {
            let clusters: BTreeSet<_> = answer.column("cluster").into_iter().map(str::to_owned).collect();
            assert_eq!(clusters, selection.clusters(), "{place}");
        }
        if target["format"] == FORMAT_TIMESERIES {
            check_series(&answer, interval_min_ms, &place);
        } else if panel["type"] == "state-timeline" {
            check_times(&answer, &place);
        }
    }
}

/// The plugin makes a series of each combination of texts: they become labels, every number a value.
fn check_series(answer: &Answer, interval_min_ms: u64, place: &str) {
    check_times(answer, place);
    let is_text = |sql_type: &str| sql_type.contains("String");
    let (labels, values): (Vec<usize>, Vec<usize>) =
        (1..answer.columns.len()).partition(|column| is_text(&answer.columns[*column].1));
    assert!(!values.is_empty(), "nothing to draw: {place}");
    for column in values {
        let sql_type = &answer.columns[column].1;
        assert!(["Int", "Float"].iter().any(|number| sql_type.contains(number)), "{sql_type} is no number: {place}");
        assert!(answer.rows.iter().any(|row| !row[column].is_null()), "an empty line: {place}");
    }
    let mut seen = BTreeSet::new();
    for row in &answer.rows {
        let point: Vec<&str> = [0].iter().chain(&labels).map(|column| row[*column].as_str().unwrap()).collect();
        assert!(seen.insert(point.clone()), "two values for {point:?}: {place}");
    }
    // Buckets of counts that are kept by the window hold whole windows.
    let windows_s = interval_min_ms / 1_000;
    for time in answer.column("time").into_iter().filter(|_| windows_s > 1) {
        let second: u64 = time["2025-01-01 00:00:".len()..].split('.').next().unwrap().parse().unwrap();
        assert_eq!(second % windows_s, 0, "a bucket at {time} cuts a window of {windows_s} s: {place}");
    }
}

/// Frames begin with an ascending time.
fn check_times(answer: &Answer, place: &str) {
    let (name, sql_type) = &answer.columns[0];
    assert!(name == "time" && sql_type.starts_with("DateTime"), "the first column is no time: {place}");
    assert!(answer.column("time").is_sorted(), "times do not ascend: {place}");
}
