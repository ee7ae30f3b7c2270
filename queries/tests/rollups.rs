//! A question that rollups answer is answered by them as by the raw rows, on one server. (`tests/topology/questions.rs`: on two shards.)

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[allow(dead_code, reason = "shared with tests that need more of it")]
mod lake;

mod rolled_up;

use lake::{Lake, run};

#[tokio::test(flavor = "multi_thread")]
async fn a_rollup_answers_as_the_raw_rows_do() {
    let (catalogue, ids) = rolled_up::with_raw_questions();
    let lake = Lake::start(["shardlake"]).await;
    let admin = lake.with_schema("shardlake").await;
    for rows in rolled_up::ROWS {
        run(&admin, rows).await;
    }
    let api = lake.api("shardlake", catalogue.clone()).await;
    rolled_up::answer_as_raw_rows_do(&api, &catalogue, &ids, &rolled_up::RANGES).await;
    api.stop().await;
    lake.stop().await;
}
