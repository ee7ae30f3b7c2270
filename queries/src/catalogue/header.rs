//! One file: header and statement, checked against each other. The format is described in [`super`].

use super::{
    Column, Panel, Question, Unit,
    implied::{is_ignored, kind_in_sql, standard},
    placeholder::{Scan, is_name, scan},
    rollup,
};
use crate::{
    parameter::{Kind, Parameter},
    resolution::{EDGES, FROM, LIMIT, OFFSET, STEP, Step, TO},
};

/// What is wrong with a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The line, from 1.
    pub(super) line: usize,
    /// What is wrong and what was expected.
    pub(super) message: String,
}

pub(super) fn fault<T>(line: usize, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { line, message: message.into() })
}

/// A `-- key: value` with its continuations.
struct Entry<'a> {
    line: usize,
    key: &'a str,
    value: String,
}

const KEYS: &str = "title, description, panel, table, rollup, min_step, limit_by, param and column";

/// Reads a question from the text of its file.
pub(super) fn parse(noun: &str, name: &str, text: &str) -> Result<Question, Fault> {
    for part in [noun, name] {
        if !is_name(part) {
            return fault(1, format!("`{part}` cannot be part of a path: use letters, digits and underscores"));
        }
    }
    let (text, from_rollup) = rollup::split(text);
    let entries = entries(text)?;
    for entry in &entries {
        if !KEYS.split([',', ' ']).any(|key| key == entry.key) {
            return fault(entry.line, format!("unknown key `{}`: the keys are {KEYS}", entry.key));
        }
    }
    let table = single(&entries, "table")?;
    if !is_name(&table.value) {
        return fault(table.line, format!("`{}` is not the name of a table", table.value));
    }
    let mut question = Question {
        noun: noun.to_owned(),
        name: name.to_owned(),
        title: single(&entries, "title")?.value.clone(),
        description: single(&entries, "description")?.value.clone(),
        panel: word(single(&entries, "panel")?, Panel::ALL, Panel::as_str)?,
        table: table.value.clone(),
        min_step_s: min_step(&entries)?,
        limit_by: limit_by(&entries)?,
        parameters: all(&entries, "param").map(parameter).collect::<Result<_, _>>()?,
        columns: all(&entries, "column").map(column).collect::<Result<_, _>>()?,
        sql: text.to_owned(),
        rollup: None,
    };
    check_names(&entries, &question)?;
    check_range(&entries, &question)?;
    check_limit(&entries, &question)?;
    let scan = scan(text);
    let added = standard(&question, &scan);
    question.parameters.extend(added);
    check_statement(&entries, &question, &scan)?;
    let declared = at_most_one(&entries, "rollup")?.map(|entry| (entry.line, entry.value.as_str()));
    question.rollup = rollup::parse(&question, declared, from_rollup, text.lines().count() + 1)?;
    Ok(question)
}

/// The header: every line up to the first that is no comment.
fn entries(text: &str) -> Result<Vec<Entry<'_>>, Fault> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let Some(comment) = line.strip_prefix("--") else { break };
        if comment.trim().is_empty() {
            continue;
        }
        if comment.starts_with("  ") || comment.starts_with(" \t") {
            let Some(last) = entries.last_mut() else {
                return fault(
                    number,
                    "a line with more than one space after `--` continues the one above, and there is none",
                );
            };
            last.value.push(' ');
            last.value.push_str(comment.trim());
            continue;
        }
        match comment.strip_prefix(' ').and_then(|comment| comment.split_once(':')) {
            Some((key, value)) if is_name(key) => {
                entries.push(Entry { line: number, key, value: value.trim().to_owned() });
            }
            _ => return fault(number, "expected `-- key: value`; indent the line to continue the one above"),
        }
    }
    match entries.iter().find(|entry| entry.value.trim().is_empty()) {
        Some(empty) => fault(empty.line, format!("`{}` has no value", empty.key)),
        None => Ok(entries),
    }
}

fn all<'a>(entries: &'a [Entry<'a>], key: &'a str) -> impl Iterator<Item = &'a Entry<'a>> {
    entries.iter().filter(move |entry| entry.key == key)
}

