//! Moments in words: `2026-10-01T12:00:00Z`, epoch seconds or milliseconds, `-7d`, `now`; and the time zones they are read in.
//!
//! Words without an offset are what clocks on the wall say: `2026-10-25` with `tz=Europe/Berlin` is midnight in Berlin. What
//! the clocks skip is the moment they jump; of what they say twice, the first. Relative words are exact: `-1d` is 24 hours.

use jiff::{
    Timestamp,
    civil::{DateTime, Time},
    fmt::temporal::Pieces,
    tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase},
};
use shardlake_schema::TimeMs;

use crate::parameter::{BadValue, refuse};

/// Moments from 1970 to the end of 2199 are taken: what `DateTime64(3)` holds without surprises, and where a digit too many
/// in an epoch shows.
const END: TimeMs = TimeMs(7_258_118_400_000);

const EXPECTED: &str = "ISO 8601 such as 2026-10-01T12:00:00Z (no offset: in the time zone `tz`), epoch seconds or \
    milliseconds, or relative to now: -15m, -1h, -7d, now";

/// Epochs of up to so many digits are seconds, longer ones milliseconds: seconds have 10 digits until 2286.
const EPOCH_SECONDS_DIGITS: usize = 10;

/// Shorter numbers (a year, a typing error) would silently mean a day in 1970.
const EPOCH_MIN_DIGITS: usize = 9;

/// What words about time refer to.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    /// What it says.
    pub(crate) now: TimeMs,
    /// Where it hangs.
    pub(crate) zone: TimeZone,
}

/// The zone of this name in the IANA database that is compiled in.
pub(crate) fn zone(name: &str) -> Result<TimeZone, BadValue> {
    let expected = || "an IANA time zone such as Europe/Berlin or UTC".to_owned();
    let known = TimeZoneDatabase::bundled().get(name).ok().filter(|zone| !zone.is_unknown());
    known.ok_or_else(|| refuse(name, expected()))
}

/// Its name as the database writes it, which is how ClickHouse knows it.
pub(crate) fn zone_name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
}

/// Whether questions may be asked about `time`.
pub(crate) fn is_taken(time: TimeMs) -> bool {
    (TimeMs(0)..END).contains(&time)
}

/// Reads a moment.
pub(crate) fn parse(text: &str, clock: &Clock) -> Result<TimeMs, BadValue> {
    let time = relative(text, clock.now).or_else(|| epoch(text)).or_else(|| iso(text, &clock.zone));
    time.filter(|time| is_taken(*time)).ok_or_else(|| refuse(text, EXPECTED.to_owned()))
}

/// `now`, `-1h`, and Grafana's `now-1h`.
fn relative(text: &str, now: TimeMs) -> Option<TimeMs> {
    let back = text.strip_prefix("now").unwrap_or(text);
    if back.is_empty() {
        return (!text.is_empty()).then_some(now);
    }
    let seconds = seconds(back.strip_prefix('-')?)?;
    Some(TimeMs(now.0.checked_sub(seconds.checked_mul(1000)?)?))
}

/// `90s`, `15m`, `1h`, `7d` or `2w` in seconds.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    let unit = text.chars().next_back()?;
    let count: u32 = text.strip_suffix(unit)?.parse().ok().filter(|_| !text.starts_with('+'))?;
    let unit_s = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    Some(i64::from(count) * unit_s)
}

/// `0` or a full-length number of seconds or milliseconds.
fn epoch(text: &str) -> Option<TimeMs> {
    let number: i64 = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    match text.len() {
        1 if number == 0 => Some(TimeMs(0)),
        EPOCH_MIN_DIGITS..=EPOCH_SECONDS_DIGITS => Some(TimeMs(number * 1000)),
        digits if digits > EPOCH_SECONDS_DIGITS => Some(TimeMs(number)),
        _ => None,
    }
}

