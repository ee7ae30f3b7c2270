//! A parameter of a question as `OpenAPI` sees it.
//!
//! Patterns take at least what the service takes: what does not fit one is refused.

use serde_json::{Value, json};

use crate::{
    catalogue::Question,
    limits::MAX_ROWS,
    parameter::{Kind, MAX_ELEMENTS, MAX_TEXT_BYTES, Parameter, Scalar},
    resolution::{COMPARE, LIMIT},
};

/// ISO 8601 begins with a date; what follows it is for people to know.
const TIME: &str = r"^(now|(now)?-[0-9]+[smhdw]|[0-9]+|[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].*)?)$";

const STEP: &str = "^(auto|[0-9]+(s|m|h|d|w|mo)?)$";

const ZONE: &str = "^[A-Za-z0-9_+/-]+$";

const CURSOR: &str = "^([0-9a-f]+(-[0-9a-f]+){1,3})?$";

/// The Parameter Object of `parameter`.
pub(super) fn describe(parameter: &Parameter, question: &Question) -> Value {
    let mut schema = schema(parameter);
    if let Some(default) = &parameter.default {
        schema["default"] = value(parameter.kind, default);
    }
    let mut described = json!({
        "name": parameter.name,
        "in": "query",
        "required": parameter.default.is_none(),
        "description": description(parameter, question),
        "schema": schema,
    });
    if matches!(parameter.kind, Kind::Many(_)) {
        described["style"] = json!("form");
        described["explode"] = json!(false); // commas; repetitions are taken, too
    }
    described
}

fn description(parameter: &Parameter, question: &Question) -> String {
    let more = match parameter.kind {
        Kind::Time => {
            "ISO 8601 (without an offset: by the clocks of `tz`), epoch seconds or milliseconds, or relative to now"
                .to_owned()
        }
        Kind::Step => format!("a multiple of {}s, or `auto`; of too long a range it is refused", question.min_step_s),
        Kind::Many(Scalar::String) | Kind::One(Scalar::String) => format!("at most {MAX_TEXT_BYTES} bytes each"),
        Kind::Word if parameter.name == COMPARE => "only for JSON".to_owned(),
        Kind::Zone | Kind::Word | Kind::One(_) | Kind::Many(_) => return parameter.doc.clone(),
    };
    format!("{} ({more})", parameter.doc)
}

fn schema(parameter: &Parameter) -> Value {
    match parameter.kind {
        Kind::Time => json!({ "type": "string", "pattern": TIME }),
        Kind::Step => json!({ "type": "string", "pattern": STEP }),
        Kind::Zone => json!({ "type": "string", "pattern": ZONE }),
        Kind::Word if parameter.name == COMPARE => json!({ "type": "string", "enum": ["", "previous"] }),
        Kind::Word => json!({ "type": "string", "pattern": CURSOR }),
        Kind::One(_) if parameter.name == LIMIT => json!({ "type": "integer", "minimum": 1, "maximum": MAX_ROWS }),
        Kind::One(scalar) => one(scalar),
        Kind::Many(scalar) => {
            let mut element = one(scalar);
            if scalar == Scalar::String {
                element["minLength"] = json!(1);
                element["pattern"] = json!("^[^,]+$");
            }
            json!({ "type": "array", "items": element, "maxItems": MAX_ELEMENTS })
        }
    }
}

fn one(scalar: Scalar) -> Value {
    match scalar {
        Scalar::UInt16 => json!({ "type": "integer", "format": "uint16", "minimum": 0, "maximum": u16::MAX }),
        Scalar::UInt32 => json!({ "type": "integer", "format": "uint32", "minimum": 0, "maximum": u32::MAX }),
        Scalar::UInt64 => json!({ "type": "integer", "format": "uint64", "minimum": 0, "maximum": u64::MAX }),
        Scalar::Int64 => json!({ "type": "integer", "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX }),
        Scalar::Float64 => json!({ "type": "number", "format": "double" }),
        Scalar::String => json!({ "type": "string", "maxLength": MAX_TEXT_BYTES }),
    }
}

/// A default's words as the value that they mean.
fn value(kind: Kind, words: &str) -> Value {
    let one = |scalar: Scalar, word: &str| match scalar {
        Scalar::String => json!(word),
        _ => serde_json::from_str(word).unwrap_or_else(|_| json!(word)), // leading zeros
    };
    match kind {
        Kind::Many(scalar) => {
            let words = words.split(',').filter(|word| !matches!(*word, "" | "[]"));
            words.map(|word| one(scalar, word)).collect()
        }
        Kind::One(scalar) => one(scalar, words),
        Kind::Time | Kind::Step | Kind::Zone | Kind::Word => json!(words),
    }
}
