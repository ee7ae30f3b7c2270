//! What a request asks for, resolved: every parameter typed, the range whole, the step a number of seconds.

mod rollup;

use shardlake_schema::TimeMs;

use crate::{
    catalogue::Question,
    error::AskError,
    limits::MAX_ROWS,
    moment,
    parameter::{BadValue, Kind, Value, refuse},
};

/// Start of the range, included.
pub(crate) const FROM: &str = "from";

/// End of the range, left out.
pub(crate) const TO: &str = "to";

/// Width of a bucket. A multiple of the question's `min_step`: a bucket that cuts the data's own windows would hold one of
/// them or two by turns. What is not is refused, never changed; `auto` makes one.
pub(crate) const STEP: &str = "step";

/// The filter that also narrows what is said about freshness and gaps.
pub(crate) const CLUSTER: &str = "cluster";

/// How many rows at most.
const LIMIT: &str = "limit";

/// The word that lets the range choose the step.
pub(crate) const AUTO: &str = "auto";

pub(crate) const EXPECTED_STEP: &str = "seconds, or such as 30s, 5m, 1h or 1d, or auto";

/// `auto` makes about so many buckets: a point for every third pixel of a wide panel.
const AUTO_BUCKETS: u64 = 300;

/// More buckets than this are refused: more than any screen shows, and each is a row per cluster or shard.
const MAX_BUCKETS: u64 = 2_000;

/// Steps that `auto` chooses from, seconds: those that people use on clocks and calendars. The next multiple of the
/// question's `min_step` is taken.
const AUTO_STEPS_S: [u32; 18] =
    [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400];

/// Past a day, `auto` chooses whole weeks.
const WEEK_S: u64 = 604_800;

/// A range of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    /// Its start, included.
    pub(crate) from: TimeMs,
    /// Its end, left out.
    pub(crate) to: TimeMs,
}

/// A question with values for all of its parameters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resolved {
    /// Each parameter and its value.
    pub(crate) values: Vec<(String, Value)>,
    /// The range, if the question has one.
    pub(crate) range: Option<Range>,
    /// The width of a bucket, if the question has buckets.
    pub(crate) step_s: Option<u32>,
    /// The rollup that answers, if it is not the raw table.
    pub(crate) rollup: Option<String>,
    /// The clusters asked about; empty: all. Ready to be sent as an array of strings.
    pub(crate) clusters: Value,
}

/// Reads the pairs of a query string as parameters of `question`.
///
/// # Errors
/// [`AskError::UnknownParameter`], [`AskError::BadParameter`].
pub(crate) fn resolve(question: &Question, pairs: &[(String, String)], now: TimeMs) -> Result<Resolved, AskError> {
    if let Some((unknown, _)) = pairs.iter().find(|(name, _)| question.parameter(name).is_none()) {
        return Err(AskError::unknown_parameter(question, unknown));
    }
    let mut values = Vec::new();
    for parameter in question.parameters.iter().filter(|parameter| parameter.kind != Kind::Step) {
        let given = given(pairs, &parameter.name, parameter.default.as_deref());
        let bad = |bad| AskError::bad_parameter(&parameter.name, bad);
        if given.is_empty() {
            return Err(bad(BadValue { message: "it is required".into(), expected: parameter.kind.sql_type() }));
        }
        let value = parameter.parse(&given, now).map_err(bad)?;
        if parameter.name == LIMIT {
            check_limit(&value).map_err(bad)?;
        }
        values.push((parameter.name.clone(), value));
    }

    let range = range(&values)?;
    let step_s = match (question.parameter(STEP), range) {
        (Some(parameter), Some(range)) => {
            let given = given(pairs, STEP, parameter.default.as_deref());
            let bad = |bad| AskError::bad_parameter(STEP, bad);
            Some(step(&given, range, question.min_step_s).map_err(bad)?)
        }
        _ => None,
    };
    values.extend(step_s.map(|step_s| (STEP.to_owned(), Value::UInt(step_s.into()))));
    let clusters = values.iter().find(|(name, value)| name == CLUSTER && matches!(value, Value::List(_)));
    let clusters = clusters.map_or_else(|| Value::List(Vec::new()), |(_, value)| value.clone());
    let mut asked = Resolved { values, range, step_s, rollup: None, clusters };
    rollup::choose(question, &mut asked, now);
    Ok(asked)
}

