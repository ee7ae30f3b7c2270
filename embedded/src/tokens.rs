//! Deduplication tokens that a killed server noted without keeping their rows.
//!
//! A `MergeTree` table notes the token of an insert in `deduplication_logs/` and then moves its part into place (ClickHouse 26.7,
//! `MergeTreeDeduplicationLog`). A server that dies in between, or a machine whose power fails soon after, takes the retry for a
//! repetition: it answers 200 and stores nothing. Of a raw table a writer can see that. Of the table behind a materialized view
//! nobody can, and the rollup lacks those rows for ever.
//!
//! So before a server starts, each such token is taken back, with the line that ClickHouse itself adds when a part is dropped. The
//! retry, with the same token, then adds exactly what is missing.
//!
//! Parts get their numbers and places under one lock, so such tokens are the last ones of their table. Only those are looked at: from
//! the end of the notes back to the first whose part is there, or went into a larger one. What is not understood, and tables that
//! may have parts on other disks, are left alone: a token too many taken back would count rows twice.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::data_dir::{Status, let_go, lock_status};
use crate::error::Error;

/// Where a table keeps its notes, and how their files are called: with a number, from 1, that grows.
const NOTES: &str = "deduplication_logs";
const NOTES_PREFIX: &str = "deduplication_log_";

/// The operations of a line.
const ADD: &str = "1";
const DROP: &str = "2";

/// Takes back the tokens that a server noted without keeping their rows. To be called while it is down, before it starts.
///
/// `clickhouse_path` is ClickHouse's `<path>`, such as `/var/lib/clickhouse`; within an embedded server's directory it is `engine/`.
/// Returns how many tokens were taken back. It may be called any number of times. Replicated tables keep their tokens elsewhere, and
/// are not touched.
///
/// # Errors
/// [`Error::PathInUse`] while a server is up; [`Error::File`] if a file cannot be read or written. What was done before
/// stays done, and is right.
pub fn take_back_spent_tokens(clickhouse_path: &Path) -> Result<u64, Error> {
    let store = clickhouse_path.join("store");
    if !exists(&store)? {
        return Ok(0); // it has never been up
    }
    let status = match lock_status(clickhouse_path)? {
        Status::Down(file) => file, // and stays so while this is locked
        Status::Up(pid) => return Err(Error::PathInUse { path: clickhouse_path.into(), pid }),
    };
    let tables = directories(&store)?.iter().map(|prefix| directories(prefix)).collect::<Result<Vec<_>, _>>()?.concat();
    let elsewhere = tables_on_other_disks(&tables)?;
    let mut taken_back = 0;
    for table in tables.iter().filter(|table| !elsewhere.contains(name(table))) {
        taken_back += of_table(table)?;
    }
    status.as_ref().map(let_go);
    Ok(taken_back)
}

/// Of the table whose parts lie in `table`.
fn of_table(table: &Path) -> Result<u64, Error> {
    let notes = table.join(NOTES);
    if !exists(&notes)? {
        return Ok(0);
    }
    let mut files: Vec<(u64, PathBuf)> =
        entries(&notes)?.into_iter().filter_map(|path| Some((number(&path)?, path))).collect();
    files.sort_unstable();
    let Some((_, newest)) = files.last() else { return Ok(0) };
    let mut text = String::new();
    for (_, file) in &files {
        text += &fs::read_to_string(file).map_err(failed("read", file))?;
    }
    let folders = directories(table)?;
    let parts: Vec<_> = folders.iter().filter_map(|path| Part::parse(name(path))).collect();
    let Some(spent) = spent(&text, &parts) else {
        warn!(path = %notes.display(), "tokens are noted there in a form that is not known, they are left as they are");
        return Ok(0);
    };
    if spent.is_empty() {
        return Ok(0);
    }
    let lines = spent.iter().map(|(part, token)| format!("{DROP}\t{part}\t{token}\n")).collect::<Vec<_>>().concat();
    let append = |mut file: File| file.write_all(lines.as_bytes()).and_then(|()| file.sync_data());
    OpenOptions::new().append(true).open(newest).and_then(append).map_err(failed("write", newest))?;
    Ok(spent.len() as u64)
}

/// The newest tokens, with the names of their parts, of which none of `parts` has the rows. `None`: `notes` are not understood.
fn spent<'a>(notes: &'a str, parts: &[Part<'_>]) -> Option<Vec<(&'a str, &'a str)>> {
    if !notes.is_empty() && !notes.ends_with('\n') {
        return None;
    }
    let mut lines = Vec::new();
    for line in notes.lines() {
        let (operation, rest) = line.split_once('\t')?;
        let (part, token) = rest.split_once('\t')?;
        lines.push((operation, part, Part::parse(part)?, token));
    }
    let (mut spent, mut taken_back) = (Vec::new(), BTreeSet::new());
    for (operation, name, part, token) in lines.into_iter().rev() {
        match operation {
            DROP => drop(taken_back.insert(token)),
            ADD if taken_back.contains(token) => {}
            ADD if parts.iter().any(|kept| kept.covers(&part)) => break,
            ADD => spent.push((name, token)),
            _ => return None,
        }
    }
    Some(spent)
}

