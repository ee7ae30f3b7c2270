//! `compare=previous`: the same question, asked of the range before.
//!
//! It has the same length. Of whole days by the clocks of the zone it is as many days, whatever their lengths in hours; of
//! anything else as many milliseconds.

use jiff::{
    Timestamp, ToSpan as _,
    civil::{Date, Time},
    tz::TimeZone,
};
use shardlake_schema::TimeMs;

use super::Range;
use crate::{
    moment,
    parameter::{BadValue, refuse},
};

/// The range before.
const PREVIOUS: &str = "previous";

/// Whether `text` asks for a comparison.
pub(crate) fn parse(text: &str) -> Result<bool, BadValue> {
    match text {
        "" => Ok(false),
        PREVIOUS => Ok(true),
        _ => Err(refuse(text, format!("`{PREVIOUS}`, or nothing"))),
    }
}

/// The range before `range`; `None`: it would begin before 1970.
pub(super) fn previous(range: Range, zone: &TimeZone) -> Option<Range> {
    let days = midnight(range.from, zone).zip(midnight(range.to, zone));
    let from = match days.and_then(|(from, to)| Some((from, from.until(to).ok()?))) {
        Some((from, length)) => {
            let first = from.checked_sub(length.get_days().days()).ok()?.to_datetime(Time::midnight());
            TimeMs(moment::readings(zone, first)?.0.as_millisecond())
        }
        None => TimeMs(range.from.0 - (range.to.0 - range.from.0)),
    };
    (from.0 >= 0).then_some(Range { from, to: range.from })
}

/// The day that begins at `time`, if one does.
fn midnight(time: TimeMs, zone: &TimeZone) -> Option<Date> {
    let date = zone.to_datetime(Timestamp::from_millisecond(time.0).ok()?).date();
    let begins = moment::readings(zone, date.to_datetime(Time::midnight()))?.0;
    (begins.as_millisecond() == time.0).then_some(date)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::Clock;

    #[test]
    fn the_range_before_is_as_long() {
        for (zone, from, to, before) in [
            ("UTC", "2026-10-02T10:00", "2026-10-02T11:30", "2026-10-02T08:30:00.000Z"),
            ("UTC", "2026-10-02", "2026-10-05", "2026-09-29T00:00:00.000Z"),
            ("Europe/Berlin", "2026-10-25", "2026-10-26", "2026-10-24T00:00:00.000+02:00"), // 25 h, and 24 h before
            ("Europe/Berlin", "2026-10-25T03:00", "2026-10-26T03:00", "2026-10-24T04:00:00.000+02:00"), // 24 h both
            ("Europe/Berlin", "2026-10-20", "2026-11-10", "2026-09-29T00:00:00.000+02:00"),
            ("America/Sao_Paulo", "2018-11-04", "2018-11-05", "2018-11-03T00:00:00.000-03:00"), // from 01:00 on
        ] {
            let clock = Clock { now: TimeMs(0), zone: moment::zone(zone).unwrap() };
            let range = Range { from: moment::parse(from, &clock).unwrap(), to: moment::parse(to, &clock).unwrap() };
            let previous = previous(range, &clock.zone).unwrap();
            assert_eq!(moment::iso8601(previous.from, &clock.zone), before, "{zone} {from} {to}");
            assert_eq!(previous.to, range.from);
        }
        assert_eq!(previous(Range { from: TimeMs(5), to: TimeMs(11) }, &TimeZone::UTC), None);
        assert!(parse("previous") == Ok(true) && parse("") == Ok(false) && parse("last").is_err());
    }
}
