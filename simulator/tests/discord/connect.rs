//! Coming in: READY, guilds, limits, refusals, intents.

use crate::client::{Client, scenario, until_ledger};
use shardlake_simulator::{Profile, Scenario, Simulator, Traffic};
use twilight_gateway::{Intents, ShardId, ShardState};

#[tokio::test]
async fn a_shard_gets_ready_and_its_guilds() {
    let simulator = Simulator::start(scenario(2)).await.expect("a free port");
    let clients: Vec<Client> = (0..2).map(|id| Client::start(&simulator, id, 2)).collect();
    for (id, client) in (0..).zip(&clients) {
        client.ready(3).await;
        client.agrees_with(&simulator, id).await;
        assert_eq!(client.log().story_since(0), ["op10", "READY"]);
    }
    let ledger = simulator.ledger();
    assert_eq!(ledger.connections_accepted, 2);
    assert_eq!(ledger.distinct("READY"), 2);
    assert_eq!(ledger.distinct("GUILD_CREATE"), 6);
    assert_eq!((ledger.shards[&1].identifies, ledger.shards[&1].sessions), (1, 1));
}

#[tokio::test]
async fn heartbeats_are_acknowledged() {
    let simulator = Simulator::start(scenario(1)).await.expect("a free port");
    let client = Client::start(&simulator, 0, 1);
    client.until("three heartbeats", |log| log.beats >= 3).await;
    let ledger = simulator.ledger();
    assert!(ledger.shards[&0].heartbeats >= 3 && ledger.shards[&0].heartbeat_acks >= 3);
}

#[tokio::test]
async fn a_wrong_token_and_a_wrong_total_are_fatal() {
    let simulator = Simulator::start(scenario(2)).await.expect("a free port");
    for (token, total, close) in [("wrong", 2, 4004), (simulator.token(), 3, 4010)] {
        let client = Client::with(&simulator, token, ShardId::new(1, total), Intents::empty());
        client.until("the end", |log| log.count("end") == 1).await;
        let expected = ["op10", &format!("close {close}"), "end"];
        assert_eq!(client.log().story_since(0), expected);
        assert_eq!(client.log().state, Some(ShardState::FatallyClosed));
        assert_eq!(simulator.ledger().shards[&1].closes_sent[&close], 1);
    }
}

#[tokio::test]
async fn undefined_and_disallowed_intents_are_fatal() {
    let simulator = Simulator::start(Scenario { disallowed_intents: Intents::GUILD_PRESENCES.bits(), ..scenario(1) })
        .await
        .expect("a free port");
    let undefined = Intents::from_bits_retain(1 << 40);
    for (intents, close) in [(undefined, 4013), (Intents::GUILD_PRESENCES, 4014)] {
        let client = Client::with(&simulator, simulator.token(), ShardId::new(0, 1), intents);
        client.until("the end", |log| log.count("end") == 1).await;
        assert_eq!(client.log().count(&format!("close {close}")), 1);
    }
}

#[tokio::test]
async fn a_second_identify_of_a_bucket_waits_for_the_window() {
    let simulator = Simulator::start(Scenario { max_concurrency: 1, identify_window_ms: 300, ..scenario(2) })
        .await
        .expect("a free port");
    let clients = [0, 1].map(|id| Client::start(&simulator, id, 2));
    for client in &clients {
        client.ready(3).await;
    }
    let ledger = simulator.ledger();
    let refused: u64 = ledger.shards.values().filter_map(|s| s.opcodes_sent.get(&9)).sum();
    assert!(refused >= 1, "one of them came too early");
    let sessions: u64 = ledger.shards.values().map(|shard| shard.sessions).sum();
    assert_eq!(sessions, 2);
}

#[tokio::test]
async fn exhausted_session_starts_are_fatal() {
    let simulator = Simulator::start(Scenario { session_starts: 1, ..scenario(2) }).await.expect("a free port");
    let first = Client::start(&simulator, 0, 2);
    first.ready(3).await;
    let second = Client::start(&simulator, 1, 2);
    second.until("the end", |log| log.count("end") == 1).await;
    assert_eq!(second.log().count("close 4004"), 1);
}

#[tokio::test]
async fn intents_decide_what_is_sent() {
    let simulator = Simulator::start(scenario(1)).await.expect("a free port");
    let intents = Intents::GUILDS | Intents::GUILD_MESSAGES;
    let client = Client::with(&simulator, simulator.token(), ShardId::new(0, 1), intents);
    let traffic = Traffic::of(Profile::Presence).budget(2_000).unpaced();
    simulator.traffic(&traffic).sent().await;
    client.agrees_with(&simulator, 0).await;
    let log = client.log();
    let seen: Vec<&str> = log.dispatches.keys().map(String::as_str).collect();
    let wanted = ["GUILD_CREATE", "INTERACTION_CREATE", "MESSAGE_CREATE", "MESSAGE_UPDATE", "READY"];
    assert_eq!(seen, wanted);
    let tallies = &simulator.ledger().shards[&0].dispatches;
    for withheld in ["PRESENCE_UPDATE", "TYPING_START", "GUILD_MEMBER_UPDATE", "MESSAGE_CREATE"] {
        assert!(tallies[withheld].withheld > 0, "{withheld}");
    }
}

#[tokio::test]
async fn without_guilds_there_are_no_guilds_and_without_content_there_is_none() {
    use futures_util::StreamExt as _;
    use tokio_tungstenite::tungstenite::Message;

    let simulator = Simulator::start(scenario(1)).await.expect("a free port");
    let url = format!("{}/?v=10&encoding=json", simulator.gateway_url());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.expect("a gateway");
    crate::independent::identify(&mut socket, simulator.token(), 0, 1, 1 << 9).await;
    let mut run = simulator.traffic(&Traffic::of(Profile::Normal).budget(300).unpaced());
    let reading = async {
        let mut messages = 0;
        while let Some(Ok(Message::Text(text))) = socket.next().await {
            assert!(!text.contains(r#""t":"GUILD_CREATE""#));
            if text.contains(r#""t":"MESSAGE_CREATE""#) {
                assert!(text.contains(r#""content":"","#), "{text}");
                messages += 1;
                if messages == 50 {
                    return;
                }
            }
        }
        panic!("the connection ended");
    };
    tokio::join!(reading, run.sent());
    until_ledger(&simulator, "guilds are withheld", |ledger| {
        ledger.shards[&0].dispatches["GUILD_CREATE"].withheld == 3
    })
    .await;
}
