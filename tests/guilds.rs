//! Guilds that come and go, outages, lost sessions and restarts: `guild_events` holds what happened to guilds by the simulator's
//! own record, each once, and no start of a session or of a process is taken for a join.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod line;

use std::{collections::BTreeMap, time::Duration};

use line::{Cluster, Line, PATIENCE};
use shardlake_ingest::Receipt;
use shardlake_schema::Table;
use shardlake_simulator::{Fault, GuildChange, LedgerSnapshot, Scenario};
use tokio::time::{Instant, sleep};

const SHARDS: u32 = 4;
const GUILDS_PER_SHARD: u32 = 5;

/// Shard, guild, event, members, and when the bot joined, in Unix milliseconds.
type Told = (u16, u64, String, u32, i64);

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_to_guilds_is_told_once_and_no_start_is_a_join() {
    let line = Line::start(Scenario {
        seed: 5,
        shards: SHARDS,
        guilds: SHARDS * GUILDS_PER_SHARD,
        users: 500,
        max_concurrency: SHARDS,
        identify_window_ms: 50,
        ..Scenario::default()
    })
    .await;
    let cluster = line.cluster(0, 1, |_| {});
    sessions_are_counted(&line, SHARDS.into()).await;

    // Shard 0 is there all the time, shard 1 is away and resumes, shard 2 is away and its session is lost.
    change(&line, 0, &[(GuildChange::Unavailable, 3), (GuildChange::Available, 3)]);
    change(&line, 0, &[(GuildChange::Left, 2), (GuildChange::Joined, 1)]);
    away(&line, 1, Fault::Reset).await;
    change(&line, 1, &[(GuildChange::Left, 2), (GuildChange::Joined, 1), (GuildChange::Unavailable, 1)]);
    away(&line, 2, Fault::InvalidSession { resumable: false }).await;
    change(&line, 2, &[(GuildChange::Left, 3), (GuildChange::Joined, 1)]);
    // Shard 3 has an outage that goes on in its next session.
    change(&line, 3, &[(GuildChange::Unavailable, 2)]);
    line.discord.inject(3, Fault::InvalidSession { resumable: false });
    sessions_are_counted(&line, u64::from(SHARDS) + 2).await;
    change(&line, 3, &[(GuildChange::Available, 1)]);

    let sent = line.discord.ledger();
    let changes = sent.guilds.len() as u64;
    line.until(changes, "SELECT count() FROM guild_events WHERE event != 'counted'").await;
    let receipt = cluster.stop().await;
    let first_boot = all_told(&line, 0).await;
    assert_eq!(first_boot, expected(&sent));
    counts_agree(&line, &sent).await;
    batches_agree(&line, &receipt).await;

    a_restart_tells_only_of_outages(&line, &sent).await;
    line.stop().await;
}

/// A new process meets 3 + 1 joined guilds and 2 outages that are not over.
async fn a_restart_tells_only_of_outages(line: &Line, sent: &LedgerSnapshot) {
    let last: Vec<u64> = line.rows("SELECT max(boot) FROM guild_events").await;
    let cluster: Cluster = line.cluster(0, 1, |_| {});
    sessions_are_counted(line, u64::from(SHARDS) + 2 + u64::from(SHARDS)).await;
    assert!(cluster.stop().await.holds());
    let told: Vec<(u16, u64, String)> =
        all_told(line, last[0]).await.into_iter().map(|row| (row.0, row.1, row.2)).collect();
    let mut last_change: BTreeMap<u64, (u16, GuildChange)> = BTreeMap::new();
    for record in &sent.guilds {
        last_change.insert(record.guild_id, (u16::try_from(record.shard).unwrap(), record.change));
    }
    let out = last_change.iter().filter(|(_, (_, change))| *change == GuildChange::Unavailable);
    let mut out: Vec<_> = out.map(|(guild, (shard, _))| (*shard, *guild, "unavailable".to_owned())).collect();
    out.sort();
    assert_eq!((out.len(), told), (2, out));
}

