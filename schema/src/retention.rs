//! How long tables keep their rows.
//!
//! The migrations give each table the time that suits most; an operator may choose another, which is kept in the live
//! table's TTL and nowhere else. Rows go by whole parts, once the newest row of a part is past its time
//! (`ttl_only_drop_parts`), so they may stay longer than asked for by the length of a partition.
//!
//! A part carries the moment at which it expires from when it was written. A new TTL alone would leave old parts with their
//! old moment: too long after a shorter one, and *gone too soon* after a longer one. ClickHouse therefore has to note new
//! moments (`materialize_ttl_after_modify`). Where parts go as a whole it reads the column of time for that and writes
//! nothing but the notes: the data of a wide part stays the same file. Only small parts (compact ones, below 10 MB) are
//! written anew, and `processes`, which has no partitions and a row for each start of a process.

mod live;
mod steps;

use std::{fmt, str::FromStr};

use clickhouse::Client;

pub use self::live::Change;
pub(crate) use self::live::carried_over;
use crate::topology::Topology;

/// The longest time, in days: 50 years. A `DateTime` ends in 2106, and an expiry past it would wrap around to the past.
const LONGEST_DAYS: u32 = 50 * 365;

/// A time that rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Until somebody deletes them.
    Forever,
    /// At least for so many units.
    For(u32, Unit),
}

/// A unit of [`Keep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// 24 hours, written `d`.
    Day,
    /// Seven days, written `w`.
    Week,
    /// A calendar month, written `mo`.
    Month,
    /// A calendar year, written `y`.
    Year,
}

impl Unit {
    const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Year];

    fn suffix(self) -> &'static str {
        match self {
            Self::Day => "d",
            Self::Week => "w",
            Self::Month => "mo",
            Self::Year => "y",
        }
    }

    /// ClickHouse's function for an interval of this unit.
    fn function(self) -> &'static str {
        match self {
            Self::Day => "toIntervalDay",
            Self::Week => "toIntervalWeek",
            Self::Month => "toIntervalMonth",
            Self::Year => "toIntervalYear",
        }
    }

    /// Its length in days, at most.
    fn days(self) -> u32 {
        match self {
            Self::Day => 1,
            Self::Week => 7,
            Self::Month => 31,
            Self::Year => 366,
        }
    }
}

impl Keep {
    /// For comparing; months and years count with their longest.
    fn days(self) -> u32 {
        match self {
            Self::Forever => u32::MAX,
            Self::For(count, unit) => count.saturating_mul(unit.days()),
        }
    }

    /// The TTL of a table whose rows are as old as `column` says, as ClickHouse writes it; `None`: no TTL.
    fn ttl(self, column: &str) -> Option<String> {
        match self {
            Self::Forever => None,
            Self::For(count, unit) => Some(format!("toDateTime({column}) + {}({count})", unit.function())),
        }
    }

    /// The other way round; `None` for a TTL that is not of our making.
    fn of_ttl(ttl: &str) -> Option<Self> {
        // Migrations also write the bare column, where it is a DateTime already.
        let (column, interval) = ttl.split_once(" + ")?;
        let column = column.strip_prefix("toDateTime(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(column);
        if !column.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return None;
        }
        let unit = Unit::ALL.into_iter().find(|unit| interval.starts_with(&format!("{}(", unit.function())))?;
        let count = interval[unit.function().len()..].strip_prefix('(')?.strip_suffix(')')?;
        Some(Self::For(count.parse().ok()?, unit))
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forever => f.write_str("forever"),
            Self::For(count, unit) => write!(f, "{count}{}", unit.suffix()),
        }
    }
}

impl FromStr for Keep {
    type Err = RetentionError;

    fn from_str(text: &str) -> Result<Self, RetentionError> {
        if text == "forever" {
            return Ok(Self::Forever);
        }
        let wrong = || RetentionError::NoTime { text: text.to_owned() };
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let unit = Unit::ALL.into_iter().find(|unit| unit.suffix() == &text[digits..]).ok_or_else(wrong)?;
        let keep = Self::For(text[..digits].parse().map_err(|_| wrong())?, unit);
        if keep.days() == 0 || keep.days() > LONGEST_DAYS {
            return Err(wrong());
        }
        Ok(keep)
    }
}

/// How long one table is to keep its rows: `interactions=180d`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// The table.
    pub table: String,
    /// For how long.
    pub keep: Keep,
}

impl FromStr for Retention {
    type Err = RetentionError;

