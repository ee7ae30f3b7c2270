//! An answer as Prometheus' text format, so that a question can be scraped: each measure is a gauge
//! `shardlake_<noun>_<question>_<column>`, and what names a row (columns of the units `id` and `text`) are its labels.
//!
//! A scrape is about one moment, so of a series only the newest bucket is there; of rows with the same labels, the last. Null
//! has no sample. Moments and columns that the question's header does not declare are left out.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::tz::TimeZone;
use serde_json::value::RawValue;

use crate::{
    answer::{Cell, Document, Shape},
    catalogue::{Panel, Question, Unit},
};

/// The column of a series' buckets.
const TIME: &str = "time";

/// Writes the samples of ClickHouse's `document`.
pub(crate) fn write(question: &Question, document: &Document<'_>) -> String {
    let shapes: Vec<Shape> = document.meta.iter().map(|column| Shape::of(&question.columns, column)).collect();
    let place = |name: &str| document.meta.iter().position(|column| column.name == name);
    let is_series = matches!(question.panel, Panel::Timeseries | Panel::StateTimeline);
    let bucket = place(TIME).filter(|_| is_series);
    let newest = bucket.and_then(|at| document.data.iter().map(|row| row[at].get()).max());
    let rows = document.data.iter().filter(|row| bucket.is_none_or(|at| Some(row[at].get()) == newest));

    let named = question.columns.iter().filter(|column| matches!(column.unit, Unit::Id | Unit::Text));
    let named: Vec<_> = named.filter_map(|column| Some((column.name.as_str(), place(&column.name)?))).collect();
    let rows: BTreeMap<String, &Vec<&RawValue>> = rows.map(|row| (labels(&named, row), row)).collect();

    let mut text = String::new();
    for column in question.columns.iter().filter(|column| column.unit.is_measure()) {
        let Some(at) = place(&column.name) else { continue };
        let metric = format!("shardlake_{}_{}_{}", question.noun, question.name, column.name);
        let help = column.doc.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(text, "# HELP {metric} {help}\n# TYPE {metric} gauge"); // to a String
        for (labels, row) in &rows {
            let cell = Cell { shape: shapes[at], json: row[at], zone: &TimeZone::UTC };
            let value = serde_json::to_string(&cell).unwrap_or_default();
            if value.starts_with(|first: char| first.is_ascii_digit() || first == '-') {
                let _ = writeln!(text, "{metric}{labels} {value}"); // to a String
            }
        }
    }
    text
}

/// `{cluster="0"}`, or nothing.
fn labels(named: &[(&str, usize)], row: &[&RawValue]) -> String {
    let one = |(name, at): &(&str, usize)| {
        let json = row[*at].get();
        let text =
            serde_json::from_str::<Option<String>>(json).map_or_else(|_| json.to_owned(), Option::unwrap_or_default);
        format!("{name}=\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
    };
    let labels = named.iter().map(one).collect::<Vec<_>>().join(",");
    if labels.is_empty() { labels } else { format!("{{{labels}}}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Catalogue, answer};

    #[test]
    fn a_series_is_its_newest_bucket() {
        let document = r#"{"meta": [{"name": "time", "type": "DateTime64(3, 'UTC')"}, {"name": "cluster", "type": "String"},
            {"name": "interactions", "type": "UInt64"}, {"name": "errors", "type": "Nullable(UInt64)"}],
            "data": [["2026-10-01 12:00:00.000", "0", "9", "9"], ["2026-10-01 12:01:00.000", "a\"b\\\n", "5", null],
                ["2026-10-01 12:01:00.000", "1", 6, "1"]],
            "statistics": {"elapsed": 0.1, "rows_read": 7, "bytes_read": 70}}"#;
        let catalogue = Catalogue::builtin();
        let document = answer::parse(document.as_bytes()).unwrap();
        let text = write(catalogue.get("interactions/volume").unwrap(), &document);
        let expected = "# HELP shardlake_interactions_volume_interactions Interactions received\n\
            # TYPE shardlake_interactions_volume_interactions gauge\n\
            shardlake_interactions_volume_interactions{cluster=\"1\"} 6\n\
            shardlake_interactions_volume_interactions{cluster=\"a\\\"b\\\\\\n\"} 5\n\
            # HELP shardlake_interactions_volume_errors Of these, ended in error, panic or timed_out\n\
            # TYPE shardlake_interactions_volume_errors gauge\n\
            shardlake_interactions_volume_errors{cluster=\"1\"} 1\n";
        assert_eq!((text.as_str(), document.statistics.rows_read), (expected, 7));
    }
}
