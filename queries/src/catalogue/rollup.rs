//! A question's other statement: the same answer from a rollup.
//!
//! `-- rollup: interactions_by_cluster without shard, command` in the header names the tables or views
//! `interactions_by_cluster_1m`, `_1h`, `_1d`, `_1w` and `_2w`, and the filters that they cannot serve; `shard_latency by 1h` names
//! the only ones there are, or the only ones that are fine enough. What stands behind a semicolon, as in
//! `interactions_by_cluster without shard; interactions without cluster`, names tables with fewer rows that serve still fewer
//! filters: they answer the same statement sooner, where the filters that only they lack are empty, too. They have a `by` of their own.
//!
//! The statement stands below the first one, after the line `-- from the rollup:`, and reads `{rollup:Identifier}`. Which statement is
//! asked, and of which table, is decided by range, step and filters: see `resolution/rollup.rs`.

use super::{
    Question,
    header::{Fault, fault},
    implied::{is_ignored, kind_in_sql},
    placeholder::{is_name, scan},
};
use crate::{
    parameter::Kind,
    resolution::{CURSOR, OFFSET, TZ},
};

/// What separates the two statements.
const MARK: &str = "\n-- from the rollup:\n";

/// The parameter that takes the name of the rollup.
pub(crate) const TABLE_PARAMETER: &str = "rollup";

/// How the names of rollups end: by minute, hour, day, week and fortnight.
pub(crate) const ENDINGS: [&str; 5] = ["1m", "1h", "1d", "1w", "2w"];

/// How to ask a question of rollups.
#[derive(Debug, Clone)]
pub(crate) struct Rollup {
    /// What the statement reads one of; each has fewer rows than those before it.
    pub(crate) tables: Vec<Tables>,
    /// Whether the statement looks at the clock of the time zone.
    pub(crate) uses_zone: bool,
    /// Parameters that the statement does without; they must be empty.
    pub(crate) without: Vec<String>,
    /// The statement.
    pub(crate) sql: String,
}

/// Tables or views of one rollup, by the length of their buckets.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    /// Their names without `_1m`, `_1h`, `_1d`, `_1w` or `_2w`.
    pub(crate) stem: String,
    /// How their names end.
    pub(crate) endings: Vec<&'static str>,
    /// Parameters that the statement has, and that must be empty if it is to read these.
    pub(crate) without: Vec<String>,
}

/// The first statement with the header, and the second one if there is one.
pub(super) fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once(MARK).map_or((text, None), |(first, second)| (first, Some(second)))
}

/// Reads `declared`, the header's value at `line`, and the statement that goes with it, which begins below `lines_above`.
pub(super) fn parse(
    question: &Question,
    declared: Option<(usize, &str)>,
    sql: Option<&str>,
    lines_above: usize,
) -> Result<Option<Rollup>, Fault> {
    let (line, value, sql) = match (declared, sql) {
        (None, None) => return Ok(None),
        (Some((line, value)), Some(sql)) => (line, value, sql),
        (Some((line, _)), None) => {
            return fault(line, format!("a `rollup` needs a second statement, after the line `{}`", MARK.trim()));
        }
        (None, Some(_)) => {
            return fault(
                lines_above,
                "the header does not name the rollup: add `-- rollup: tables [by 1m, …] [without filter, …]`",
            );
        }
    };
    let mut tables =
        value.split(';').map(|value| named(question, line, value.trim())).collect::<Result<Vec<_>, _>>()?;
    // What the first ones lack none of them serves.
    let without = std::mem::take(&mut tables[0].without);
    let found = scan(sql);
    if let Some(second) = found.second_statement {
        return fault(lines_above + second, "another statement starts here: a rollup's is one");
    }
    let mut names_table = false;
    for used in &found.placeholders {
        if (used.name, used.sql_type) == (TABLE_PARAMETER, "Identifier") {
            names_table = true;
            continue;
        }
        let known = kind_in_sql(question, used.name).filter(|_| !without.iter().any(|name| name == used.name));
        if known.is_none_or(|known| Kind::of(used.name, used.sql_type) != Some(known)) {
            let message = format!("`{{{}:{}}}` is no parameter that the rollup serves", used.name, used.sql_type);
            return fault(lines_above + used.line, message);
        }
    }
    let has_pages = question.parameter(CURSOR).is_some();
    if has_pages != found.placeholders.iter().any(|used| used.name == OFFSET) {
        let message = format!("one of the two statements has `{{{OFFSET}:UInt64}}`, the other has not");
        return fault(lines_above + 1, message);
    }
    if !names_table {
        return fault(lines_above + 1, format!("the statement must read from {{{TABLE_PARAMETER}:Identifier}}"));
    }
    let unused = question.parameters.iter().filter(|parameter| is_ignored(parameter, &found));
    let mut unused = unused.map(|parameter| &parameter.name);
    if let Some(unused) = unused.find(|name| !without.contains(name)) {
        return fault(line, format!("the rollup's statement does not use `{unused}`: say `without {unused}`"));
    }
    let uses_zone = found.placeholders.iter().any(|used| used.name == TZ);
    Ok(Some(Rollup { tables, uses_zone, without, sql: sql.to_owned() }))
}

