//! An answer as HTTP: its headers say what the JSON document says in `meta`, for the formats that have no place for it.

use std::sync::Arc;

use axum::{
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY, X_CONTENT_TYPE_OPTIONS},
    },
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::{
    access::hex,
    catalogue::Question,
    completeness::Completeness,
    export::Export,
    format::Format,
    gate::Visit,
    metrics::{Reuse, Watch},
    moment,
    resolution::Resolved,
};

/// An answer, ready to be sent.
pub(crate) enum Answered {
    /// All of it is here.
    Whole { answer: Arc<Whole>, reuse: Option<Reuse> },
    /// It is under way.
    Export { headers: HeaderMap, export: Box<Export> },
}

/// An answer that is held in memory.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Rows that ClickHouse read for it.
    pub(crate) rows_read: u64,
    /// What a settled answer is known by.
    pub(crate) tag: Option<String>,
}

impl Answered {
    /// An answer that was made for this request alone.
    pub(crate) fn whole(headers: HeaderMap, body: impl Into<Bytes>, rows_read: u64) -> Self {
        Self::Whole { answer: Arc::new(Whole { headers, body: body.into(), rows_read, tag: None }), reuse: None }
    }

    /// The reply to a request with the headers `asked`; `watch` and `visit` end with it.
    pub(crate) fn into_response(self, asked: &HeaderMap, watch: Watch, visit: Visit) -> Response {
        match self {
            Self::Whole { answer, reuse } => {
                match reuse {
                    Some(how) => watch.reused(how),
                    None => watch.read(answer.rows_read),
                }
                if answer.tag.as_ref().is_some_and(|tag| is_known(asked, tag)) {
                    watch.finish(StatusCode::NOT_MODIFIED.as_u16());
                    return (StatusCode::NOT_MODIFIED, answer.headers.clone()).into_response();
                }
                watch.sent(answer.body.len());
                watch.finish(StatusCode::OK.as_u16());
                (answer.headers.clone(), answer.body.clone()).into_response()
            }
            Self::Export { headers, export } => {
                watch.read(export.rows_read());
                (headers, export.into_body(watch, visit)).into_response()
            }
        }
    }
}

/// Whether the client has the answer already. Weakly compared: it need not be the same to the byte.
fn is_known(asked: &HeaderMap, tag: &str) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let known = asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    known.flat_map(|value| value.split(',')).map(str::trim).any(|known| known == "*" || opaque(known) == opaque(tag))
}

/// What every answer says of itself.
pub(crate) fn headers(format: Format, query_id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    // An answer is of its moment: a cache between us and the reader would lie about freshness.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    say(&mut headers, "shardlake-query-id", query_id);
    headers
}

/// What an answer to a question says of the data behind it.
pub(crate) fn describe(headers: &mut HeaderMap, question: &Question, asked: &Resolved, found: &Completeness) {
    say(headers, "shardlake-table", asked.rollup.as_deref().unwrap_or(&question.table));
    if let Some(range) = asked.range {
        say(headers, "shardlake-from", &moment::iso8601(range.from, &asked.zone));
        say(headers, "shardlake-to", &moment::iso8601(range.to, &asked.zone));
    }
    // Nobody knows yet whether it will be reached, so the limit itself is said.
    if let Some(limit) = asked.limit() {
        say(headers, "shardlake-limit", &limit.to_string());
    }
    let complete = found.complete().map_or("unknown", |whole| if whole { "true" } else { "false" });
    say(headers, "shardlake-complete", complete);
    say(headers, "shardlake-missing-batches", &found.missing_batches().to_string());
    if let Some(behind_ms) = found.behind_ms() {
        say(headers, "shardlake-behind-ms", &behind_ms.to_string());
    }
}

/// Marks the answer as settled: it may be kept by who asks each time whether it is still the same. Returns what it is known
/// by: the same for the same rows of the same range, however long they took to find.
pub(crate) fn settle<'a>(headers: &mut HeaderMap, documents: impl Iterator<Item = &'a [u8]>) -> String {
    const STATISTICS: &[u8] = b"\"statistics\":";
    let mut hash = Sha256::new();
    for document in documents {
        let end = document.windows(STATISTICS.len()).rposition(|window| window == STATISTICS).unwrap_or(document.len());
        hash.update(&document[..end]);
    }
    for name in ["shardlake-table", "shardlake-from", "shardlake-to"] {
        hash.update(headers.get(name).map_or(&b""[..], HeaderValue::as_bytes));
        hash.update(b"\n");
    }
    let tag = format!("W/\"{}\"", hex(&hash.finalize()[..16]));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(VARY, HeaderValue::from_static("accept, authorization"));
    headers.insert(ETAG, HeaderValue::from_str(&tag).expect("hexadecimal digits are visible ASCII"));
    tag
}

fn say(headers: &mut HeaderMap, name: &'static str, value: &str) {
    let value = HeaderValue::from_str(value).expect("ids, tables, times and numbers are visible ASCII");
    headers.insert(HeaderName::from_static(name), value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_that_of_the_rows() {
        let tag = |document: &str, from: &'static str| {
            let mut headers = headers(Format::Json, "id");
            say(&mut headers, "shardlake-from", from);
            settle(&mut headers, [document.as_bytes()].into_iter())
        };
        let one = tag(r#"{"data": [["\"statistics\":"]], "statistics": {"elapsed": 1}}"#, "a");
        assert_eq!(one, tag(r#"{"data": [["\"statistics\":"]], "statistics": {"elapsed": 2}}"#, "a"));
        assert_ne!(one, tag(r#"{"data": [["\"statistics\": "]], "statistics": {"elapsed": 1}}"#, "a"));
        assert_ne!(one, tag(r#"{"data": [["\"statistics\":"]], "statistics": {"elapsed": 1}}"#, "b"));

        let known = |value: &str| {
            let mut asked = HeaderMap::new();
            asked.insert(IF_NONE_MATCH, HeaderValue::from_str(value).unwrap());
            is_known(&asked, &one)
        };
        let strong = one.trim_start_matches("W/").to_owned();
        assert!(known(&one) && known("*") && known(&format!("\"x\", {one}")) && known(&strong));
        assert!(!known("\"x\"") && !known("") && !known("W/"));
    }
}
