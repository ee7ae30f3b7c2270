//! The answer: ClickHouse's document, reshaped so that its form never depends on a profile's output settings.
//!
//! Rows become objects. Times in UTC become ISO 8601 in the time zone that was asked for. A 64-bit integer is a string where
//! it names something (its column's unit is `id`, or the header does not declare it), because JavaScript would round it; where
//! it measures something it is a number. `nan` and infinities are null.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;
use shardlake_schema::TimeMs;

use crate::{
    catalogue::{Column, Question, Unit},
    completeness::Completeness,
    error::AskError,
    limits::MAX_ROWS,
    moment,
    resolution::{Page, Range, Resolved, Step},
};

/// The part of `JSONCompact` that we use.
#[derive(Deserialize)]
pub(crate) struct Document<'a> {
    pub(crate) meta: Vec<ColumnType>,
    #[serde(borrow)]
    pub(crate) data: Vec<Vec<&'a RawValue>>,
    pub(crate) statistics: Statistics,
}

#[derive(Deserialize, Serialize)]
pub(crate) struct ColumnType {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) sql_type: String,
}

#[derive(Deserialize)]
pub(crate) struct Statistics {
    elapsed: f64,
    pub(crate) rows_read: u64,
    bytes_read: u64,
}

#[derive(Serialize)]
struct Answer<'a> {
    question: &'a str,
    columns: &'a [ColumnType],
    #[serde(flatten)]
    asked: Section<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Section<'a>>,
}

#[derive(Serialize)]
struct Section<'a> {
    rows: Vec<RowOut<'a>>,
    meta: Meta<'a>,
}

#[derive(Serialize)]
struct Meta<'a> {
    from: Option<String>,
    to: Option<String>,
    step: Option<String>,
    step_s: Option<u32>,
    time_zone: &'a str,
    table: &'a str,
    limited: bool,
    next_cursor: Option<String>,
    #[serde(flatten)]
    completeness: &'a Completeness,
    rows_read: u64,
    bytes_read: u64,
    elapsed_ms: f64,
    query_id: &'a str,
}

/// What ClickHouse said to a question about one range.
pub(crate) struct Replied<'a> {
    /// What was asked.
    pub(crate) asked: &'a Resolved,
    /// Its document.
    pub(crate) document: Vec<u8>,
    /// What is known of the data behind it.
    pub(crate) completeness: Completeness,
    /// The query's id.
    pub(crate) query_id: String,
}

/// A finished reply.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The JSON document.
    pub(crate) body: Vec<u8>,
    /// Rows that ClickHouse read for it.
    pub(crate) rows_read: u64,
}

/// Reads ClickHouse's document.
pub(crate) fn parse(document: &[u8]) -> Result<Document<'_>, AskError> {
    let document: Document<'_> = serde_json::from_slice(document).map_err(|error| {
        let message =
            format!("ClickHouse did not answer in JSONCompact ({error}); is there a FORMAT in the question's SQL?");
        AskError::Failed { message }
    })?;
    if document.data.len() as u64 > MAX_ROWS {
        return Err(AskError::TooLarge);
    }
    Ok(document)
}

/// Writes the reply to `question`, from what ClickHouse said about the range, and about the one before if it was asked.
pub(crate) fn write(
    question: &Question,
    replied: &Replied<'_>,
    previous: Option<&Replied<'_>>,
) -> Result<Reply, AskError> {
    let mut document = parse(&replied.document)?;
    let mut before = previous.map(|previous| parse(&previous.document)).transpose()?;
    let limited = cut(question, replied.asked, &mut document);
    let limited_before =
        previous.zip(before.as_mut()).is_some_and(|(previous, before)| cut(question, previous.asked, before));
    let shapes: Vec<Shape> = document.meta.iter().map(|column| Shape::of(&question.columns, column)).collect();
    let rows_read = document.statistics.rows_read + before.as_ref().map_or(0, |before| before.statistics.rows_read);
    let answer = Answer {
        question: &question.id(),
        columns: &document.meta,
        asked: section(question, replied, &document, &shapes, limited),
        previous: previous
            .zip(before.as_ref())
            .map(|(previous, before)| section(question, previous, before, &shapes, limited_before)),
    };
    let body = serde_json::to_vec(&answer).map_err(|error| AskError::Failed { message: error.to_string() })?;
    Ok(Reply { body, rows_read })
}

