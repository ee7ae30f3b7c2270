//! The width of a bucket: seconds, or months of the calendar.
//!
//! A width is a multiple of the question's `min_step`: a bucket that cuts the data's own windows would hold one of them or
//! two by turns. What is not is refused, never changed; `auto` makes one.

use std::fmt;

use super::Range;
use crate::{
    moment,
    parameter::{BadValue, refuse},
};

/// The word that lets the range choose the step.
pub(crate) const AUTO: &str = "auto";

pub(crate) const EXPECTED: &str = "seconds, or such as 30s, 5m, 1h, 1d or 1mo, or auto";

/// `auto` makes about so many buckets: a point for every third pixel of a wide panel.
const AUTO_BUCKETS: u64 = 300;

/// More buckets than this are refused: more than any screen shows, and each is a row per cluster or shard. Clocks that go
/// back make a few more.
const MAX_BUCKETS: u64 = 2_000;

/// Steps that `auto` chooses from, seconds: those that people use on clocks and calendars. The next multiple of the
/// question's `min_step` is taken.
const AUTO_STEPS_S: [u32; 18] =
    [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400];

const DAY_S: u32 = 86_400;

/// Past a day, `auto` chooses whole weeks.
pub(super) const WEEK_S: u32 = 7 * DAY_S;

/// Most months of a step: a hundred years, beyond any range.
const MAX_MONTHS: u32 = 1_200;

/// The width of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// At least 1.
    Seconds(u32),
    /// At least 1.
    Months(u32),
}

impl Step {
    /// Reads whole seconds with or without a unit, or months such as `1mo`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        if let Some(months) = text.strip_suffix("mo") {
            return digits(months)
                .filter(|months| (1..=MAX_MONTHS.into()).contains(months))
                .and_then(|months| u32::try_from(months).ok().map(Step::Months));
        }
        let seconds: i64 = digits(text).or_else(|| moment::seconds(text))?;
        u32::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Step::Seconds)
    }

    /// Its width in seconds, a month counted as 30 days.
    pub(crate) fn nominal_s(self) -> u32 {
        match self {
            Step::Seconds(seconds) => seconds,
            Step::Months(months) => 30 * DAY_S * months,
        }
    }

    /// Whether its buckets are made of whole windows of `window_s`.
    fn is_multiple_of(self, window_s: u32) -> bool {
        match self {
            Step::Seconds(seconds) => seconds.is_multiple_of(window_s),
            Step::Months(_) => DAY_S.is_multiple_of(window_s),
        }
    }

    /// The step that was `given` for `range`, or chosen by it.
    pub(super) fn choose(given: &[&str], range: Range, min_s: u32) -> Result<Self, BadValue> {
        let text = match given {
            [] | [AUTO] => return Ok(auto(range, min_s)),
            [text] => text,
            _ => {
                return Err(BadValue {
                    message: format!("given {} times", given.len()),
                    expected: "it once".to_owned(),
                });
            }
        };
        let step = Step::parse(text).ok_or_else(|| refuse(text, EXPECTED.to_owned()))?;
        if step.nominal_s() < min_s {
            let expected = format!("at least {min_s}s: the data is not finer");
            return Err(BadValue { message: format!("`{text}` is too fine"), expected });
        }
        if !step.is_multiple_of(min_s) {
            let expected = format!("a multiple of {min_s}s, such as {}s", multiple(step.nominal_s().into(), min_s));
            return Err(BadValue {
                message: format!("`{text}` cuts the windows of {min_s}s that the data comes in"),
                expected,
            });
        }
        let finest_s = multiple(range.length_s().div_ceil(MAX_BUCKETS), min_s);
        if step.nominal_s() < finest_s {
            let message = format!("`{text}` makes more than {MAX_BUCKETS} buckets of this range");
            return Err(BadValue { message, expected: format!("at least {finest_s}s, or auto") });
        }
        Ok(step)
    }
}

/// As a request may ask for it, in the largest unit that divides it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Months(months) => write!(f, "{months}mo"),
            Step::Seconds(seconds) => {
                let units = [(DAY_S, 'd'), (3_600, 'h'), (60, 'm')];
                let (unit_s, unit) =
                    units.into_iter().find(|(unit_s, _)| seconds.is_multiple_of(*unit_s)).unwrap_or((1, 's'));
                write!(f, "{}{unit}", seconds / unit_s)
            }
        }
    }
}

