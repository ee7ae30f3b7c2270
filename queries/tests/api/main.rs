//! The service as programs see it, on a real ClickHouse and over real sockets: forms of answers, and what they are told who
//! may not have one.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[allow(dead_code, reason = "the other tests use the rest")]
#[path = "../lake/mod.rs"]
mod lake;

mod http;

mod formats;

mod access;

mod safety;

mod sharing;

mod sql;

mod openapi;

use std::time::{Duration, Instant};

/// Repeats `check` until it is true. Only a failure waits for the deadline, which comes before ClickHouse's own limit on an
/// export's time would end it.
async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !check().await {
        assert!(Instant::now() < deadline, "{what}: not within 60 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
