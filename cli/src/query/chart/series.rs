//! What of an answer is drawn.

use serde_json::{Map, Value};
use shardlake_queries::Unit;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::super::{
    answer::{ColumnName, Question, Section},
    table::heading_of,
};

/// One line.
#[derive(Debug, Default)]
pub(in super::super) struct Series {
    /// The values that name it; empty: the only one.
    pub(super) name: String,
    /// When, ms since 1970, and what then.
    pub(super) points: Vec<(i64, Option<f64>)>,
}

impl Series {
    fn values(&self) -> impl Iterator<Item = f64> {
        self.points.iter().filter_map(|(_, value)| *value)
    }

    pub(super) fn last(&self) -> Option<f64> {
        self.values().last()
    }

    pub(super) fn greatest(&self) -> Option<f64> {
        self.values().max_by(f64::total_cmp)
    }

    pub(super) fn least(&self) -> Option<f64> {
        self.values().min_by(f64::total_cmp)
    }

    #[expect(clippy::cast_precision_loss, reason = "an answer has at most 100,000 rows")]
    pub(super) fn mean(&self) -> Option<f64> {
        let count = self.values().count();
        (count > 0).then(|| self.values().sum::<f64>() / count as f64)
    }
}

/// The lines of a chart.
#[derive(Debug)]
pub(in super::super) struct Chosen {
    /// What names them.
    pub(super) heading: String,
    /// The measures that are drawn.
    measures: Vec<String>,
    /// The unit of all of them.
    pub(super) unit: Unit,
    pub(super) series: Vec<Series>,
    /// The rows' moments, each once: ms since 1970, and by local clocks, s since 1970.
    pub(super) moments: Vec<(i64, i64)>,
}

/// Chooses from an answer with a column `time`. `wanted`: columns by name, of one unit; empty: those that say most.
///
/// # Errors
/// What is wrong with `wanted`.
pub(in super::super) fn choose(
    question: &Question,
    names: &[ColumnName],
    section: &Section,
    wanted: &[String],
) -> anyhow::Result<Chosen> {
    let names = || names.iter().map(|column| column.name.as_str());
    let labels: Vec<&str> = names().filter(|name| matches!(question.unit(name), Unit::Id | Unit::Text)).collect();
    let measures: Vec<&str> = names().filter(|name| question.unit(name).is_measure()).collect();
    if let Some(unknown) = wanted.iter().find(|name| !measures.contains(&name.as_str())) {
        anyhow::bail!(
            "{} has no column `{unknown}` that could be drawn; it has {}",
            question.id(),
            measures.join(", ")
        );
    }
    let has_values = |name: &&&str| section.rows.iter().any(|row| row.get(**name).is_some_and(Value::is_number));
    let first = measures.iter().find(has_values).or(measures.first()).copied();
    let drawn: Vec<&str> = match (wanted, first) {
        ([], Some(first)) if labels.is_empty() => {
            measures.into_iter().filter(|name| question.unit(name) == question.unit(first)).collect()
        }
        ([], first) => first.into_iter().collect(),
        (wanted, _) => wanted.iter().map(String::as_str).collect(),
    };
    let unit = drawn.first().map_or(Unit::Count, |name| question.unit(name));
    if let Some(other) = drawn.iter().find(|name| question.unit(name) != unit) {
        anyhow::bail!("{other} and {} have different units: draw one of them, or ask for --format table", drawn[0]);
    }
    let mut chosen = Chosen {
        heading: if labels.is_empty() { "measure".to_owned() } else { labels.join(" ").replace('_', " ") },
        measures: drawn.iter().map(|name| heading_of(name, unit)).collect(),
        unit,
        series: Vec::new(),
        moments: Vec::new(),
    };
    for row in &section.rows {
        chosen.add(row, &labels, &drawn);
    }
    Ok(chosen)
}

impl Chosen {
    /// The heading of the chart. Of several measures the legend has the names.
    pub(in super::super) fn title(&self, question: &str) -> String {
        match &self.measures[..] {
            [only] => format!("{question}: {only}"),
            _ => question.to_owned(),
        }
    }

    fn add(&mut self, row: &Map<String, Value>, labels: &[&str], drawn: &[&str]) {
        let Some((time_ms, local_s)) = row.get("time").and_then(Value::as_str).and_then(moment) else { return };
        if self.moments.last().is_none_or(|(last, _)| *last < time_ms) {
            self.moments.push((time_ms, local_s));
        }
        let words = labels.iter().filter_map(|name| row.get(*name)).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let label = words.collect::<Vec<_>>().join(" ");
        for (at, measure) in drawn.iter().enumerate() {
            let name = match drawn.len() {
                1 => label.clone(),
                _ => format!("{label} {}", self.measures[at]).trim().to_owned(),
            };
            let known = self.series.iter().position(|series| series.name == name).unwrap_or_else(|| {
                self.series.push(Series { name, points: Vec::new() });
                self.series.len() - 1
            });
            self.series[known].points.push((time_ms, row.get(*measure).and_then(Value::as_f64)));
        }
    }
}

/// Of ISO 8601 with an offset: ms since 1970, and what local clocks say, s since 1970.
fn moment(text: &str) -> Option<(i64, i64)> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let time_s = time.unix_timestamp();
    Some((time_s * 1_000 + i64::from(time.millisecond()), time_s + i64::from(time.offset().whole_seconds())))
}
