//! Replies that are no answers: which of them a path can give, with their codes. The codes are those of [`crate::error`].

use serde_json::{Map, Value, json};

/// Where an error comes from, and so which paths have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    /// Every path.
    Everywhere,
    /// Paths that only take in as many requests as there is room for.
    Guarded,
    /// These, where a key is needed.
    Keyed,
    /// Paths that ask ClickHouse.
    Clickhouse,
    /// Questions.
    Question,
    /// `/v1/sql`.
    Sql,
}

use Where::{Clickhouse, Everywhere, Guarded, Keyed, Question, Sql};

/// One status of a path.
struct Failure {
    status: &'static str,
    on: &'static [Where],
    /// None: it has no body.
    codes: &'static [&'static str],
    description: &'static str,
}

const FAILURES: [Failure; 17] = [
    Failure {
        status: "400",
        on: &[Question],
        codes: &["bad_parameter", "unknown_parameter"],
        description: "Ask differently: a parameter has no such value, or there is none of this name",
    },
    Failure { status: "400", on: &[Sql], codes: &["bad_sql"], description: "The statement cannot be run" },
    Failure { status: "401", on: &[Keyed], codes: &["unauthorized"], description: "A key is needed" },
    Failure {
        status: "403",
        on: &[Keyed],
        codes: &["forbidden", "sql_off"],
        description: "The key does not open this, or not these clusters",
    },
    Failure {
        status: "404",
        on: &[Question],
        codes: &["unknown_question", "unknown_format"],
        description: "The question is no longer there, or there is no such suffix",
    },
    Failure { status: "405", on: &[Everywhere], codes: &["method_not_allowed"], description: "Not with this method" },
    Failure {
        status: "406",
        on: &[Question, Sql],
        codes: &["not_acceptable"],
        description: "None of the types in `Accept` can be had",
    },
    Failure { status: "408", on: &[Sql], codes: &["slow_body"], description: "The statement did not come in time" },
    Failure { status: "413", on: &[Sql], codes: &["long_body"], description: "The statement is too long" },
    Failure {
        status: "422",
        on: &[Clickhouse, Question, Sql],
        codes: &["too_large", "too_slow", "too_much_memory"],
        description: "Ask for less: the answer is beyond a limit",
    },
    Failure {
        status: "429",
        on: &[Keyed],
        codes: &["rate_limited", "too_many_at_once"],
        description: "The key asks too often, or too much at a time: try again after `Retry-After` seconds",
    },
    Failure {
        status: "431",
        on: &[Everywhere],
        codes: &[],
        description: "The head of the request, which its parameters are part of, is longer than 64 KiB. Without a body",
    },
    Failure {
        status: "500",
        on: &[Clickhouse, Question, Sql],
        codes: &["failed"],
        description: "The question is wrong; the service's log says how",
    },
    Failure {
        status: "502",
        on: &[Clickhouse, Question, Sql],
        codes: &["clickhouse_refused"],
        description: "ClickHouse refuses the service's user",
    },
    Failure {
        status: "503",
        on: &[Clickhouse, Question, Sql],
        codes: &["full", "busy", "clickhouse_unreachable", "shard_away", "schema_missing"],
        description: "Try again after `Retry-After` seconds",
    },
    Failure { status: "503", on: &[Guarded], codes: &["full"], description: "Try again after `Retry-After` seconds" },
    Failure {
        status: "505",
        on: &[Question, Sql],
        codes: &["old_http"],
        description: "HTTP/1.1 is needed for this format",
    },
];

/// The responses of a path that is of these kinds, by status.
pub(super) fn errors(kinds: &[Where]) -> Map<String, Value> {
    let mut responses = Map::new();
    let is_of = |failure: &&Failure| failure.on.iter().any(|on| *on == Everywhere || kinds.contains(on));
    for failure in FAILURES.iter().filter(is_of) {
        responses.entry(failure.status).or_insert_with(|| response(failure));
    }
    responses
}

fn response(failure: &Failure) -> Value {
    let mut response = json!({ "description": failure.description });
    if !failure.codes.is_empty() {
        response["content"]["application/json"]["schema"] = json!({
            "allOf": [{ "$ref": "#/components/schemas/Error" }],
            "properties": { "error": { "properties": { "code": { "enum": failure.codes } } } },
        });
    }
    match failure.status {
        "401" => {
            let header = json!({ "description": "`Bearer`", "required": true, "schema": { "type": "string" } });
            response["headers"]["WWW-Authenticate"] = header;
        }
        "405" => {
            let header = json!({ "description": "The methods", "required": true, "schema": { "type": "string" } });
            response["headers"]["Allow"] = header;
        }
        "429" | "503" => {
            let seconds = json!({ "type": "integer", "minimum": 1 });
            let header = json!({ "description": "Seconds", "required": true, "schema": seconds });
            response["headers"]["Retry-After"] = header;
        }
        _ => {}
    }
    response
}

/// Adds to `response` what is said of the limits of a key.
pub(super) fn add_limits(response: &mut Value) {
    let field = |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    response["headers"]["RateLimit"] = field("What is left: `\"rate\";r=9;t=1, \"concurrent\";r=7`");
    response["headers"]["RateLimit-Policy"] = field("The key's limits, in requests, and in requests at a time");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_error_is_described() {
        let statuses = [
            ("BAD_REQUEST", "400"),
            ("UNAUTHORIZED", "401"),
            ("FORBIDDEN", "403"),
            ("NOT_FOUND", "404"),
            ("NOT_ACCEPTABLE", "406"),
            ("REQUEST_TIMEOUT", "408"),
            ("PAYLOAD_TOO_LARGE", "413"),
            ("UNPROCESSABLE_ENTITY", "422"),
            ("TOO_MANY_REQUESTS", "429"),
            ("INTERNAL_SERVER_ERROR", "500"),
            ("BAD_GATEWAY", "502"),
            ("SERVICE_UNAVAILABLE", "503"),
            ("HTTP_VERSION_NOT_SUPPORTED", "505"),
        ];
        let arms = include_str!("../error.rs").lines().filter_map(|line| line.trim().split_once(" => (StatusCode::"));
        let said: BTreeSet<(&str, &str)> = arms
            .map(|(_, pair)| {
                let (name, code) = pair.split_once(", \"").unwrap();
                let (_, status) = statuses.iter().find(|(known, _)| *known == name).unwrap();
                (*status, code.split('"').next().unwrap())
            })
            .collect();
        let described: BTreeSet<(&str, &str)> =
            FAILURES.iter().flat_map(|failure| failure.codes.iter().map(|code| (failure.status, *code))).collect();
        let undescribed: Vec<_> = said.difference(&described).collect();
        assert!(said.len() > 20 && undescribed.is_empty(), "{undescribed:?}");
    }
}