fn at_most_one<'a>(entries: &'a [Entry<'a>], key: &'a str) -> Result<Option<&'a Entry<'a>>, Fault> {
    let mut found = all(entries, key);
    let first = found.next();
    match found.next() {
        Some(second) => fault(second.line, format!("`{key}` is given twice")),
        None => Ok(first),
    }
}

fn single<'a>(entries: &'a [Entry<'a>], key: &'a str) -> Result<&'a Entry<'a>, Fault> {
    at_most_one(entries, key)?.map_or_else(|| fault(1, format!("the header lacks `-- {key}: …`")), Ok)
}

fn word<T: Copy>(entry: &Entry<'_>, all: &[T], as_str: fn(T) -> &'static str) -> Result<T, Fault> {
    match all.iter().find(|known| as_str(**known) == entry.value) {
        Some(known) => Ok(*known),
        None => fault(entry.line, format!("unknown {} `{}`: expected {}", entry.key, entry.value, one_of(all, as_str))),
    }
}

fn one_of<T: Copy>(all: &[T], as_str: fn(T) -> &'static str) -> String {
    all.iter().map(|known| as_str(*known)).collect::<Vec<_>>().join(", ")
}

fn min_step(entries: &[Entry<'_>]) -> Result<u32, Fault> {
    match at_most_one(entries, "min_step")? {
        None => Ok(1),
        Some(entry) => match Step::parse(&entry.value) {
            Some(Step::Seconds(seconds)) => Ok(seconds),
            _ => {
                fault(entry.line, format!("`{}` is no width of a bucket: expected such as 10s, 5m or 1h", entry.value))
            }
        },
    }
}

fn limit_by(entries: &[Entry<'_>]) -> Result<Vec<String>, Fault> {
    let entry = at_most_one(entries, "limit_by")?;
    Ok(entry.map(|entry| entry.value.split(',').map(|name| name.trim().to_owned()).collect()).unwrap_or_default())
}

/// `name Type [= default] meaning`
fn parameter(entry: &Entry<'_>) -> Result<Parameter, Fault> {
    let (name, rest) = first_word(&entry.value);
    if !is_name(name) {
        return fault(entry.line, format!("`{name}` is not the name of a parameter"));
    }
    let (sql_type, rest) = first_type(rest);
    let Some(kind) = Kind::of(name, sql_type) else {
        return fault(entry.line, format!("parameter `{name}` cannot have the type `{sql_type}`: {}", Kind::TYPES));
    };
    let (default, doc) = match rest.strip_prefix('=') {
        Some(rest) => {
            let (default, doc) = first_word(rest.trim_start());
            (Some(default.to_owned()), doc)
        }
        None => (None, rest),
    };
    if doc.is_empty() {
        return fault(
            entry.line,
            format!("parameter `{name}` lacks its meaning: expected `name Type [= default] meaning`"),
        );
    }
    let parameter = Parameter { name: name.to_owned(), kind, default, doc: doc.to_owned() };
    match parameter.check_default() {
        Err(bad) => fault(entry.line, format!("default of `{name}`: {}; expected {}", bad.message, bad.expected)),
        Ok(()) => Ok(parameter),
    }
}

/// `name unit meaning`
fn column(entry: &Entry<'_>) -> Result<Column, Fault> {
    let (name, rest) = first_word(&entry.value);
    let (unit, doc) = first_word(rest);
    let Some(unit) = Unit::ALL.iter().find(|known| known.as_str() == unit) else {
        let units = one_of(Unit::ALL, Unit::as_str);
        return fault(entry.line, format!("column `{name}` has the unknown unit `{unit}`: expected {units}"));
    };
    if doc.is_empty() {
        return fault(entry.line, format!("column `{name}` lacks its meaning: expected `name unit meaning`"));
    }
    Ok(Column { name: name.to_owned(), unit: *unit, doc: doc.to_owned() })
}

fn first_word(text: &str) -> (&str, &str) {
    text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim_start()))
}

/// A type is a word, or runs to the end of its parentheses.
fn first_type(text: &str) -> (&str, &str) {
    let mut depth = 0_usize;
    for (at, char) in text.char_indices() {
        match char {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 && char.is_whitespace() => return (&text[..at], text[at..].trim_start()),
            _ => {}
        }
    }
    (text, "")
}

