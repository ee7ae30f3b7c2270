//! How long a rollup of several steps keeps each of them.
//!
//! `interactions_by_cluster_rollup` holds minutes, hours, days, weeks and fortnights, and its views `interactions_by_cluster_1m` to
//! `_2w` show one step each (migrations 0013 and 0017). Retention is said of the views, as if they were tables; the table's one TTL names
//! the time of each step. Weeks and fortnights lie in the same parts as days and are kept as long, so nothing is said of them.

use super::Keep;

/// How the name of a table of several steps ends; its views have the name of the step instead.
const ROLLUP: &str = "_rollup";

/// The last moment of a `DateTime`, 2106, for a step that has no end: a TTL needs one.
const NEVER: &str = "toDateTime(4294967295)";

/// A length of bucket that has a time of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Minute,
    Hour,
    Day,
}

impl Step {
    pub(super) const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// What it is called in the column `step`, and at the end of a view's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }

    /// The name of a view, or of a table of one step, without the step.
    pub(super) fn stem(name: &str) -> Option<&str> {
        let (stem, ending) = name.rsplit_once('_')?;
        Self::ALL.iter().any(|step| step.name() == ending).then_some(stem)
    }
}

/// The views of a table of several steps that have a time of their own; `None`: it is none.
pub(super) fn views(table: &str) -> Option<[(String, Step); 3]> {
    let stem = table.strip_suffix(ROLLUP)?;
    Some(Step::ALL.map(|step| (format!("{stem}_{}", step.name()), step)))
}

/// The time of each step, in the order of [`Step::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keeps(pub(super) [Keep; 3]);

impl Keeps {
    /// Nothing ever goes.
    pub(super) const FOREVER: Self = Self([Keep::Forever; 3]);

    /// What a TTL says; `None` for one that is not of our making. A table without one keeps everything.
    pub(super) fn of_ttl(ttl: &str) -> Option<Self> {
        if ttl.is_empty() {
            return Some(Self::FOREVER);
        }
        let (minutes, rest) = ttl.strip_prefix("multiIf(step = '1m', ")?.split_once(", step = '1h', ")?;
        let (hours, days) = rest.strip_suffix(')')?.split_once(", ")?;
        let keep = |ttl: &str| if ttl == NEVER { Some(Keep::Forever) } else { Keep::of_ttl(ttl) };
        Some(Self([keep(minutes)?, keep(hours)?, keep(days)?]))
    }

    /// The TTL that says it, of rows as old as `column` says.
    pub(super) fn ttl(self, column: &str) -> String {
        let [minutes, hours, days] = self.0.map(|keep| keep.ttl(column).unwrap_or_else(|| NEVER.to_owned()));
        format!("multiIf(step = '1m', {minutes}, step = '1h', {hours}, {days})")
    }

    pub(super) fn get(self, step: Step) -> Keep {
        self.0[step as usize]
    }

    pub(super) fn with(mut self, step: Step, keep: Keep) -> Self {
        self.0[step as usize] = keep;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retention::Unit;

    #[test]
    fn a_ttl_says_the_time_of_each_step() {
        let ttl = "multiIf(step = '1m', time + toIntervalDay(90), step = '1h', time + toIntervalYear(2), toDateTime(4294967295))";
        let keeps = Keeps::of_ttl(ttl).unwrap();
        assert_eq!(keeps, Keeps([Keep::For(90, Unit::Day), Keep::For(2, Unit::Year), Keep::Forever]));
        let others =
            [keeps, keeps.with(Step::Hour, Keep::Forever), Keeps([Keep::For(1, Unit::Week); 3]), Keeps::FOREVER];
        for keeps in others {
            assert_eq!(Keeps::of_ttl(&keeps.ttl("time")), Some(keeps));
        }
        for ttl in [
            "time + toIntervalDay(90)",
            "multiIf(step = '1m', time + toIntervalDay(90), time)",
            "multiIf(step = '1m', time + toIntervalHour(1), step = '1h', time + toIntervalDay(1), toDateTime(4294967295))",
            "multiIf(step = '1w', time + toIntervalDay(90), step = '1h', time + toIntervalDay(1), toDateTime(4294967295))",
        ] {
            assert_eq!(Keeps::of_ttl(ttl), None, "{ttl}");
        }
    }

    #[test]
    fn a_name_ends_with_its_step() {
        assert_eq!(Step::stem("interactions_by_cluster_1h"), Some("interactions_by_cluster"));
        assert_eq!(Step::stem("interactions_by_cluster_rollup"), None);
        assert_eq!(views("a_rollup").unwrap()[2], ("a_1d".to_owned(), Step::Day));
        assert_eq!(views("a_1d"), None);
    }
}
