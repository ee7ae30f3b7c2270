//! The edges of a series' buckets: what clocks on the wall say, not what a day's 86,400 seconds would make of it.
//!
//! A bucket begins when clocks in the zone say a multiple of the step, counted from their 1970-01-01 00:00; whole weeks from a
//! Monday, months from a January. So a day begins at midnight whatever its length, and a step that divides the day has the
//! same edges each day. Where clocks are set:
//! - what they skip is the moment when they jump: with steps of 2 h, the night that lacks the hour from 2 to 3 has a bucket
//!   of one hour from 3 to 4. A day that is left out whole (Apia, 2011-12-30) has no bucket;
//! - what they say twice is two edges if they go back by at least a step, otherwise the first alone: in the night that has
//!   the hour from 2 to 3 twice, steps of 1 h make 25 buckets of the day, and of steps of 6 h the first is 7 h long.

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::{Offset, TimeZone},
};
use shardlake_schema::TimeMs;

use super::{
    Range,
    step::{Step, WEEK_S},
};
use crate::moment::readings;

/// Clocks say Monday, 00:00, so many seconds after 1970-01-01 00:00.
const MONDAY_S: i64 = 4 * 86_400;

/// The buckets of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Buckets {
    /// Their width, as far as clocks are not set.
    pub(crate) step: Step,
    /// Where each begins, and where the last one ends, ms since 1970; ascending. The first begins at the start of the range
    /// or before it, the last ends at the end of the range or after it.
    pub(crate) edges_ms: Vec<i64>,
}

impl Buckets {
    /// The buckets of `step` that `range` touches.
    pub(crate) fn new(range: Range, step: Step, zone: &TimeZone) -> Self {
        let mut edges_ms = Vec::new();
        for number in number_at(step, first_wall_s(range.from, zone)).. {
            let Some((first, second)) = start(step, number).and_then(|start| readings(zone, start)) else { break };
            edges_ms.push(first.as_millisecond());
            edges_ms.extend(second.filter(|(_, back_s)| is_at_most(step, *back_s)).map(|(at, _)| at.as_millisecond()));
            if first.as_millisecond() >= range.to.0 {
                break; // the first time that clocks say it is never before the first time that they say something less
            }
        }
        edges_ms.sort_unstable();
        edges_ms.dedup();
        let first = edges_ms.partition_point(|edge| *edge <= range.from.0).saturating_sub(1);
        let last = edges_ms.partition_point(|edge| *edge < range.to.0);
        edges_ms.truncate(last + 1);
        edges_ms.drain(..first);
        Self { step, edges_ms }
    }

    /// Whether all of them are made of whole windows of `width_ms`, of which one begins `phase_ms` after 1970 did.
    pub(super) fn are_made_of(&self, width_ms: i64, phase_ms: i64) -> bool {
        self.edges_ms.iter().all(|edge| (edge - phase_ms) % width_ms == 0)
    }
}

fn is_at_most(step: Step, back_s: i32) -> bool {
    matches!(step, Step::Seconds(seconds) if i64::from(seconds) <= i64::from(back_s))
}

/// What clocks in `zone` say at `time`, as seconds after their 1970-01-01 00:00.
fn wall_s(time: TimeMs, zone: &TimeZone) -> i64 {
    let second = time.0.div_euclid(1_000);
    second + Timestamp::from_second(second).map_or(0, |time| i64::from(zone.to_offset(time).seconds()))
}

/// The least that clocks in `zone` say at `time` or, because they go back soon, after it.
fn first_wall_s(time: TimeMs, zone: &TimeZone) -> i64 {
    let wall_s = wall_s(time, zone);
    let second = on_the_wall(wall_s).and_then(|civil| readings(zone, civil)).and_then(|(_, second)| second);
    wall_s - second.map_or(0, |(_, back_s)| i64::from(back_s))
}

/// Where bucket 0 of a width in seconds begins on the clock.
fn origin_s(step_s: u32) -> i64 {
    if step_s.is_multiple_of(WEEK_S) { MONDAY_S } else { 0 }
}

