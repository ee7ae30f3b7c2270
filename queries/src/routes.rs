//! HTTP: the catalogue, its answers, and how the service is.
//!
//! | path | answer |
//! |---|---|
//! | `/v1` | the catalogue |
//! | `/v1/<noun>/<question>?<parameters>` | an answer; its form by a suffix such as `.csv`, or `Accept`: see `format` |
//! | `POST /v1/sql` | the answer to the statement in the body: see `sql` |
//! | `/openapi.json` | all of this for programs: see `openapi` |
//!
//! These need a key if there are any (`access`). The others do not: they say nothing about the data.
//!
//! | path | answer |
//! |---|---|
//! | `/` | a page that lists the questions and shows their answers |
//! | `/docs` | a page that describes them; like the other, it asks for what it shows with the reader's key |
//! | `/healthz` | 200 while the process lives |
//! | `/readyz` | 200 when ClickHouse answers and has every table that the catalogue reads, otherwise 503 and why |
//! | `/metrics` | the service's own series |

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::{
        HeaderMap, HeaderName, StatusCode, Uri, Version,
        header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::from_fn_with_state,
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use serde::Serialize;
use tower_http::{
    CompressionLevel,
    compression::{
        CompressionLayer, Predicate,
        predicate::{NotForContentType, SizeAbove},
    },
};

use crate::{
    catalogue::{Catalogue, Question},
    error::{AskError, reply},
    format::Format,
    gate::{self, Visit},
    openapi,
    service::Service,
    sql,
};

const PAGE: &str = include_str!("../web/index.html");
const DOCS: &str = include_str!("../web/docs.html");

/// The pages load nothing from elsewhere and talk to nobody else.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Smaller replies fit into one packet as they are.
const MIN_COMPRESSED_BYTES: u16 = 1_024;

/// Every list is of its moment.
const JSON_HEADERS: [(HeaderName, &str); 3] =
    [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];

/// The service's routes.
pub fn router(service: Service) -> Router {
    let guarded = Format::ALL.into_iter().fold(Router::new(), |router, format| {
        let to_sql =
            move |state, visit, version, headers, body| sql(state, visit, version, headers, Some(format), body);
        router.route(&format!("/v1/sql.{}", format.suffix()), post(to_sql))
    });
    let to_sql = |state, visit, version, headers, body| sql(state, visit, version, headers, None, body);
    let guarded = guarded
        .route("/v1", get(catalogue))
        .route("/v1/sql", post(to_sql))
        .route("/v1/{noun}/{question}", get(answer))
        .route("/openapi.json", get(description))
        .route_layer(from_fn_with_state(service.clone(), gate::pass));
    Router::new()
        .merge(guarded)
        .route("/", get(|| async { page(PAGE) }))
        .route("/docs", get(|| async { page(DOCS) }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(compression())
        .with_state(service)
}

/// gzip and zstd for clients that take them, also of what is sent bit by bit. At their fastest: answers are text, and most
/// of what can be won is won at once. Parquet is compressed already.
fn compression() -> CompressionLayer<impl Predicate> {
    let not_parquet = NotForContentType::const_new(Format::Parquet.content_type());
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(MIN_COMPRESSED_BYTES.into()).and(not_parquet))
}

fn page(html: &'static str) -> Response {
    ([(CONTENT_SECURITY_POLICY, PAGE_POLICY), (X_CONTENT_TYPE_OPTIONS, "nosniff")], Html(html)).into_response()
}

/// A question as `/v1` lists it.
#[derive(Serialize)]
struct Listed<'a> {
    path: String,
    #[serde(flatten)]
    question: &'a Question,
}

/// What the key opens.
fn opened<'a>(catalogue: &'a Catalogue, visit: &Visit) -> impl Iterator<Item = &'a Arc<Question>> {
    catalogue.questions().filter(|question| visit.key.as_ref().is_none_or(|key| key.check(question).is_ok()))
}

async fn catalogue(State(service): State<Service>, Extension(visit): Extension<Visit>) -> Response {
    let catalogue = service.catalogue();
    let questions: Vec<_> = opened(&catalogue, &visit)
        .map(|question| Listed { path: format!("/v1/{}", question.id()), question })
        .collect();
    (JSON_HEADERS, serde_json::json!({ "questions": questions }).to_string()).into_response()
}

async fn description(State(service): State<Service>, Extension(visit): Extension<Visit>) -> Response {
    let catalogue = service.catalogue();
    let offer = openapi::Offer {
        questions: opened(&catalogue, &visit).collect(),
        has_key: visit.key.is_some(),
        may_sql: service.may_sql(visit.key.as_deref()).is_ok(),
    };
    (JSON_HEADERS, openapi::write(&offer).to_string()).into_response()
}

async fn answer(
    State(service): State<Service>,
    path: Result<Path<(String, String)>, PathRejection>,
    RawQuery(query): RawQuery,
    Extension(visit): Extension<Visit>,
    version: Version,
    headers: HeaderMap,
) -> Response {
    let (noun, name) = path.map(|Path(parts)| parts).unwrap_or_default();
    let (stem, suffix) = match Format::split(&name) {
        Ok(split) => split,
        Err(error) => return error.into_response(),
    };
    let id = format!("{noun}/{stem}");
    let catalogue = service.catalogue();
    let question = catalogue.get(&id);
    let watch = service.metrics().watch(question.map(|question| question.id()));
    let format = suffix.map_or_else(|| Format::negotiate(&accepted(&headers)), Ok);
    let asked = async {
        let question = question.ok_or_else(|| AskError::unknown_question(&catalogue, &id))?;
        let format = format?;
        check_version(version, format)?;
        service.ask(question, query.as_deref().unwrap_or_default(), format, visit.key.as_deref()).await
    };
    match asked.await {
        Ok(answered) => answered.into_response(&headers, watch, visit),
        Err(error) => {
            watch.fail(&error);
            error.into_response()
        }
    }
}

async fn sql(
    State(service): State<Service>,
    Extension(visit): Extension<Visit>,
    version: Version,
    headers: HeaderMap,
    suffix: Option<Format>,
    body: Body,
) -> Response {
    let watch = service.metrics().watch(Some(sql::NAME.to_owned()));
    let asked = async {
        let key = visit.key.as_deref();
        service.may_sql(key)?;
        let format = suffix.map_or_else(|| Format::negotiate(&accepted(&headers)), Ok)?;
        check_version(version, format)?;
        service.sql(&sql::read(body).await?, format, key).await
    };
    match asked.await {
        Ok(answered) => answered.into_response(&headers, watch, visit),
        Err(error) => {
            watch.fail(&error);
            error.into_response()
        }
    }
}

fn check_version(version: Version, format: Format) -> Result<(), AskError> {
    if version < Version::HTTP_11 && format.is_streamed() { Err(AskError::OldHttp) } else { Ok(()) }
}

/// All that the client says it takes.
fn accepted(headers: &HeaderMap) -> String {
    headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",")
}

async fn ready(State(service): State<Service>) -> Response {
    match service.missing_tables().await {
        Ok(missing) if missing.is_empty() => "ready\n".into_response(),
        Ok(missing) => AskError::SchemaMissing { reason: missing.join(", ") }.into_response(),
        Err(error) => error.into_response(),
    }
}

async fn metrics(State(service): State<Service>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], service.metrics().text()).into_response()
}

async fn nothing_here(uri: Uri) -> Response {
    let path: String = uri.path().chars().take(80).collect();
    reply(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {path}; the questions are listed at /v1"))
}

async fn wrong_method() -> Response {
    reply(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "questions are asked with GET, and /v1/sql with POST".to_owned(),
    )
}
