//! Rows on their way through: ClickHouse's `JSONCompactEachRowWithNamesAndTypes` becomes lines of JSON or CSV.
//!
//! Cells are shaped as in the JSON document, so that an answer says the same in each format and none depends on the output
//! settings of a profile. No more is held than one chunk and the row that it cuts.

use std::{borrow::Cow, io::Write as _};

use jiff::tz::TimeZone;
use serde_json::value::RawValue;

use crate::{
    answer::{Cell, ColumnType, RowOut, Shape},
    catalogue::Column,
    error::AskError,
    limits::MAX_REPLY_BYTES,
};

/// The two formats that are made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    /// An object a line.
    Ndjson,
    /// RFC 4180 with `\n`. Null is nothing, an empty text is `""`.
    Csv,
}

/// The state between two chunks.
pub(super) struct Rows {
    lines: Lines,
    declared: Vec<Column>,
    zone: TimeZone,
    head: Head,
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
}

/// What has been read of the first two lines.
enum Head {
    Nothing,
    Names(Vec<String>),
    Whole { columns: Vec<ColumnType>, shapes: Vec<Shape> },
}

impl Rows {
    /// `declared` are the columns in the question's header; times are written for `zone`.
    pub(super) fn new(lines: Lines, declared: Vec<Column>, zone: TimeZone) -> Self {
        Self { lines, declared, zone, head: Head::Nothing, rest: Vec::new() }
    }

    /// The lines that `chunk` completes.
    pub(super) fn feed(&mut self, chunk: &[u8]) -> Result<Vec<u8>, AskError> {
        let mut out = Vec::new();
        let mut chunk = chunk;
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&chunk[..end], &chunk[end + 1..]);
            if self.rest.is_empty() {
                self.line(line, &mut out)?;
            } else {
                self.rest.extend_from_slice(line);
                let line = std::mem::take(&mut self.rest);
                self.line(&line, &mut out)?;
            }
            chunk = after;
        }
        if self.rest.len() + chunk.len() > MAX_REPLY_BYTES {
            return Err(AskError::TooLarge);
        }
        self.rest.extend_from_slice(chunk);
        Ok(out)
    }

    /// Nothing more comes.
    pub(super) fn end(&self) -> Result<(), AskError> {
        match self.head {
            Head::Whole { .. } if self.rest.is_empty() => Ok(()),
            _ => Err(malformed("its answer ends in the middle of a row")),
        }
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) -> Result<(), AskError> {
        match &mut self.head {
            Head::Nothing => self.head = Head::Names(serde_json::from_slice(line).map_err(malformed)?),
            Head::Names(names) => {
                let types: Vec<String> = serde_json::from_slice(line).map_err(malformed)?;
                let columns: Vec<ColumnType> =
                    names.drain(..).zip(types).map(|(name, sql_type)| ColumnType { name, sql_type }).collect();
                let shapes = columns.iter().map(|column| Shape::of(&self.declared, column)).collect();
                if self.lines == Lines::Csv {
                    csv_line(columns.iter().map(|column| Cow::Borrowed(column.name.as_str())), out);
                }
                self.head = Head::Whole { columns, shapes };
            }
            Head::Whole { columns, shapes } => {
                let cells: Vec<&RawValue> = serde_json::from_slice(line).map_err(malformed)?;
                if cells.len() != columns.len() {
                    return Err(malformed("a row has not the columns of the first"));
                }
                match self.lines {
                    Lines::Ndjson => {
                        let row = RowOut { columns, shapes, cells: &cells, zone: &self.zone };
                        serde_json::to_writer(&mut *out, &row).map_err(malformed)?;
                        out.push(b'\n');
                    }
                    Lines::Csv => csv_row(shapes, &cells, &self.zone, out)?,
                }
            }
        }
        Ok(())
    }
}

/// Also what stands in the way of a question that has a `FORMAT` of its own.
#[expect(clippy::needless_pass_by_value, reason = "so that it can be handed to `map_err`")]
fn malformed(reason: impl ToString) -> AskError {
    let reason = reason.to_string();
    AskError::Failed {
        message: format!("ClickHouse did not answer in rows ({reason}); is there a FORMAT in the question's SQL?"),
    }
}

