//! What stands beside and below a chart: values at round numbers, times at round hours and days.

use shardlake_queries::Unit;
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use super::{
    super::number::{Style, duration},
    series::{Chosen, Series},
};

/// Lines between two labels of values.
const LABEL_EVERY: usize = 3;

/// Characters that a label of time takes, with its gap.
const TIME_CHARS: usize = 14;

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 60 * MINUTE_S;
const DAY_S: i64 = 24 * HOUR_S;

/// Ways from one label of time to the next; days in multiples of a week begin on Mondays.
const TIME_STEPS_S: [i64; 24] = [
    1,
    5,
    15,
    30,
    MINUTE_S,
    2 * MINUTE_S,
    5 * MINUTE_S,
    10 * MINUTE_S,
    15 * MINUTE_S,
    30 * MINUTE_S,
    HOUR_S,
    2 * HOUR_S,
    3 * HOUR_S,
    6 * HOUR_S,
    12 * HOUR_S,
    DAY_S,
    2 * DAY_S,
    4 * DAY_S,
    7 * DAY_S,
    14 * DAY_S,
    28 * DAY_S,
    56 * DAY_S,
    112 * DAY_S,
    364 * DAY_S,
];

/// The first Monday of 1970.
const MONDAY_S: i64 = 4 * DAY_S;

/// Values from below to above.
pub(super) struct Scale {
    least: f64,
    greatest: f64,
    labels: Vec<Option<String>>,
}

impl Scale {
    /// Holds all values, and 0 if none is below it.
    pub(super) fn of(all: &[&Series], unit: Unit, height: usize) -> Self {
        let least = all.iter().filter_map(|series| series.least()).fold(0.0, f64::min);
        let greatest = all.iter().filter_map(|series| series.greatest()).fold(least, f64::max);
        let spaces = (height - 1) / LABEL_EVERY;
        let step = round_up((greatest - least) / f64_of(spaces), unit);
        let least = (least / step).floor() * step;
        // From below 0 to above it, rounding down can cost a step.
        let step = if least + step * f64_of(spaces) < greatest { round_up(step * 1.01, unit) } else { step };
        let least = (least / step).floor() * step;
        let top = least + step * f64_of(height - 1) / f64_of(LABEL_EVERY);
        let values: Vec<serde_json::Value> = (0..=spaces).map(|at| (least + step * f64_of(at)).into()).collect();
        let style = Style::of(unit, &values.iter());
        let label = |line: usize| {
            let from_below = height - 1 - line;
            let value = least + step * f64_of(from_below) / f64_of(LABEL_EVERY);
            from_below.is_multiple_of(LABEL_EVERY).then(|| match unit {
                Unit::Ratio => format!("{}%", style.number(value)),
                // What people say of 2,500 ms is 2.5 s.
                Unit::Milliseconds if value.abs() >= 1_000.0 || value == 0.0 => duration(value / 1_000.0),
                Unit::Milliseconds => format!("{}ms", style.number(value)),
                Unit::Seconds => duration(value),
                _ => style.number(value),
            })
        };
        Self { least, greatest: top, labels: (0..height).map(label).collect() }
    }

    /// Where `value` lies, 0 to 1.
    pub(super) fn share(&self, value: f64) -> f64 {
        (value - self.least) / (self.greatest - self.least)
    }

    pub(super) fn lines(&self) -> usize {
        self.labels.len()
    }

    pub(super) fn label_chars(&self) -> usize {
        self.labels.iter().flatten().map(|label| label.chars().count()).max().unwrap_or_default()
    }

    /// The label of a line from above, and the axis.
    pub(super) fn label(&self, line: usize) -> String {
        let width = self.label_chars();
        match &self.labels[line] {
            Some(label) => format!("{label:>width$} ┤"),
            None => format!("{:width$} │", ""),
        }
    }
}

/// The next number of 1, 2, 2.5 and 5 times a power of ten; of bytes, of two.
fn round_up(step: f64, unit: Unit) -> f64 {
    if step <= 0.0 {
        return 1.0;
    }
    if matches!(unit, Unit::Bytes | Unit::BytesPerSecond) {
        return 2_f64.powf(step.log2().ceil());
    }
    let power = 10_f64.powf(step.log10().floor());
    let round = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|round| round * power >= step * 0.999_999).unwrap_or(10.0);
    let is_whole = unit == Unit::Count && step > 1.0;
    if is_whole { (round * power).ceil() } else { round * power }
}

#[expect(clippy::cast_precision_loss, reason = "a terminal has few lines")]
fn f64_of(count: usize) -> f64 {
    count as f64
}

/// From the first moment to the last.
pub(super) struct Times<'a> {
    /// ms since 1970, and by local clocks, s since 1970.
    moments: &'a [(i64, i64)],
}

impl Chosen {
    pub(super) fn times(&self) -> Times<'_> {
        Times { moments: &self.moments }
    }
}

