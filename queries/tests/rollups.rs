//! A question that rollups answer is answered by them as by the raw rows, on one server. (`tests/topology/questions.rs`: on two shards.)

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[allow(dead_code, reason = "shared with tests that need more of it")]
mod lake;

mod rolled_up;

use lake::{Lake, run};

/// Ranges of minutes, hours, days, weeks and fortnights, and of tables that there are by the day only.
const RANGES: [rolled_up::Range; 8] = [
    (7, 1, "15m", "UTC"),
    (48, 24, "1h", "Europe/Berlin"),
    (120, 24, "3h", "Asia/Kolkata"),
    (144, 0, "1d", "UTC"),
    (144, 0, "1d", "America/Sao_Paulo"),
    (840, 0, "5d", "UTC"),
    (5_100, 0, "7d", "UTC"),
    (8_800, 0, "14d", "UTC"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_rollup_answers_as_the_raw_rows_do() {
    let (catalogue, ids) = rolled_up::with_raw_questions();
    let lake = Lake::start(["shardlake"]).await;
    let admin = lake.with_schema("shardlake").await;
    for rows in rolled_up::ROWS {
        run(&admin, rows).await;
    }
    let api = lake.api("shardlake", catalogue.clone()).await;
    rolled_up::answer_as_raw_rows_do(&api, &catalogue, &ids, &RANGES).await;
    api.stop().await;
    lake.stop().await;
}
