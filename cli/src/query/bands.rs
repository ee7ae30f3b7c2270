//! States over time as bands: a line for each thing, a character for each stretch of time, the state in its middle.

use std::{collections::BTreeMap, fmt::Write as _};

use console::{Style, style};
use serde_json::{Map, Value};
use shardlake_queries::Unit;

use super::{
    answer::{ColumnName, Question, Section},
    chart::{moment, range_axis},
    screen::Screen,
};

/// A character and a colour for states that mean well or ill, as the catalogue calls them.
const LOOKS: [(&str, char, u8); 8] = [
    ("active", '█', 78),
    ("running", '█', 78),
    ("identifying", '▒', 220),
    ("resuming", '▓', 220),
    ("disconnected", 'x', 197),
    ("fatally_closed", 'X', 197),
    ("silent", '░', 197),
    ("stopped", '·', 250),
];

/// For others, in the order in which they are met.
const OTHERS: [(char, u8); 6] = [('█', 39), ('▒', 208), ('=', 141), ('+', 51), ('o', 250), ('-', 220)];

/// Longer names are cut.
const NAME_CHARS: usize = 24;

/// How a state is drawn.
type Look = (char, u8);

/// Moments, ms since 1970, and the state from then on.
type Changes = Vec<(i64, Look)>;

/// The bands of an answer with the columns `time` and `state`, and columns of ids that name what has the state. `None`: it
/// has no such columns, or no range.
pub(super) fn draw(question: &Question, names: &[ColumnName], section: &Section, screen: Screen) -> Option<String> {
    let has = |wanted: &str| names.iter().any(|column| column.name == wanted);
    let (from, to) = (moment(section.meta.from.as_deref()?)?, moment(section.meta.to.as_deref()?)?);
    let ends = (from.0, to.0);
    if !has("time") || !has("state") || ends.1 <= ends.0 {
        return None;
    }
    let ids = names.iter().map(|column| column.name.as_str()).filter(|name| question.unit(name) == Unit::Id);
    let ids: Vec<&str> = ids.filter(|name| !name.ends_with("_code")).collect();
    let mut looks: Vec<(&str, Look)> = Vec::new();
    let mut bands: BTreeMap<Vec<(usize, String)>, Changes> = BTreeMap::new();
    for row in &section.rows {
        let (Some((time_ms, _)), Some(state)) =
            (row.get("time").and_then(Value::as_str).and_then(moment), row.get("state").and_then(Value::as_str))
        else {
            continue;
        };
        let known = looks.iter().find(|(known, _)| *known == state).map(|(_, look)| *look);
        let look = known.unwrap_or_else(|| look(state, looks.len()));
        if known.is_none() {
            looks.push((state, look));
        }
        bands.entry(key(row, &ids)).or_default().push((time_ms, look));
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
    for line in range_axis(from, to, width) {
        let _ = writeln!(text, "{:margin$}{line}", ""); // to a String
    }
    let legend = looks.iter().map(|(state, look)| format!("{} {state}", painted(*look, 1)));
    Some(format!("{text}\n{}\n", legend.collect::<Vec<_>>().join("   ")))
}

/// `place`: among the states that were met.
fn look(state: &str, place: usize) -> Look {
    let known = LOOKS.iter().find(|(known, ..)| *known == state);
    known.map_or(OTHERS[place % OTHERS.len()], |(_, character, color)| (*character, *color))
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

fn painted((character, color): Look, run: usize) -> String {
    Style::new().color256(color).apply_to(character.to_string().repeat(run)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_lasts_until_the_next() {
        let (up, begins) = (look("active", 0), look("identifying", 1));
        assert_eq!(band(&vec![(0, up), (50, begins), (75, up)], (0, 100), 8), "████▒▒██");
        assert_eq!(band(&vec![(60, begins)], (0, 100), 10), "      ▒▒▒▒");
        assert_eq!(look("someone's own", 7), OTHERS[1]);
    }
}
