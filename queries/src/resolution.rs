//! What a request asks for, resolved: every parameter typed, the range whole, the step buckets.

mod step;

mod buckets;

mod page;

mod rollup;

mod compare;

use jiff::tz::TimeZone;
use shardlake_schema::TimeMs;

pub(crate) use self::{
    buckets::Buckets,
    page::Page,
    step::{AUTO, EXPECTED as EXPECTED_STEP, Step},
};
use crate::{
    catalogue::Question,
    error::AskError,
    limits::MAX_ROWS,
    moment::{self, Clock},
    parameter::{BadValue, Kind, Value, refuse},
};

/// Start of the range, included.
pub(crate) const FROM: &str = "from";

/// End of the range, left out.
pub(crate) const TO: &str = "to";

/// Width of a bucket: see [`Step`].
pub(crate) const STEP: &str = "step";

/// The time zone of the buckets, and of every moment in words without an offset.
pub(crate) const TZ: &str = "tz";

/// What the SQL gets for `step`: where each bucket begins, and where the last one ends, ms since 1970.
pub(crate) const EDGES: &str = "edges";

/// `previous`: see `compare.rs`.
pub(crate) const COMPARE: &str = "compare";

/// Where to go on: see [`Page`].
pub(crate) const CURSOR: &str = "cursor";

/// What the SQL gets for `cursor`: how many to leave out.
pub(crate) const OFFSET: &str = "offset";

/// The filter that also narrows what is said about freshness and gaps.
pub(crate) const CLUSTER: &str = "cluster";

/// How many rows, or other things, at most.
pub(crate) const LIMIT: &str = "limit";

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
    /// Each parameter that the SQL may use, and its value.
    pub(crate) values: Vec<(String, Value)>,
    /// The range, if the question has one.
    pub(crate) range: Option<Range>,
    /// The time zone.
    pub(crate) zone: TimeZone,
    /// The buckets, if the question has any.
    pub(crate) buckets: Option<Buckets>,
    /// The part of the answer, if the question has a limit.
    pub(crate) page: Option<Page>,
    /// The same of the range before, if that is to be compared.
    pub(crate) previous: Option<Box<Resolved>>,
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
    let clock = Clock { now, zone: zone(question, pairs)? };
    let mut values = Vec::new();
    for parameter in question.parameters.iter().filter(|parameter| !matches!(parameter.kind, Kind::Step | Kind::Word)) {
        let given = given(pairs, &parameter.name, parameter.default.as_deref());
        let bad = |bad| AskError::bad_parameter(&parameter.name, bad);
        if given.is_empty() {
            return Err(bad(BadValue { message: "it is required".into(), expected: parameter.kind.sql_type() }));
        }
        let value = parameter.parse(&given, &clock).map_err(bad)?;
        if parameter.name == LIMIT {
            check_limit(&value).map_err(bad)?;
        }
        values.push((parameter.name.clone(), value));
    }

    let cursor = word(pairs, CURSOR)?;
    let asked = range(&values, &clock.zone)?;
    let page = Page::turn(question, cursor, &mut values, asked).map_err(|bad| AskError::bad_parameter(CURSOR, bad))?;
    let range = range(&values, &clock.zone)?;
    let step = match (question.parameter(STEP), range) {
        (Some(parameter), Some(range)) => {
            let given = given(pairs, STEP, parameter.default.as_deref());
            let step = Step::choose(&given, range, question.min_step_s);
            Some(step.map_err(|bad| AskError::bad_parameter(STEP, bad))?)
        }
        _ => None,
    };
    let mut asked = Resolved::new(question, &values, range, step, &clock, page.as_ref());
    let bad = |bad| AskError::bad_parameter(COMPARE, bad);
    if compare::parse(word(pairs, COMPARE)?).map_err(bad)? {
        let previous = asked.range.and_then(|range| compare::previous(range, &clock.zone)).ok_or_else(|| {
            let message = "the range before this one begins before 1970".to_owned();
            bad(BadValue { message, expected: "a later `from`".to_owned() })
        })?;
        let previous = Resolved::new(question, &values, Some(previous), step, &clock, page.as_ref());
        asked.previous = Some(Box::new(previous));
    }
    Ok(asked)
}

impl Resolved {
    /// The question with these `values`, asked of `range`: cuts the buckets and chooses the table.
    fn new(
        question: &Question,
        values: &[(String, Value)],
        range: Option<Range>,
        step: Option<Step>,
        clock: &Clock,
        page: Option<&Page>,
    ) -> Self {
        let mut values = values.to_vec();
        if let Some(range) = range {
            set_range(&mut values, range);
        }
        let buckets = range.zip(step).map(|(range, step)| Buckets::new(range, step, &clock.zone));
        if let Some(buckets) = &buckets {
            let edges = buckets.edges_ms.iter().copied().map(Value::Int).collect();
            values.push((STEP.to_owned(), Value::UInt(buckets.step.nominal_s().into())));
            values.push((EDGES.to_owned(), Value::List(edges)));
        }
        let clusters = values.iter().find(|(name, value)| name == CLUSTER && matches!(value, Value::List(_)));
        let clusters = clusters.map_or_else(|| Value::List(Vec::new()), |(_, value)| value.clone());
        let (zone, page) = (clock.zone.clone(), page.cloned());
        let mut asked = Self { values, range, zone, buckets, page, previous: None, rollup: None, clusters };
        rollup::choose(question, &mut asked, clock.now);
        asked
    }

