//! Typed parameters: what a header may declare, and how words become values of that type.

use std::fmt;

use jiff::tz::TimeZone;
use serde::{Serialize, Serializer, ser::SerializeSeq};
use shardlake_schema::TimeMs;

use crate::{
    moment::{self, Clock},
    resolution::{self, Step},
};

/// Most elements of an array. Enough for every cluster of a very big bot; keeps the statement's parameters under 1 MiB.
pub(crate) const MAX_ELEMENTS: usize = 2_000;

/// Longest text, bytes: several times Discord's longest command with its subcommands.
pub(crate) const MAX_TEXT_BYTES: usize = 400;

/// A parameter of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parameter {
    /// Its name, in the request and in the SQL.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The words that stand for it when a request does not name it; `None`: a request must.
    pub default: Option<String>,
    /// Its meaning in a line.
    pub doc: String,
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A moment, `DateTime64(3, 'UTC')`: ISO 8601, epoch, or relative to now.
    Time,
    /// The parameter `step`, `UInt32`: the width of a bucket in seconds, or `auto`.
    Step,
    /// The parameter `tz`, `String`: an IANA time zone.
    Zone,
    /// The parameters `compare` and `cursor`, `String`: words for the service; the SQL cannot use them.
    Word,
    /// One value.
    One(Scalar),
    /// Any number of values; of a filter, none means all.
    Many(Scalar),
}

/// The type of a single value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    /// 0 to 65,535.
    UInt16,
    /// 0 to 4,294,967,295.
    UInt32,
    /// 0 to 2^64 - 1: every snowflake.
    UInt64,
    /// A whole number of 64 bits.
    Int64,
    /// A finite number.
    Float64,
    /// Text.
    String,
}

impl Scalar {
    const ALL: [Scalar; 6] =
        [Scalar::UInt16, Scalar::UInt32, Scalar::UInt64, Scalar::Int64, Scalar::Float64, Scalar::String];

    /// The type's name in ClickHouse.
    pub const fn sql_type(self) -> &'static str {
        match self {
            Scalar::UInt16 => "UInt16",
            Scalar::UInt32 => "UInt32",
            Scalar::UInt64 => "UInt64",
            Scalar::Int64 => "Int64",
            Scalar::Float64 => "Float64",
            Scalar::String => "String",
        }
    }

    fn of(sql_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scalar| scalar.sql_type() == sql_type)
    }

    fn expected(self) -> String {
        match self {
            Scalar::UInt16 => format!("a whole number from 0 to {}", u16::MAX),
            Scalar::UInt32 => format!("a whole number from 0 to {}", u32::MAX),
            Scalar::UInt64 => format!("a whole number from 0 to {}", u64::MAX),
            Scalar::Int64 => format!("a whole number from {} to {}", i64::MIN, i64::MAX),
            Scalar::Float64 => "a finite number, such as 0.5".to_owned(),
            Scalar::String => format!("text of at most {MAX_TEXT_BYTES} bytes"),
        }
    }

    fn parse(self, text: &str) -> Option<Value> {
        let unsigned = |max: u64| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|value| digits && *value <= max).map(Value::UInt)
        };
        match self {
            Scalar::UInt16 => unsigned(u16::MAX.into()),
            Scalar::UInt32 => unsigned(u32::MAX.into()),
            Scalar::UInt64 => unsigned(u64::MAX),
            Scalar::Int64 => text.parse().ok().map(Value::Int),
            Scalar::Float64 => text.parse().ok().filter(|value: &f64| value.is_finite()).map(Value::Float),
            Scalar::String => (text.len() <= MAX_TEXT_BYTES).then(|| Value::Text(text.to_owned())),
        }
    }
}

impl Kind {
    /// The types that a header may name, for its error messages.
    pub(crate) const TYPES: &str = "expected UInt16, UInt32, UInt64, Int64, Float64, String, Array(…) of these, or \
        DateTime64(3, 'UTC'); `from` and `to` are DateTime64(3, 'UTC'), `step` is UInt32, `tz`, \
        `compare` and `cursor` are String";

