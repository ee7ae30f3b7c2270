//! What a question has without declaring it: parameters that every such question has, and what its SQL gets in the place of
//! parameters that are not for SQL.

use super::{Question, placeholder::Scan};
use crate::{
    parameter::{Kind, Parameter, Scalar},
    resolution::{COMPARE, CURSOR, EDGES, FROM, LIMIT, OFFSET, STEP, TZ},
};

/// The parameters that a question has without declaring them.
pub(super) fn standard(question: &Question, scan: &Scan<'_>) -> Vec<Parameter> {
    let has_range = question.parameter(FROM).is_some();
    let has_pages = scan.placeholders.iter().any(|used| used.name == OFFSET);
    let words = [
        (
            has_range,
            TZ,
            Kind::Zone,
            "UTC",
            "IANA time zone of buckets, of moments without an offset, and of the answer's times",
        ),
        (has_range, COMPARE, Kind::Word, "", "`previous`: answer the same question for the range before, too"),
        (has_pages, CURSOR, Kind::Word, "", "`next_cursor` of an answer: go on after its last row"),
    ];
    let words = words.into_iter().filter(|(applies, name, ..)| *applies && question.parameter(name).is_none());
    let parameter = |name: &str, kind, default: &str, doc: &str| Parameter {
        name: name.to_owned(),
        kind,
        default: Some(default.to_owned()),
        doc: doc.to_owned(),
    };
    words.map(|(_, name, kind, default, doc)| parameter(name, kind, default, doc)).collect()
}

/// The kind of the placeholder `name` if the SQL may use it: a declared parameter, or what the service makes of one.
pub(super) fn kind_in_sql(question: &Question, name: &str) -> Option<Kind> {
    match name {
        EDGES => question.parameter(STEP).map(|_| Kind::Many(Scalar::Int64)),
        OFFSET => question.parameter(LIMIT).map(|_| Kind::One(Scalar::UInt64)),
        _ => question.parameter(name).map(|declared| declared.kind).filter(|kind| *kind != Kind::Word),
    }
}

/// Whether a statement with the placeholders of `scan` does without `parameter` and must not.
pub(super) fn is_ignored(parameter: &Parameter, scan: &Scan<'_>) -> bool {
    let uses = |name| scan.placeholders.iter().any(|used| used.name == name);
    match parameter.kind {
        Kind::Zone | Kind::Word => false, // they are in the edges of buckets, and in what the service says
        Kind::Step => !uses(STEP) && !uses(EDGES),
        _ => !uses(&parameter.name),
    }
}
