//! ClickHouse itself: does it answer, does its clock agree, and has it room to work?

use std::time::{Duration, SystemTime};

use clickhouse::Client;
use shardlake_embedded::ENGINE_VERSION;

use super::finding::{Findings, Level, some};
use crate::query::duration;

/// Of ClickHouse's words in a finding.
const MOST_CHARS: usize = 300;

/// A server that takes longer to say its version is in no state to answer questions.
const DEADLINE: Duration = Duration::from_secs(10);

/// Clocks of machines that are kept in time differ by less; what is more shows in delivery lag and freshness.
const SKEW_MS: i64 = 1_000;
/// With more, ranges of an hour begin to mean something else.
const GREAT_SKEW_MS: i64 = 60_000;

/// Of one partition. ClickHouse slows inserts down at 1,000 parts and refuses them at 3,000.
const MANY_PARTS: u64 = 300;
const TOO_MANY_PARTS: u64 = 1_000;

/// Of a disk, free: a merge needs as much as the parts it merges.
const LITTLE_PERCENT: u64 = 15;
const TOO_LITTLE_PERCENT: u64 = 5;

/// What must be there at all, and whether it is.
pub(super) async fn reach(client: &Client, address: &str) -> (Findings, bool) {
    let mut found = Findings::about("ClickHouse");
    let before_ms = now_ms();
    let sql = "SELECT version(), toInt64(uptime()), toUnixTimestamp64Milli(now64(3))";
    let asked = client.clone().with_database("system").query_raw(sql).fetch_one::<(String, i64, i64)>();
    let (version, up_s, server_ms) = match read(asked, DEADLINE).await {
        Ok(answer) => answer,
        Err(why) => {
            found.fail(
                format!("{address} does not answer: {why}"),
                "check --clickhouse-url, the user and its password, and that the server runs",
            );
            return (found, false);
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "no server runs for that long")]
    let up = duration(up_s as f64);
    let answers = format!("{address} answers: version {version}, up for {up}");
    if is_newer_than_tried(&version) {
        let tried = format!("{answers}; kills were tried up to {ENGINE_VERSION} only");
        found.warn(
            tried,
            "which of an insert's token and its rows ClickHouse keeps first may change: see deploy/README.md",
        );
    } else {
        found.ok(answers);
    }

    let half_way_ms = i64::midpoint(before_ms, now_ms());
    let skew_ms = server_ms - half_way_ms;
    let way = if skew_ms < 0 { "behind" } else { "ahead of" };
    let skew = format!("its clock is {} ms {way} this machine's", skew_ms.abs());
    match skew_ms.abs() {
        ..SKEW_MS => found.ok(skew),
        large => {
            let level = if large < GREAT_SKEW_MS { Level::Warning } else { Level::Failed };
            found.bad(level, skew, "keep both in time with NTP, as chrony or systemd-timesyncd do: lag and freshness are differences of clocks");
        }
    }
    (found, true)
}