    fn from_str(text: &str) -> Result<Self, RetentionError> {
        let (table, keep) = text.split_once('=').ok_or_else(|| RetentionError::NoTable { text: text.to_owned() })?;
        Ok(Self { table: table.trim().to_owned(), keep: keep.trim().parse()? })
    }
}

/// Why retention could not be set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetentionError {
    /// A text that is not `table=time`.
    #[error("`{text}` does not say which table keeps its rows for how long; write it as interactions=180d")]
    NoTable {
        /// The text.
        text: String,
    },
    /// A text that is not a time.
    #[error("`{text}` is not a time to keep rows; write a number from 1 and d, w, mo or y, up to 49y, or `forever`")]
    NoTime {
        /// The text.
        text: String,
    },
    /// There is no such table.
    #[error("there is no table `{table}` in `{database}` that retention could be set for; there are {known}")]
    UnknownTable {
        /// What was asked for.
        table: String,
        /// The database.
        database: String,
        /// Tables that have one.
        known: String,
    },
    /// A table was named twice.
    #[error("`{table}` is named twice; say once how long it keeps its rows")]
    Twice {
        /// The table.
        table: String,
    },
    /// ClickHouse refused a statement or could not be reached.
    #[error("the retention of `{table}` could not be set or read; fix the cause and run it again")]
    ClickHouse {
        /// The table, or what was looked at.
        table: String,
        /// What ClickHouse said.
        source: clickhouse::error::Error,
    },
}

/// What setting `wanted` would change in `database`, and what would be dropped. Tables that have what is wanted already are
/// left out. Changes nothing.
///
/// # Errors
/// [`RetentionError`]; a table that is not there is one.
pub async fn plan(client: &Client, database: &str, wanted: &[Retention]) -> Result<Vec<Change>, RetentionError> {
    // The database may not be there, `system` always is.
    live::changes(&client.clone().with_database("system"), database, wanted).await
}

/// Sets the retention of each table in `wanted`, and leaves all others. Returns what it changed.
///
/// Rows that are past their time go in the background, when the server next looks: within four hours.
///
/// # Errors
/// [`RetentionError`]; a table that is not there is one, and then nothing is changed. Cancel safety: tables are changed one
/// after the other, each as a whole.
pub async fn set(client: &Client, database: &str, wanted: &[Retention]) -> Result<Vec<Change>, RetentionError> {
    set_on(client, database, &Topology::Single, wanted).await
}

/// [`set`] where tables live on `topology`: of a ClickHouse cluster without replicas, on the node that `client` reaches.
///
/// # Errors
/// Those of [`set`].
pub async fn set_on(
    client: &Client,
    database: &str,
    topology: &Topology,
    wanted: &[Retention],
) -> Result<Vec<Change>, RetentionError> {
    let client = client.clone().with_database(database);
    let changes = live::changes(&client, database, wanted).await?;
    for change in &changes {
        live::carry_out(&client, database, topology, change).await?;
        tracing::info!(table = change.table, from = change.from, to = %change.to, "retention set");
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_its_unit() {
        for text in ["1d", "180d", "26w", "6mo", "2y", "49y", "forever"] {
            let keep: Keep = text.parse().unwrap();
            assert_eq!(keep.to_string(), text);
            assert_eq!(keep.ttl("time").and_then(|ttl| Keep::of_ttl(&ttl)).unwrap_or(Keep::Forever), keep);
        }
        for wrong in ["", "d", "180", "0d", "-1d", "1.5y", "3m", "3 d", "51y", "99999999999d", "18251d", "ever", "５d"]
        {
            assert!(wrong.parse::<Keep>().is_err(), "{wrong}");
        }
        let samples: Retention = "samples = 14d".parse().unwrap();
        assert_eq!((samples.table.as_str(), samples.keep), ("samples", Keep::For(14, Unit::Day)));
        assert!("samples".parse::<Retention>().is_err());
    }

    #[test]
    fn a_ttl_of_somebody_else_is_not_taken_for_ours() {
        assert_eq!(Keep::of_ttl("time + toIntervalDay(90)"), Some(Keep::For(90, Unit::Day)));
        for ttl in [
            "toDateTime(time) + toIntervalHour(1)",
            "toDateTime(time) + toIntervalDay(1) WHERE x",
            "toDateTime(time + 1) + toIntervalDay(1)",
            "least(time, now()) + toIntervalDay(1)",
        ] {
            assert_eq!(Keep::of_ttl(ttl), None, "{ttl}");
        }
    }
}