/// The words for a parameter: those of the request, or else its default.
fn given<'a>(pairs: &'a [(String, String)], name: &str, default: Option<&'a str>) -> Vec<&'a str> {
    let given: Vec<&str> = pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect();
    if given.is_empty() { default.into_iter().collect() } else { given }
}

fn check_limit(value: &Value) -> Result<(), BadValue> {
    match value {
        Value::UInt(limit) if !(1..=MAX_ROWS).contains(limit) => {
            Err(refuse(&limit.to_string(), format!("a whole number from 1 to {MAX_ROWS}")))
        }
        _ => Ok(()),
    }
}

fn range(values: &[(String, Value)]) -> Result<Option<Range>, AskError> {
    let time = |name: &str| match values.iter().find(|(key, _)| key == name) {
        Some((_, Value::Time(time))) => Some(*time),
        _ => None,
    };
    match (time(FROM), time(TO)) {
        (Some(from), Some(to)) if from >= to => {
            let message = format!("the range is empty: it starts at {}", moment::iso8601(from));
            let expected = format!("a moment before `to`, {}", moment::iso8601(to));
            Err(AskError::bad_parameter(FROM, BadValue { message, expected }))
        }
        (Some(from), Some(to)) => Ok(Some(Range { from, to })),
        _ => Ok(None),
    }
}

fn step(given: &[&str], range: Range, min_s: u32) -> Result<u32, BadValue> {
    let text = match given {
        [] | [AUTO] => return Ok(auto_step(range, min_s)),
        [text] => text,
        _ => return Err(BadValue { message: format!("given {} times", given.len()), expected: "it once".to_owned() }),
    };
    let step_s = parse_step(text).ok_or_else(|| refuse(text, EXPECTED_STEP.to_owned()))?;
    if step_s < min_s {
        let expected = format!("at least {min_s}s: the data is not finer");
        return Err(BadValue { message: format!("`{text}` is too fine"), expected });
    }
    if !step_s.is_multiple_of(min_s) {
        let expected = format!("a multiple of {min_s}s, such as {}s", multiple(step_s.into(), min_s));
        return Err(BadValue {
            message: format!("`{text}` cuts the windows of {min_s}s that the data comes in"),
            expected,
        });
    }
    let finest_s = multiple(range.length_s().div_ceil(MAX_BUCKETS), min_s);
    if step_s < finest_s {
        let message = format!("`{text}` makes more than {MAX_BUCKETS} buckets of this range");
        return Err(BadValue { message, expected: format!("at least {finest_s}s, or auto") });
    }
    Ok(step_s)
}

/// A width of buckets in words: whole seconds with or without a unit, at least 1.
pub(crate) fn parse_step(text: &str) -> Option<u32> {
    let plain = || text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let seconds = plain().or_else(|| moment::seconds(text))?;
    u32::try_from(seconds).ok().filter(|seconds| *seconds > 0)
}

fn auto_step(range: Range, min_s: u32) -> u32 {
    let wanted_s = range.length_s().div_ceil(AUTO_BUCKETS).max(min_s.into());
    let step_s = AUTO_STEPS_S.into_iter().map(u64::from).find(|step_s| *step_s >= wanted_s);
    multiple(step_s.unwrap_or_else(|| wanted_s.next_multiple_of(WEEK_S)), min_s)
}

/// The next multiple of `min_s`; past the longest step there is, the last one before.
fn multiple(step_s: u64, min_s: u32) -> u32 {
    u32::try_from(step_s.next_multiple_of(min_s.into())).unwrap_or(u32::MAX / min_s * min_s)
}