fn auto(range: Range, min_s: u32) -> Step {
    let wanted_s = range.length_s().div_ceil(AUTO_BUCKETS).max(min_s.into());
    let step_s = AUTO_STEPS_S.into_iter().map(u64::from).find(|step_s| *step_s >= wanted_s);
    Step::Seconds(multiple(step_s.unwrap_or_else(|| wanted_s.next_multiple_of(WEEK_S.into())), min_s))
}

/// The next multiple of `min_s`; past the longest step there is, the last one before.
fn multiple(step_s: u64, min_s: u32) -> u32 {
    u32::try_from(step_s.next_multiple_of(min_s.into())).unwrap_or(u32::MAX / min_s * min_s)
}

#[cfg(test)]
mod tests {
    use shardlake_schema::TimeMs;

    use super::*;

    fn range(length_s: i64) -> Range {
        Range { from: TimeMs(0), to: TimeMs(length_s * 1000) }
    }

    #[test]
    fn auto_makes_about_300_buckets() {
        for (length_s, step_s) in [
            (60, 1),
            (300, 1),
            (3_600, 15),
            (6 * 3_600, 120),
            (86_400, 300),
            (7 * 86_400, 3_600),
            (30 * 86_400, 10_800),
            (1_790_000_000, 10 * WEEK_S), // years in weeks
        ] {
            assert_eq!(auto(range(length_s), 1), Step::Seconds(step_s), "{length_s}");
        }
        for (length_s, step_s) in [(60, 10), (3_600, 20), (7_200, 30), (7 * 86_400, 3_600)] {
            assert_eq!(auto(range(length_s), 10), Step::Seconds(step_s), "{length_s}: of whole windows of 10 s");
        }
    }

    #[test]
    fn a_step_is_taken_or_refused_with_its_reason() {
        let choose = |text: &str, length_s, min_s| Step::choose(&[text], range(length_s), min_s);
        for (text, step) in [
            ("30", Step::Seconds(30)),
            ("5m", Step::Seconds(300)),
            ("2w", Step::Seconds(2 * WEEK_S)),
            ("1mo", Step::Months(1)),
            ("12mo", Step::Months(12)),
        ] {
            assert_eq!(choose(text, 3_600, 10), Ok(step));
            assert_eq!(Step::parse(&step.to_string()), Some(step), "what an answer says can be asked");
        }
        for (text, length_s, min_s, reason) in [
            ("0", 60, 1, "not valid"),
            ("-5", 60, 1, "not valid"),
            ("", 60, 1, "empty"),
            ("1.5h", 60, 1, "not valid"),
            ("0mo", 60, 1, "not valid"),
            ("mo", 60, 1, "not valid"),
            ("1201mo", 60, 1, "not valid"),
            ("+1mo", 60, 1, "not valid"),
            ("1s", 3_601_000, 1, "1801s"),
            ("60", 7 * 86_400, 1, "303s"),
            ("5", 60, 10, "at least 10s"),
            ("15s", 60, 10, "a multiple of 10s, such as 20s"),
            ("1mo", 60, 7, "a multiple of 7s"),
            ("4294967295", 60, 10, "such as 4294967290s"),
            ("10", 20_001, 10, "at least 20s"),
        ] {
            let error = choose(text, length_s, min_s).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(Step::choose(&["1h", "1h"], range(60), 1).unwrap_err().message.contains("2 times"));
    }

    proptest::proptest! {
        #[test]
        fn a_chosen_step_is_within_its_limits(length_s in 1_i64..6_000_000_000, min_s in 1_u32..) {
            let step_s = auto(range(length_s), min_s).nominal_s();
            proptest::prop_assert!(step_s > 0 && step_s.is_multiple_of(min_s), "{step_s}");
            proptest::prop_assert!(u64::from(step_s) * AUTO_BUCKETS >= range(length_s).length_s());
        }

        #[test]
        fn any_text_is_answered_not_panicked_at(text in "\\PC{0,12}|[0-9]{0,12}[a-z]{0,3}") {
            if let Some(step) = Step::parse(&text) {
                proptest::prop_assert_eq!(Step::parse(&step.to_string()), Some(step));
            }
        }
    }
}
