//! Recording an interaction with known names allocates nothing on the bot's thread. In a program of its own, because the
//! allocator that counts is the whole program's; it counts for each thread by itself.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::VecDeque;

use allocation_counter::measure;
use shardlake_ingest::{Config, Recorder, Shards};
use twilight_model::application::interaction::Interaction;

/// Commands, by 35 names.
const CALLS: u64 = 10_000;
/// Interactions that are open at once: the table that holds them has grown to its size while the names were learnt.
const OPEN: usize = 50;
const COMMANDS: u64 = 35;

fn interaction(number: u64) -> Interaction {
    let id = (350_000_000_000_u64 << 22) + number;
    serde_json::from_value(serde_json::json!({
        "id": id.to_string(), "type": 2, "token": "t", "version": 1, "application_id": "1", "attachment_size_limit": 1,
        "authorizing_integration_owners": {}, "entitlements": [], "guild_id": "77", "locale": "en-GB", "context": 0,
        "app_permissions": "0", "data": { "id": "5", "name": format!("command{}", number % COMMANDS), "type": 1 },
        "user": { "id": "9", "username": "a", "discriminator": "0", "avatar": null },
    }))
    .unwrap()
}

#[tokio::test]
async fn a_known_name_costs_no_allocation() {
    let mut config = Config::new("0", Shards { first: 0, count: 1, total: 1 }, "http://127.0.0.1:9");
    config.user_key = Some("key".into());
    let recorder = Recorder::start(config).unwrap();
    let interactions: Vec<_> = (0..2 * CALLS).map(interaction).collect();
    let (learnt, known) = interactions.split_at(interactions.len() / 2);
    let mut open = VecDeque::with_capacity(OPEN + 1);
    let mut record = |interactions: &[Interaction]| {
        for interaction in interactions {
            let timer = recorder.timer(interaction);
            timer.responded();
            open.push_back(timer);
            if open.len() > OPEN {
                // One in five fails.
                let timer = open.pop_front().unwrap();
                if interaction.id.get().is_multiple_of(5) { timer.error("Timeout") } else { timer.success() }
            }
        }
    };
    let first = measure(|| record(learnt));
    assert!(first.count_total >= COMMANDS, "the counter counts: {first:?}");
    let then = measure(|| record(known));
    assert_eq!(then.count_total, 0, "{then:?}");
    let account = recorder.accounts().into_iter().find(|account| account.table.name() == "interactions").unwrap();
    assert_eq!(account.observed, 2 * CALLS - OPEN as u64);
}
