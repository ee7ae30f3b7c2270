//! A proxy in front of ClickHouse that takes only small bodies: batches go through it in pieces, and all of them arrive,
//! once. And one that asks to be left alone, and is.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test may panic")]

mod yard;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use yard::{
    MEMORY_BYTES, Pace, Yard,
    proxy::{Fault, Message, Proxy},
};

/// Batches of about 2,000 rows.
const PACE: Pace = Pace { journal: "spill", per_second: 4_000, batch_ms: 500, memory_bytes: MEMORY_BYTES };
/// A batch takes twice as much and more, and the names of its columns alone half of it.
const LIMIT_BYTES: usize = 8 << 10;

fn line(request: &Message) -> String {
    String::from_utf8_lossy(&request.head).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_a_proxy_arrives_in_pieces() {
    let mut yard = Yard::open("bodies too large for a proxy", 0).await;
    let pieces = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&pieces);
    let proxy = Proxy::start(yard.port, move |request| {
        if request.body.len() > LIMIT_BYTES {
            return Some(Fault::Instead { status: 413, forwarded: false });
        }
        *counted.lock().unwrap() += u64::from(line(request).contains("1of")); // in its token
        None
    })
    .await;
    let process = yard.record(proxy.port, PACE);
    yard.working(5_000).await;
    yard.end(process).await;
    yard.record.count = *pieces.lock().unwrap();
    assert!(yard.record.count > 0, "nothing was split");
    yard.settle(PACE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_asks_for_a_pause_gets_it() {
    const PAUSE: Duration = Duration::from_secs(3);
    let mut yard = Yard::open("Retry-After", 0).await;
    let inserts: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let seen = Arc::clone(&inserts);
    let proxy = Proxy::start(yard.port, move |request| {
        if !line(request).contains("interactions") {
            return None;
        }
        let mut seen = seen.lock().unwrap();
        seen.push(Instant::now());
        (seen.len() == 1).then_some(Fault::Instead { status: 429, forwarded: false })
    })
    .await;
    let process = yard.record(proxy.port, PACE);
    yard.working(8_000).await;
    yard.end(process).await;
    yard.record.count = 1;
    let asked: Vec<Instant> = inserts.lock().unwrap().clone();
    assert!(asked[1] - asked[0] >= PAUSE, "it came back after {:?}", asked[1] - asked[0]);
    yard.settle(PACE).await;
}
