//! What was found, for people and for machines.

use std::fmt;

use console::Style;
use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, and somebody should look.
    Warning,
    /// It does not work, or rows are or will be lost.
    Failed,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, color) = match self {
            Level::Ok => ("ok", Style::new().green()),
            Level::Warning => ("warning", Style::new().yellow()),
            Level::Failed => ("failed", Style::new().red().bold()),
        };
        write!(f, "{}", color.apply_to(format!("{word:<9}")))
    }
}

/// One line of what is, and one of what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) about: &'static str,
    pub(super) level: Level,
    pub(super) what: String,
    /// Of what is not ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

/// The findings about one thing.
pub(super) struct Findings {
    about: &'static str,
    pub(super) all: Vec<Finding>,
}

impl Findings {
    pub(super) fn about(about: &'static str) -> Self {
        Self { about, all: Vec::new() }
    }

    pub(super) fn ok(&mut self, what: impl Into<String>) {
        self.all.push(Finding { about: self.about, level: Level::Ok, what: what.into(), advice: None });
    }

    pub(super) fn warn(&mut self, what: impl Into<String>, advice: impl Into<String>) {
        self.bad(Level::Warning, what, advice);
    }

    pub(super) fn fail(&mut self, what: impl Into<String>, advice: impl Into<String>) {
        self.bad(Level::Failed, what, advice);
    }

    pub(super) fn bad(&mut self, level: Level, what: impl Into<String>, advice: impl Into<String>) {
        self.all.push(Finding { about: self.about, level, what: what.into(), advice: Some(advice.into()) });
    }

    pub(super) fn has_failed(&self) -> bool {
        self.all.iter().any(|finding| finding.level == Level::Failed)
    }
}

/// `3 clusters`, `1 cluster`
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Of many, so many are named.
const NAMED: usize = 5;

/// The first of them, and how many more there are.
pub(super) fn some(names: &[String]) -> String {
    match names.len().saturating_sub(NAMED) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..NAMED].join(", ")),
    }
}