impl Times<'_> {
    fn ends(&self) -> Option<((i64, i64), (i64, i64))> {
        Some((*self.moments.first()?, *self.moments.last()?))
    }

    /// Where a moment lies, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a share of a chart's width needs few digits")]
    pub(super) fn share(&self, time_ms: i64) -> f64 {
        match self.ends() {
            Some((first, last)) if last.0 > first.0 => (time_ms - first.0) as f64 / (last.0 - first.0) as f64,
            _ => 0.0,
        }
    }

    /// The moments that get a label: buckets that begin at round times, or, as of months, one of so many.
    fn labelled(&self, width: usize) -> (Vec<(i64, i64)>, i64) {
        let Some((first, last)) = self.ends() else { return (Vec::new(), 1) };
        let most = i64::try_from((width / TIME_CHARS).max(1)).unwrap_or(1);
        let least_step_s = (last.1 - first.1) / most;
        let first_try = TIME_STEPS_S.iter().position(|step| *step > least_step_s).unwrap_or(TIME_STEPS_S.len() - 1);
        for step in &TIME_STEPS_S[first_try..] {
            let origin = if step % (7 * DAY_S) == 0 { MONDAY_S } else { 0 };
            let round = |moment: &&(i64, i64)| (moment.1 - origin).rem_euclid(*step) == 0;
            let found: Vec<(i64, i64)> = self.moments.iter().filter(round).copied().collect();
            if found.len() > 1 {
                return (found, *step);
            }
        }
        let one_of = self.moments.len() / usize::try_from(most).unwrap_or(1) + 1;
        (self.moments.iter().step_by(one_of).copied().collect(), least_step_s.max(1))
    }
}

/// The axis and its labels.
pub(super) fn time_axis(times: &Times<'_>, width: usize) -> [String; 2] {
    let (labelled, step_s) = times.labelled(width);
    let span_s = times.ends().map_or(0, |(first, last)| last.1 - first.1);
    let mut axis = vec!['─'; width];
    let mut labels = String::new();
    for (time_ms, local_s) in labelled {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of the width is within it"
        )]
        let at = (times.share(time_ms) * f64_of(width - 1)).round() as usize;
        axis[at] = '┬';
        let label = label(local_s, step_s, span_s);
        let begin = at.saturating_sub(label.len() / 2).min(width.saturating_sub(label.len()));
        if labels.is_empty() || begin > labels.len() {
            labels = format!("{labels:begin$}{label}");
        }
    }
    [format!("└{}", axis.into_iter().collect::<String>()), format!(" {labels}")]
}

const SECOND: &[BorrowedFormatItem<'_>] = format_description!("[hour]:[minute]:[second]");
const MINUTE: &[BorrowedFormatItem<'_>] = format_description!("[hour]:[minute]");
const DAY_AND_MINUTE: &[BorrowedFormatItem<'_>] = format_description!("[month]-[day] [hour]:[minute]");
const DAY: &[BorrowedFormatItem<'_>] = format_description!("[month]-[day]");
const YEAR_AND_DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

fn label(local_s: i64, step_s: i64, span_s: i64) -> String {
    let format = match (step_s, span_s) {
        (..MINUTE_S, _) => SECOND,
        (..DAY_S, ..=DAY_S) => MINUTE,
        (..DAY_S, _) => DAY_AND_MINUTE,
        (_, span) if span > 300 * DAY_S => YEAR_AND_DAY,
        _ => DAY,
    };
    let local = OffsetDateTime::from_unix_timestamp(local_s).ok();
    local.and_then(|local| local.format(format).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(values: &[f64], unit: Unit) -> Vec<String> {
        let series = Series { name: String::new(), points: values.iter().map(|value| (0, Some(*value))).collect() };
        let scale = Scale::of(&[&series], unit, 7);
        assert!(values.iter().all(|value| (0.0..=1.0).contains(&scale.share(*value))), "{values:?}");
        scale.labels.iter().rev().flatten().cloned().collect()
    }

    #[test]
    fn values_are_labelled_with_round_numbers() {
        assert_eq!(scale(&[3.0, 41.0], Unit::Count), ["0", "25", "50"]);
        assert_eq!(scale(&[0.0], Unit::Count), ["0", "1", "2"]);
        assert_eq!(scale(&[130.0, 1_700.0], Unit::Milliseconds), ["0s", "1s", "2s"]);
        assert_eq!(scale(&[0.3], Unit::Milliseconds), ["0s", "0.200ms", "0.400ms"]);
        assert_eq!(scale(&[0.071], Unit::Ratio), ["0%", "5%", "10%"]);
        assert_eq!(scale(&[3e9], Unit::Bytes), ["0 B", "2.0 GiB", "4.0 GiB"]);
        assert_eq!(scale(&[-5.0, 90.0], Unit::Count), ["-100", "0", "100"]);
    }

    /// Buckets of so many seconds from a moment on.
    fn axis(first_s: i64, width_s: i64, count: i64) -> [String; 2] {
        let moments: Vec<(i64, i64)> =
            (0..count).map(|at| first_s + at * width_s).map(|time_s| (time_s * 1_000, time_s)).collect();
        time_axis(&Times { moments: &moments }, 60)
    }

    #[test]
    fn times_are_labelled_at_round_ones() {
        let day_s = 20_000 * DAY_S; // 2024-10-04
        let [line, labels] = axis(day_s + 10 * MINUTE_S, 5 * MINUTE_S, 36);
        assert_eq!(labels.split_whitespace().collect::<Vec<_>>(), ["01:00", "02:00", "03:00"], "{labels}");
        assert_eq!((line.chars().count(), line.matches('┬').count()), (61, 3), "{line}");
        assert_eq!(axis(day_s, DAY_S, 30)[1].split_whitespace().collect::<Vec<_>>(), ["10-14", "10-28"]);
        assert_eq!(axis(day_s, 30 * DAY_S, 14)[1].split_whitespace().count(), 4, "months begin at no multiple of days");
        assert_eq!(axis(day_s, 60, 1)[1].trim(), "00:00:00");
    }
}
