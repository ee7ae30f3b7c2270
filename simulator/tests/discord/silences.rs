//! The four ways in which a shard of twilight 0.18 hangs without an event, an error or a timeout. Each is
//! held for a good many heartbeat intervals, and let go again.

use crate::client::{Client, Log, scenario, until_ledger};
use shardlake_simulator::{Fault, Simulator};
use std::time::Duration;
use twilight_gateway::ShardState;

/// Five heartbeat intervals of [`scenario`].
const HANG: Duration = Duration::from_secs(1);

async fn ready() -> (Simulator, Client) {
    let simulator = Simulator::start(scenario(1)).await.expect("a free port");
    let client = Client::start(&simulator, 0, 1);
    client.ready(3).await;
    (simulator, client)
}

/// The shard stays in `state`, and says nothing.
async fn hangs(client: &Client, state: ShardState) {
    client.until("the hanging state", |log| log.state == Some(state)).await;
    // What still arrives in this state is part of getting there.
    tokio::time::sleep(HANG / 5).await;
    let story = |log: &Log| -> Vec<String> { log.story_since(0).into_iter().map(str::to_owned).collect() };
    let before = story(&client.log());
    tokio::time::sleep(HANG).await;
    assert_eq!(client.log().state, Some(state), "still hanging");
    assert_eq!(story(&client.log()), before, "and silent");
}

async fn let_go(simulator: &Simulator, client: &Client) {
    simulator.inject(0, Fault::Reset);
    client.until("active again", |log| log.state == Some(ShardState::Active)).await;
    client.agrees_with(simulator, 0).await;
}

#[tokio::test]
async fn hello_never_sent_on_the_first_connection() {
    let simulator = Simulator::start(scenario(1)).await.expect("a free port");
    simulator.inject(0, Fault::HelloNeverSent);
    let client = Client::start(&simulator, 0, 1);
    hangs(&client, ShardState::Identifying).await;
    assert_eq!(client.log().trace, []);
    let_go(&simulator, &client).await;
}

#[tokio::test]
async fn hello_never_sent_on_a_connection_that_comes_to_resume() {
    let (simulator, client) = ready().await;
    simulator.inject(0, Fault::HelloNeverSent);
    hangs(&client, ShardState::Identifying).await;
    let_go(&simulator, &client).await;
    assert_eq!(client.log().count("RESUMED"), 1, "the session stood all the time");
}

#[tokio::test]
async fn identify_never_answered() {
    let (simulator, client) = ready().await;
    simulator.inject(0, Fault::IdentifyNeverAnswered);
    hangs(&client, ShardState::Identifying).await;
    let beats = simulator.ledger().shards[&0].heartbeat_acks;
    until_ledger(&simulator, "heartbeats go on", |l| l.shards[&0].heartbeat_acks > beats + 2).await;
    let_go(&simulator, &client).await;
    assert_eq!(client.log().count("READY"), 2);
}

#[tokio::test]
async fn resume_never_answered() {
    let (simulator, client) = ready().await;
    simulator.inject(0, Fault::ResumeNeverAnswered);
    hangs(&client, ShardState::Resuming).await;
    let beats = simulator.ledger().shards[&0].heartbeat_acks;
    until_ledger(&simulator, "heartbeats go on", |l| l.shards[&0].heartbeat_acks > beats + 2).await;
    let_go(&simulator, &client).await;
    assert_eq!(client.log().count("RESUMED"), 1);
}

#[tokio::test]
async fn op7_whose_close_is_never_completed() {
    let (simulator, client) = ready().await;
    simulator.inject(0, Fault::CloseNeverCompleted);
    let disconnected = ShardState::Disconnected { reconnect_attempts: 0 };
    hangs(&client, disconnected).await;
    assert_eq!(client.log().count("op7"), 1);
    let beats = simulator.ledger().shards[&0].heartbeats;
    tokio::time::sleep(HANG).await;
    assert_eq!(simulator.ledger().shards[&0].heartbeats, beats, "not even heartbeats");
    let_go(&simulator, &client).await;
    assert_eq!(client.log().count("RESUMED"), 1);
}
