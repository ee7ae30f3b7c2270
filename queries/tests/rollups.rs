//! A question that rollups answer is answered by them as by the raw rows: the same rows, the same counts, and estimates as
//! far apart as two estimates may be.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[allow(dead_code, reason = "shared with tests that need more of it")]
mod lake;

use lake::{Lake, run};
use serde_json::Value;
use shardlake_queries::{Catalogue, Unit};

/// A row each 40 s in the last eight days, in four clusters of two shards.
const ROWS: [&str; 2] = [
    "INSERT INTO interactions (cluster, boot, batch, time, delivery_lag_ms, id_low, guild_id, shards_total, shard_offset, user_key, type, command, outcome, error_type, response_ms, duration_ms, locale, context)
     SELECT toString(number % 4), 1, 1, now64(3) - toIntervalSecond(40 * number), number % 150, number, cityHash64(number) % 300 AS guild, 8, 2 * (number % 4), cityHash64(number, 1) % 900,
        'application_command', concat('command ', toString(cityHash64(number, 2) % 9)), ['success', 'success', 'error', 'panic', 'timed_out', 'cancelled', 'received'][1 + number % 7], '', 1 + cityHash64(number, 3) % 400, 40 + number % 800, 'en-GB', 'guild'
     FROM numbers(17280)",
    "INSERT INTO gateway_counts (cluster, boot, batch, time, shard, event, dispatches, replayed, bytes)
     SELECT toString(number % 4), 1, 1, toStartOfInterval(now64(3), toIntervalSecond(10)) - toIntervalSecond(40 * number), 2 * (number % 4), 'MESSAGE_CREATE', number % 90, number % 3, 900 * (number % 90) FROM numbers(17280)",
];

/// Between two estimates of one value: a sketch of ours is off by 1 % at most, the raw rows' digest by some percent at the
/// edges of so few rows.
const ESTIMATES_DIFFER_BY: f64 = 0.06;

#[tokio::test(flavor = "multi_thread")]
async fn a_rollup_answers_as_the_raw_rows_do() {
    let catalogue = Catalogue::builtin();
    let lake = Lake::start(["shardlake"]).await;
    let admin = lake.with_schema("shardlake").await;
    for rows in ROWS {
        run(&admin, rows).await;
    }
    let api = lake.api("shardlake", catalogue.clone()).await;
    let mut asked = 0;
    for question in catalogue.questions() {
        for (from, to, step, zone) in [
            ("-7h", "-1h", "15m", "UTC"),
            ("-2d", "-1d", "1h", "Europe/Berlin"),
            ("-5d", "-1d", "3h", "Asia/Kolkata"),
            ("-6d", "now", "1d", "UTC"),
            ("-6d", "now", "1d", "America/Sao_Paulo"),
        ] {
            let step = if question.parameter("step").is_some() { format!("&step={step}") } else { String::new() };
            let step = format!("{step}&tz={zone}");
            let answer = api.answer(&question.id(), &format!("from={from}&to={to}{step}")).await;
            let (table, meta) = (answer["meta"]["table"].as_str().unwrap(), &answer["meta"]);
            if table == question.table {
                continue;
            }
            // The same buckets, with a filter that no rollup serves and every row passes.
            let (from, to) = (meta["from"].as_str().unwrap(), meta["to"].as_str().unwrap());
            let query = format!("from={from}&to={to}{step}&shard=0,1,2,3,4,5,6,7");
            let raw = api.answer(&question.id(), &query).await;
            assert_eq!(raw["meta"]["table"], question.table);
            let what = format!("{} of {table}", question.id());
            assert_eq!(answer["columns"], raw["columns"], "{what}");
            let (rows, raw) = (answer["rows"].as_array().unwrap(), raw["rows"].as_array().unwrap());
            assert!(rows.len() > 1 && rows.len() == raw.len(), "{what}: {} and {} rows", rows.len(), raw.len());
            for (row, raw) in rows.iter().zip(raw) {
                for column in &question.columns {
                    let is_estimate =
                        column.unit == Unit::Milliseconds || ["guilds", "users"].contains(&column.name.as_str());
                    let (ours, exact) = (&row[&column.name], &raw[&column.name]);
                    assert!(same(ours, exact, is_estimate), "{what}: {} is {ours}, of raw rows {exact}", column.name);
                }
            }
            asked += 1;
        }
    }
    assert!(asked >= 15, "{asked} answers came from rollups");
    api.stop().await;
    lake.stop().await;
}

fn same(ours: &Value, exact: &Value, is_estimate: bool) -> bool {
    match (ours.as_f64(), exact.as_f64()) {
        (Some(ours), Some(exact)) => {
            let apart = if is_estimate { ESTIMATES_DIFFER_BY } else { 1e-9 };
            (ours - exact).abs() <= apart * exact.abs().max(1.0)
        }
        _ => ours == exact,
    }
}
