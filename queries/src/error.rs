//! Why a question got no answer, for the person who asked it: what is wrong, and what would be right.
//!
//! Every failure is JSON, `{"error": {"code", "message", …}}`. 400 and 404: ask differently. 422: ask for less. 401 and
//! 403: another key. 429 and 503: try again
//! later, after `Retry-After` seconds. 500 and 502: whoever runs the service has to act; the log has the details.

use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use clickhouse::error::Error as ClickhouseError;
use serde::Serialize;
use shardlake_schema::answer::exception_code;

use crate::{
    catalogue::{Catalogue, Question},
    format::Format,
    parameter::BadValue,
};

/// Most names that an error suggests.
const MAX_NEAREST: usize = 3;

/// How alike a suggested name must at least be; 1 is the same. Found by trying: typing errors score above 0.8.
const MIN_LIKENESS: f64 = 0.6;

/// Most of ClickHouse's own words that an error repeats, characters: its reason, not its stack or the query.
const MAX_REASON_CHARS: usize = 300;

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum AskError {
    #[error("there is no question {name}; all of them are listed at /v1")]
    UnknownQuestion { name: String, nearest: Vec<String> },
    #[error("there is no format {format}; expected one of {}", Format::list())]
    UnknownFormat { format: String },
    #[error("none of the formats in `Accept` is one of {}", Format::list())]
    NotAcceptable,
    #[error("HTTP/1.1 is needed for this format: in HTTP/1.0 an answer that broke off would look like a whole one")]
    OldHttp,
    #[error("{question} has no parameter `{parameter}`")]
    UnknownParameter { question: String, parameter: String, nearest: Vec<String> },
    #[error("{parameter}: {bad}")]
    BadParameter { parameter: String, bad: BadValue },
    #[error("a key is needed: send `Authorization: Bearer <key>`; `shardlake queries key new` makes one")]
    Unauthorized,
    #[error("this key {what}")]
    Forbidden { what: String },
    #[error("SQL of one's own is off: the service has to be started with --sql")]
    SqlOff,
    #[error("the statement cannot be run: {reason}")]
    BadSql { reason: String },
    #[error("the body is longer than {most_bytes} bytes, or it broke off")]
    LongBody { most_bytes: usize },
    #[error("the body did not come in time")]
    SlowBody,
    #[error("this key asks too often: try again in {retry_after_s} s")]
    RateLimited { retry_after_s: u64 },
    #[error("this key has {most} requests under way, which is the most: wait for one of them")]
    TooManyAtOnce { most: u16 },
    #[error("as many questions are being answered as may be at a time: try again in a moment")]
    Full,
    #[error("the answer is too large: ask for a shorter range, a wider step, fewer clusters or a limit")]
    TooLarge,
    #[error("the answer takes too long: ask for a shorter range or fewer clusters")]
    TooSlow,
    #[error("the answer takes too much memory: ask for a shorter range or fewer clusters")]
    TooMuchMemory,
    #[error("ClickHouse is busy: try again in a moment")]
    Busy,
    #[error("ClickHouse cannot be reached: {reason}")]
    Unreachable { reason: String },
    #[error(
        "a shard of the ClickHouse cluster cannot be reached, and an answer without its rows would be wrong: {reason}"
    )]
    ShardAway { reason: String },
    #[error("a table is missing in ClickHouse; run `shardlake schema apply`: {reason}")]
    SchemaMissing { reason: String },
    #[error("ClickHouse refuses the service's user: check its name, password and rights: {reason}")]
    Refused { reason: String },
    #[error("{message}")]
    Failed { message: String },
}

impl AskError {
    /// No question has this `noun/name`.
    pub(crate) fn unknown_question(catalogue: &Catalogue, name: &str) -> Self {
        let ids: Vec<String> = catalogue.questions().map(|question| question.id()).collect();
        Self::UnknownQuestion {
            name: name.chars().take(80).collect(),
            nearest: nearest(name, ids.iter().map(String::as_str)),
        }
    }

    /// The question has no such parameter.
    pub(crate) fn unknown_parameter(question: &Question, parameter: &str) -> Self {
        let names = question.parameters.iter().map(|parameter| parameter.name.as_str());
        let nearest = nearest(parameter, names);
        Self::UnknownParameter { question: question.id(), parameter: parameter.chars().take(80).collect(), nearest }
    }

