//! What stands between a request and its answer: the question resolved, asked within its limits, and given its form.

use std::{collections::BTreeSet, fmt, sync::Arc};

use axum::{
    http::{
        HeaderMap, HeaderName, HeaderValue,
        header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
    },
    response::{IntoResponse, Response},
};
use clickhouse::Client;
use shardlake_schema::TimeMs;
use tokio::sync::OnceCell;

use crate::{
    answer,
    catalogue::{Catalogue, Question},
    completeness::{self, Completeness},
    error::AskError,
    execute::{Source, new_query_id, within_deadline},
    export::Export,
    format::Format,
    limits::Limits,
    metrics::{Metrics, Watch},
    moment,
    resolution::{Resolved, resolve},
    samples,
};

/// The query service: a ClickHouse and a catalogue. Clones share everything.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    catalogue: Catalogue,
    metrics: Arc<Metrics>,
    limits: OnceCell<Limits>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("questions", &self.shared.catalogue.questions().count()).finish_non_exhaustive()
    }
}

/// An answer, ready to be sent.
pub(crate) struct Answered {
    headers: HeaderMap,
    content: Content,
}

enum Content {
    Whole { body: Vec<u8>, rows_read: u64 },
    Export(Box<Export>),
}

impl Service {
    /// `client` carries URL, database and credentials; its user needs what the head of this crate says. Nothing is sent
    /// before the first request.
    pub fn new(client: Client, catalogue: Catalogue) -> Self {
        let shared = Shared { client, catalogue, metrics: Arc::new(Metrics::new()), limits: OnceCell::new() };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.shared.catalogue
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    async fn source(&self) -> Result<Source<'_>, AskError> {
        let client = &self.shared.client;
        let limits =
            self.shared.limits.get_or_try_init(|| within_deadline(async { Ok(Limits::learn(client).await?) })).await?;
        Ok(Source { client, limits })
    }

    /// Answers `question` with the parameters in `query`, a URL's.
    pub(crate) async fn ask(&self, question: &Question, query: &str, format: Format) -> Result<Answered, AskError> {
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let asked = resolve(question, &pairs, TimeMs::now())?;
        let query_id = new_query_id();
        let answered = self.run(question, &asked, format, &query_id).await;
        answered.inspect_err(|error| tracing::warn!(question = question.id(), query_id, %error, "no answer"))
    }

    async fn run(
        &self,
        question: &Question,
        asked: &Resolved,
        format: Format,
        query_id: &str,
    ) -> Result<Answered, AskError> {
        let sql = match (&asked.rollup, &question.rollup) {
            (Some(_), Some(rollup)) => &rollup.sql,
            _ => &question.sql,
        };
        let source = self.source().await?;
        let values = asked.values.iter().map(|(name, value)| (name.as_str(), value));
        let completeness = completeness::check(source, &question.table, asked, query_id);
        if format.is_streamed() {
            let export = Export::open(source.export(sql, query_id, values), format, &question.columns);
            let (export, completeness) = tokio::try_join!(export, completeness)?;
            let headers = headers(question, asked, &completeness, format, query_id);
            return Ok(Answered { headers, content: Content::Export(Box::new(export)) });
        }
        let document = source.document(source.query(sql, query_id, values));
        let (document, completeness) = tokio::try_join!(document, completeness)?;
        let (body, rows_read) = match format {
            Format::Prometheus => {
                let (text, rows_read) = samples::write(question, &document)?;
                (text.into_bytes(), rows_read)
            }
            _ => {
                let reply = answer::write(question, asked, &document, &completeness, query_id)?;
                (reply.body, reply.rows_read)
            }
        };
        let headers = headers(question, asked, &completeness, format, query_id);
        Ok(Answered { headers, content: Content::Whole { body, rows_read } })
    }

    /// The tables that the catalogue reads and ClickHouse lacks, or does not show to this user.
    pub(crate) async fn missing_tables(&self) -> Result<Vec<String>, AskError> {
        let source = self.source().await?;
        let sql = "SELECT name FROM system.tables WHERE database = currentDatabase()";
        let there = source.query(sql, &new_query_id(), []).fetch_all::<String>();
        let there = within_deadline(async { Ok(there.await?) }).await?;
        let read = self.shared.catalogue.questions().map(|question| question.table.as_str());
        let needed: BTreeSet<&str> = read.chain(["batches", "processes"]).collect();
        Ok(needed.into_iter().filter(|table| there.iter().all(|name| name != table)).map(str::to_owned).collect())
    }
}

impl Answered {
    /// The reply; `watch` ends with it.
    pub(crate) fn into_response(self, watch: Watch) -> Response {
        match self.content {
            Content::Whole { body, rows_read } => {
                watch.read(rows_read);
                watch.sent(body.len());
                watch.finish(200);
                (self.headers, body).into_response()
            }
            Content::Export(export) => {
                watch.read(export.rows_read());
                (self.headers, export.into_body(watch)).into_response()
            }
        }
    }
}

/// What the JSON document says in `meta`, for the formats that have no place for it.
fn headers(
    question: &Question,
    asked: &Resolved,
    completeness: &Completeness,
    format: Format,
    query_id: &str,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    // Every answer is of its moment: a cache between us and the reader would lie about freshness.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let mut say = |name: &'static str, value: &str| {
        let value = HeaderValue::from_str(value).expect("ids, tables, times and numbers are visible ASCII");
        headers.insert(HeaderName::from_static(name), value);
    };
    say("shardlake-query-id", query_id);
    say("shardlake-table", asked.rollup.as_deref().unwrap_or(&question.table));
    if let Some(range) = asked.range {
        say("shardlake-from", &moment::iso8601(range.from));
        say("shardlake-to", &moment::iso8601(range.to));
    }
    say("shardlake-complete", completeness.complete().map_or("unknown", |whole| if whole { "true" } else { "false" }));
    say("shardlake-missing-batches", &completeness.missing_batches().to_string());
    headers
}
