//! HTTP: the catalogue, its answers, and how the service is.
//!
//! | path | answer |
//! |---|---|
//! | `/` | a page that lists the questions and shows their answers |
//! | `/v1` | the catalogue |
//! | `/v1/<noun>/<question>?<parameters>` | an answer |
//! | `/healthz` | 200 while the process lives |
//! | `/readyz` | 200 when ClickHouse answers and has every table that the catalogue reads, otherwise 503 and why |
//! | `/metrics` | the service's own series |

use std::{collections::BTreeSet, fmt, io, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::{
        HeaderName, StatusCode, Uri,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    },
    response::{Html, IntoResponse, Response},
    routing::get,
    serve::ListenerExt,
};
use clickhouse::Client;
use serde::Serialize;
use shardlake_schema::TimeMs;
use tokio::{
    net::TcpListener,
    sync::{OnceCell, oneshot},
};

use crate::{
    answer::{self, Replied, Reply},
    catalogue::{Catalogue, Question},
    completeness,
    error::{AskError, reply},
    execute::{Source, new_query_id, within_deadline},
    limits::{Limits, REPLY_DEADLINE},
    metrics::Metrics,
    resolution::{Resolved, resolve},
};

const PAGE: &str = include_str!("../web/index.html");

/// The page loads nothing from elsewhere and talks to nobody else.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Every answer is of its moment: a cache between us and the reader would lie about freshness.
const JSON_HEADERS: [(HeaderName, &str); 3] =
    [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store"), (X_CONTENT_TYPE_OPTIONS, "nosniff")];

/// How long answers under way may take after the shutdown began: as long as the slowest may take at all.
const DRAIN_DEADLINE: Duration = REPLY_DEADLINE;

/// The query service: a ClickHouse and a catalogue. Clones share everything.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    catalogue: Catalogue,
    metrics: Metrics,
    limits: OnceCell<Limits>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("questions", &self.shared.catalogue.questions().count()).finish_non_exhaustive()
    }
}

impl Service {
    /// `client` carries URL, database and credentials; its user needs what the head of this crate says. Nothing is sent
    /// before the first request.
    pub fn new(client: Client, catalogue: Catalogue) -> Self {
        let shared = Shared { client, catalogue, metrics: Metrics::new(), limits: OnceCell::new() };
        Self { shared: Arc::new(shared) }
    }

    async fn source(&self) -> Result<Source<'_>, AskError> {
        let client = &self.shared.client;
        let limits =
            self.shared.limits.get_or_try_init(|| within_deadline(async { Ok(Limits::learn(client).await?) })).await?;
        Ok(Source { client, limits })
    }

    async fn ask(&self, question: &Question, query: &str) -> Result<Reply, AskError> {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let asked = resolve(question, &pairs, TimeMs::now())?;
        let before = async {
            match &asked.previous {
                Some(previous) => self.reply(question, previous).await.map(Some),
                None => Ok(None),
            }
        };
        let (replied, before) = tokio::try_join!(self.reply(question, &asked), before)?;
        answer::write(question, &replied, before.as_ref())
    }

    /// What ClickHouse says to `question`.
    async fn reply<'a>(&self, question: &Question, asked: &'a Resolved) -> Result<Replied<'a>, AskError> {
        let sql = match (&asked.rollup, &question.rollup) {
            (Some(_), Some(rollup)) => &rollup.sql,
            _ => &question.sql,
        };
        let source = self.source().await?;
        let query_id = new_query_id();
        let query = source.query(sql, &query_id, asked.values_of_page());
        let (document, completeness) =
            tokio::try_join!(source.document(query), completeness::check(source, &question.table, asked, &query_id),)
                .inspect_err(|error| tracing::warn!(question = question.id(), query_id, %error, "no answer"))?;
        Ok(Replied { asked, document, completeness, query_id })
    }

    /// The tables that the catalogue reads and ClickHouse lacks, or does not show to this user.
    async fn missing_tables(&self) -> Result<Vec<String>, AskError> {
        let source = self.source().await?;
        let sql = "SELECT name FROM system.tables WHERE database = currentDatabase()";
        let there = source.query(sql, &new_query_id(), []).fetch_all::<String>();
        let there = within_deadline(async { Ok(there.await?) }).await?;
        let read = self.shared.catalogue.questions().map(|question| question.table.as_str());
        let needed: BTreeSet<&str> = read.chain(["batches", "processes"]).collect();
        Ok(needed.into_iter().filter(|table| there.iter().all(|name| name != table)).map(str::to_owned).collect())
    }
}