    /// The parameter has no such value.
    pub(crate) fn bad_parameter(parameter: &str, bad: BadValue) -> Self {
        Self::BadParameter { parameter: parameter.to_owned(), bad }
    }

    /// Status of the reply.
    pub(crate) fn status(&self) -> StatusCode {
        self.kind().0
    }

    /// The code of the reply.
    pub(crate) fn code(&self) -> &'static str {
        self.kind().1
    }

    /// The code, if it was a limit that ended the request.
    pub(crate) fn limit(&self) -> Option<&'static str> {
        let is_limit = matches!(self, Self::TooLarge | Self::TooSlow | Self::TooMuchMemory | Self::Busy);
        is_limit.then(|| self.kind().1)
    }

    /// Status and code of the reply.
    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::UnknownQuestion { .. } => (StatusCode::NOT_FOUND, "unknown_question"),
            Self::UnknownFormat { .. } => (StatusCode::NOT_FOUND, "unknown_format"),
            Self::NotAcceptable => (StatusCode::NOT_ACCEPTABLE, "not_acceptable"),
            Self::OldHttp => (StatusCode::HTTP_VERSION_NOT_SUPPORTED, "old_http"),
            Self::UnknownParameter { .. } => (StatusCode::BAD_REQUEST, "unknown_parameter"),
            Self::BadParameter { .. } => (StatusCode::BAD_REQUEST, "bad_parameter"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::Forbidden { .. } => (StatusCode::FORBIDDEN, "forbidden"),
            Self::SqlOff => (StatusCode::FORBIDDEN, "sql_off"),
            Self::BadSql { .. } => (StatusCode::BAD_REQUEST, "bad_sql"),
            Self::LongBody { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "long_body"),
            Self::SlowBody => (StatusCode::REQUEST_TIMEOUT, "slow_body"),
            Self::RateLimited { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
            Self::TooManyAtOnce { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_at_once"),
            Self::Full => (StatusCode::SERVICE_UNAVAILABLE, "full"),
            Self::TooLarge => (StatusCode::UNPROCESSABLE_ENTITY, "too_large"),
            Self::TooSlow => (StatusCode::UNPROCESSABLE_ENTITY, "too_slow"),
            Self::TooMuchMemory => (StatusCode::UNPROCESSABLE_ENTITY, "too_much_memory"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Unreachable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "clickhouse_unreachable"),
            Self::ShardAway { .. } => (StatusCode::SERVICE_UNAVAILABLE, "shard_away"),
            Self::SchemaMissing { .. } => (StatusCode::SERVICE_UNAVAILABLE, "schema_missing"),
            Self::Refused { .. } => (StatusCode::BAD_GATEWAY, "clickhouse_refused"),
            Self::Failed { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        }
    }
}

impl From<ClickhouseError> for AskError {
    /// Codes are those of `src/Common/ErrorCodes.cpp` in ClickHouse.
    fn from(error: ClickhouseError) -> Self {
        let full = error.to_string();
        let ClickhouseError::BadResponse(text) = &error else {
            return match error {
                ClickhouseError::Network(source) => Self::Unreachable { reason: innermost(source.as_ref()) },
                ClickhouseError::TimedOut => Self::TooSlow,
                _ => Self::Failed { message: full },
            };
        };
        let reason: String = text.lines().next().unwrap_or_default().chars().take(MAX_REASON_CHARS).collect();
        match exception_code(text) {
            Some(158 | 307 | 396) => Self::TooLarge, // TOO_MANY_ROWS, TOO_MANY_BYTES, TOO_MANY_ROWS_OR_BYTES
            Some(159 | 160) => Self::TooSlow,        // TIMEOUT_EXCEEDED, TOO_SLOW
            Some(241) => Self::TooMuchMemory,        // MEMORY_LIMIT_EXCEEDED
            Some(201 | 202 | 394) => Self::Busy, // QUOTA_EXCEEDED, TOO_MANY_SIMULTANEOUS_QUERIES, QUERY_WAS_CANCELLED
            // SOCKET_TIMEOUT, NETWORK_ERROR, ALL_CONNECTION_TRIES_FAILED: said by one server of another.
            Some(209 | 210 | 279) => Self::ShardAway { reason: address_in(text).unwrap_or(reason) },
            Some(60 | 81) => Self::SchemaMissing { reason }, // UNKNOWN_TABLE, UNKNOWN_DATABASE
            Some(164 | 192..=195 | 497 | 516) => Self::Refused { reason }, // READONLY, wrong user or password, ACCESS_DENIED
            _ => Self::Failed { message: format!("ClickHouse cannot run the question: {reason}") },
        }
    }
}

/// ClickHouse lists its attempts to reach another server, a line each; the first names the address.
fn address_in(text: &str) -> Option<String> {
    let attempt = text.lines().find(|line| line.contains("NetException"))?;
    Some(attempt.chars().take(MAX_REASON_CHARS).collect())
}

/// The last cause of an error says what happened; the ones above it say only where.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// The names that are most like `name`, best first.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> = names
        .map(|known| (strsim::jaro_winkler(name, known).max(strsim::sorensen_dice(name, known)), known))
        .filter(|(likeness, _)| *likeness >= MIN_LIKENESS)
        .collect();
    scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    scored.into_iter().take(MAX_NEAREST).map(|(_, known)| known.to_owned()).collect()
}