fn csv_row(shapes: &[Shape], cells: &[&RawValue], zone: &TimeZone, out: &mut Vec<u8>) -> Result<(), AskError> {
    let mut json = Vec::new();
    for (at, (shape, cell)) in shapes.iter().zip(cells).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json.clear();
        serde_json::to_writer(&mut json, &Cell { shape: *shape, json: cell, zone }).map_err(malformed)?;
        match json.first() {
            _ if json == b"null" => {}
            Some(b'"') => {
                let text: Cow<'_, str> = serde_json::from_slice::<String>(&json).map_err(malformed)?.into();
                csv_text(&text, out);
            }
            Some(b'[' | b'{') => csv_text(&String::from_utf8_lossy(&json), out),
            _ => out.extend_from_slice(&json),
        }
    }
    out.push(b'\n');
    Ok(())
}

fn csv_line<'a>(texts: impl Iterator<Item = Cow<'a, str>>, out: &mut Vec<u8>) {
    for (at, text) in texts.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        csv_text(&text, out);
    }
    out.push(b'\n');
}

/// Quoted where a reader would take it for something else.
fn csv_text(text: &str, out: &mut Vec<u8>) {
    if !text.is_empty() && !text.contains([',', '"', '\n', '\r']) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let quoted = write!(out, "\"{}\"", text.replace('"', "\"\""));
    debug_assert!(quoted.is_ok(), "writing to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Unit;

    const ANSWER: &str = "[\"n\", \"id\", \"at\", \"text\", \"list\", \"share\"]\n\
        [\"UInt64\", \"UInt64\", \"DateTime64(3, 'UTC')\", \"Nullable(String)\", \"Array(String)\", \"Float64\"]\n\
        [\"1\", 18446744073709551615, \"2026-10-01 12:00:00.005\", \"a,\\\"b\\\"\\n\", [\"x\"], \"nan\"]\n\
        [2, \"7\", \"2026-10-01T12:00:00.005Z\", null, [], 0.5]\n\
        [3, \"8\", \"2026-10-01 12:00:00.005\", \"\", [], 1]\n";

    fn rows(lines: Lines) -> Rows {
        Rows::new(lines, vec![Column { name: "n".into(), unit: Unit::Count, doc: String::new() }], TimeZone::UTC)
    }

    fn whole(lines: Lines, chunk_bytes: usize) -> String {
        let mut rows = rows(lines);
        let mut out = Vec::new();
        ANSWER.as_bytes().chunks(chunk_bytes).for_each(|chunk| out.extend(rows.feed(chunk).unwrap()));
        rows.end().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rows_become_lines_however_they_are_cut() {
        for chunk_bytes in 1..=ANSWER.len() {
            let ndjson = whole(Lines::Ndjson, chunk_bytes);
            let first = r#"{"n":1,"id":"18446744073709551615","at":"2026-10-01T12:00:00.005Z","text":"a,\"b\"\n","list":["x"],"share":null}"#;
            assert_eq!(ndjson.lines().next(), Some(first));
            assert_eq!(ndjson.lines().count(), 3);
            let csv = "n,id,at,text,list,share\n\
                1,18446744073709551615,2026-10-01T12:00:00.005Z,\"a,\"\"b\"\"\n\",\"[\"\"x\"\"]\",\n\
                2,7,2026-10-01T12:00:00.005Z,,[],0.5\n\
                3,8,2026-10-01T12:00:00.005Z,\"\",[],1\n";
            assert_eq!(whole(Lines::Csv, chunk_bytes), csv);
        }
    }

    #[test]
    fn half_an_answer_is_none() {
        for end in [0, 10, 60, ANSWER.len() - 1] {
            let mut rows = rows(Lines::Ndjson);
            rows.feed(&ANSWER.as_bytes()[..end]).unwrap();
            assert!(rows.end().is_err(), "{end}");
        }
        assert!(rows(Lines::Csv).feed(b"a,b\n1,2\n").unwrap_err().to_string().contains("FORMAT"));
    }

    proptest::proptest! {
        #[test]
        fn csv_reads_back(text in "\\PC{0,12}|[\",\n\r a]{0,8}") {
            let mut out = Vec::new();
            csv_text(&text, &mut out);
            let written = String::from_utf8(out).unwrap();
            let inner = written.strip_prefix('"').and_then(|inner| inner.strip_suffix('"'));
            let read = inner.map_or(written.clone(), |inner| inner.replace("\"\"", "\""));
            proptest::prop_assert_eq!(read, text);
        }
    }
}
