//! What is sent: exactly what the ledger says, the same for the same seed, and nothing that twilight
//! cannot parse.

use crate::client::{Client, scenario, until};
use shardlake_simulator::{Fault, InteractionKind, Mix, Profile, Simulator, Traffic};
use std::collections::{BTreeMap, BTreeSet};

#[tokio::test]
async fn a_budget_is_counted_exactly_and_all_of_it_parses() {
    let simulator = Simulator::start(scenario(4)).await.expect("a free port");
    let clients: Vec<Client> = (0..4).map(|id| Client::start(&simulator, id, 4)).collect();
    let mut runs = [
        simulator.traffic(&Traffic::of(Profile::Presence).budget(3_000).unpaced()),
        simulator.traffic(&Traffic::of(Profile::Stress).budget(1_000)),
    ];
    for run in &mut runs {
        run.sent().await;
    }
    for (id, client) in (0..).zip(&clients) {
        client.agrees_with(&simulator, id).await;
    }
    let ledger = simulator.ledger();
    let sent = 4 * (1 + 3 + 4_000);
    assert_eq!(ledger.distinct_total(), sent, "READY, guilds and two budgets each");
    assert_eq!(ledger.interactions_sent(), ledger.distinct("INTERACTION_CREATE"));
}

#[tokio::test]
async fn every_kind_of_interaction_comes_up() {
    let simulator = Simulator::start(scenario(2)).await.expect("a free port");
    let clients: Vec<Client> = (0..2).map(|id| Client::start(&simulator, id, 2)).collect();
    let traffic = Traffic {
        mix: Mix::Interactions,
        delivery_lag_ms: (2_000, 3_000),
        ..Traffic::of(Profile::Normal).budget(500).unpaced()
    };
    simulator.traffic(&traffic).sent().await;
    for (id, client) in (0..).zip(&clients) {
        client.agrees_with(&simulator, id).await;
    }
    let interactions = simulator.interactions();
    assert_eq!(interactions.len(), 1_000);
    let kinds: BTreeSet<InteractionKind> = interactions.iter().map(|i| i.kind).collect();
    assert_eq!(kinds.len(), 6);
    assert!(interactions.iter().any(|i| i.command.split(' ').count() == 3));
    for interaction in &interactions {
        let created_ms = (interaction.id >> 22) + 1_420_070_400_000;
        assert!(interaction.sent_at_ms >= created_ms + 2_000, "the lag is in the id");
        assert!(interaction.guild_id.is_some() || interaction.shard == 0, "DMs go to shard 0");
        if let Some(guild_id) = interaction.guild_id {
            assert_eq!((guild_id >> 22) % 2, u64::from(interaction.shard));
        }
    }
    assert!(interactions.iter().any(|interaction| interaction.guild_id.is_none()));
    let ids: BTreeSet<u64> = interactions.iter().map(|interaction| interaction.id).collect();
    assert_eq!(ids.len(), 1_000);
}

/// What a run comes to, but for ids and times.
async fn multiset(seed: u64, disturbed: bool) -> BTreeMap<String, u64> {
    let simulator = Simulator::start(shardlake_simulator::Scenario { seed, ..scenario(2) }).await.expect("a free port");
    let clients: Vec<Client> = (0..2).map(|id| Client::start(&simulator, id, 2)).collect();
    let mut run = simulator.traffic(&Traffic::of(Profile::Normal).budget(1_000).unpaced());
    if disturbed {
        clients[1].ready(3).await;
        simulator.inject(1, Fault::Fin);
    }
    run.sent().await;
    let ledger = simulator.ledger();
    let dispatches = ledger.shards.iter().flat_map(|(shard, ledger)| {
        let tallies = ledger.dispatches.iter().filter(|(event, _)| *event != "RESUMED");
        tallies.map(move |(event, tally)| (format!("{shard} {event}"), tally.distinct()))
    });
    let interactions = ledger.interactions.iter().map(|count| {
        let (shard, kind, command) = (count.shard, count.kind, &count.command);
        (format!("{shard} {kind:?} {command} {}", count.in_guild), count.sent)
    });
    dispatches.chain(interactions).collect()
}

#[tokio::test]
async fn one_seed_is_one_multiset_whatever_happens_on_the_way() {
    let first = multiset(5, false).await;
    assert_eq!(first, multiset(5, true).await);
    assert_ne!(first, multiset(6, false).await);
}

#[tokio::test]
async fn paced_traffic_goes_on_until_it_is_stopped() {
    let simulator = Simulator::start(scenario(1)).await.expect("a free port");
    let client = Client::start(&simulator, 0, 1);
    let run = simulator.traffic(&Traffic::of(Profile::Peak));
    client.until("a second's worth", |log| log.trace.len() > 500).await;
    run.stop().await;
    client.agrees_with(&simulator, 0).await;
}

#[tokio::test]
async fn a_burst_does_not_keep_heartbeats_from_being_acknowledged() {
    let simulator = Simulator::start(scenario(1)).await.expect("a free port");
    let client = Client::start(&simulator, 0, 1);
    client.ready(3).await;
    let mut run = simulator.traffic(&Traffic::of(Profile::Stress).unpaced());
    let beats = until("heartbeats in the burst", || {
        let ledger = simulator.ledger();
        Some(ledger.shards[&0].heartbeat_acks).filter(|acks| *acks >= 3)
    });
    tokio::select! {
        _ = beats => {}
        () = run.sent() => unreachable!("it has no budget"),
    }
    let log = client.log();
    assert_eq!(log.story_since(0)[0], "op10");
    assert!(log.trace.iter().all(|(name, _)| !name.starts_with("close")), "never zombied");
}