fn check_names(entries: &[Entry<'_>], question: &Question) -> Result<(), Fault> {
    let columns = question.columns.iter().map(|column| column.name.as_str());
    let parameters = question.parameters.iter().map(|parameter| parameter.name.as_str());
    for (key, names) in [("column", columns.collect::<Vec<_>>()), ("param", parameters.collect())] {
        for (entry, (index, name)) in all(entries, key).zip(names.iter().enumerate()) {
            if names[..index].contains(name) {
                return fault(entry.line, format!("`{name}` is declared twice"));
            }
        }
    }
    let has_time = question.columns.first().is_some_and(|column| column.name == "time" && column.unit == Unit::Time);
    match question.panel {
        _ if question.columns.is_empty() => fault(1, "the header declares no column"),
        Panel::Timeseries | Panel::StateTimeline if !has_time => {
            let line = single(entries, "panel")?.line;
            fault(line, format!("the panel {} needs a first column `time` with the unit time", question.panel.as_str()))
        }
        _ => Ok(()),
    }
}

fn check_range(entries: &[Entry<'_>], question: &Question) -> Result<(), Fault> {
    let has = |name| question.parameter(name).is_some();
    let line_of =
        |name| all(entries, "param").find(|entry| first_word(&entry.value).0 == name).map_or(1, |entry| entry.line);
    for (implied, of) in [(EDGES, STEP), (OFFSET, LIMIT)] {
        if has(implied) {
            return fault(
                line_of(implied),
                format!("`{implied}` is what the service makes of `{of}`: it is not declared"),
            );
        }
    }
    if has(FROM) != has(TO) {
        let only = if has(FROM) { FROM } else { TO };
        return fault(line_of(only), "`from` and `to` come together: a range has two ends");
    }
    if has(STEP) && !has(FROM) {
        return fault(line_of(STEP), "`step` divides a range: declare `from` and `to` too");
    }
    match at_most_one(entries, "min_step")? {
        Some(entry) if !has(STEP) => fault(entry.line, "`min_step` has no meaning without the parameter `step`"),
        _ => Ok(()),
    }
}

fn check_limit(entries: &[Entry<'_>], question: &Question) -> Result<(), Fault> {
    let has_limit = question.parameter(LIMIT).is_some();
    match at_most_one(entries, "limit_by")? {
        Some(entry) if !has_limit => fault(entry.line, "`limit_by` has no meaning without the parameter `limit`"),
        Some(entry) => {
            let is_column = |name: &&String| question.columns.iter().any(|column| column.name == **name);
            match question.limit_by.iter().find(|name| !is_column(name)) {
                Some(unknown) => fault(entry.line, format!("`{unknown}` is no column of this question")),
                None => Ok(()),
            }
        }
        None if has_limit && matches!(question.panel, Panel::Timeseries | Panel::StateTimeline) => fault(
            single(entries, "panel")?.line,
            "what does `limit` count? Add `-- limit_by: columns`, such as those that name a series",
        ),
        None => Ok(()),
    }
}

fn check_statement(entries: &[Entry<'_>], question: &Question, scan: &Scan<'_>) -> Result<(), Fault> {
    if !scan.has_statement {
        return fault(question.sql.lines().count().max(1), "there is no statement below the header");
    }
    if let Some(line) = scan.second_statement {
        return fault(line, "a second statement starts here: a question is one");
    }
    for used in &scan.placeholders {
        match kind_in_sql(question, used.name) {
            None => {
                return fault(used.line, format!("`{}` is not declared: add `-- param: {} …`", used.name, used.name));
            }
            Some(declared) if Kind::of(used.name, used.sql_type) != Some(declared) => {
                let declared = declared.sql_type();
                return fault(used.line, format!("`{}` is declared as {declared}, not {}", used.name, used.sql_type));
            }
            Some(_) => {}
        }
    }
    for (entry, parameter) in all(entries, "param").zip(&question.parameters) {
        if is_ignored(parameter, scan) {
            return fault(entry.line, format!("parameter `{}` is never used", parameter.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
