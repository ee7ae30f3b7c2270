//! What can go wrong between a bot and Discord: each fault leaves the right `shard_events`, exactly once, and replayed
//! dispatches are not counted twice.
//!
//! Each shard of one bot gets one fault. The expected rows are told as `event cause initiator code`, in order.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod line;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use line::Line;
use shardlake_simulator::{Fault, LedgerSnapshot, Profile, Scenario, Traffic};

const HEARTBEAT_MS: u64 = 1_000;
const STUCK_AFTER: Duration = Duration::from_secs(4);

const START: &[&str] = &["connecting", "identifying", "ready"];
const RESUME: &[&str] = &["connecting", "resuming", "resumed"];
const IDENTIFY: &[&str] = START;

/// A fault, and the rows that follow the start.
struct Case {
    fault: Fault,
    rows: Vec<&'static str>,
    /// The shard hangs: what it waits for. It is freed by a reset then, and the rows after that.
    stuck: Option<(&'static str, Vec<&'static str>)>,
}

fn case(fault: Fault, parts: &[&[&'static str]]) -> Case {
    Case { fault, rows: parts.concat(), stuck: None }
}

fn stuck(fault: Fault, parts: &[&[&'static str]], row: &'static str, freed: &[&[&'static str]]) -> Case {
    Case { fault, rows: parts.concat(), stuck: Some((row, freed.concat())) }
}

const RESET: &[&str] = &["closed network 1006", "disconnected reset network"];
const SILENT: &[&str] = &["disconnected silent network"];
const OP7: &[&str] = &["reconnect_requested", "disconnected op7 server"];
const OP9: &[&str] = &["invalid_session", "disconnected op9 server"];

fn cases() -> Vec<Case> {
    vec![
        case(Fault::Reconnect, &[OP7, &["closed client 4000"], RESUME]),
        case(Fault::InvalidSession { resumable: true }, &[OP9, &["closed client 4000"], RESUME]),
        case(Fault::InvalidSession { resumable: false }, &[OP9, &["closed client 1000"], IDENTIFY]),
        case(Fault::Reset, &[RESET, RESUME]),
        case(Fault::Fin, &[SILENT, RESUME]),
        case(Fault::Mute, &[&["closed network 1006", "disconnected zombied network"], RESUME]),
        case(Fault::AcksWithheld, &[]),
        case(Fault::Close { code: 4000 }, &[&["closed server 4000", "disconnected server_close server 4000"], RESUME]),
        case(Fault::Close { code: 1001 }, &[&["closed server 1001", "disconnected server_close server 1001"], RESUME]),
        case(Fault::Close { code: 4014 }, &[&["closed server 4014", "disconnected server_close server 4014", "fatal"]]),
        stuck(Fault::HelloNeverSent, &[SILENT, &["connecting"]], "stuck hello", &[RESET, RESUME]),
        stuck(
            Fault::IdentifyNeverAnswered,
            &[OP9, &["closed client 1000", "connecting", "identifying"]],
            "stuck ready",
            &[RESET, IDENTIFY],
        ),
        stuck(Fault::ResumeNeverAnswered, &[SILENT, &["connecting", "resuming"]], "stuck resumed", &[RESET, RESUME]),
        stuck(Fault::CloseNeverCompleted, &[OP7], "stuck close", &[RESUME]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_leaves_the_right_rows_exactly_once() {
    let cases = cases();
    let shards = u32::try_from(cases.len()).unwrap();
    let line = Line::start(Scenario {
        seed: 11,
        shards,
        guilds: 5 * shards,
        users: 500,
        max_concurrency: shards,
        identify_window_ms: 50,
        heartbeat_interval_ms: HEARTBEAT_MS,
        ..Scenario::default()
    })
    .await;
    let cluster = line.cluster(0, 1, |config| config.stuck_after = STUCK_AFTER);
    line.until(shards.into(), "SELECT count() FROM shard_events WHERE event = 'ready'").await;

    let mut before = line.discord.traffic(&Traffic::of(Profile::Normal).unpaced().budget(50));
    before.sent().await;
    let (unnamed, named): (Vec<_>, Vec<_>) =
        (0..).zip(&cases).partition(|(_, case)| matches!(case.fault, Fault::HelloNeverSent));
    for (shard, case) in named {
        line.discord.inject(shard, case.fault);
    }
    // Before its IDENTIFY a new session's connection has no name, and could be taken for the one that gets no HELLO.
    let starts = cases.iter().filter(|case| case.rows.contains(&"identifying")).count() as u64;
    line.until(u64::from(shards) + starts, "SELECT count() FROM shard_events WHERE event = 'identifying'").await;
    for (shard, case) in unnamed {
        line.discord.inject(shard, case.fault);
    }
    // What comes up while shards are away is replayed when they return. It also keeps the shard alive that gets no ACKs.
    let during = line.discord.traffic(&Traffic { seed: Some(12), ..Traffic::of(Profile::Normal) });

    let hanging = (0..).zip(&cases).filter(|(_, case)| case.stuck.is_some()).map(|(shard, _)| shard);
    let hanging: Vec<u32> = hanging.collect();
    line.until(hanging.len() as u64, "SELECT count() FROM shard_events WHERE event = 'stuck'").await;
    for shard in &hanging {
        line.discord.inject(*shard, Fault::Reset);
    }
    let recovered = cases.iter().filter(|case| recovers(case)).count() as u64;
    line.until(u64::from(shards) + recovered, "SELECT count() FROM shard_events WHERE event IN ('ready', 'resumed')")
        .await;
    drop(during);

    let receipt = cluster.stop().await;
    assert!(receipt.holds() && receipt.dropped() == 0, "{receipt}");
    let told = told(&line).await;
    for (shard, case) in (0..).zip(&cases) {
        assert_eq!(told[&shard], expected(case), "shard {shard}: {:?}", case.fault);
    }
    replays_are_counted_once(&line, &line.discord.ledger()).await;
    line.stop().await;
}

fn recovers(case: &Case) -> bool {
    let last = case.stuck.as_ref().map_or(&case.rows, |(_, freed)| freed).last();
    last.is_some_and(|row| matches!(*row, "ready" | "resumed"))
}

fn expected(case: &Case) -> Vec<String> {
    let mut rows = [START, &case.rows].concat();
    if let Some((stuck, freed)) = &case.stuck {
        rows.push(stuck);
        rows.extend(freed);
    }
    // At the end every shard that lives is closed by us. The two come in one poll or in two, so in either order.
    if rows.last() != Some(&"fatal") {
        rows.extend(["closed client 1000", "disconnected client_close client"]);
    }
    rows.into_iter().map(str::to_owned).collect()
}

/// The rows of each shard, in order.
async fn told(line: &Line) -> BTreeMap<u32, Vec<String>> {
    let sql = "SELECT shard, toString(event), toString(cause), toString(initiator), close_code FROM shard_events ORDER BY shard, time";
    let rows: Vec<(u16, String, String, String, u16)> = line.rows(sql).await;
    let mut told: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (shard, event, cause, initiator, code) in rows {
        let code = if code == 0 { String::new() } else { code.to_string() };
        let parts: Vec<_> = [event, cause, initiator, code].into_iter().filter(|part| !part.is_empty()).collect();
        told.entry(shard.into()).or_default().push(parts.join(" "));
    }
    for rows in told.values_mut() {
        if let Some(end) = rows.len().checked_sub(2).filter(|end| rows[*end] == "disconnected client_close client") {
            rows[end..].sort();
        }
    }
    told
}

async fn replays_are_counted_once(line: &Line, sent: &LedgerSnapshot) {
    let sql = "SELECT shard, toString(event), toUInt64(sum(dispatches)), toUInt64(sum(replayed)) FROM gateway_counts GROUP BY ALL";
    let stored: Vec<(u16, String, u64, u64)> = line.rows(sql).await;
    let stored: BTreeSet<_> = stored.into_iter().map(|row| (u32::from(row.0), row.1, row.2, row.3)).collect();
    let mut expected = BTreeSet::new();
    let mut replayed = 0;
    for (shard, ledger) in &sent.shards {
        for (event, tally) in ledger.dispatches.iter().filter(|(_, tally)| tally.distinct() > 0) {
            replayed += tally.late + tally.resent;
            expected.insert((*shard, event.to_string(), tally.distinct(), tally.late + tally.resent));
        }
    }
    assert!(replayed > 0, "something was replayed");
    assert_eq!(stored, expected);
    let on_resume: Vec<u64> =
        line.rows("SELECT toUInt64(sum(replayed)) FROM shard_events WHERE event = 'resumed'").await;
    assert_eq!(on_resume[0], replayed, "the recovery says how much was replayed");
}