/// Reads `tables [by 1m, …] [without filter, …]`.
fn named(question: &Question, line: usize, value: &str) -> Result<Tables, Fault> {
    let all = ENDINGS.join(", ");
    let (tables, without) = value.split_once(" without ").unwrap_or((value, ""));
    let (stem, by) = tables.split_once(" by ").unwrap_or((tables, &all));
    if !is_name(stem) {
        return fault(line, format!("`{stem}` is not the beginning of the name of a table"));
    }
    let endings = ENDINGS.into_iter().filter(|ending| words(by).any(|word| word == *ending)).collect::<Vec<_>>();
    if words(by).count() != endings.len() {
        return fault(line, format!("`{by}` is not some of {all}"));
    }
    let without: Vec<String> = words(without).map(str::to_owned).collect();
    match without.iter().find(|name| question.parameter(name).is_none()) {
        Some(unknown) => fault(line, format!("`{unknown}` is no parameter of this question")),
        None => Ok(Tables { stem: stem.to_owned(), endings, without }),
    }
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::header;

    fn parse(rollup: &str) -> Result<Vec<Vec<&'static str>>, String> {
        let text = format!(
            "-- title: T\n-- description: D\n-- panel: stat\n-- table: t\n-- rollup: {rollup}\n-- column: n count N\nSELECT 1 AS n\n\n\
             -- from the rollup:\nSELECT sum(m) AS n FROM {{rollup:Identifier}}\n"
        );
        let question = header::parse("noun", "question", &text).map_err(|fault| fault.message)?;
        Ok(question.rollup.unwrap().tables.into_iter().map(|tables| tables.endings).collect())
    }

    #[test]
    fn a_rollup_names_the_tables_that_there_are() {
        let all = ["1m", "1h", "1d", "1w", "2w"].to_vec();
        assert_eq!(parse("things"), Ok(vec![all.clone()]));
        assert_eq!(parse("things by 1d, 1h"), Ok(vec![vec!["1h", "1d"]]));
        assert_eq!(parse("things by 1h; fewer"), Ok(vec![vec!["1h"], all]));
        assert_eq!(parse("things; fewer by 1d; fewest by 2w, 1w").unwrap()[1..], [vec!["1d"], vec!["1w", "2w"]]);
        for bad in [
            "things by 2h",
            "things by 1h, 1h",
            "things by 1h 1d",
            "things, others",
            "things; fewer, still fewer",
            "things; fewer by 2h",
            "things;",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for bad in ["things without cluster", "things; fewer without cluster"] {
            assert!(parse(bad).unwrap_err().contains("cluster"));
        }
    }
}