fn change(line: &Line, shard: u32, changes: &[(GuildChange, u32)]) {
    for (change, guilds) in changes {
        line.discord.inject(shard, Fault::Guilds { change: *change, guilds: *guilds });
    }
}

/// Takes the shard's connection, and waits until it has tried in vain to return.
async fn away(line: &Line, shard: u32, fault: Fault) {
    let refused = line.discord.ledger().connections_refused;
    line.discord.inject(shard, Fault::Refuse { for_ms: 1_000 });
    line.discord.inject(shard, fault);
    let deadline = Instant::now() + PATIENCE;
    while line.discord.ledger().connections_refused == refused {
        assert!(Instant::now() < deadline, "shard {shard} never came back");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until `sessions` sessions had all their guilds.
async fn sessions_are_counted(line: &Line, sessions: u64) {
    line.until(sessions, "SELECT count() FROM guild_events WHERE event = 'counted'").await;
}

/// What processes after this boot told of single guilds.
async fn all_told(line: &Line, after_boot: u64) -> Vec<Told> {
    let sql = format!(
        "SELECT shard, guild_id, toString(event), member_count, toUnixTimestamp64Milli(joined_at) FROM guild_events \
         WHERE event != 'counted' AND boot > {after_boot}"
    );
    let mut told: Vec<Told> = line.rows(&sql).await;
    told.sort();
    told
}

fn expected(sent: &LedgerSnapshot) -> Vec<Told> {
    let told = sent.guilds.iter().map(|record| {
        let event = match record.change {
            GuildChange::Joined => "joined",
            GuildChange::Left => "left",
            GuildChange::Unavailable => "unavailable",
            GuildChange::Available => "available",
        };
        let joined_at_ms = i64::try_from(record.joined_at_ms).unwrap();
        (u16::try_from(record.shard).unwrap(), record.guild_id, event.to_owned(), record.members, joined_at_ms)
    });
    let mut told: Vec<Told> = told.collect();
    told.sort();
    assert_eq!(told.len(), 3 + 3 + 2 + 1 + 2 + 1 + 1 + 3 + 1 + 2 + 1, "each change was possible");
    told
}

/// The first count of a shard, and its last row: what is between them is the joins and the farewells.
async fn counts_agree(line: &Line, sent: &LedgerSnapshot) {
    let sql = "SELECT shard, argMinIf(guilds, time, event = 'counted'), argMax(guilds, time), \
        argMinIf(member_count, time, event = 'counted'), argMaxIf(member_count, time, event = 'counted') \
        FROM guild_events GROUP BY shard ORDER BY shard";
    let counted: Vec<(u16, u32, u32, u32, u32)> = line.rows(sql).await;
    assert_eq!(counted.len(), SHARDS as usize);
    for (shard, guilds, guilds_then, members, members_then) in counted {
        let of_shard = sent.guilds.iter().filter(|record| record.shard == u32::from(shard));
        let (mut guilds_gone, mut members_gone) = (0, 0);
        for record in of_shard {
            let by = match record.change {
                GuildChange::Joined => -1,
                GuildChange::Left => 1,
                _ => 0,
            };
            guilds_gone += by;
            members_gone += by * i64::from(record.members);
        }
        assert_eq!((guilds, i64::from(guilds - guilds_then)), (GUILDS_PER_SHARD, guilds_gone), "shard {shard}");
        if shard >= 2 {
            assert_eq!(i64::from(members) - i64::from(members_then), members_gone, "shard {shard}: a new session");
        } else {
            assert_eq!(members, members_then, "shard {shard}: one count");
        }
    }
}

/// The view counts this table into `batches` too, and the process's own book agrees.
async fn batches_agree(line: &Line, receipt: &Receipt) {
    assert!(receipt.holds() && receipt.dropped() == 0, "{receipt}");
    let landed = receipt.accounts.iter().find(|account| account.table == Table::GuildEvents).unwrap().landed;
    let stored: Vec<u64> = line.rows("SELECT count() FROM guild_events").await;
    let counted: Vec<u64> = line.rows("SELECT sum(rows) FROM batches WHERE table = 'guild_events'").await;
    assert_eq!((stored[0], counted[0]), (landed, landed));
}
