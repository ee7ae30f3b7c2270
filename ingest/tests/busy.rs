//! A ClickHouse that has as much under way as it wants turns inserts away. Nothing of them was done, so nobody has to look
//! what became of them, and they land as soon as there is room.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test may panic, and says its seed")]

mod yard;

use std::time::Duration;

use clickhouse::Client;
use shardlake_embedded::User;
use tokio::{task::JoinSet, time::sleep};
use yard::{MEMORY_BYTES, PATIENCE, Pace, Yard};

const PACE: Pace = Pace { journal: "spill", per_second: 2_000, batch_ms: 100, memory_bytes: MEMORY_BYTES };
/// All the places that the writer has (`embedded/src/config.rs`).
const PLACES: u64 = 32;
/// Takes one of them, until it is killed.
const TAKES_A_PLACE: &str = "SELECT sleepEachRow(1) FROM numbers(600) SETTINGS max_block_size = 1";
/// Inserts that are turned away before there is room.
const TURNED_AWAY: u64 = 5;

/// Waits until `sql` counts so many.
async fn counted(client: &Client, sql: &str, enough: u64) {
    loop {
        client.query_raw("SYSTEM FLUSH LOGS").execute().await.unwrap();
        if client.query_raw(sql).fetch_one::<u64>().await.unwrap() >= enough {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_turned_away_lands_later_and_is_not_looked_for() {
    let mut yard = Yard::open("inserts turned away", yard::seed()).await;
    let admin = yard.admin();
    let login = yard.clickhouse.as_ref().unwrap().credentials(User::Writer);
    let writer = admin.clone().with_user(login.user).with_password(login.password);
    let mut taking = JoinSet::new();
    for place in 0..PLACES {
        let query = writer.query_raw(TAKES_A_PLACE).with_setting("query_id", format!("place-{place}"));
        taking.spawn(query.execute());
    }
    let taken = "SELECT count() FROM system.processes WHERE query_id LIKE 'place-%'";
    yard.record.in_time(PATIENCE, counted(&admin, taken, PLACES)).await;

    let process = yard.record(yard.port, PACE);
    let turned_away = "SELECT count() FROM system.query_log WHERE exception_code = 202 AND query LIKE 'INSERT%'";
    yard.record.in_time(PATIENCE, counted(&admin, turned_away, TURNED_AWAY)).await;
    let landed = "SELECT count() FROM batches";
    assert_eq!(admin.query_raw(landed).fetch_one::<u64>().await.unwrap(), 0);
    yard.record.count += 1;

    admin.query_raw("KILL QUERY WHERE query_id LIKE 'place-%' SYNC").execute().await.unwrap();
    taking.join_all().await;
    yard.end(process).await;
    counted(&admin, landed, 1).await;
    let looks = "SELECT count() FROM system.query_log WHERE user = 'writer' AND query LIKE '%uptime()%'";
    assert_eq!(admin.query_raw(looks).fetch_one::<u64>().await.unwrap(), 0, "nothing was in doubt");
    yard.settle(PACE).await;
}
