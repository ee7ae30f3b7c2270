//! States over time as bands: a line for each thing, a character for each stretch of time, the state in its middle.

use std::{collections::BTreeMap, fmt::Write as _};

use console::{Style, style};
use serde_json::{Map, Value};
use shardlake_queries::Unit;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    answer::{ColumnName, Question, Section},
    screen::Screen,
};

/// A character and a colour for each state, in the order in which they are met. What lasts longest is usually met first.
const LOOKS: [(char, u8); 8] =
    [('█', 78), ('▒', 220), ('░', 197), ('▓', 39), ('=', 208), ('·', 250), ('x', 141), ('o', 51)];
/// Further states, and the time before the first.
const OTHER: (char, u8) = ('?', 250);

/// Longer names are cut.
const NAME_CHARS: usize = 24;

/// Moments, ms since 1970, and the state from then on.
type Changes = Vec<(i64, usize)>;

/// The bands of an answer with the columns `time` and `state`, and columns of ids that name what has the state. `None`: it
/// has no such columns, or no range.
pub(super) fn draw(question: &Question, names: &[ColumnName], section: &Section, screen: Screen) -> Option<String> {
    let has = |wanted: &str| names.iter().any(|column| column.name == wanted);
    let ends = (moment(section.meta.from.as_deref()?)?, moment(section.meta.to.as_deref()?)?);
    if !has("time") || !has("state") || ends.1 <= ends.0 {
        return None;
    }
    let ids = names.iter().map(|column| column.name.as_str()).filter(|name| question.unit(name) == Unit::Id);
    let ids: Vec<&str> = ids.filter(|name| !name.ends_with("_code")).collect();
    let mut states: Vec<String> = Vec::new();
    let mut bands: BTreeMap<Vec<(usize, String)>, Changes> = BTreeMap::new();
    for row in &section.rows {
        let (Some(time_ms), Some(state)) =
            (row.get("time").and_then(Value::as_str).and_then(moment), row.get("state").and_then(Value::as_str))
        else {
            continue;
        };
        let known = states.iter().position(|known| known == state).unwrap_or_else(|| {
            states.push(state.to_owned());
            states.len() - 1
        });
        bands.entry(key(row, &ids)).or_default().push((time_ms, known));
    }
    let name = |key: &[(usize, String)]| {
        key.iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>().join(" ").chars().take(NAME_CHARS).collect::<String>()
    };
    let margin = bands.keys().map(|key| name(key).chars().count()).max().unwrap_or_default().max(ids.join(" ").len());
    let width = screen.chart_columns().saturating_sub(margin + 1).max(16);
    let mut text = format!("{}\n", style(ids.join(" ")).bold());
    for (key, changes) in &bands {
        let _ = writeln!(text, "{:margin$} {}", name(key), band(changes, ends, width)); // to a String
    }
    let legend = states.iter().enumerate().map(|(at, state)| format!("{} {state}", painted(at, 1)));
    Some(format!("{text}\n{}\n", legend.collect::<Vec<_>>().join("   ")))
}

/// Names sort as numbers where they are numbers: shorter first.
fn key(row: &Map<String, Value>, ids: &[&str]) -> Vec<(usize, String)> {
    let id = |name: &&str| row.get(*name).and_then(Value::as_str).unwrap_or_default().to_owned();
    ids.iter().map(id).map(|id| (id.len(), id)).collect()
}

/// One line: runs of the same state.
fn band(changes: &Changes, ends: (i64, i64), width: usize) -> String {
    let cells = (0..width).map(|cell| {
        let middle = |cell: usize| i64::try_from(2 * cell + 1).unwrap_or(i64::MAX);
        let columns = i64::try_from(2 * width).unwrap_or(i64::MAX);
        let at_ms = ends.0 + (ends.1 - ends.0) / columns * middle(cell);
        changes.iter().take_while(|(time_ms, _)| *time_ms <= at_ms).last().map(|(_, state)| *state)
    });
    let mut text = String::new();
    let mut cells = cells.peekable();
    while let Some(state) = cells.next() {
        let mut run = 1;
        while cells.next_if_eq(&state).is_some() {
            run += 1;
        }
        text += &state.map_or_else(|| " ".repeat(run), |state| painted(state, run));
    }
    text
}

fn painted(state: usize, run: usize) -> String {
    let (character, color) = LOOKS.get(state).copied().unwrap_or(OTHER);
    Style::new().color256(color).apply_to(character.to_string().repeat(run)).to_string()
}

fn moment(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(time.unix_timestamp() * 1_000 + i64::from(time.millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_lasts_until_the_next() {
        let changes = vec![(0, 0), (50, 1), (75, 0)];
        assert_eq!(band(&changes, (0, 100), 8), "████▒▒██");
        assert_eq!(band(&vec![(60, 1)], (0, 100), 10), "      ▒▒▒▒");
    }
}
