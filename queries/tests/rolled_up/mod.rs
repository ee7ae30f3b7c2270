//! Questions that rollups answer, asked once of them and once of the raw rows: the same rows, the same counts, and estimates as far
//! apart as two estimates may be.

mod raw;

use serde_json::Value;
use shardlake_queries::{Catalogue, Column, Unit};
use shardlake_schema::TimeMs;

pub(crate) use self::raw::with_raw_questions;
use crate::lake::Api;

/// Hours before this one, step and zone.
pub(crate) type Range = (i64, i64, &'static str, &'static str);

/// Parameters with some values each: other tables answer then.
const FILTERS: [(&str, &str); 3] =
    [("", ""), ("cluster", "&cluster=0&cluster=3"), ("guild", "&guild=0&guild=7&guild=9")];

/// A row each 40 s in the eight days before this hour, in four clusters of two shards. Buckets begin with an hour or in its
/// middle, so none has so few rows that estimates of the same differ much.
pub(crate) const ROWS: [&str; 4] = [
    "INSERT INTO interactions (cluster, boot, batch, time, delivery_lag_ms, id_low, guild_id, shards_total, shard_offset, user_key, type, command, outcome, error_type, response_ms, duration_ms, locale, context)
     SELECT toString(number % 4), 1, 1, toStartOfHour(now64(3)) - toIntervalSecond(40 * number), number % 150, number, cityHash64(number) % 300 AS guild, 8, 2 * (number % 4), cityHash64(number, 1) % 900,
        'application_command', concat('command ', toString(cityHash64(number, 2) % 9)), ['success', 'success', 'error', 'panic', 'timed_out', 'cancelled', 'received'][1 + number % 7], '', 1 + cityHash64(number, 3) % 400, 40 + number % 800, 'en-GB', 'guild'
     FROM numbers(1, 17280)",
    "INSERT INTO gateway_counts (cluster, boot, batch, time, shard, event, dispatches, replayed, bytes)
     SELECT toString(number % 4), 1, 1, toStartOfHour(now64(3)) - toIntervalSecond(40 * number), 2 * (number % 4), 'MESSAGE_CREATE', number % 90, number % 3, 900 * (number % 90) FROM numbers(1, 17280)",
    "INSERT INTO samples (cluster, boot, batch, time, name, kind, labels, value)
     SELECT toString(number % 4), 1, 1, toStartOfHour(now64(3)) - toIntervalSecond(40 * number), 'discord_shard_latency_seconds', 'gauge', map('shard', toString(2 * (number % 4))), (50 + cityHash64(number) % 100) / 1000 FROM numbers(1, 17280)",
    "INSERT INTO shard_events (cluster, boot, batch, time, shard, event, state, cause, downtime_ms, replayed)
     SELECT toString(number % 4), 1, 1, toStartOfHour(now64(3)) - toIntervalSecond(40 * number), 2 * (number % 4), ['disconnected', 'resumed', 'ready', 'resuming'][1 + cityHash64(number) % 4] AS event, 'active',
        if(event = 'disconnected', ['op7', 'reset'][1 + number % 2], ''), if(event IN ('ready', 'resumed'), number % 5000, 0), if(event = 'resumed', number % 7, 0) FROM numbers(1, 17280)",
];

/// Between two estimates of one value: a sketch of ours is off by 1 % at most, the raw rows' digest by some percent at the
/// edges of so few rows.
const ESTIMATES_DIFFER_BY: f64 = 0.06;

const HOUR_S: i64 = 3_600;
const HOUR_MS: i64 = 1_000 * HOUR_S;

/// Each of these questions has the rows, the counts and, about, the estimates of its raw one, in some of these ranges at least.
pub(crate) async fn answer_as_raw_rows_do(api: &Api, catalogue: &Catalogue, ids: &[String], ranges: &[Range]) {
    let this_hour_s = TimeMs::now().0 / HOUR_MS * HOUR_S;
    for id in ids {
        let question = catalogue.get(id).unwrap();
        let mut asked = 0;
        let has = |(parameter, _): &(&str, &str)| parameter.is_empty() || question.parameter(parameter).is_some();
        let ranges =
            ranges.iter().copied().flat_map(|range| FILTERS.into_iter().filter(has).map(move |filter| (range, filter)));
        for ((from, to, step, zone), (_, filter)) in ranges {
            let step = if question.parameter("step").is_some() { format!("&step={step}") } else { String::new() };
            let step = format!("{step}&tz={zone}{filter}");
            let (from, to) = (this_hour_s - from * HOUR_S, this_hour_s - to * HOUR_S);
            let answer = api.answer(id, &format!("from={from}&to={to}{step}")).await;
            let (table, meta) = (answer["meta"]["table"].as_str().unwrap(), &answer["meta"]);
            if table == question.table {
                continue;
            }
            asked += 1;
            let (from, to) = (meta["from"].as_str().unwrap(), meta["to"].as_str().unwrap()); // widened to whole buckets
            let raw = api.answer(&format!("raw_{id}"), &format!("from={from}&to={to}{step}")).await;
            assert_eq!(raw["meta"]["table"], question.table);
            let what = format!("{id} of {table}{filter}");
            assert_eq!(answer["columns"], raw["columns"], "{what}");
            let (rows, raw) = (answer["rows"].as_array().unwrap(), raw["rows"].as_array().unwrap());
            assert!(rows.len() > 1 && rows.len() == raw.len(), "{what}: {} and {} rows", rows.len(), raw.len());
            for (row, raw) in rows.iter().zip(raw) {
                for column in &question.columns {
                    let (ours, exact) = (&row[&column.name], &raw[&column.name]);
                    let name = &column.name;
                    assert!(same(ours, exact, is_estimate(column)), "{what}: {name} is {ours}, of raw rows {exact}");
                }
            }
        }
        assert!(asked > 0, "{id} was never answered from its rollup");
    }
}

fn is_estimate(column: &Column) -> bool {
    let is_counted = ["guild", "user"].iter().any(|counted| column.name.contains(counted));
    column.unit == Unit::Milliseconds || is_counted
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
