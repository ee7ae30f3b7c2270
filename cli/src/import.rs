//! `shardlake import`: history from elsewhere.
//!
//! The unit is a day. Its rows are read in one order, matched (import/matching.rs), sorted by time and cut into batches of one
//! cluster, one partition and a fixed number of rows. Source and day make the boot, so the same row gets the same batch on
//! every run, and a batch that has landed is known by `batches`. Days are imported when nothing of them can change any more.

mod drop_in;

mod land;

mod part;

mod matching;

mod row;

mod source;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use clickhouse::Client;
use time::{Date, OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

use self::{land::Lander, matching::Day, part::Import, row::Bad, source::Source};
use crate::{
    clickhouse_options::{ClickhouseOptions, secret},
    progress::Progress,
};

/// Environment variable with the password for the source.
const PASSWORD_VARIABLE: &str = "SHARDLAKE_ARGUS_PASSWORD";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Import the table `argus_events` of Argus, or let running bots fill ours.
    ///
    /// A slash command, of which Argus keeps two rows, becomes one interaction: its receipt, and the success that is nearest
    /// to it. Receipts without a success become interactions with the outcome `received`. Argus knows neither failures nor
    /// users nor responses, so these stay empty. Interaction ids are made up, not Discord's: the millisecond of the
    /// receipt, then 10 bits of its microseconds, then 12 bits of the guild.
    ///
    /// Days older than `interactions` keeps are imported too: the rollups keep them, the rows go as their time to live says.
    ///
    /// Started again, it goes on where it was stopped, and imports what has been added since, nothing twice. A source is
    /// known by its address, database and table: name it the same way each time, or with --source.
    Argus(Box<Options>),
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// HTTP address of the ClickHouse that has `argus_events`.
    #[arg(long, required_unless_present = "drop_in")]
    from: Option<String>,
    /// Database of that table.
    #[arg(long, default_value = "default")]
    from_database: String,
    /// Name of that table, if it was renamed.
    #[arg(long, default_value = "argus_events")]
    from_table: String,
    /// User who may read it. Its password: `SHARDLAKE_ARGUS_PASSWORD`, or the file below.
    #[arg(long, default_value = "default")]
    from_user: String,
    /// File with that user's password.
    #[arg(long)]
    from_password_file: Option<PathBuf>,
    /// Identity of the source [default: address, database and table]. Batches are numbered by it.
    #[arg(long)]
    source: Option<String>,
    /// Import the days (UTC) that end at or before this date or RFC 3339 time [default: all that are over].
    #[arg(long, value_parser = until)]
    until: Option<OffsetDateTime>,
    /// Shards of the whole bot, which tell the shard from the guild; say the same each time. 1: all rows are of shard 0.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16_384))]
    shards_total: u16,
    /// Print the SQL that makes running bots with Argus feed our tables, and do nothing else.
    #[arg(long, conflicts_with = "from")]
    drop_in: bool,
    #[command(flatten)]
    clickhouse: ClickhouseOptions,
}

fn until(text: &str) -> Result<OffsetDateTime, String> {
    let date = Date::parse(text, format_description!("[year]-[month]-[day]")).map(|date| date.midnight().assume_utc());
    date.or_else(|_| OffsetDateTime::parse(text, &Rfc3339))
        .map_err(|_| "expected a date such as 2026-06-01 or a time such as 2026-06-01T00:00:00Z".to_owned())
}

pub(crate) async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let Command::Argus(options) = command;
    if options.drop_in {
        print!("{}", drop_in::SQL);
        return Ok(ExitCode::SUCCESS);
    }
    let end = end(options.until, OffsetDateTime::now_utc())?;
    let from = options.from.as_deref().unwrap_or_default();
    let password = secret(PASSWORD_VARIABLE, options.from_password_file.as_deref())?.unwrap_or_default();
    let client = Client::default().with_url(from).with_database(&options.from_database);
    let client = client.with_user(&options.from_user).with_password(password.reveal());
    let source = Source::new(client, &options.from_table);
    let identity =
        options.source.clone().unwrap_or_else(|| identity(from, &options.from_database, &options.from_table));

    let parts = source.parts(end.start_us()).await?;
    let mut summary = Summary { unreadable: source.unreadable().await?, ..Summary::default() };
    let mut progress = Progress::new("rows", parts.iter().map(|part| part.rows).sum());
    let lander = Lander::new(options.clickhouse.client()?, row::tag(&identity)).await?;
    let mut import = Import { source, lander, identity, shards_total: options.shards_total };
    for part in parts {
        let done = import.run(&part, &mut summary).await;
        done.with_context(|| format!("{} was not imported as a whole", part.day))?;
        progress.add(part.rows);
    }
    progress.finish();
    print!("{summary}");
    Ok(ExitCode::SUCCESS)
}

/// The first day that is not imported.
fn end(until: Option<OffsetDateTime>, now: OffsetDateTime) -> anyhow::Result<Day> {
    let us = |time: OffsetDateTime| i64::try_from(time.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX);
    let today = Day::of(us(now));
    let end = until.map_or(today, |until| Day::of(us(until)));
    let settled = |end: &Day| end.offset(-1).is_over_at_us() <= us(now);
    match until {
        None => Ok(if settled(&end) { end } else { end.offset(-1) }),
        Some(_) if settled(&end) => Ok(end),
        Some(_) => bail!("rows of the day before {end} may still come; it can be imported 70 minutes after its end"),
    }
}

/// Spelt in one way, whatever the slashes.
fn identity(from: &str, database: &str, table: &str) -> String {
    format!("{}/{database}/{table}", from.trim_end_matches('/'))
}

/// What was done.
#[derive(Debug, Default)]
struct Summary {
    read: u64,
    matched: u64,
    written: u64,
    known: u64,
    unreadable: u64,
    bad: BTreeMap<Bad, u64>,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "read                {:>12} rows of argus_events", self.read)?;
        writeln!(f, "matched             {:>12} commands with their receipts", self.matched)?;
        writeln!(f, "written             {:>12} interactions", self.written)?;
        writeln!(f, "already there       {:>12} interactions", self.known)?;
        writeln!(
            f,
            "bad: ts             {:>12} rows whose time cannot be read, or is not of 2015 to 2099",
            self.unreadable
        )?;
        for (reason, rows) in &self.bad {
            writeln!(f, "bad: {reason:<14} {rows:>12} rows")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn only_days_that_cannot_change_are_imported() {
        let end = |until, now| end(until, now).map(|day| day.to_string());
        let (early, late) = (datetime!(2026-06-02 01:09:59 UTC), datetime!(2026-06-02 01:10 UTC));
        assert_eq!(end(None, early).unwrap(), "2026-06-01");
        assert_eq!(end(None, late).unwrap(), "2026-06-02");
        assert_eq!(end(Some(datetime!(2026-05-07 13:00 UTC)), early).unwrap(), "2026-05-07");
        assert!(end(Some(datetime!(2026-06-02 00:00 UTC)), early).is_err());
        assert!(end(Some(datetime!(2026-06-03 00:00 UTC)), late).is_err());
        assert_eq!(until("2026-05-07").unwrap(), datetime!(2026-05-07 00:00 UTC));
        assert!(until("yesterday").is_err());
    }

    #[test]
    fn a_slash_makes_no_other_source() {
        assert_eq!(identity("http://a:8123/", "d", "t"), identity("http://a:8123", "d", "t"));
    }
}