/// A date, or date and time with `T` or a space between them. An offset may have lost its `+` to the decoding of a URL.
fn iso(text: &str, zone: &TimeZone) -> Option<TimeMs> {
    let is_shaped = |(at, byte): (usize, u8)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    if !text.get(.."2026-10-01".len())?.bytes().enumerate().all(is_shaped) {
        return None;
    }
    let (date, rest) = text.split_at_checked("2026-10-01T".len()).unwrap_or((text, ""));
    let text = format!("{date}{}", rest.replacen(' ', "+", 1));
    let pieces = Pieces::parse(&text).ok().filter(|pieces| pieces.time_zone_annotation().is_none())?;
    let civil = DateTime::from_parts(pieces.date(), pieces.time().unwrap_or(Time::midnight()));
    let timestamp = match pieces.to_numeric_offset() {
        Some(offset) => offset.to_timestamp(civil).ok()?,
        None => readings(zone, civil)?.0,
    };
    Some(TimeMs(timestamp.as_millisecond()))
}

/// When clocks in `zone` say `civil`: the first time, and the second time with how long the clocks went back in between,
/// in seconds. What they skip counts as the moment when they jump. `None`: thousands of years from now.
pub(crate) fn readings(zone: &TimeZone, civil: DateTime) -> Option<(Timestamp, Option<(Timestamp, i32)>)> {
    let at = |offset: Offset| offset.to_timestamp(civil).ok();
    Some(match zone.to_ambiguous_timestamp(civil).offset() {
        AmbiguousOffset::Unambiguous { offset } => (at(offset)?, None),
        // With the later offset it is a moment before the jump: the next change of the zone is the jump.
        AmbiguousOffset::Gap { after, .. } => (zone.following(at(after)?).next()?.timestamp(), None),
        AmbiguousOffset::Fold { before, after } => {
            (at(before)?, Some((at(after)?, before.seconds() - after.seconds())))
        }
    })
}

/// As a server-side parameter takes it: `2026-10-01 12:00:00.000`.
pub(crate) fn clickhouse(time: TimeMs) -> String {
    timestamp(time).strftime("%Y-%m-%d %H:%M:%S.%3f").to_string()
}

/// As answers say it: `2026-10-01T12:00:00.000Z`, or with the offset that `zone` has then.
pub(crate) fn iso8601(time: TimeMs, zone: &TimeZone) -> String {
    let format = if *zone == TimeZone::UTC { "%Y-%m-%dT%H:%M:%S.%3fZ" } else { "%Y-%m-%dT%H:%M:%S.%3f%:z" };
    timestamp(time).to_zoned(zone.clone()).strftime(format).to_string()
}

/// The same of ClickHouse's text for a moment, which is UTC and has any number of decimals.
pub(crate) fn iso8601_of(text: &str, zone: &TimeZone) -> Option<String> {
    if *zone == TimeZone::UTC {
        return (!text.contains('T')).then(|| format!("{}Z", text.replace(' ', "T")));
    }
    let text = text.trim_end_matches('Z');
    let decimals = text.find('.').map_or("", |dot| &text[dot..]);
    let timestamp = Offset::UTC.to_timestamp(text.parse().ok()?).ok()?;
    let zoned = timestamp.to_zoned(zone.clone());
    Some(format!("{}{decimals}{}", zoned.strftime("%Y-%m-%dT%H:%M:%S"), zoned.strftime("%:z")))
}

