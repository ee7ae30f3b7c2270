//! Series in any time zone, against what a slow and simple reading of clocks makes of the raw rows: hundreds of ranges and
//! steps around moments at which clocks were set, and in the last weeks, where rollups answer.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[allow(dead_code, reason = "shared with tests that need more of it")]
mod lake;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{
    Timestamp,
    tz::{Offset, TimeZone, TimeZoneDatabase},
};
use lake::{Api, Lake, run};
use proptest::{
    prelude::{Just, Strategy},
    sample::select,
    test_runner::{Config, TestRunner},
};
use serde_json::Value;
use shardlake_queries::Catalogue;

const CASES: u32 = 200;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

/// Rows lie around these moments, and the ranges that are asked about: clocks were set then, in the zones beside them.
const MOMENTS: [(&str, &[&str]); 7] = [
    ("2026-04-04T15:00:00Z", &["Australia/Lord_Howe"]), // back by half an hour
    ("2025-10-26T01:00:00Z", &["Europe/Berlin", "Antarctica/Troll"]), // back, Troll by two hours
    ("2025-03-30T01:00:00Z", &["Europe/Berlin", "Antarctica/Troll"]), // forward
    ("2018-11-04T03:00:00Z", &["America/Sao_Paulo", "America/Havana"]), // forward at midnight; back at one, to midnight
    ("2018-02-18T02:00:00Z", &["America/Sao_Paulo"]),   // back at midnight
    ("2011-12-30T10:00:00Z", &["Pacific/Apia"]),        // a day was left out
    ("2024-02-29T00:00:00Z", &ZONES),
];

const ZONES: [&str; 9] = [
    "UTC",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "America/Havana",
    "Antarctica/Troll",
    "Asia/Kathmandu",
];

/// In minutes and in words; months are a step of no minutes.
const STEPS: [(i64, &str); 14] = [
    (10, "10m"),
    (15, "15m"),
    (20, "1200"),
    (30, "30m"),
    (45, "45m"),
    (60, "1h"),
    (120, "2h"),
    (360, "6h"),
    (420, "7h"),
    (1_440, "1d"),
    (2_160, "36h"),
    (2_880, "2d"),
    (10_080, "1w"),
    (0, "1mo"),
];

#[derive(Debug, Clone)]
struct Case {
    from_ms: i64,
    length_ms: i64,
    zone: &'static str,
    step: (i64, &'static str),
}

/// A row: its cluster and time.
type Row = (String, i64);

#[test]
fn series_are_what_clocks_on_the_wall_make_of_the_rows() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let lake = Lake::start(["lake"]).await;
        let admin = lake.with_schema("lake").await;
        let ms = |moment: &str| moment.parse::<Timestamp>().unwrap().as_millisecond();
        let mut moments: Vec<_> = MOMENTS.iter().map(|(moment, zones)| (ms(moment), *zones)).collect();
        moments.push((Timestamp::now().as_millisecond() - 40 * DAY_MS, &ZONES));
        for (moment, _) in &moments {
            let rows = format!(
                "INSERT INTO interactions (cluster, boot, batch, time, shards_total, type, command, outcome, error_type, locale, context)
                 SELECT toString(number % 3), 1, 1, fromUnixTimestamp64Milli({first} + toInt64(cityHash64(number, {moment}) % {span})),
                    1, 'component', 'vote', 'success', '', 'en-GB', 'guild' FROM numbers(600)",
                first = moment - 12 * DAY_MS,
                span = 24 * DAY_MS,
            );
            run(&admin, &rows).await;
        }
        let rows = "SELECT cluster, toUnixTimestamp64Milli(time) FROM interactions";
        let rows: Vec<Row> = admin.query_raw(rows).fetch_all().await.unwrap();
        let api = lake.api("lake", Catalogue::builtin()).await;
        tokio::task::block_in_place(|| check_cases(&runtime, &api, &rows, &moments));
        api.stop().await;
        lake.stop().await;
    });
}

