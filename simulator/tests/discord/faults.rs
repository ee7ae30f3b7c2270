//! What goes wrong, and that the client comes through it as facts about twilight say.

use crate::client::{Client, scenario, until_ledger};
use shardlake_simulator::{Fault, GuildChange, Profile, ScheduledFault, Simulator, Traffic};
use std::sync::atomic::Ordering;
use twilight_gateway::{Intents, ShardId, ShardState};

/// A shard that is ready, with traffic behind it and some to come.
async fn ready() -> (Simulator, Client) {
    let simulator = Simulator::start(scenario(1)).await.expect("a free port");
    let client = Client::start(&simulator, 0, 1);
    client.ready(3).await;
    (simulator, client)
}

/// Injects, and waits until the shard is active again after `resumed` RESUMEDs and `ready` READYs. The
/// story in between.
async fn story(simulator: &Simulator, client: &Client, fault: Fault, (resumed, ready): (usize, usize)) -> Vec<String> {
    let start = client.log().trace.len();
    simulator.inject(0, fault);
    client
        .until("recovered", |log| {
            let active = log.state == Some(ShardState::Active);
            active && log.count("RESUMED") == resumed && log.count("READY") == ready
        })
        .await;
    let story = client.log().story_since(start).into_iter().map(str::to_owned).collect();
    client.agrees_with(simulator, 0).await;
    story
}

#[tokio::test]
async fn op7_is_resumed() {
    let (simulator, client) = ready().await;
    let story = story(&simulator, &client, Fault::Reconnect, (1, 1)).await;
    assert_eq!(story, ["op7", "close 4000", "op10", "RESUMED"]);
    let ledger = &simulator.ledger().shards[&0];
    assert_eq!(ledger.closes_received[&4000], 1, "the client's own code");
    assert_eq!((ledger.opcodes_sent[&7], ledger.resumes, ledger.resumed), (1, 1, 1));
    assert_eq!((ledger.identifies, ledger.closes_sent.len()), (1, 0));
}

#[tokio::test]
async fn what_came_up_while_the_client_was_away_is_replayed() {
    let (simulator, client) = ready().await;
    // Away for as long as the gateway refuses, while traffic goes on.
    simulator.inject(0, Fault::Refuse { for_ms: 500 });
    let start = client.log().trace.len();
    simulator.inject(0, Fault::Reset);
    until_ledger(&simulator, "refused", |ledger| ledger.connections_refused > 0).await;
    let mut run = simulator.traffic(&Traffic::of(Profile::Normal).budget(200).unpaced());
    run.sent().await;
    client.until("resumed", |log| log.count("RESUMED") == 1).await;
    client.agrees_with(&simulator, 0).await;
    let tallies = &simulator.ledger().shards[&0].dispatches;
    let late: u64 = tallies.values().map(|tally| tally.late).sum();
    assert_eq!(late, 200);
    let log = client.log();
    let story = log.story_since(start);
    assert_eq!(story[..2], ["close 1006", "error"], "cut off, then refused");
    assert_eq!(story.last(), Some(&"RESUMED"));
}

#[tokio::test]
async fn op9_true_is_resumed_and_op9_false_identifies_again() {
    let (simulator, client) = ready().await;
    let fault = Fault::InvalidSession { resumable: true };
    let first = story(&simulator, &client, fault, (1, 1)).await;
    assert_eq!(first, ["op9", "close 4000", "op10", "RESUMED"]);
    let fault = Fault::InvalidSession { resumable: false };
    let second = story(&simulator, &client, fault, (1, 2)).await;
    assert_eq!(second, ["op9", "close 1000", "op10", "READY"]);
}

#[tokio::test]
async fn rst_is_seen_and_fin_is_silent_and_both_are_resumed() {
    let (simulator, client) = ready().await;
    let rst = story(&simulator, &client, Fault::Reset, (1, 1)).await;
    assert_eq!(rst, ["close 1006", "op10", "RESUMED"]);
    let fin = story(&simulator, &client, Fault::Fin, (2, 1)).await;
    assert_eq!(fin, ["op10", "RESUMED"]);
}