impl Range {
    /// Its length in seconds, rounded up.
    fn length_s(self) -> u64 {
        (self.to.0 - self.from.0).unsigned_abs().div_ceil(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    const NOW: TimeMs = TimeMs(1_790_000_000_000);

    fn ask(id: &str, query: &str) -> Result<Resolved, AskError> {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        resolve(Catalogue::builtin().get(id).unwrap(), &pairs, NOW)
    }

    fn step_of(query: &str) -> Option<u32> {
        ask("interactions/volume", query).unwrap().step_s
    }

    #[test]
    fn auto_makes_about_300_buckets() {
        for (from, step_s) in
            [("-1m", 1), ("-5m", 1), ("-1h", 15), ("-6h", 120), ("-1d", 300), ("-7d", 3_600), ("-30d", 10_800)]
        {
            assert_eq!(step_of(&format!("from={from}")), Some(step_s), "{from}");
        }
        assert_eq!(step_of("from=0"), Some(10 * 604_800), "years in weeks");
    }

    #[test]
    fn auto_makes_buckets_of_whole_windows() {
        for (from, step_s) in [("-1m", 10), ("-1h", 20), ("-2h", 30), ("-7d", 3_600)] {
            let resolved = ask("gateway/throughput", &format!("from={from}")).unwrap();
            assert_eq!(resolved.step_s, Some(step_s), "{from}: counts come in windows of 10 s");
        }
        assert_eq!(ask("shards/latency", "from=-15m").unwrap().step_s, Some(30), "samples come every 30 s");
    }

    #[test]
    fn a_step_is_taken_or_refused_with_its_reason() {
        assert_eq!(step_of("step=30"), Some(30));
        assert_eq!(step_of("step=5m"), Some(300));
        for (query, reason) in [
            ("step=0", "not valid"),
            ("step=-5", "not valid"),
            ("step=", "empty"),
            ("step=1.5h", "not valid"),
            ("step=1s", "1801s"),
            ("step=1h&step=1h", "2 times"),
            ("from=-7d&step=60", "303s"),
        ] {
            let query = if query == "step=1s" { "from=-3601000s&step=1s" } else { query };
            let error = ask("interactions/volume", query).unwrap_err().to_string();
            assert!(error.contains("step") && error.contains(reason), "{query}: {error}");
        }
        for (query, reason) in [
            ("step=5", "at least 10s"),
            ("step=15s", "a multiple of 10s, such as 20s"),
            ("step=4294967295", "such as 4294967290s"),
            ("from=-20001s&step=10", "at least 20s"),
        ] {
            let error = ask("gateway/throughput", query).unwrap_err().to_string();
            assert!(error.contains(reason), "{query}: {error}");
        }
        assert_eq!(ask("gateway/throughput", "step=40").unwrap().step_s, Some(40));
    }

    #[test]
    fn ranges_limits_and_names_are_checked() {
        assert!(ask("interactions/volume", "from=now&to=-1h").unwrap_err().to_string().contains("before `to`"));
        assert!(ask("interactions/volume", "from=now&to=now").is_err());
        assert!(ask("commands/top", "limit=0").unwrap_err().to_string().contains("from 1 to"));
        assert!(ask("commands/top", "limit=1000000").is_err());
        assert!(ask("commands/top", "limits=5").unwrap_err().to_string().contains("limit"));
    }

    #[test]
    fn clusters_are_remembered() {
        let resolved = ask("interactions/volume", "cluster=a,b&cluster=c&to=now").unwrap();
        assert_eq!(resolved.clusters, Value::List(["a", "b", "c"].map(|name| Value::Text(name.into())).to_vec()));
        assert_eq!(resolved.range, Some(Range { from: TimeMs(NOW.0 - 3_600_000), to: NOW }));
        assert_eq!(resolved.values.len(), 6);
    }

    proptest::proptest! {
        #[test]
        fn a_resolved_step_is_within_its_limits(length_s in 1_i64..6_000_000_000, min_s in 1_u32..) {
            let range = Range { from: TimeMs(0), to: TimeMs(length_s * 1000) };
            let step_s = auto_step(range, min_s);
            proptest::prop_assert!(step_s > 0 && step_s.is_multiple_of(min_s), "{step_s}");
            proptest::prop_assert!(u64::from(step_s) * AUTO_BUCKETS >= range.length_s());
        }
    }
}
