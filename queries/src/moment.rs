//! Moments in words: `2026-10-01T12:00:00Z`, epoch seconds or milliseconds, `-7d`, `now`.

use shardlake_schema::TimeMs;
use time::{
    Date, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset, format_description::BorrowedFormatItem as Item,
    macros::format_description,
};

use crate::parameter::{BadValue, refuse};

/// Moments from 1970 to the end of 2199 are taken: what `DateTime64(3)` holds without surprises, and where a digit too many
/// in an epoch shows.
const END: TimeMs = TimeMs(7_258_118_400_000);

const EXPECTED: &str = "ISO 8601 such as 2026-10-01T12:00:00Z (no offset: UTC), epoch seconds or milliseconds, or relative \
    to now: -15m, -1h, -7d, now";

/// Epochs of up to so many digits are seconds, longer ones milliseconds: seconds have 10 digits until 2286.
const EPOCH_SECONDS_DIGITS: usize = 10;

/// Shorter numbers (a year, a typing error) would silently mean a day in 1970.
const EPOCH_MIN_DIGITS: usize = 9;

const DATE: &[Item<'_>] = format_description!("[year]-[month]-[day]");
const CLOCK: &[Item<'_>] = format_description!("[hour]:[minute][optional [:[second][optional [.[subsecond]]]]]");
const OFFSET: &[Item<'_>] = format_description!("[offset_hour sign:mandatory]:[offset_minute]");

/// Reads a moment; `now` is what relative words refer to.
pub(crate) fn parse(text: &str, now: TimeMs) -> Result<TimeMs, BadValue> {
    let time = relative(text, now).or_else(|| epoch(text)).or_else(|| iso(text));
    time.filter(|time| (TimeMs(0)..END).contains(time)).ok_or_else(|| refuse(text, EXPECTED.to_owned()))
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
fn iso(text: &str) -> Option<TimeMs> {
    let (date, rest) = text.split_at_checked("2026-10-01".len())?;
    let date = Date::parse(date, DATE).ok()?;
    let (clock, offset) = match rest.strip_prefix(['T', 't', ' ']) {
        None if rest.is_empty() => (Time::MIDNIGHT, UtcOffset::UTC),
        None => return None,
        Some(rest) => {
            let end = rest.find(['Z', 'z', '+', '-', ' ']).unwrap_or(rest.len());
            let (clock, offset) = rest.split_at(end);
            (Time::parse(clock, CLOCK).ok()?, parse_offset(offset)?)
        }
    };
    let nanoseconds = PrimitiveDateTime::new(date, clock).assume_offset(offset).unix_timestamp_nanos();
    i64::try_from(nanoseconds.div_euclid(1_000_000)).ok().map(TimeMs)
}

fn parse_offset(text: &str) -> Option<UtcOffset> {
    match text {
        "" | "Z" | "z" => Some(UtcOffset::UTC),
        _ => UtcOffset::parse(&text.replacen(' ', "+", 1), OFFSET).ok(),
    }
}

/// As a server-side parameter takes it: `2026-10-01 12:00:00.000`.
pub(crate) fn clickhouse(time: TimeMs) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]");
    written(time, format)
}

/// As answers say it: `2026-10-01T12:00:00.000Z`.
pub(crate) fn iso8601(time: TimeMs) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    written(time, format)
}

fn written(time: TimeMs, format: &[Item<'_>]) -> String {
    let date = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0) * 1_000_000);
    date.unwrap_or(OffsetDateTime::UNIX_EPOCH).format(format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimeMs = TimeMs(1_790_000_000_000);

    #[test]
    fn one_moment_many_words() {
        let noon = TimeMs(1_790_856_000_000);
        for text in [
            "2026-10-01T12:00:00Z",
            "2026-10-01T12:00:00.000Z",
            "2026-10-01t12:00z",
            "2026-10-01 12:00:00",
            "2026-10-01T12:00",
            "2026-10-01T14:00:00+02:00",
            "2026-10-01T14:00:00 02:00",
            "2026-10-01T06:30:00-05:30",
            "1790856000",
            "1790856000000",
        ] {
            assert_eq!(parse(text, NOW), Ok(noon), "{text}");
        }
        assert_eq!(clickhouse(noon), "2026-10-01 12:00:00.000");
        assert_eq!(iso8601(TimeMs(noon.0 + 5)), "2026-10-01T12:00:00.005Z");
        assert_eq!(parse("2026-10-01", NOW), Ok(TimeMs(noon.0 - 43_200_000)));
        assert_eq!(parse("2026-10-01T12:00:00.0059Z", NOW), Ok(TimeMs(noon.0 + 5)));
        assert_eq!(parse("0", NOW), Ok(TimeMs(0)));
    }

    #[test]
    fn relative_words_refer_to_now() {
        for (text, back_s) in
            [("now", 0), ("-90s", 90), ("-15m", 900), ("now-1h", 3_600), ("-7d", 604_800), ("-2w", 1_209_600)]
        {
            assert_eq!(parse(text, NOW), Ok(TimeMs(NOW.0 - back_s * 1000)), "{text}");
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
            "2026-10-01T12",
            "2026-10-01T12:00:00+2",
            "2026-10-01x",
            "2026-10-01T12:00:00Zjunk",
            "12345678901234567890",
            "1969-12-31",
            "2200-01-01",
            "-9000w",
            "２０２６-10-01",
            "2026-10-0é",
        ] {
            assert!(parse(text, NOW).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered_not_panicked_at(text in "\\PC{0,30}|[-0-9nowTZ:. smhdw+]{0,30}") {
            let _ = parse(&text, NOW);
        }

        #[test]
        fn what_an_answer_says_can_be_asked(ms in 0..END.0) {
            proptest::prop_assert_eq!(parse(&iso8601(TimeMs(ms)), NOW), Ok(TimeMs(ms)));
            proptest::prop_assert_eq!(parse(&clickhouse(TimeMs(ms)), NOW), Ok(TimeMs(ms)));
        }
    }
}