/// The reply's body.
#[derive(Serialize)]
struct Body<'a> {
    error: Details<'a>,
}

#[derive(Serialize)]
struct Details<'a> {
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<&'a [String]>,
}

/// A failure as JSON.
pub(crate) fn reply(status: StatusCode, code: &str, message: String) -> Response {
    let error = Details { code, parameter: None, message, expected: None, nearest: None };
    (status, Json(Body { error })).into_response()
}

impl IntoResponse for AskError {
    fn into_response(self) -> Response {
        let (status, code) = self.kind();
        let message = match &self {
            Self::BadParameter { bad, .. } => bad.message.clone(),
            _ => self.to_string(),
        };
        let (parameter, expected, nearest) = match &self {
            Self::UnknownQuestion { nearest, .. } => (None, None, Some(nearest.as_slice())),
            Self::UnknownParameter { parameter, nearest, .. } => {
                (Some(parameter.as_str()), None, Some(nearest.as_slice()))
            }
            Self::BadParameter { parameter, bad } => (Some(parameter.as_str()), Some(bad.expected.as_str()), None),
            _ => (None, None, None),
        };
        let error = Details { code, parameter, message, expected, nearest };
        let mut response = (status, Json(Body { error })).into_response();
        let wait_s = match &self {
            Self::RateLimited { retry_after_s } => Some(*retry_after_s),
            _ if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) => Some(1),
            _ => None,
        };
        if let Some(wait_s) = wait_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(wait_s));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_was_meant() {
        let catalogue = Catalogue::builtin();
        for (typed, meant) in [
            ("interactions/by_clusters", "interactions/by_cluster"),
            ("interaction/volume", "interactions/volume"),
            ("shards/latencies", "shards/latency"),
            ("shard/timeline", "shards/timeline"),
            ("command/top", "commands/top"),
        ] {
            let AskError::UnknownQuestion { nearest, .. } = AskError::unknown_question(&catalogue, typed) else {
                panic!()
            };
            assert_eq!(nearest[0], meant);
            assert!(nearest.len() <= MAX_NEAREST);
        }
        assert!(nearest("zzz", ["from", "to"].into_iter()).is_empty());
    }

    #[test]
    fn clickhouse_s_answer_becomes_ours() {
        let code = |text: &str| AskError::from(ClickhouseError::BadResponse(text.to_owned())).kind();
        assert_eq!(code("Code: 396. DB::Exception: Limit for result exceeded").1, "too_large");
        assert_eq!(code("Code: 159. DB::Exception: Timeout exceeded").1, "too_slow");
        assert_eq!(code("Code: 60. DB::Exception: Unknown table").1, "schema_missing");
        assert_eq!(code("Code: 516. DB::Exception: Authentication failed").0, StatusCode::BAD_GATEWAY);
        assert_eq!(code("Code: 47. DB::Exception: Unknown identifier").1, "failed");
        assert_eq!(code("502 Bad Gateway").1, "failed");
        let away = "Code: 279. DB::Exception: All connection tries failed. Log: \n\nCode: 210. DB::NetException: Connection refused (db-2:9000)";
        let away = AskError::from(ClickhouseError::BadResponse(away.to_owned()));
        assert_eq!(away.kind(), (StatusCode::SERVICE_UNAVAILABLE, "shard_away"));
        assert!(away.to_string().contains("db-2:9000"), "{away}");
    }
}
