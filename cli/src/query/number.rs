//! How values are written for people.
//!
//! Numbers of a column have the same number of decimals, so that they can be compared by eye: enough for three digits of the
//! greatest. What would be rounded to 0 and is not is written as `<0.1`. Bytes and long times carry their unit, because
//! a column holds small ones and large ones; all other units are in the heading. Moments are as exact as they must be to be
//! told apart: to milliseconds only where all are of one minute.

use serde_json::Value;
use shardlake_queries::Unit;

/// In the place of a value that is not there.
const NOTHING: &str = "–";

/// Of `2026-10-01T12:00:00.000`.
const DAY_CHARS: usize = 10;
const MINUTE_CHARS: usize = 16;
const SECOND_CHARS: usize = 19;
const MILLISECOND_CHARS: usize = 23;

/// How all values of a column are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    unit: Unit,
    decimals: usize,
    /// How much of a moment is shown.
    time_chars: usize,
}

impl Style {
    pub(super) fn of<'a>(unit: Unit, values: &(impl Iterator<Item = &'a Value> + Clone)) -> Self {
        let numbers = values.clone().filter_map(Value::as_f64).map(|value| in_heading(unit, value));
        let has_fractions = numbers.clone().any(|value| value.fract() != 0.0);
        let greatest = numbers.fold(0.0, |greatest: f64, value| greatest.max(value.abs()));
        let decimals = if has_fractions { decimals(greatest) } else { 0 };
        let times = || values.clone().filter_map(Value::as_str);
        let minute = |time: &str| time.get(..MINUTE_CHARS).map(str::to_owned);
        let is_short =
            times().next().and_then(minute).is_some_and(|first| times().all(|time| time.starts_with(&first)));
        let chars = times().map(|time| match time.get(10..23) {
            Some("T00:00:00.000") => DAY_CHARS,
            Some(clock) if clock.ends_with(":00.000") => MINUTE_CHARS,
            Some(clock) if clock.ends_with(".000") || !is_short => SECOND_CHARS,
            _ => MILLISECOND_CHARS,
        });
        Self { unit, decimals, time_chars: chars.max().unwrap_or_default() }
    }

    pub(super) fn write(self, value: &Value) -> String {
        match value {
            Value::Null => NOTHING.to_owned(),
            Value::Number(number) => match (self.unit, number.as_i64()) {
                // Exact, however large: a double would round them.
                (Unit::Count, Some(whole)) if self.decimals == 0 => grouped(&whole.to_string()),
                _ => self.number(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) if self.unit == Unit::Time => moment(text, self.time_chars),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }

    pub(super) fn number(self, value: f64) -> String {
        match self.unit {
            Unit::Bytes | Unit::BytesPerSecond => bytes(value),
            Unit::Seconds => duration(value),
            unit => {
                let value = in_heading(unit, value);
                let written = format!("{:.*}", self.decimals, value);
                if value != 0.0 && written.bytes().all(|byte| matches!(byte, b'0' | b'.' | b'-')) {
                    let least =
                        format!("{:.*}", self.decimals, 10_f64.powi(-i32::try_from(self.decimals).unwrap_or(0)));
                    return if value > 0.0 { format!("<{least}") } else { format!(">-{least}") };
                }
                grouped(&written)
            }
        }
    }
}

/// The unit that a heading names; empty: none, or the values carry it.
pub(super) const fn heading(unit: Unit) -> &'static str {
    match unit {
        Unit::Ratio => "%",
        Unit::Milliseconds => "ms",
        Unit::PerSecond | Unit::BytesPerSecond => "/s",
        Unit::Id | Unit::Text | Unit::Time | Unit::Count | Unit::Seconds | Unit::Bytes => "",
    }
}

/// The value in the unit of the heading.
fn in_heading(unit: Unit, value: f64) -> f64 {
    if unit == Unit::Ratio { value * 100.0 } else { value }
}

fn decimals(greatest: f64) -> usize {
    match greatest {
        value if value >= 1_000.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    }
}

/// `1234567.8` with commas.
pub(super) fn grouped(number: &str) -> String {
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |digits| ("-", digits));
    let (whole, fraction) = digits.find('.').map_or((digits, ""), |point| digits.split_at(point));
    let mut text = sign.to_owned();
    for (at, digit) in whole.char_indices() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + fraction
}

