//! Rows as a table: numbers to the right, words to the left, units in the heading.
//!
//! What is wider than the terminal is wrapped: headings and words, never numbers. Where even that does not fit, each row is
//! shown as a block of its own, a line for each column. Into a file or a pipe a row is always a line.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle, Width};
use console::{measure_text_width, style};
use serde_json::{Map, Value};
use shardlake_queries::Unit;

use super::{
    answer::{ColumnName, Question},
    number::{Style, heading},
    screen::Screen,
};

/// Between two columns.
const GAP: u16 = 2;

/// Words are wrapped to no less than this, or to their longest word if that is shorter.
const LEAST_WORDS: usize = 16;

/// A column, written.
pub(super) struct Column {
    heading: String,
    /// To the right, and never wrapped.
    is_number: bool,
    cells: Vec<String>,
}

impl Column {
    pub(super) fn words(heading: &str, cells: Vec<String>) -> Self {
        Self { heading: heading.to_owned(), is_number: false, cells }
    }

    pub(super) fn numbers(heading: &str, cells: Vec<String>) -> Self {
        Self { heading: heading.to_owned(), is_number: true, cells }
    }

    fn widest(&self) -> usize {
        self.cells.iter().map(|cell| measure_text_width(cell)).max().unwrap_or_default()
    }

    /// How narrow it may become.
    fn least(&self) -> usize {
        let longest_word = |text: &str| text.split_whitespace().map(measure_text_width).max().unwrap_or_default();
        let words = longest_word(&self.heading);
        if self.is_number {
            return self.widest().max(words);
        }
        let longest = self.cells.iter().map(|cell| longest_word(cell)).max().unwrap_or_default();
        longest.min(LEAST_WORDS).max(words)
    }

    /// How wide it wants to be.
    fn most(&self) -> usize {
        self.widest().max(measure_text_width(&self.heading))
    }
}

/// The columns of an answer.
pub(super) fn columns(question: &Question, names: &[ColumnName], rows: &[Map<String, Value>]) -> Vec<Column> {
    let column = |name: &ColumnName| {
        let unit = question.unit(&name.name);
        let values = rows.iter().map(|row| row.get(&name.name).unwrap_or(&Value::Null));
        let style = Style::of(unit, &values);
        Column {
            heading: heading_of(&name.name, unit),
            is_number: unit.is_measure(),
            cells: values.map(|value| style.write(value)).collect(),
        }
    };
    names.iter().map(column).collect()
}

/// `response_p95_ms` is `response p95 ms`.
pub(super) fn heading_of(name: &str, unit: Unit) -> String {
    let bare = match unit {
        Unit::Id | Unit::Text | Unit::Time | Unit::Count | Unit::Ratio => name,
        unit => name.strip_suffix(unit.as_str()).unwrap_or(name).trim_end_matches('_'),
    };
    format!("{} {}", bare.replace('_', " "), heading(unit)).trim().to_owned()
}

/// The table, or its blocks.
pub(super) fn draw(columns: &[Column], screen: Screen) -> String {
    let total = |width: fn(&Column) -> usize| {
        columns.iter().map(width).sum::<usize>() + usize::from(GAP) * columns.len().saturating_sub(1)
    };
    match screen.columns {
        Some(available) if total(Column::least) > available => blocks(columns),
        Some(available) if total(Column::most) > available => table(columns, Some(available)),
        _ => table(columns, None),
    }
}

/// `width`: to wrap it to.
fn table(columns: &[Column], width: Option<usize>) -> String {
    let mut table = Table::new();
    let rule = LineStyle::none().fill('─');
    table.load_style(TableStyle::new().header_separator(rule));
    table.set_header(columns.iter().map(|column| &column.heading));
    let rows = columns.first().map_or(0, |column| column.cells.len());
    for row in 0..rows {
        table.add_row(columns.iter().map(|column| &column.cells[row]));
    }
    if let Some(width) = width.and_then(|width| u16::try_from(width).ok()) {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    for (at, column) in columns.iter().enumerate() {
        let drawn = table.column_mut(at).expect("each column has a heading");
        let gap = if at + 1 < columns.len() { GAP } else { 0 };
        drawn.set_padding((0, gap));
        let least = u16::try_from(column.least()).unwrap_or(u16::MAX) + gap;
        if width.is_some() {
            drawn.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
        }
        if column.is_number {
            drawn.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut text = String::new();
    let mut in_heading = true;
    for line in table.lines() {
        let line = line.trim_end();
        in_heading &= !line.starts_with('─');
        let line = if in_heading { style(line).bold() } else { style(line) };
        let _ = writeln!(text, "{line}"); // to a String
    }
    text
}

fn blocks(columns: &[Column]) -> String {
    let rows = columns.first().map_or(0, |column| column.cells.len());
    let width = columns.iter().map(|column| measure_text_width(&column.heading)).max().unwrap_or_default();
    let mut text = String::new();
    for row in 0..rows {
        if row > 0 {
            text.push('\n');
        }
        for column in columns {
            let heading = style(format!("{:width$}", column.heading)).dim();
            let _ = writeln!(text, "{heading}  {}", column.cells[row]); // to a String
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(columns: Option<usize>) -> Screen {
        Screen { columns, has_colors: false }
    }

    fn two() -> Vec<Column> {
        let why = ["all is well here", "the event loop of this process wakes late"];
        vec![
            Column::words("cluster", vec!["0".into(), "west-1".into()]),
            Column::words("why", why.map(str::to_owned).to_vec()),
            Column::numbers("response p95 ms", vec!["1,234".into(), "5".into()]),
        ]
    }

    #[test]
    fn numbers_stand_to_the_right_and_words_are_wrapped() {
        let wide = draw(&two(), screen(None));
        let lines: Vec<&str> = wide.lines().collect();
        assert_eq!(lines.len(), 4, "{wide}");
        assert_eq!(lines[0], "cluster  why                                        response p95 ms");
        assert_eq!(lines[3], "west-1   the event loop of this process wakes late                5");

        let narrow = draw(&two(), screen(Some(44)));
        assert!(narrow.lines().all(|line| measure_text_width(line) <= 44), "{narrow}");
        assert!(narrow.lines().count() > 5 && narrow.contains("1,234"), "{narrow}");

        let blocks = draw(&two(), screen(Some(20)));
        assert!(blocks.starts_with("cluster          0\nwhy              all is well here\n"), "{blocks}");
    }

    #[test]
    fn a_heading_says_the_unit_once() {
        assert_eq!(heading_of("response_p95_ms", Unit::Milliseconds), "response p95 ms");
        assert_eq!(heading_of("interactions_per_s", Unit::PerSecond), "interactions /s");
        assert_eq!(heading_of("error_ratio", Unit::Ratio), "error ratio %");
        assert_eq!(heading_of("uptime_s", Unit::Seconds), "uptime");
        assert_eq!(heading_of("stuck_s", Unit::Seconds), "stuck");
        assert_eq!(heading_of("disk_bytes", Unit::Bytes), "disk");
        assert_eq!(heading_of("bytes_per_row", Unit::Bytes), "bytes per row");
    }
}