/// Cuts the document to the page that was asked for. Whether there may be more.
pub(crate) fn cut(question: &Question, asked: &Resolved, document: &mut Document<'_>) -> bool {
    let names: Vec<&str> = document.meta.iter().map(|column| column.name.as_str()).collect();
    asked.page.as_ref().is_some_and(|page| page.cut(question, &names, &mut document.data))
}

fn section<'a>(
    question: &'a Question,
    replied: &'a Replied<'_>,
    document: &'a Document<'_>,
    shapes: &'a [Shape],
    limited: bool,
) -> Section<'a> {
    let asked = replied.asked;
    let at = |pick: fn(&Range) -> TimeMs| asked.range.as_ref().map(|range| moment::iso8601(pick(range), &asked.zone));
    let step = asked.buckets.as_ref().map(|buckets| buckets.step);
    let row = |cells| RowOut { columns: &document.meta, shapes, cells, zone: &asked.zone };
    Section {
        rows: document.data.iter().map(|cells| row(cells)).collect(),
        meta: Meta {
            from: at(|range| range.from),
            to: at(|range| range.to),
            step: step.map(|step| step.to_string()),
            step_s: step.map(Step::nominal_s),
            time_zone: moment::zone_name(&asked.zone),
            table: asked.rollup.as_deref().unwrap_or(&question.table),
            limited,
            next_cursor: asked.page.as_ref().filter(|_| limited).and_then(Page::next),
            completeness: &replied.completeness,
            rows_read: document.statistics.rows_read,
            bytes_read: document.statistics.bytes_read,
            elapsed_ms: elapsed_ms(document.statistics.elapsed),
            query_id: &replied.query_id,
        },
    }
}

/// The reply to a statement that is no question.
pub(crate) fn write_rows(document: &[u8], query_id: &str) -> Result<Reply, AskError> {
    let Document { meta, data, statistics } = parse(document)?;
    let shapes: Vec<Shape> = meta.iter().map(|column| Shape::of(&[], column)).collect();
    let zone = &TimeZone::UTC;
    let rows: Vec<_> = data.iter().map(|cells| RowOut { columns: &meta, shapes: &shapes, cells, zone }).collect();
    let Statistics { elapsed, rows_read, bytes_read } = statistics;
    let elapsed_ms = elapsed_ms(elapsed);
    let about = serde_json::json!({ "rows_read": rows_read, "bytes_read": bytes_read, "elapsed_ms": elapsed_ms,
        "query_id": query_id });
    let body = serde_json::to_vec(&Statement { columns: &meta, rows, meta: about });
    Ok(Reply { body: body.map_err(|error| AskError::Failed { message: error.to_string() })?, rows_read })
}

#[derive(Serialize)]
struct Statement<'a> {
    columns: &'a [ColumnType],
    rows: Vec<RowOut<'a>>,
    meta: serde_json::Value,
}

/// Seconds to milliseconds with three digits.
fn elapsed_ms(elapsed_s: f64) -> f64 {
    (elapsed_s * 1e6).round() / 1e3
}

/// How a column's cells are rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As they are.
    Same,
    /// `2026-10-01 12:00:00.000` to ISO 8601.
    Utc,
    /// A 64-bit integer to a string.
    Text,
    /// A 64-bit integer to a number.
    Number,
    /// A float that may be no number.
    Finite,
}

impl Shape {
    pub(crate) fn of(declared: &[Column], column: &ColumnType) -> Self {
        let unit = declared.iter().find(|declared| declared.name == column.name).map(|declared| declared.unit);
        let inner = |text: &str, wrapper: &str| {
            text.strip_prefix(wrapper).and_then(|rest| rest.strip_suffix(')')).map(str::to_owned)
        };
        let sql_type = inner(&column.sql_type, "LowCardinality(").unwrap_or_else(|| column.sql_type.clone());
        let sql_type = inner(&sql_type, "Nullable(").unwrap_or(sql_type);
        match sql_type.as_str() {
            "UInt64" | "Int64" if unit.is_some_and(Unit::is_measure) => Shape::Number,
            "UInt64" | "Int64" => Shape::Text,
            "Float32" | "Float64" => Shape::Finite,
            other if other.starts_with("DateTime") && other.ends_with("'UTC')") => Shape::Utc,
            _ => Shape::Same,
        }
    }
}