    /// Each parameter and its value.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How much is answered at most; `None`: all.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.page.as_ref().map(Page::limit)
    }

    /// Each parameter and its value for an answer that is held in memory: where it has a page, the SQL is asked for a row
    /// more than the page holds.
    pub(crate) fn values_of_page(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(name, value)| match &self.page {
            Some(page) if name == LIMIT => (name.as_str(), &page.one_more),
            _ => (name.as_str(), value),
        })
    }
}

/// Puts `range` in the place of the one among `values`.
fn set_range(values: &mut [(String, Value)], range: Range) {
    for (name, value) in values {
        match name.as_str() {
            FROM => *value = Value::Time(range.from),
            TO => *value = Value::Time(range.to),
            _ => {}
        }
    }
}

/// The word for `name`, which means something to the service alone; empty: none was given.
fn word<'a>(pairs: &'a [(String, String)], name: &str) -> Result<&'a str, AskError> {
    match given(pairs, name, None)[..] {
        [] => Ok(""),
        [word] => Ok(word),
        ref given => {
            let message = format!("given {} times", given.len());
            Err(AskError::bad_parameter(name, BadValue { message, expected: "it once".to_owned() }))
        }
    }
}

/// The time zone, which words of other parameters are read in.
fn zone(question: &Question, pairs: &[(String, String)]) -> Result<TimeZone, AskError> {
    let Some(parameter) = question.parameter(TZ) else { return Ok(TimeZone::UTC) };
    match given(pairs, TZ, parameter.default.as_deref())[..] {
        [] => Ok(TimeZone::UTC),
        [name, ..] => moment::zone(name).map_err(|bad| AskError::bad_parameter(TZ, bad)),
    }
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

fn range(values: &[(String, Value)], zone: &TimeZone) -> Result<Option<Range>, AskError> {
    let time = |name: &str| match values.iter().find(|(key, _)| key == name) {
        Some((_, Value::Time(time))) => Some(*time),
        _ => None,
    };
    match (time(FROM), time(TO)) {
        (Some(from), Some(to)) if from >= to => {
            let message = format!("the range is empty: it starts at {}", moment::iso8601(from, zone));
            let expected = format!("a moment before `to`, {}", moment::iso8601(to, zone));
            Err(AskError::bad_parameter(FROM, BadValue { message, expected }))
        }
        (Some(from), Some(to)) => Ok(Some(Range { from, to })),
        _ => Ok(None),
    }
}

impl Range {
    /// Its length in seconds, rounded up.
    fn length_s(self) -> u64 {
        (self.to.0 - self.from.0).unsigned_abs().div_ceil(1000)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::catalogue::Catalogue;

    const NOW: TimeMs = TimeMs(1_790_000_000_000);

    /// Read once: it takes longer than a case.
    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::builtin);

    fn ask(id: &str, query: &str) -> Result<Resolved, AskError> {
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        resolve(Catalogue::builtin().get(id).unwrap(), &pairs, NOW)
    }

    #[test]
    fn a_question_s_own_windows_make_the_step() {
        let step = |id: &str, query: &str| ask(id, query).unwrap().buckets.unwrap().step;
        assert_eq!(step("interactions/volume", "from=-1m"), Step::Seconds(1));
        assert_eq!(step("gateway/throughput", "from=-1m"), Step::Seconds(10), "counts come in windows of 10 s");
        assert_eq!(step("shards/latency", "from=-15m"), Step::Seconds(30), "samples come every 30 s");
        assert!(ask("gateway/throughput", "step=15s").unwrap_err().to_string().contains("such as 20s"));
    }

    #[test]
    fn a_zone_is_that_of_words_and_buckets() {
        let asked = ask("interactions/volume", "tz=europe/berlin&from=2026-10-25&to=2026-10-26&step=1d").unwrap();
        assert_eq!(asked.range, Some(Range { from: TimeMs(1_792_879_200_000), to: TimeMs(1_792_969_200_000) }));
        assert_eq!(asked.buckets.unwrap().edges_ms, [1_792_879_200_000, 1_792_969_200_000], "a day of 25 h");
        assert!(asked.values.contains(&("tz".into(), Value::Text("Europe/Berlin".into()))), "as ClickHouse spells it");
        for query in ["tz=Berlin", "tz=", "tz=UTC&tz=UTC"] {
            assert!(ask("interactions/volume", query).unwrap_err().to_string().contains("tz"), "{query}");
        }
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
        assert_eq!(resolved.values.len(), 8);
    }

    proptest::proptest! {
        #[test]
        fn any_request_is_answered_not_panicked_at(
            question in 0..1_000_usize,
            query in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80),
            words in proptest::collection::vec(("[a-z_]{1,8}|from|to|step|tz|limit|cursor|compare|cluster", WORDS), 0..6),
        ) {
            let question = CATALOGUE.questions().nth(question % CATALOGUE.questions().count()).unwrap();
            let bytes: Vec<_> = form_urlencoded::parse(&query).into_owned().collect();
            let _ = resolve(question, &bytes, NOW);
            let known: Vec<_> = words.into_iter().filter(|(name, _)| question.parameter(name).is_some()).collect();
            let _ = resolve(question, &known, NOW);
        }
    }

    /// Words that mean something to one parameter or another, at the edges of what they may be.
    const WORDS: &str = "\\PC{0,12}|0|1|now|-[0-9]{1,10}[smhdw]|[0-9]{1,13}|1970-01-01|2199-12-31T23:59:59|previous|auto|\
        [0-9]{1,10}(mo|d|h)?|UTC|Pacific/Apia|Africa/Monrovia|[0-9a-f]{1,8}-[0-9a-f]{1,16}(-[0-9a-f]{1,11}-[0-9a-f]{1,11})?";
}