fn check_cases(runtime: &tokio::runtime::Runtime, api: &Api, rows: &[Row], moments: &[(i64, &'static [&'static str])]) {
    let length_ms =
        proptest::prop_oneof![1..3 * DAY_MS, 1..10 * DAY_MS, (1..8_i64).prop_map(|days| days * DAY_MS), Just(1)];
    let zoned = select(moments.to_vec()).prop_flat_map(|(moment, zones)| {
        (Just(moment), proptest::prop_oneof![3 => select(zones), 1 => select(&ZONES[..])])
    });
    let before = proptest::prop_oneof![-6 * DAY_MS..6 * DAY_MS, -DAY_MS / 8..DAY_MS / 8];
    let case = (zoned, before, select(vec![1, MINUTE_MS, 60 * MINUTE_MS]), length_ms, select(&STEPS[..]));
    let case = case.prop_map(|((moment, zone), before, whole, length_ms, step)| Case {
        from_ms: (moment + before) / whole * whole,
        length_ms,
        zone,
        step,
    });
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let mut tables = BTreeMap::new();
    let tables = std::cell::RefCell::new(&mut tables);
    let result = runner.run(&case, |case| {
        let table = runtime.handle().block_on(check(api, rows, &case));
        *tables.borrow_mut().entry(table).or_insert(0) += 1;
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    let tables = tables.into_inner();
    assert!(tables.len() >= 3, "raw rows and rollups answered: {tables:?}");
}

/// Asks, recomputes, compares. The table that answered.
async fn check(api: &Api, rows: &[Row], case: &Case) -> String {
    let Case { from_ms, length_ms, zone, step } = case;
    let time = |ms: i64| Timestamp::from_millisecond(ms).unwrap();
    let (from, to) = (time(*from_ms), time(from_ms + length_ms));
    let query = format!("from={from}&to={to}&tz={zone}&step={}", step.1);
    let answer = api.answer("interactions/volume", &query).await;
    let meta = |key: &str| answer["meta"][key].as_str().unwrap();
    let moment = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
    // A rollup widens the range to its own buckets, and says so.
    let (from_ms, to_ms) = (moment(meta("from")), moment(meta("to")));
    assert!(from_ms <= case.from_ms && to_ms >= case.from_ms + length_ms, "{query}");
    assert!(meta("table") != "interactions" || to_ms - from_ms == *length_ms, "{query}");

    let zone = TimeZoneDatabase::bundled().get(zone).unwrap();
    let starts = starts(&zone, from_ms, to_ms, step.0);
    let within: Vec<&Row> = rows.iter().filter(|(_, at)| (from_ms..to_ms).contains(at)).collect();
    let clusters: BTreeSet<&str> = within.iter().map(|(cluster, _)| cluster.as_str()).collect();
    let mut expected: BTreeMap<(i64, &str), u64> =
        starts.iter().flat_map(|start| clusters.iter().map(|cluster| ((*start, *cluster), 0))).collect();
    for (cluster, at) in within {
        let start = starts.iter().rfind(|start| *start <= at).unwrap();
        *expected.get_mut(&(*start, cluster.as_str())).unwrap() += 1;
    }
    let given: Vec<_> = answer["rows"].as_array().unwrap().iter().collect();
    let count = |row: &Value| {
        let at = row["time"].as_str().unwrap();
        assert_eq!(at.ends_with('Z'), zone == TimeZone::UTC, "{query}: {at}");
        (moment(at), row["cluster"].as_str().unwrap().to_owned(), row["interactions"].as_u64().unwrap())
    };
    let given: Vec<_> = given.into_iter().map(count).collect();
    let expected: Vec<_> = expected.into_iter().map(|((at, cluster), count)| (at, cluster.to_owned(), count)).collect();
    let different = (0..given.len().max(expected.len())).find(|index| given.get(*index) != expected.get(*index));
    if let Some(index) = different {
        panic!("{query} from {}: row {index} is {:?}, not {:?}", meta("table"), given.get(index), expected.get(index));
    }
    meta("table").to_owned()
}

/// Where the buckets of the range begin, by looking at the clock each minute: when it says for the first time that a new
/// bucket has begun, and when it says the beginning of one again after it was set back by at least a step.
fn starts(zone: &TimeZone, from_ms: i64, to_ms: i64, step_min: i64) -> Vec<i64> {
    let mut starts = Vec::new();
    let (mut furthest_min, mut newest, mut offset_min, mut back_min) = (i64::MIN, i64::MIN, i64::MIN, 0);
    // Early enough that the bucket of the range's start begins after it.
    let step_ms = if step_min == 0 { 31 * DAY_MS } else { step_min * MINUTE_MS };
    let mut at_ms = (from_ms - step_ms - 3 * DAY_MS) / MINUTE_MS * MINUTE_MS;
    while at_ms < to_ms {
        let now_offset_min = i64::from(zone.to_offset(Timestamp::from_millisecond(at_ms).unwrap()).seconds()) / 60;
        if now_offset_min < offset_min {
            back_min = offset_min - now_offset_min;
        }
        offset_min = now_offset_min;
        let wall_min = at_ms / MINUTE_MS + offset_min;
        let (number, begins) = bucket(wall_min, step_min);
        let is_repeated = wall_min <= furthest_min && begins && step_min > 0 && step_min <= back_min;
        if number > newest || is_repeated {
            starts.push(at_ms);
        }
        newest = newest.max(number);
        furthest_min = furthest_min.max(wall_min);
        at_ms += MINUTE_MS;
    }
    let first = starts.iter().rposition(|start| *start <= from_ms).unwrap();
    starts.split_off(first)
}

/// The number of the bucket when clocks say so many minutes after 1970-01-01 00:00, and whether it begins then.
fn bucket(wall_min: i64, step_min: i64) -> (i64, bool) {
    if step_min == 0 {
        let civil = Offset::UTC.to_datetime(Timestamp::from_second(60 * wall_min).unwrap());
        let month = 12 * i64::from(civil.year()) + i64::from(civil.month());
        return (month, civil.day() == 1 && wall_min.rem_euclid(1_440) == 0);
    }
    let monday_min = if step_min % 10_080 == 0 { 4 * 1_440 } else { 0 };
    ((wall_min - monday_min).div_euclid(step_min), (wall_min - monday_min).rem_euclid(step_min) == 0)
}