#[tokio::test]
async fn a_reset_in_a_burst_loses_nothing_and_counts_copies_apart() {
    let (simulator, client) = ready().await;
    let mut run = simulator.traffic(&Traffic::of(Profile::Stress).budget(8_000).unpaced());
    // A client that does not read, until every buffer on the way is full.
    client.paused.store(true, Ordering::Relaxed);
    let (mut sent, mut standstill) = (0, 0);
    until_ledger(&simulator, "nothing moves any more", |ledger| {
        let now = ledger.distinct_total();
        standstill = if now == sent { standstill + 1 } else { 0 };
        sent = now;
        sent > 1_000 && standstill == 20
    })
    .await;
    simulator.inject(0, Fault::Reset);
    client.paused.store(false, Ordering::Relaxed);
    run.sent().await;
    client.agrees_with(&simulator, 0).await;
    let ledger = simulator.ledger();
    assert_eq!(ledger.distinct_total(), 1 + 3 + 1 + 8_000, "READY, guilds, RESUMED, traffic");
    let resent: u64 = ledger.shards[&0].dispatches.values().map(|tally| tally.resent).sum();
    assert!(resent > 0, "the reset cut something off");
}

#[tokio::test]
async fn every_code_that_lets_a_client_come_back() {
    let (simulator, client) = ready().await;
    for (n, code) in [1000, 1001, 4000, 4001, 4002, 4003, 4005, 4007, 4008, 4009].into_iter().enumerate() {
        let story = story(&simulator, &client, Fault::Close { code }, (n + 1, 1)).await;
        assert_eq!(story, [&format!("close {code}"), "op10", "RESUMED"]);
        assert_eq!(simulator.ledger().shards[&0].closes_sent[&code], 1);
    }
    assert!(simulator.ledger().shards[&0].closes_received.is_empty(), "echoes do not count");
}

#[tokio::test]
async fn every_code_that_is_fatal() {
    for code in [4004, 4010, 4011, 4012, 4013, 4014] {
        let (simulator, client) = ready().await;
        let start = client.log().trace.len();
        simulator.inject(0, Fault::Close { code });
        client.until("the end", |log| log.count("end") == 1).await;
        assert_eq!(client.log().story_since(start), [&format!("close {code}"), "end"]);
    }
}

#[tokio::test]
async fn a_lost_session_is_refused_and_started_again() {
    let (simulator, client) = ready().await;
    let story = story(&simulator, &client, Fault::SessionLost, (0, 2)).await;
    assert_eq!(story, ["op10", "op9", "close 1000", "op10", "READY"]);
    let ledger = &simulator.ledger().shards[&0];
    assert_eq!((ledger.resumes, ledger.resumed, ledger.identifies), (1, 0, 2));
}

#[tokio::test]
async fn a_muted_connection_becomes_a_zombie() {
    let (simulator, client) = ready().await;
    let story = story(&simulator, &client, Fault::Mute, (1, 1)).await;
    assert_eq!(story, ["close 1006", "op10", "RESUMED"]);
}

#[tokio::test]
async fn without_acks_but_with_dispatches_a_connection_lives() {
    let (simulator, client) = ready().await;
    simulator.inject(0, Fault::AcksWithheld);
    let run = simulator.traffic(&Traffic::of(Profile::Peak));
    until_ledger(&simulator, "unacknowledged heartbeats", |ledger| {
        let shard = &ledger.shards[&0];
        shard.heartbeats >= shard.heartbeat_acks + 3
    })
    .await;
    run.stop().await;
    assert_eq!(simulator.ledger().shards[&0].connections, 1);
    assert_eq!(client.log().state, Some(ShardState::Active));
}

#[tokio::test]
async fn the_client_is_asked_for_a_heartbeat() {
    let simulator = Simulator::start(shardlake_simulator::Scenario { heartbeat_interval_ms: 3_600_000, ..scenario(1) })
        .await
        .expect("a free port");
    let client = Client::start(&simulator, 0, 1);
    client.ready(3).await;
    simulator.inject(0, Fault::HeartbeatRequest);
    until_ledger(&simulator, "a heartbeat", |ledger| ledger.shards[&0].heartbeats == 1).await;
    assert_eq!(client.log().count("op1"), 1);
}