/// Whether a server's year and month of release are later than those of the engine that `make torture` breaks.
fn is_newer_than_tried(version: &str) -> bool {
    let release = |version: &str| {
        let mut numbers = version.split('.').map(str::parse::<u32>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    release(version) > release(ENGINE_VERSION)
}

/// Whether it keeps up.
pub(super) async fn health(client: &Client, database: &str, user: &str) -> Findings {
    let mut found = Findings::about("ClickHouse");
    let looks = [
        ("parts", parts(client, database, &mut found).await),
        ("detached_parts", detached(client, database, &mut found).await),
        ("mutations", mutations(client, database, &mut found).await),
        ("disks", disks(client, &mut found).await),
    ];
    let unseen: Vec<String> =
        looks.iter().filter(|(_, seen)| seen.is_err()).map(|(table, _)| format!("system.{table}")).collect();
    if let Some((_, Err(why))) = looks.iter().find(|(_, seen)| seen.is_err()) {
        found.warn(
            format!("{user} cannot look into {}: {why}", unseen.join(", ")),
            format!(
                "run doctor as an administrator, or: GRANT {} TO {user}",
                unseen.iter().map(|table| format!("SELECT ON {table}")).collect::<Vec<_>>().join(", ")
            ),
        );
    }
    found
}

async fn parts(client: &Client, database: &str, found: &mut Findings) -> Result<(), String> {
    let sql = "SELECT table, max(parts) FROM (SELECT table, partition, count() AS parts FROM system.parts \
               WHERE database = {database:String} AND active GROUP BY table, partition) GROUP BY table ORDER BY 2 DESC";
    let asked = client.query_raw(sql).param("database", database).fetch_all::<(String, u64)>();
    let tables = read(asked, DEADLINE).await?;
    let most = tables.first().map_or(0, |(_, parts)| *parts);
    let many =
        tables.iter().filter(|(_, parts)| *parts > MANY_PARTS).map(|(table, parts)| format!("{table} ({parts})"));
    let many: Vec<String> = many.collect();
    let level = if most > TOO_MANY_PARTS { Level::Failed } else { Level::Warning };
    if many.is_empty() {
        found.ok(format!("merges keep up: no partition has more than {most} parts"));
    } else {
        found.bad(
            level,
            format!("merges do not keep up, parts in a partition: {}", some(&many)),
            "give ClickHouse more CPU or faster disks, or let clusters send more seldom: raise --batch-age-ms",
        );
    }
    Ok(())
}

async fn detached(client: &Client, database: &str, found: &mut Findings) -> Result<(), String> {
    let sql = "SELECT table, count(), coalesce(any(reason), '') FROM system.detached_parts \
               WHERE database = {database:String} GROUP BY table ORDER BY table";
    let asked = client.query_raw(sql).param("database", database).fetch_all::<(String, u64, String)>();
    let detached = read(asked, DEADLINE).await?;
    let tables = detached.iter().map(|(table, parts, reason)| {
        let reason = if reason.is_empty() { "by hand" } else { reason };
        format!("{table} ({parts}, {reason})")
    });
    let tables: Vec<String> = tables.collect();
    if tables.is_empty() {
        found.ok("no part is detached");
    } else {
        found.warn(
            format!("parts are detached, and their rows in no answer: {}", some(&tables)),
            "look into system.detached_parts and the server's log; ALTER TABLE … ATTACH PART what is whole, drop the rest",
        );
    }
    Ok(())
}

async fn mutations(client: &Client, database: &str, found: &mut Findings) -> Result<(), String> {
    let sql = "SELECT table, mutation_id, latest_fail_reason FROM system.mutations \
               WHERE database = {database:String} AND NOT is_done AND latest_fail_reason != '' ORDER BY create_time";
    let asked = client.query_raw(sql).param("database", database).fetch_all::<(String, String, String)>();
    for (table, id, reason) in read(asked, DEADLINE).await? {
        found.fail(
            format!("mutation {id} of {table} fails again and again: {}", first_line(&reason)),
            "mend what it says, or give it up with KILL MUTATION; merges of its parts wait for it",
        );
    }
    Ok(())
}

/// Disks that are elsewhere, such as object stores, have as much room as can be said.
async fn disks(client: &Client, found: &mut Findings) -> Result<(), String> {
    let sql = "SELECT name, free_space, total_space FROM system.disks WHERE total_space BETWEEN 1 AND 1000000000000000000 ORDER BY name";
    for (name, free, total) in read(client.query_raw(sql).fetch_all::<(String, u64, u64)>(), DEADLINE).await? {
        let percent = free.saturating_mul(100) / total;
        let what = format!("disk {name} has {} of {} GiB free, {percent} %", free >> 30, total >> 30);
        let level = if percent < TOO_LITTLE_PERCENT { Level::Failed } else { Level::Warning };
        match percent {
            LITTLE_PERCENT.. => found.ok(what),
            _ => found.bad(
                level,
                what,
                "make room: a larger disk, or shorter retention (`shardlake schema apply --retention`)",
            ),
        }
    }
    Ok(())
}

/// What ClickHouse says, or in a line why it does not.
pub(super) async fn read<T>(
    asked: impl Future<Output = clickhouse::error::Result<T>>,
    deadline: Duration,
) -> Result<T, String> {
    match tokio::time::timeout(deadline, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(innermost(&error)),
        Err(_) => Err(format!("not within {} s", deadline.as_secs())),
    }
}

/// The last cause says what happened; of ClickHouse's own words the first line is the reason.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let text = last.to_string();
    first_line(text.strip_prefix("bad response: ").unwrap_or(&text))
}

/// Of a long text of ClickHouse.
pub(super) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(MOST_CHARS).collect()
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_a_year_and_a_month() {
        for tried in [ENGINE_VERSION, "26.7.9.1", "25.12.1.1", "what is this?"] {
            assert!(!is_newer_than_tried(tried), "{tried}");
        }
        for newer in ["26.8.1.1", "26.10.1.1", "27.1.1.1"] {
            assert!(is_newer_than_tried(newer), "{newer}");
        }
    }
}