/// Serves until `shutdown` completes; then takes no new connection and waits for the answers under way.
///
/// # Errors
/// If the listener fails for good. Cancel safety: dropping the future closes the listener and abandons what is under way.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (draining, drain) = oneshot::channel();
    let listener = listener.tap_io(|stream| {
        // Small answers must not wait for the client's acknowledgement of the last one.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY refused");
        }
    });
    let server = axum::serve(listener, router(service)).with_graceful_shutdown(async move {
        shutdown.await;
        let _ = draining.send(()); // nobody listens when the server ended first
    });
    tokio::select! {
        served = server => served,
        () = deadline_after(drain) => {
            tracing::warn!(deadline_s = DRAIN_DEADLINE.as_secs(), "clients still hold connections; leaving without them");
            Ok(())
        }
    }
}

async fn deadline_after(drain: oneshot::Receiver<()>) {
    match drain.await {
        Ok(()) => tokio::time::sleep(DRAIN_DEADLINE).await,
        Err(_) => std::future::pending().await,
    }
}

/// The service's routes.
pub fn router(service: Service) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/v1", get(catalogue))
        .route("/v1/{noun}/{question}", get(answer))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(nothing_here)
        .method_not_allowed_fallback(only_get)
        .with_state(service)
}

async fn page() -> Response {
    ([(CONTENT_SECURITY_POLICY, PAGE_POLICY), (X_CONTENT_TYPE_OPTIONS, "nosniff")], Html(PAGE)).into_response()
}

/// A question as `/v1` lists it.
#[derive(Serialize)]
struct Listed<'a> {
    path: String,
    #[serde(flatten)]
    question: &'a Question,
}

async fn catalogue(State(service): State<Service>) -> Response {
    let questions = service.shared.catalogue.questions();
    let questions: Vec<_> =
        questions.map(|question| Listed { path: format!("/v1/{}", question.id()), question }).collect();
    (JSON_HEADERS, serde_json::json!({ "questions": questions }).to_string()).into_response()
}

async fn answer(
    State(service): State<Service>,
    path: Result<Path<(String, String)>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Response {
    let id = path.map(|Path((noun, name))| format!("{noun}/{name}")).unwrap_or_default();
    let question = service.shared.catalogue.get(&id);
    let watch = service.shared.metrics.watch(question.map(|question| question.id()));
    let result = match question {
        Some(question) => service.ask(question, query.as_deref().unwrap_or_default()).await,
        None => Err(AskError::unknown_question(&service.shared.catalogue, &id)),
    };
    let response = match result {
        Ok(reply) => {
            watch.read(reply.rows_read);
            (JSON_HEADERS, reply.body).into_response()
        }
        Err(error) => error.into_response(),
    };
    watch.finish(response.status().as_u16());
    response
}

async fn ready(State(service): State<Service>) -> Response {
    match service.missing_tables().await {
        Ok(missing) if missing.is_empty() => "ready\n".into_response(),
        Ok(missing) => AskError::SchemaMissing { reason: missing.join(", ") }.into_response(),
        Err(error) => error.into_response(),
    }
}

async fn metrics(State(service): State<Service>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], service.shared.metrics.text()).into_response()
}

async fn nothing_here(uri: Uri) -> Response {
    let path: String = uri.path().chars().take(80).collect();
    reply(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {path}; the questions are listed at /v1"))
}

async fn only_get() -> Response {
    reply(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "questions are asked with GET".to_owned())
}
