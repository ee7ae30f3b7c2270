use super::{Happening, Live, NotResumed, Shard};
use crate::ledger::DispatchTally;
use crate::scenario::Scenario;
use crate::world::World;
use tokio::sync::mpsc;

/// No GUILDS intent: READY is all there is.
const MESSAGES: u64 = 1 << 9;
const MESSAGE: Happening =
    Happening { event: "MESSAGE_CREATE", data: String::new(), in_guild: true, interaction: None };

fn world() -> World {
    let scenario = Scenario { shards: 1, guilds: 1, replay_limit: 4, ..Scenario::default() };
    World::new(scenario, ([127, 0, 0, 1], 0).into())
}

fn attach(shard: &Shard, connection: u64) {
    // Nobody gives orders here.
    let (orders, _) = mpsc::channel(1);
    shard.attach(Live { connection, orders });
}

fn tally(shard: &Shard, event: &str) -> DispatchTally {
    shard.ledger().dispatches.get(event).copied().unwrap_or_default()
}

fn session_id(shard: &Shard) -> String {
    shard.state().session.as_ref().expect("started").id.clone()
}

#[test]
fn a_dispatch_counts_once_and_a_copy_counts_as_resent() {
    let world = world();
    let shard = &world.shards[0];
    attach(shard, 1);
    shard.start_session(&world, MESSAGES);
    shard.push(MESSAGE);
    assert_eq!(shard.pull(&world, 1, usize::MAX).len(), 2, "READY and one");
    shard.detach(1);
    shard.push(MESSAGE);

    attach(shard, 2);
    // The client has READY only: the first message is sent again, the second for the first time.
    shard.resume(&session_id(shard), 1).expect("resumable");
    shard.push(MESSAGE);
    assert_eq!(shard.pull(&world, 2, usize::MAX).len(), 4);
    let messages = tally(shard, "MESSAGE_CREATE");
    assert_eq!((messages.live, messages.late, messages.resent), (2, 1, 1));
    assert_eq!(messages.distinct(), 3);
    assert_eq!(tally(shard, "RESUMED").live, 1);
}

#[test]
fn a_resumed_that_was_cut_off_is_not_replayed() {
    let world = world();
    let shard = &world.shards[0];
    attach(shard, 1);
    shard.start_session(&world, MESSAGES);
    shard.pull(&world, 1, usize::MAX);
    for connection in 2..4 {
        shard.detach(connection - 1);
        attach(shard, connection);
        shard.resume(&session_id(shard), 1).expect("resumable");
        assert_eq!(shard.pull(&world, connection, usize::MAX).len(), 1);
    }
    let resumed = tally(shard, "RESUMED");
    assert_eq!((resumed.live, resumed.lost, resumed.resent), (1, 1, 0));
}

#[tokio::test]
async fn what_was_not_sent_makes_traffic_wait_and_what_was_sent_makes_room() {
    let world = world();
    let shard = &world.shards[0];
    attach(shard, 1);
    shard.start_session(&world, MESSAGES);
    shard.pull(&world, 1, usize::MAX);
    shard.detach(1);
    for _ in 0..4 {
        assert_eq!(shard.ready_for_traffic().await, MESSAGES);
        shard.push(MESSAGE);
    }
    // READY was sent, and could be sent again: what waits does not push it out.
    let mut full = std::pin::pin!(shard.ready_for_traffic());
    tokio::select! {
        biased;
        _ = &mut full => panic!("the ring is full"),
        () = std::future::ready(()) => {}
    }
    attach(shard, 2);
    shard.resume(&session_id(shard), 0).expect("nothing was let go");
    shard.pull(&world, 2, usize::MAX);
    full.await;
    assert_eq!(tally(shard, "MESSAGE_CREATE").late, 4);
}

#[test]
fn a_session_s_end_loses_what_was_not_sent() {
    let world = world();
    let shard = &world.shards[0];
    attach(shard, 1);
    shard.start_session(&world, MESSAGES);
    shard.pull(&world, 1, usize::MAX);
    shard.push(MESSAGE);
    shard.forget();
    shard.push(MESSAGE);
    assert_eq!(tally(shard, "MESSAGE_CREATE").lost, 2);
    assert_eq!(shard.resume("unknown", 1), Err(NotResumed::Gone));
}