fn timestamp(time: TimeMs) -> Timestamp {
    Timestamp::from_millisecond(time.0).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimeMs = TimeMs(1_790_000_000_000);

    fn clock(name: &str) -> Clock {
        Clock { now: NOW, zone: zone(name).unwrap() }
    }

    fn read(text: &str) -> Result<TimeMs, BadValue> {
        parse(text, &clock("UTC"))
    }

    #[test]
    fn one_moment_many_words() {
        let noon = TimeMs(1_790_856_000_000);
        for text in [
            "2026-10-01T12:00:00Z",
            "2026-10-01T12:00:00.000Z",
            "2026-10-01t12:00z",
            "2026-10-01 12:00:00",
            "2026-10-01T12:00",
            "2026-10-01T12",
            "2026-10-01T14:00:00+02:00",
            "2026-10-01T14:00:00 02:00",
            "2026-10-01T06:30:00-05:30",
            "1790856000",
            "1790856000000",
        ] {
            assert_eq!(read(text), Ok(noon), "{text}");
        }
        assert_eq!(clickhouse(noon), "2026-10-01 12:00:00.000");
        assert_eq!(iso8601(TimeMs(noon.0 + 5), &TimeZone::UTC), "2026-10-01T12:00:00.005Z");
        assert_eq!(read("2026-10-01"), Ok(TimeMs(noon.0 - 43_200_000)));
        assert_eq!(read("2026-10-01T12:00:00.0059Z"), Ok(TimeMs(noon.0 + 5)));
        assert_eq!(read("0"), Ok(TimeMs(0)));
    }

    #[test]
    fn words_without_an_offset_are_local() {
        for (zone, text, utc) in [
            ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00:00.000Z"),
            ("europe/berlin", "2026-10-25T02:30", "2026-10-25T00:30:00.000Z"), // said twice: the first
            ("Europe/Berlin", "2026-10-25T02:30+01:00", "2026-10-25T01:30:00.000Z"),
            ("Europe/Berlin", "2026-03-29T02:30", "2026-03-29T01:00:00.000Z"), // skipped: when clocks jump
            ("Asia/Kolkata", "2026-01-01T05:30", "2026-01-01T00:00:00.000Z"),
            ("Pacific/Apia", "2011-12-30T12:00", "2011-12-30T10:00:00.000Z"), // a day that was left out
            ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00.000Z"),  // a midnight that was left out
        ] {
            let time = parse(text, &clock(zone)).unwrap();
            assert_eq!(iso8601(time, &TimeZone::UTC), utc, "{zone} {text}");
        }
        let written = |ms| iso8601(TimeMs(ms), &zone("Europe/Berlin").unwrap());
        assert_eq!(written(1_792_890_000_000), "2026-10-25T02:00:00.000+01:00");
        assert_eq!(written(1_792_890_000_000 - 3_600_000), "2026-10-25T02:00:00.000+02:00");
        for name in ["", "Berlin", "CEST+2", "+02:00", "Etc/Unknown", "Europe/Berlin ", "../UTC"] {
            assert!(zone(name).unwrap_err().expected.contains("Europe/Berlin"), "{name}");
        }
        assert_eq!(zone_name(&zone("europe/BERLIN").unwrap()), "Europe/Berlin");
    }

    #[test]
    fn relative_words_refer_to_now() {
        for (text, back_s) in
            [("now", 0), ("-90s", 90), ("-15m", 900), ("now-1h", 3_600), ("-7d", 604_800), ("-2w", 1_209_600)]
        {
            assert_eq!(read(text), Ok(TimeMs(NOW.0 - back_s * 1000)), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "-",
            "-h",
            "1h",
            "+1h",
            "--1h",
            "-1.5h",
            "-1y",
            "-+1h",
            "now+1h",
            "nowish",
            "-99999999999d",
            "2026",
            "20261001",
            "2026-13-01",
            "2026-02-30",
            "2026-10-01T25:00:00Z",
            "2026-10-01T12:00:00+2",
            "2026-10-01T12:00[Europe/Berlin]",
            "2026-10-01x",
            "2026-10-01T12:00:00Zjunk",
            "12345678901234567890",
            "1969-12-31",
            "2200-01-01",
            "-9000w",
            "２０２６-10-01",
            "2026-10-0é",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered_not_panicked_at(text in "\\PC{0,30}|[-0-9nowTZ:. smhdw+]{0,30}") {
            let _ = read(&text);
        }

        #[test]
        fn what_an_answer_says_can_be_asked(ms in 0..END.0) {
            let berlin = zone("Europe/Berlin").unwrap();
            for text in [iso8601(TimeMs(ms), &TimeZone::UTC), iso8601(TimeMs(ms), &berlin), clickhouse(TimeMs(ms))] {
                proptest::prop_assert_eq!(read(&text), Ok(TimeMs(ms)), "{}", text);
            }
            let text = iso8601_of(&clickhouse(TimeMs(ms)), &berlin);
            proptest::prop_assert_eq!(text, Some(iso8601(TimeMs(ms), &berlin)));
        }
    }
}