    /// The kind of the parameter `name` with the type `sql_type`; `None`: it cannot have that type.
    pub(crate) fn of(name: &str, sql_type: &str) -> Option<Self> {
        let compact: String = sql_type.chars().filter(|char| !char.is_whitespace()).collect();
        let kind = match compact.strip_prefix("Array(").and_then(|inner| inner.strip_suffix(')')) {
            Some(inner) => Kind::Many(Scalar::of(inner)?),
            None if compact == "DateTime64(3,'UTC')" => Kind::Time,
            None => Kind::One(Scalar::of(&compact)?),
        };
        match (name, kind) {
            (resolution::FROM | resolution::TO, kind) => (kind == Kind::Time).then_some(kind),
            (resolution::STEP, kind) => (kind == Kind::One(Scalar::UInt32)).then_some(Kind::Step),
            (resolution::TZ, kind) => (kind == Kind::One(Scalar::String)).then_some(Kind::Zone),
            (resolution::COMPARE | resolution::CURSOR, kind) => {
                (kind == Kind::One(Scalar::String)).then_some(Kind::Word)
            }
            (_, kind) => Some(kind),
        }
    }

    /// The type's name in ClickHouse.
    pub fn sql_type(self) -> String {
        match self {
            Kind::Time => TIME.to_owned(),
            Kind::Step => Scalar::UInt32.sql_type().to_owned(),
            Kind::Zone | Kind::Word => Scalar::String.sql_type().to_owned(),
            Kind::One(scalar) => scalar.sql_type().to_owned(),
            Kind::Many(scalar) => format!("Array({})", scalar.sql_type()),
        }
    }
}

const TIME: &str = "DateTime64(3, 'UTC')";

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.sql_type())
    }
}

/// A value on its way to ClickHouse.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Time(TimeMs),
    UInt(u64),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Value>),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Time(time) => serializer.serialize_str(&moment::clickhouse(*time)),
            Value::UInt(value) => serializer.serialize_u64(*value),
            Value::Int(value) => serializer.serialize_i64(*value),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Text(value) => serializer.serialize_str(value),
            Value::List(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                values.iter().try_for_each(|value| list.serialize_element(value))?;
                list.end()
            }
        }
    }
}

/// Words that are no value of their parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadValue {
    /// What is wrong.
    pub(crate) message: String,
    /// What would be right.
    pub(crate) expected: String,
}

impl Parameter {
    /// The value of this parameter as `given` in a request: once, or as often as the key was repeated. Not for `step`,
    /// which depends on the range: see [`crate::resolution`].
    pub(crate) fn parse(&self, given: &[&str], clock: &Clock) -> Result<Value, BadValue> {
        match (self.kind, given) {
            (Kind::Many(scalar), given) => list(scalar, given),
            (_, [_, _, ..]) => {
                Err(BadValue { message: format!("given {} times", given.len()), expected: "it once".into() })
            }
            (Kind::Time, _) => moment::parse(one(given), clock).map(Value::Time),
            (Kind::Zone, _) => Ok(Value::Text(moment::zone_name(&moment::zone(one(given))?).to_owned())),
            (Kind::Step, _) => Err(refuse(one(given), resolution::EXPECTED_STEP.to_owned())),
            (Kind::Word, _) => Ok(Value::Text(one(given).to_owned())),
            (Kind::One(scalar), _) => scalar.parse(one(given)).ok_or_else(|| refuse(one(given), scalar.expected())),
        }
    }

    /// Whether the default is a value.
    pub(crate) fn check_default(&self) -> Result<(), BadValue> {
        match (self.kind, self.default.as_deref()) {
            (_, None) => Ok(()),
            (Kind::Step, Some(default)) if default == resolution::AUTO || Step::parse(default).is_some() => Ok(()),
            (_, Some(default)) => self.parse(&[default], &Clock { now: TimeMs::now(), zone: TimeZone::UTC }).map(drop),
        }
    }
}

fn one<'a>(given: &[&'a str]) -> &'a str {
    given.first().copied().unwrap_or_default()
}