#[tokio::test]
async fn an_identify_is_turned_down_with_a_code() {
    let simulator = Simulator::start(scenario(1)).await.expect("a free port");
    simulator.inject(0, Fault::RejectIdentify { code: 4008 });
    let client = Client::start(&simulator, 0, 1);
    client.ready(3).await;
    let expected = ["op10", "close 4008", "op10", "READY"];
    assert_eq!(client.log().story_since(0), expected);
}

#[tokio::test]
async fn oddities_are_sent_and_counted_like_dispatches() {
    let (simulator, client) = ready().await;
    for fault in [Fault::UnknownDispatch, Fault::UnknownOpcode, Fault::MalformedDispatch] {
        simulator.inject(0, fault);
    }
    client.until("all three", |log| log.count("MESSAGE_CREATE") == 1).await;
    let log = client.log();
    assert_eq!((log.count("SHARDLAKE_UNHEARD_OF"), log.count("op99")), (1, 1));
    assert_eq!(log.errors.len(), 1, "only the malformed one is an error");
    assert_eq!(simulator.ledger().distinct("SHARDLAKE_UNHEARD_OF"), 1);
}

#[tokio::test]
async fn a_schedule_runs_by_itself() {
    let simulator = Simulator::start(shardlake_simulator::Scenario {
        faults: vec![ScheduledFault::reconnect_storm(300, 100), ScheduledFault::invalid_session_storm(1_000, false)],
        ..scenario(2)
    })
    .await
    .expect("a free port");
    let clients = [0, 1].map(|id| Client::start(&simulator, id, 2));
    for client in &clients {
        client.until("both storms", |log| log.count("op7") == 1 && log.count("op9") == 1).await;
    }
    let ledger = simulator.ledger();
    assert_eq!(ledger.faults.len(), 4);
    assert!(ledger.faults.iter().all(|record| record.hit));
}

#[tokio::test]
async fn a_second_client_of_one_shard_ends_the_first_one_s_connection() {
    let (simulator, first) = ready().await;
    // Without a way back the two would fight for ever.
    let second = Client::with(&simulator, simulator.token(), ShardId::new(0, 1), Intents::GUILDS);
    first.until("replaced", |log| log.count("close 4009") >= 1).await;
    drop(first);
    second.until("its session", |log| log.count("READY") >= 1).await;
    assert!(simulator.ledger().shards[&0].closes_sent[&4009] >= 1);
}

#[tokio::test]
async fn guilds_come_and_go_and_the_next_session_knows() {
    let (simulator, client) = ready().await;
    let happens = |change, guilds| simulator.inject(0, Fault::Guilds { change, guilds });
    happens(GuildChange::Unavailable, 9);
    happens(GuildChange::Available, 1);
    happens(GuildChange::Left, 1);
    happens(GuildChange::Joined, 1);
    happens(GuildChange::Joined, 1);
    happens(GuildChange::Left, 1);
    client.until("the last farewell", |log| log.count("GUILD_DELETE") == 3 + 1 + 1).await;
    client.agrees_with(&simulator, 0).await;
    assert_eq!(client.log().count("GUILD_CREATE"), 3 + 1 + 1);
    let start = client.log().trace.len();

    // One of three has left, and two are cut off.
    simulator.inject(0, Fault::InvalidSession { resumable: false });
    client.until("the guilds of the new session", |log| log.count("GUILD_DELETE") == 5 + 2).await;
    client.agrees_with(&simulator, 0).await;
    let story: Vec<String> = client.log().trace[start..].iter().map(|(name, _)| name.clone()).collect();
    assert!(!story.iter().any(|name| name == "GUILD_CREATE"), "{story:?}");
    let changes: Vec<GuildChange> = simulator.ledger().guilds.iter().map(|record| record.change).collect();
    let (out, back) = (GuildChange::Unavailable, GuildChange::Available);
    assert_eq!(changes, [out, out, out, back, GuildChange::Left, GuildChange::Joined, GuildChange::Left]);
}