fn bytes(value: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = value;
    let mut at = 0;
    while value.abs() >= 1_024.0 && at + 1 < units.len() {
        value /= 1_024.0;
        at += 1;
    }
    let decimals = usize::from(at > 0 && value.abs() < 100.0 || value.fract() != 0.0 && value.abs() < 100.0);
    format!("{value:.decimals$} {}", units[at])
}

/// The two largest units of a time: `4d 2h`, `13m 5s`, `2.5 s`.
pub(crate) fn duration(seconds: f64) -> String {
    if seconds.abs() < 60.0 {
        let text = format!("{seconds:.1}");
        return format!("{}s", text.strip_suffix(".0").unwrap_or(&text));
    }
    #[expect(clippy::cast_possible_truncation, reason = "no time is that long")]
    let whole = seconds.round() as i64;
    let (sign, whole) = if whole < 0 { ("-", -whole) } else { ("", whole) };
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60, whole % 60);
    let (first, second) = match (days, hours) {
        (1.., _) => ((days, 'd'), (hours, 'h')),
        (_, 1..) => ((hours, 'h'), (minutes, 'm')),
        _ => ((minutes, 'm'), (seconds, 's')),
    };
    match second.0 {
        0 => format!("{sign}{}{}", first.0, first.1),
        _ => format!("{sign}{}{} {}{}", first.0, first.1, second.0, second.1),
    }
}

/// The beginning of an ISO 8601 moment; its time zone is that of the answer.
fn moment(text: &str, chars: usize) -> String {
    text.get(..chars).unwrap_or(text).replacen('T', " ", 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn column(unit: Unit, values: &[Value]) -> Vec<String> {
        let style = Style::of(unit, &values.iter());
        values.iter().map(|value| style.write(value)).collect()
    }

    #[test]
    fn a_column_can_be_compared_by_eye() {
        assert_eq!(column(Unit::Count, &[json!(1_234_567), json!(0), json!(null)]), ["1,234,567", "0", "–"]);
        assert_eq!(column(Unit::Count, &[json!(9_007_199_254_740_993_u64)]), ["9,007,199,254,740,993"]);
        assert_eq!(column(Unit::Ratio, &[json!(0.5), json!(0.12345), json!(0.00001)]), ["50.0", "12.3", "<0.1"]);
        assert_eq!(column(Unit::Milliseconds, &[json!(2.5), json!(-1234.4)]), ["2", "-1,234"]);
        assert_eq!(column(Unit::Milliseconds, &[json!(-0.0001), json!(0.25)]), [">-0.001", "0.250"]);
        assert_eq!(
            column(Unit::Bytes, &[json!(512), json!(1536), json!(314_572_800)]),
            ["512 B", "1.5 KiB", "300 MiB"]
        );
        assert_eq!(column(Unit::Id, &[json!("123456")]), ["123456"]);
    }

    #[test]
    fn times_are_as_long_as_they_need_to_be() {
        assert_eq!(column(Unit::Time, &[json!("2026-10-01T00:00:00.000Z")]), ["2026-10-01"]);
        let hours = [json!("2026-10-01T00:00:00.000+02:00"), json!("2026-10-01T12:00:00.000+02:00")];
        assert_eq!(column(Unit::Time, &hours), ["2026-10-01 00:00", "2026-10-01 12:00"]);
        assert_eq!(column(Unit::Time, &[json!("2026-10-01T12:00:01.500Z")]), ["2026-10-01 12:00:01.500"]);
        let minutes = [json!("2026-10-01T12:00:01.500Z"), json!("2026-10-01T12:01:00.000Z")];
        assert_eq!(column(Unit::Time, &minutes), ["2026-10-01 12:00:01", "2026-10-01 12:01:00"]);
        let words = [0.0, 2.5, 60.0, 785.0, 7_200.0, 50_000.0, 350_000.0, -90.0].map(duration);
        assert_eq!(words, ["0s", "2.5s", "1m", "13m 5s", "2h", "13h 53m", "4d 1h", "-1m 30s"]);
    }
}
