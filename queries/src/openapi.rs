//! What the service offers, for programs: an `OpenAPI` 3.1 document, made of the catalogue.
//!
//! It describes what whoever asks may use: the questions that its key opens, `/v1/sql` if it may send SQL, and what only
//! happens where keys are needed (401, 403, 429) only there. It is made anew for each request, because keys and the folder of
//! questions may change at any moment, and few ask for it.
//!
//! What a schema cannot say is left to descriptions: that `from` lies before `to`, how fine a `step` a range allows, that a
//! cursor is one that an answer gave. So what fits its schema can still get 400; what does not fit, always does. A test
//! holds the service to this document (`tests/api/openapi.rs`).

mod answer;

mod errors;

mod parameter;

use std::sync::Arc;

use serde_json::{Map, Value, json};

use self::errors::{Where, errors};
use crate::{catalogue::Question, format::Format};

const ABOUT: &str = "Questions about a Discord bot's clusters, shards, interactions and guilds. Each is a path. Every answer \
    in JSON says in `meta` how fresh and how complete the data behind it is; answers in other formats say it in headers. The \
    form of an answer is chosen by `Accept`, or by a suffix of the path, such as `.csv`, which wins.";

/// What whoever asks may use.
pub(crate) struct Offer<'a> {
    /// The questions that its key opens.
    pub(crate) questions: Vec<&'a Arc<Question>>,
    /// Whether it needed a key.
    pub(crate) has_key: bool,
    /// Whether it may send SQL of its own.
    pub(crate) may_sql: bool,
}

/// Writes the document.
pub(crate) fn write(offer: &Offer<'_>) -> Value {
    let Offer { questions, has_key, may_sql } = offer;
    let mut paths = Map::new();
    paths.insert("/v1".to_owned(), json!({ "get": guarded(catalogue(), *has_key) }));
    for question in questions {
        paths.insert(format!("/v1/{}", question.id()), json!({ "get": guarded(ask(question), *has_key) }));
    }
    if *may_sql {
        paths.insert("/v1/sql".to_owned(), json!({ "post": guarded(sql(), *has_key) }));
    }
    paths.insert("/openapi.json".to_owned(), json!({ "get": guarded(itself(), *has_key) }));
    paths.extend(open());

    let mut document = json!({
        "openapi": "3.1.0",
        "info": { "title": "Shardlake", "version": env!("CARGO_PKG_VERSION"), "description": ABOUT,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" } },
        "servers": [{ "url": "/" }],
        "tags": tags(questions),
        "paths": paths,
        "components": { "schemas": answer::shared() },
    });
    if *has_key {
        document["components"]["securitySchemes"] = json!({ "key": { "type": "http", "scheme": "bearer",
            "description": "A key of this service; `shardlake queries key new` makes one." } });
    }
    document
}

/// A tag for each noun, and one for the service itself.
fn tags(questions: &[&Arc<Question>]) -> Vec<Value> {
    let mut nouns: Vec<&str> = questions.iter().map(|question| question.noun.as_str()).collect();
    nouns.dedup();
    let service = json!({ "name": "service", "description": "The service itself" });
    nouns.into_iter().map(|noun| json!({ "name": noun })).chain([service]).collect()
}

/// `operation` as it is for those who have a key, or need none.
fn guarded(mut operation: Value, has_key: bool) -> Value {
    let own: Vec<Where> = [Where::Guarded].into_iter().chain(has_key.then_some(Where::Keyed)).collect();
    let mut all = errors(&own);
    let responses = operation["responses"].as_object().into_iter().flatten();
    all.extend(responses.map(|(status, response)| (status.clone(), response.clone())));
    if has_key {
        operation["security"] = json!([{ "key": [] }]);
        for (_, response) in all.iter_mut().filter(|(status, _)| !matches!(status.as_str(), "401" | "431")) {
            errors::add_limits(response);
        }
    }
    operation["responses"] = Value::Object(all);
    operation
}

fn ask(question: &Question) -> Value {
    let mut responses = errors(&[Where::Guarded, Where::Question]);
    let schema = answer::question(question);
    responses.insert("200".to_owned(), answer::ok(&schema, &Format::ALL, &answer::headers_of_question()));
    responses.insert(
        "304".to_owned(),
        json!({
        "description": "The answer is still the one whose `ETag` was sent in `If-None-Match`" }),
    );
    let parameters: Vec<Value> =
        question.parameters.iter().map(|declared| parameter::describe(declared, question)).collect();
    json!({
        "operationId": format!("{}_{}", question.noun, question.name),
        "tags": [question.noun],
        "summary": question.title,
        "description": question.description,
        "parameters": parameters,
        "responses": responses,
    })
}

fn sql() -> Value {
    let mut responses = errors(&[Where::Guarded, Where::Sql]);
    let formats: Vec<Format> = Format::ALL.into_iter().filter(|format| *format != Format::Prometheus).collect();
    responses.insert("200".to_owned(), answer::ok(&answer::statement(), &formats, &answer::headers()));
    json!({
        "operationId": "sql",
        "tags": ["service"],
        "summary": "SQL of one's own",
        "description": "Answers one statement in ClickHouse's SQL, which can only read. For keys that open everything.",
        "requestBody": { "required": true, "content": { "text/plain": { "schema": { "type": "string", "minLength": 1 } } } },
        "responses": responses,
    })
}

fn catalogue() -> Value {
    json!({
        "operationId": "catalogue",
        "tags": ["service"],
        "summary": "The questions",
        "description": "All questions that the key opens, with their parameters and columns.",
        "responses": { "200": {
            "description": "The questions",
            "content": { "application/json": { "schema": answer::catalogue() } },
        } },
    })
}

fn itself() -> Value {
    json!({
        "operationId": "openapi",
        "tags": ["service"],
        "summary": "This document",
        "responses": { "200": {
            "description": "OpenAPI 3.1",
            "content": { "application/json": { "schema": { "type": "object", "required": ["openapi", "info", "paths"] } } },
        } },
    })
}

/// What nobody needs a key for.
fn open() -> Map<String, Value> {
    let text = |id: &str, summary: &str, description: &str, errors: Map<String, Value>| {
        let mut responses = errors;
        let content = json!({ "text/plain": { "schema": { "type": "string" } } });
        responses.insert("200".to_owned(), json!({ "description": description, "content": content }));
        json!({ "get": { "operationId": id, "tags": ["service"], "summary": summary, "responses": responses } })
    };
    let alive = text("healthz", "Whether the process lives", "It does", errors(&[Where::Everywhere]));
    let ready = text(
        "readyz",
        "Whether questions can be answered",
        "ClickHouse answers, and has every table that the catalogue reads",
        errors(&[Where::Everywhere, Where::Clickhouse]),
    );
    let metrics = text("metrics", "The service's own series", "Prometheus' text format", errors(&[Where::Everywhere]));
    [("/healthz", alive), ("/readyz", ready), ("/metrics", metrics)]
        .into_iter()
        .map(|(path, item)| (path.to_owned(), item))
        .collect()
}