/// A row as an object.
pub(crate) struct RowOut<'a> {
    pub(crate) columns: &'a [ColumnType],
    pub(crate) shapes: &'a [Shape],
    pub(crate) cells: &'a [&'a RawValue],
    pub(crate) zone: &'a TimeZone,
}

impl Serialize for RowOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_map(Some(self.columns.len()))?;
        for ((column, shape), cell) in self.columns.iter().zip(self.shapes).zip(self.cells) {
            row.serialize_entry(&column.name, &Cell { shape: *shape, json: cell, zone: self.zone })?;
        }
        row.end()
    }
}

/// A cell, rewritten.
pub(crate) struct Cell<'a> {
    pub(crate) shape: Shape,
    pub(crate) json: &'a RawValue,
    pub(crate) zone: &'a TimeZone,
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json = self.json.get();
        let unquoted = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
        match (self.shape, unquoted) {
            (Shape::Utc, Some(time)) => match moment::iso8601_of(time, self.zone) {
                Some(written) => serializer.serialize_str(&written),
                None => self.json.serialize(serializer),
            },
            (Shape::Text, None) if json != "null" => serializer.serialize_str(json),
            (Shape::Number, Some(digits)) => match digits.parse::<i128>() {
                Ok(number) => serializer.serialize_i128(number),
                Err(_) => self.json.serialize(serializer),
            },
            (Shape::Finite, Some(_)) => serializer.serialize_none(),
            _ => self.json.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(shape: Shape, json: &str) -> String {
        let json = RawValue::from_string(json.to_owned()).unwrap();
        serde_json::to_string(&Cell { shape, json: &json, zone: &TimeZone::UTC }).unwrap()
    }

    #[test]
    fn the_form_does_not_depend_on_output_settings() {
        for written in [r#""2026-10-01 12:00:00.005""#, r#""2026-10-01T12:00:00.005Z""#] {
            assert_eq!(cell(Shape::Utc, written), r#""2026-10-01T12:00:00.005Z""#);
        }
        let zone = moment::zone("Asia/Kolkata").unwrap();
        for (written, local) in [
            (r#""2026-10-01 12:00:00.005""#, r#""2026-10-01T17:30:00.005+05:30""#),
            (r#""2026-10-01T12:00:00Z""#, r#""2026-10-01T17:30:00+05:30""#),
            (r#""?""#, r#""?""#),
        ] {
            let json = RawValue::from_string(written.to_owned()).unwrap();
            assert_eq!(serde_json::to_string(&Cell { shape: Shape::Utc, json: &json, zone: &zone }).unwrap(), local);
        }
        for written in ["18446744073709551615", r#""18446744073709551615""#] {
            assert_eq!(cell(Shape::Text, written), r#""18446744073709551615""#);
            assert_eq!(cell(Shape::Number, written), "18446744073709551615");
        }
        assert_eq!(cell(Shape::Number, r#""-5""#), "-5");
        assert_eq!(cell(Shape::Finite, r#""nan""#), "null");
        assert_eq!(cell(Shape::Finite, "0.5"), "0.5");
        for shape in [Shape::Utc, Shape::Text, Shape::Number, Shape::Finite, Shape::Same] {
            assert_eq!(cell(shape, "null"), "null");
        }
    }

    #[test]
    fn a_shape_follows_from_type_and_unit() {
        let catalogue = crate::Catalogue::builtin();
        let question = catalogue.get("interactions/volume").unwrap();
        let shape = |name: &str, sql_type: &str| {
            Shape::of(&question.columns, &ColumnType { name: name.into(), sql_type: sql_type.into() })
        };
        assert_eq!(shape("interactions", "UInt64"), Shape::Number);
        assert_eq!(shape("interactions", "Nullable(Int64)"), Shape::Number);
        assert_eq!(shape("cluster", "UInt64"), Shape::Text);
        assert_eq!(shape("undeclared", "UInt64"), Shape::Text);
        assert_eq!(shape("cluster", "LowCardinality(String)"), Shape::Same);
        assert_eq!(shape("time", "Nullable(DateTime64(3, 'UTC'))"), Shape::Utc);
        assert_eq!(shape("time", "DateTime"), Shape::Same, "its time zone is the server's");
        assert_eq!(shape("x", "Nullable(Float32)"), Shape::Finite);
    }
}
