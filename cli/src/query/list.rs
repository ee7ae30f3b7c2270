//! What can be asked: all questions in brief, or one with all there is to know.

use std::fmt::Write as _;

use console::style;

use super::{
    answer::Question,
    screen::Screen,
    table::{Column, draw},
};

/// The questions that `word` is about: a noun, or a word of their names and titles.
pub(super) fn matching<'a>(questions: &'a [Question], word: &str) -> Vec<&'a Question> {
    let of_noun: Vec<&Question> = questions.iter().filter(|question| question.noun == word).collect();
    if !of_noun.is_empty() {
        return of_noun;
    }
    let word = word.to_lowercase();
    let is_about = |question: &&Question| {
        [&question.id(), &question.title, &question.description].iter().any(|text| text.to_lowercase().contains(&word))
    };
    questions.iter().filter(is_about).collect()
}

/// A line each.
pub(super) fn brief(questions: &[&Question], screen: Screen) -> String {
    let cells = |pick: fn(&Question) -> String| questions.iter().map(|question| pick(question)).collect();
    let columns = [
        Column::words("question", cells(Question::id)),
        Column::words("title", cells(|question| question.title.clone())),
        Column::words("answer", cells(|question| question.panel.clone())),
    ];
    let how = "\nshardlake query <question> asks; shardlake query <question> --explain says what it takes and what it means\n";
    draw(&columns, screen) + how
}

/// All about one.
pub(super) fn explained(question: &Question, screen: Screen) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}  {}\n", style(question.id()).bold(), question.title); // all of these to a String
    let _ = writeln!(text, "{}\n", wrapped(&question.description, screen));
    let default = |given: &Option<String>| match given.as_deref() {
        None => "required".to_owned(),
        Some("[]") => "all".to_owned(),
        Some("") => "none".to_owned(),
        Some(words) => words.to_owned(),
    };
    let parameters = &question.parameters;
    let columns = [
        Column::words("parameter", parameters.iter().map(|parameter| parameter.name.clone()).collect()),
        Column::words("default", parameters.iter().map(|parameter| default(&parameter.default)).collect()),
        Column::words("meaning", parameters.iter().map(|parameter| parameter.doc.clone()).collect()),
    ];
    text += &draw(&columns, screen);
    let columns = &question.columns;
    let columns = [
        Column::words("column", columns.iter().map(|column| column.name.clone()).collect()),
        Column::words("unit", columns.iter().map(|column| column.unit.clone()).collect()),
        Column::words("meaning", columns.iter().map(|column| column.doc.clone()).collect()),
    ];
    let _ = write!(text, "\n{}", draw(&columns, screen));
    let _ = writeln!(text, "\nasked of the table {}, answered as {}", question.table, question.panel);
    text
}

/// Lines no longer than the screen.
fn wrapped(words: &str, screen: Screen) -> String {
    let width = screen.columns.unwrap_or(usize::MAX);
    let mut text = String::new();
    let mut line = 0;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        let gap = match line {
            0 => "",
            _ if line + 1 + length > width => "\n",
            _ => " ",
        };
        line = if gap == "\n" { length } else { line + gap.len() + length };
        let _ = write!(text, "{gap}{word}");
    }
    text
}