/// The number of the bucket that clocks that say `wall_s` are in.
fn number_at(step: Step, wall_s: i64) -> i64 {
    match step {
        Step::Seconds(step_s) => (wall_s - origin_s(step_s)).div_euclid(step_s.into()),
        Step::Months(months) => {
            let date = on_the_wall(wall_s).map_or(Date::ZERO, DateTime::date);
            (12 * (i64::from(date.year()) - 1970) + i64::from(date.month()) - 1).div_euclid(months.into())
        }
    }
}

/// What clocks say when bucket `number` begins; `None`: thousands of years from now.
fn start(step: Step, number: i64) -> Option<DateTime> {
    match step {
        Step::Seconds(step_s) => on_the_wall(origin_s(step_s) + number.checked_mul(step_s.into())?),
        Step::Months(months) => {
            let month = number.checked_mul(months.into())?;
            let year = i16::try_from(1970 + month.div_euclid(12)).ok()?;
            Some(
                Date::new(year, i8::try_from(1 + month.rem_euclid(12)).ok()?, 1)
                    .ok()?
                    .to_datetime(jiff::civil::Time::midnight()),
            )
        }
    }
}

fn on_the_wall(wall_s: i64) -> Option<DateTime> {
    Timestamp::from_second(wall_s).ok().map(|time| Offset::UTC.to_datetime(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::{self, Clock};

    /// What clocks say at each edge, with the offset where it is not the one before.
    fn edges(zone: &str, from: &str, to: &str, step: &str) -> Vec<String> {
        let clock = Clock { now: TimeMs(0), zone: moment::zone(zone).unwrap() };
        let range = Range { from: moment::parse(from, &clock).unwrap(), to: moment::parse(to, &clock).unwrap() };
        let buckets = Buckets::new(range, Step::parse(step).unwrap(), &clock.zone);
        buckets.edges_ms.into_iter().map(|edge| moment::iso8601(TimeMs(edge), &clock.zone)[5..16].to_owned()).collect()
    }

    #[test]
    fn days_begin_at_midnight_whatever_their_length() {
        assert_eq!(
            edges("Europe/Berlin", "2026-10-24T12:00", "2026-10-26", "1d"),
            ["10-24T00:00", "10-25T00:00", "10-26T00:00"]
        );
        assert_eq!(edges("Europe/Berlin", "2026-10-25", "2026-10-26", "1h").len(), 26, "a day of 25 h");
        assert_eq!(edges("Europe/Berlin", "2026-03-29", "2026-03-30", "1h").len(), 24, "a day of 23 h");
        let quarters = ["10-25T00:00", "10-25T06:00", "10-25T12:00", "10-25T18:00", "10-26T00:00"];
        assert_eq!(edges("Europe/Berlin", "2026-10-25", "2026-10-26", "6h"), quarters);
        assert_eq!(
            edges("Pacific/Apia", "2011-12-29", "2012-01-01", "1d"),
            ["12-29T00:00", "12-31T00:00", "01-01T00:00"]
        );
        assert_eq!(
            edges("America/Sao_Paulo", "2018-11-03", "2018-11-05", "1d"),
            ["11-03T00:00", "11-04T01:00", "11-05T00:00"]
        );
        assert_eq!(edges("Asia/Kolkata", "2026-01-01", "2026-01-02", "1d"), ["01-01T00:00", "01-02T00:00"]);
    }

    #[test]
    fn clocks_that_are_set_make_short_and_long_buckets() {
        assert_eq!(
            edges("Europe/Berlin", "2026-03-29T01:30", "2026-03-29T05:00", "2h"),
            ["03-29T00:00", "03-29T03:00", "03-29T04:00", "03-29T06:00"]
        );
        assert_eq!(
            edges("Europe/Berlin", "2026-10-25T01:30", "2026-10-25T05:00", "2h"),
            ["10-25T00:00", "10-25T02:00", "10-25T04:00", "10-25T06:00"]
        );
        let said_twice = ["10-25T02:40", "10-25T02:00", "10-25T02:20", "10-25T02:40"];
        assert_eq!(
            edges("Europe/Berlin", "2026-10-25T02:45", "2026-10-25T02:25+01:00", "20m"),
            said_twice,
            "from between"
        );
        let half_hours = ["04-05T01:00", "04-05T01:30", "04-05T01:30", "04-05T02:00"];
        assert_eq!(
            edges("Australia/Lord_Howe", "2026-04-05T01:10", "2026-04-05T02:00", "30m"),
            half_hours,
            "by half an hour"
        );
        assert_eq!(
            edges("Australia/Lord_Howe", "2026-04-05T01:10", "2026-04-05T02:00", "1h"),
            ["04-05T01:00", "04-05T02:00"]
        );
    }

    #[test]
    fn weeks_begin_on_mondays_and_months_on_the_first() {
        assert_eq!(edges("UTC", "2026-10-01", "2026-10-12", "7d"), ["09-28T00:00", "10-05T00:00", "10-12T00:00"]);
        assert_eq!(
            edges("Europe/Berlin", "2026-10-25T01:00", "2026-12-01", "1mo"),
            ["10-01T00:00", "11-01T00:00", "12-01T00:00"]
        );
        assert_eq!(edges("UTC", "2026-05-05", "2026-05-06", "3mo"), ["04-01T00:00", "07-01T00:00"]);
        assert_eq!(
            edges("America/Sao_Paulo", "1970-01-01T00:00Z", "1970-01-02", "12mo"),
            ["01-01T00:00", "01-01T00:00", "01-01T00:00"]
        );
        assert_eq!(edges("UTC", "2199-12-31", "2199-12-31T01:00", "4294967290"), ["02-07T06:28", "03-16T12:56"]);
    }

    #[test]
    fn edges_are_where_they_always_were_in_utc() {
        assert_eq!(
            edges("UTC", "2025-01-01T00:00:30", "2025-01-01T00:02:00.500", "1m"),
            ["01-01T00:00", "01-01T00:01", "01-01T00:02", "01-01T00:03"]
        );
        let sevens = Buckets::new(Range { from: TimeMs(1_000), to: TimeMs(14_001) }, Step::Seconds(7), &TimeZone::UTC);
        assert_eq!(sevens.edges_ms, [0, 7_000, 14_000, 21_000]);
        assert!(sevens.are_made_of(7_000, 0) && !sevens.are_made_of(14_000, 0));
    }

    const ZONES: [&str; 8] = [
        "UTC",
        "Europe/Berlin",
        "Australia/Lord_Howe",
        "Asia/Kolkata",
        "Pacific/Apia",
        "America/Sao_Paulo",
        "America/Havana",
        "Africa/Monrovia",
    ];

    proptest::proptest! {
        #[test]
        fn buckets_cover_the_range_and_no_more(
            zone in 0..ZONES.len(), from_s in 0_i64..4_000_000_000, length_s in 1_i64..200_000, step in 60_u32..200_000,
        ) {
            let zone = moment::zone(ZONES[zone]).unwrap();
            let range = Range { from: TimeMs(1_000 * from_s), to: TimeMs(1_000 * (from_s + length_s)) };
            for step in [Step::Seconds(step), Step::Seconds(3_600), Step::Seconds(86_400), Step::Months(1)] {
                let edges = Buckets::new(range, step, &zone).edges_ms;
                let all = edges.len();
                proptest::prop_assert!(all >= 2 && edges.is_sorted_by(|a, b| a < b));
                proptest::prop_assert!(edges[0] <= range.from.0 && edges[1] > range.from.0, "{:?}", edges);
                proptest::prop_assert!(edges[all - 1] >= range.to.0 && edges[all - 2] < range.to.0, "{:?}", edges);
            }
        }
    }
}