/// What a part's name says of it: `202611_5_8_1` has blocks 5 to 8 of partition 202611, merged once; a mutation adds a number.
#[derive(Debug, PartialEq, Eq)]
struct Part<'a> {
    partition: &'a str,
    first_block: u64,
    last_block: u64,
}

impl<'a> Part<'a> {
    /// `None` for other names, such as `detached` or `tmp_insert_202611_5_5_0`, and `20261101_20261130_5_8_1` as they were of old.
    fn parse(name: &'a str) -> Option<Self> {
        let fields: Vec<&str> = name.split('_').collect();
        let ([partition, first_block, last_block, _level] | [partition, first_block, last_block, _level, _]) =
            fields[..]
        else {
            return None;
        };
        let (first_block, last_block) = (first_block.parse().ok()?, last_block.parse().ok()?);
        (first_block <= last_block).then_some(Self { partition, first_block, last_block })
    }

    fn covers(&self, other: &Part<'_>) -> bool {
        self.partition == other.partition
            && self.first_block <= other.first_block
            && self.last_block >= other.last_block
    }
}

/// Identifiers of tables that name a disk or a storage policy. Their definitions lie in the folders of their databases.
fn tables_on_other_disks(folders: &[PathBuf]) -> Result<BTreeSet<String>, Error> {
    let mut elsewhere = BTreeSet::new();
    for folder in folders {
        for file in entries(folder)?.iter().filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        {
            let definition = fs::read_to_string(file).map_err(failed("read", file))?;
            let names_one = ["storage_policy = ", "disk = "].iter().any(|setting| definition.contains(setting));
            let uuid = definition.split('\'').nth(1);
            elsewhere.extend(uuid.filter(|_| names_one).map(str::to_owned));
        }
    }
    Ok(elsewhere)
}

/// The number of a file of notes.
fn number(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.strip_prefix(NOTES_PREFIX)?.parse().ok()
}

/// The last component of a path; nothing that ClickHouse names is not UTF-8.
fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn directories(path: &Path) -> Result<Vec<PathBuf>, Error> {
    Ok(entries(path)?.into_iter().filter(|path| path.is_dir()).collect())
}

fn entries(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = || fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
    read().map_err(failed("read", path))
}

fn exists(path: &Path) -> Result<bool, Error> {
    path.try_exists().map_err(failed("find", path))
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::File { action, path: path.into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<'a>(names: &[&'a str]) -> Vec<Part<'a>> {
        names.iter().filter_map(|name| Part::parse(name)).collect()
    }

    #[test]
    fn the_last_tokens_without_a_part_are_spent() {
        let notes = "1\tday_1_1_0\ta\n1\tmonth_2_2_0\tb\n1\tday_3_3_0\tc\n1\tmonth_4_4_0\td\n";
        assert_eq!(spent(notes, &parts(&["day_1_3_1", "month_2_2_0"])), Some(vec![("month_4_4_0", "d")]));
        assert_eq!(spent(notes, &parts(&["day_1_1_0", "month_2_2_0"])).unwrap().len(), 2);
        assert_eq!(
            spent(notes, &parts(&["day_1_1_0", "month_4_4_0_9"])),
            Some(vec![]),
            "older ones are none of a crash"
        );
        assert_eq!(spent(notes, &parts(&["tmp_insert_month_4_4_0", "detached"])).unwrap().len(), 4);
    }

    #[test]
    fn what_was_taken_back_is_not_again() {
        let notes = "1\tday_1_1_0\ta\n1\tday_2_2_0\tb\n2\tday_2_2_0\tb\n";
        assert_eq!(spent(notes, &parts(&["day_1_1_0"])), Some(vec![]));
        assert_eq!(spent("", &[]), Some(vec![]));
    }

    #[test]
    fn other_forms_are_left_alone() {
        for notes in [
            "1\tday_1_1_0\ta\n1\tday_2_2_0\tb",
            "1\t20261101_20261130_5_5_0\ta\n",
            "3\tday_1_1_0\ta\n",
            "1 day_1_1_0 a\n",
            "1\tday\ta\n",
            "\n",
        ] {
            assert_eq!(spent(notes, &[]), None, "{notes:?}");
        }
    }
}