/// Comma-separated elements, over all repetitions. `[]` and nothing at all are the empty list.
fn list(scalar: Scalar, given: &[&str]) -> Result<Value, BadValue> {
    let expected = || match scalar {
        Scalar::String => "words separated by commas, such as a,b".to_owned(),
        _ => format!("numbers separated by commas, such as 0,1, each {}", scalar.expected()),
    };
    let words = given.iter().filter(|text| !matches!(**text, "" | "[]")).flat_map(|text| text.split(','));
    let mut values = Vec::new();
    for word in words {
        if values.len() == MAX_ELEMENTS {
            let message = format!("more than {MAX_ELEMENTS} elements");
            return Err(BadValue { message, expected: expected() });
        }
        match scalar.parse(word) {
            Some(value) if !word.is_empty() => values.push(value),
            Some(_) | None => return Err(refuse(word, expected())),
        }
    }
    Ok(Value::List(values))
}

/// `text` is not what was `expected`. A long text is cut: the message goes back to whoever sent it, and into logs.
pub(crate) fn refuse(text: &str, expected: String) -> BadValue {
    const SHOWN_CHARS: usize = 60;
    let message = match text.char_indices().nth(SHOWN_CHARS) {
        _ if text.is_empty() => "it is empty".to_owned(),
        Some((cut, _)) => format!("`{}…` is not valid", &text[..cut]),
        None => format!("`{text}` is not valid"),
    };
    BadValue { message, expected }
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; expected {}", self.message, self.expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(sql_type: &str, given: &[&str]) -> Result<Value, BadValue> {
        let kind = Kind::of("x", sql_type).unwrap();
        Parameter { name: "x".into(), kind, default: None, doc: String::new() }
            .parse(given, &Clock { now: TimeMs(0), zone: TimeZone::UTC })
    }

    #[test]
    fn each_type_takes_its_range_and_no_more() {
        for (sql_type, good, bad) in [
            ("UInt16", &["0", "65535"][..], &["", "-1", "+1", "65536", "1.0", "1e3", " 1", "x"][..]),
            ("UInt32", &["4294967295"], &["4294967296"]),
            ("UInt64", &["18446744073709551615"], &["18446744073709551616", "0x10"]),
            ("Int64", &["-9223372036854775808"], &["9223372036854775808", "1.5"]),
            ("Float64", &["-1.5e3", "0"], &["inf", "NaN", "", "1,5"]),
            ("String", &["", "it's {a:b}"], &[&"x".repeat(401)]),
        ] {
            for text in good {
                assert!(parse(sql_type, &[text]).is_ok(), "{sql_type} {text}");
            }
            for text in bad {
                let error = parse(sql_type, &[text]).unwrap_err();
                assert!(!error.expected.is_empty() && error.message.len() < 300, "{sql_type} {text}: {error}");
            }
        }
    }

    #[test]
    fn arrays_take_commas_and_repetitions() {
        let numbers = |numbers: &[u64]| Value::List(numbers.iter().copied().map(Value::UInt).collect());
        assert_eq!(parse("Array(UInt16)", &["0,1"]), parse("Array( UInt16 )", &["0", "1"]));
        assert_eq!(parse("Array(UInt16)", &["0,1", "2"]), Ok(numbers(&[0, 1, 2])));
        assert_eq!(parse("Array(UInt16)", &[""]), Ok(numbers(&[])));
        assert_eq!(parse("Array(UInt16)", &["[]"]), Ok(numbers(&[])));
        for bad in ["0,", ",", "0,x", "0, 1", "65536"] {
            assert!(parse("Array(UInt16)", &[bad]).is_err(), "{bad}");
        }
        assert!(parse("Array(String)", &["a,,b"]).is_err());
        assert!(parse("Array(UInt16)", &[&"1,".repeat(MAX_ELEMENTS + 1)]).unwrap_err().message.contains("2000"));
        assert!(parse("UInt16", &["1", "2"]).unwrap_err().message.contains("2 times"));
    }

    #[test]
    fn reserved_names_have_their_types() {
        assert_eq!(Kind::of("step", "UInt32"), Some(Kind::Step));
        assert_eq!(Kind::of("step", "UInt16"), None);
        assert_eq!(Kind::of("tz", "String"), Some(Kind::Zone));
        assert_eq!(Kind::of("tz", "UInt16"), None);
        assert_eq!(Kind::of("from", "String"), None);
        assert_eq!(Kind::of("x", "Array(Array(UInt16))"), None);
    }
}
