//! Series over time as lines: dots of Braille, of which a character holds two by four.
//!
//! Series share a picture and are told apart by colour; without colours each has a picture of its own, all to the same scale.
//! What is drawn is one measure of each series, or, of a question without anything that names series, each measure of the
//! same unit. A value that is not there leaves a hole in its line: no interaction is not the same as none of them slow.

mod axis;
mod canvas;
mod series;

use std::fmt::Write as _;

use console::Style as Paint;
use serde_json::Value;

pub(super) use self::series::{Chosen, choose};
use self::{
    axis::{Scale, time_axis},
    canvas::Canvas,
    series::Series,
};
use super::{
    number::{Style, heading},
    screen::Screen,
    table,
};

/// Lines of a picture: half of a small terminal, so that heading and legend are seen with it.
const HEIGHT: usize = 12;

/// Lines of one of several pictures.
const SMALL_HEIGHT: usize = 4;

/// Most lines that eyes can tell apart.
const MOST_SERIES: usize = 8;

/// A colour for each, of the 256 of terminals.
const COLORS: [u8; MOST_SERIES] = [39, 208, 78, 197, 141, 220, 51, 250];

/// A line in the legend.
const LINE: &str = "━━";

/// The chart of what was chosen, with its legend.
pub(super) fn draw(chosen: &Chosen, screen: Screen) -> String {
    let mut all: Vec<&Series> = chosen.series.iter().filter(|series| series.greatest().is_some()).collect();
    if all.is_empty() {
        return "no values in this range\n".to_owned();
    }
    let left_out = all.len().saturating_sub(MOST_SERIES);
    if left_out > 0 {
        all.sort_by(|a, b| b.greatest().unwrap_or(f64::MIN).total_cmp(&a.greatest().unwrap_or(f64::MIN)));
        all.truncate(MOST_SERIES);
    }
    let together = screen.has_colors || all.len() == 1;
    let scale = Scale::of(&all, chosen.unit, if together { HEIGHT } else { SMALL_HEIGHT });
    let width = screen.chart_columns().saturating_sub(scale.label_chars() + 2).max(16);
    let mut text = String::new();
    if together {
        picture(&mut text, chosen, &scale, width, &all);
    } else {
        for series in &all {
            let _ = writeln!(text, "{}", series.name); // to a String
            picture(&mut text, chosen, &scale, width, &[series]);
        }
    }
    let margin = " ".repeat(scale.label_chars());
    for line in time_axis(&chosen.times(), width) {
        let _ = writeln!(text, "{margin} {line}"); // to a String
    }
    text + &legend(chosen, &all, screen)
        + &match left_out {
            0 => String::new(),
            more => format!("and {more} more series: ask for fewer, or for --format table\n"),
        }
}

/// The lines of `all`, beside their scale.
fn picture(text: &mut String, chosen: &Chosen, scale: &Scale, width: usize, all: &[&Series]) {
    let times = chosen.times();
    let mut canvas = Canvas::new(width, scale.lines());
    for (at, series) in all.iter().enumerate() {
        let place = |time_ms: i64, value: f64| (times.share(time_ms), scale.share(value));
        canvas.line(at, series.points.iter().map(|(time_ms, value)| value.map(|value| place(*time_ms, value))));
    }
    for line in 0..scale.lines() {
        let drawn = canvas.row(line, |dots, owner| color(owner).apply_to(dots).to_string());
        let line = format!("{}{drawn}", scale.label(line));
        let _ = writeln!(text, "{}", line.trim_end()); // to a String
    }
}

/// What each line is, and its figures.
fn legend(chosen: &Chosen, all: &[&Series], screen: Screen) -> String {
    let figures = |name: &str, pick: fn(&Series) -> Option<f64>| {
        let values: Vec<Value> = all.iter().map(|series| pick(series).into()).collect();
        let style = Style::of(chosen.unit, &values.iter());
        let heading = format!("{name} {}", heading(chosen.unit));
        table::Column::numbers(heading.trim_end(), values.iter().map(|value| style.write(value)).collect())
    };
    let columns = [
        table::Column::words("", vec![LINE.to_owned(); all.len()]),
        table::Column::words(&chosen.heading, all.iter().map(|series| series.name.clone()).collect()),
        figures("last", Series::last),
        figures("mean", Series::mean),
        figures("max", Series::greatest),
    ];
    // Where colours do not say which line is whose, the names above the pictures do.
    let shown = if screen.has_colors { &columns[..] } else { &columns[1..] };
    let drawn = table::draw(shown, Screen { columns: None, ..screen });
    let mut colors = 0..all.len();
    drawn.lines().fold(String::new(), |text, line| match line.strip_prefix(LINE) {
        Some(rest) => text + &format!("{}{rest}\n", color(colors.next().unwrap_or_default()).apply_to(LINE)),
        None => text + line + "\n",
    })
}

fn color(at: usize) -> Paint {
    Paint::new().color256(COLORS[at])
}
