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
    access::{Key, Keys},
    answer,
    catalogue::{Catalogue, Question},
    completeness::{self, Completeness},
    error::AskError,
    execute::{Source, new_query_id, within_deadline},
    export::Export,
    format::Format,
    gate::{Gate, Visit},
    limits::Limits,
    metrics::{Metrics, Watch},
    moment,
    resolution::{Resolved, resolve},
    samples, sql,
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
    gate: Gate,
    sql: bool,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("questions", &self.shared.catalogue.questions().count()).finish_non_exhaustive()
    }
}

/// Who may use a service. By default everybody, which is for a loopback address.
#[derive(Debug, Default)]
pub struct Access {
    /// Whoever has one of these; `None`: everybody.
    pub keys: Option<Keys>,
    /// Whether keys with `sql = true` may send SQL of their own.
    pub sql: bool,
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
        Self::with_access(client, catalogue, Access::default())
    }

    /// The same, but not for everybody.
    pub fn with_access(client: Client, catalogue: Catalogue, access: Access) -> Self {
        let shared = Shared {
            client,
            catalogue,
            metrics: Arc::new(Metrics::new()),
            limits: OnceCell::new(),
            gate: Gate::new(access.keys),
            sql: access.sql,
        };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    /// Follows what may change while the service runs, for ever: the file of keys.
    pub(crate) async fn follow(&self) {
        match self.gate().keys() {
            Some(keys) => keys.follow().await,
            None => std::future::pending().await,
        }
    }

    pub(crate) fn catalogue(&self) -> &Catalogue {
        &self.shared.catalogue
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    async fn source<'a>(&'a self, comment: &'a str) -> Result<Source<'a>, AskError> {
        let client = &self.shared.client;
        let limits =
            self.shared.limits.get_or_try_init(|| within_deadline(async { Ok(Limits::learn(client).await?) })).await?;
        Ok(Source { client, limits, comment })
    }

    /// Answers `question` with the parameters in `query`, a URL's, as far as `key` opens it.
    pub(crate) async fn ask(
        &self,
        question: &Question,
        query: &str,
        format: Format,
        key: Option<&Key>,
    ) -> Result<Answered, AskError> {
        let mut pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        if let Some(key) = key {
            key.check(question)?;
            key.narrow(&mut pairs);
        }
        let asked = resolve(question, &pairs, TimeMs::now())?;
        key.map_or(Ok(()), |key| key.check_clusters(&asked.clusters))?;
        let query_id = new_query_id();
        let comment = comment(&question.id(), key);
        let answered = self.run(question, &asked, format, &query_id, &comment).await;
        answered.inspect_err(|error| tracing::warn!(question = question.id(), query_id, %error, "no answer"))
    }

    async fn run(
        &self,
        question: &Question,
        asked: &Resolved,
        format: Format,
        query_id: &str,
        comment: &str,
    ) -> Result<Answered, AskError> {
        let sql = match (&asked.rollup, &question.rollup) {
            (Some(_), Some(rollup)) => &rollup.sql,
            _ => &question.sql,
        };
        let source = self.source(comment).await?;
        let values = asked.values.iter().map(|(name, value)| (name.as_str(), value));
        let completeness = completeness::check(source, &question.table, asked, query_id);
        if format.is_streamed() {
            let export = Export::open(source.export(sql, query_id, values), format, &question.columns);
            let (export, completeness) = tokio::try_join!(export, completeness)?;
            let headers = describe(headers(format, query_id), question, asked, &completeness);
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
        let headers = describe(headers(format, query_id), question, asked, &completeness);
        Ok(Answered { headers, content: Content::Whole { body, rows_read } })
    }

    /// Whether `key` may send SQL of its own.
    ///
    /// # Errors
    /// [`AskError::SqlOff`], [`AskError::Forbidden`].
    pub(crate) fn may_sql(&self, key: Option<&Key>) -> Result<(), AskError> {
        match key {
            _ if !self.shared.sql => Err(AskError::SqlOff),
            Some(key) if key.may_sql() => Ok(()),
            _ => Err(AskError::Forbidden { what: "does not open SQL of one's own".to_owned() }),
        }
    }

    /// Answers one statement.
    pub(crate) async fn sql(&self, sql: &str, format: Format, key: Option<&Key>) -> Result<Answered, AskError> {
        let comment = comment(sql::NAME, key);
        let source = self.source(&comment).await?;
        if !source.limits.is_readonly() {
            let reason = "ClickHouse does not hold its user to readonly = 1".to_owned();
            return Err(AskError::Refused { reason });
        }
        let query_id = new_query_id();
        let content = if format.is_streamed() {
            let export = Export::open(source.export(sql, &query_id, []), format, &[]).await.map_err(sql::blame)?;
            Content::Export(Box::new(export))
        } else if format == Format::Json {
            let document = source.document(source.query(sql, &query_id, [])).await.map_err(sql::blame)?;
            let reply = answer::write_rows(&document, &query_id).map_err(sql::blame)?;
            Content::Whole { body: reply.body, rows_read: reply.rows_read }
        } else {
            return Err(AskError::NotAcceptable); // without a header nobody knows what is a measure
        };
        Ok(Answered { headers: headers(format, &query_id), content })
    }

    /// The tables that the catalogue reads and ClickHouse lacks, or does not show to this user.
    pub(crate) async fn missing_tables(&self) -> Result<Vec<String>, AskError> {
        let comment = comment("(ready)", None);
        let source = self.source(&comment).await?;
        let sql = "SELECT name FROM system.tables WHERE database = currentDatabase()";
        let there = source.query(sql, &new_query_id(), []).fetch_all::<String>();
        let there = within_deadline(async { Ok(there.await?) }).await?;
        let read = self.shared.catalogue.questions().map(|question| question.table.as_str());
        let needed: BTreeSet<&str> = read.chain(["batches", "processes"]).collect();
        Ok(needed.into_iter().filter(|table| there.iter().all(|name| name != table)).map(str::to_owned).collect())
    }
}

impl Answered {
    /// The reply; `watch` and `visit` end with it.
    pub(crate) fn into_response(self, watch: Watch, visit: Visit) -> Response {
        match self.content {
            Content::Whole { body, rows_read } => {
                watch.read(rows_read);
                watch.sent(body.len());
                watch.finish(200);
                (self.headers, body).into_response()
            }
            Content::Export(export) => {
                watch.read(export.rows_read());
                (self.headers, export.into_body(watch, visit)).into_response()
            }
        }
    }
}

/// What ClickHouse's query log says about a query: whose it is.
fn comment(question: &str, key: Option<&Key>) -> String {
    serde_json::json!({ "question": question, "key": key.map(Key::name) }).to_string()
}

/// What every answer says of itself.
fn headers(format: Format, query_id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    // Every answer is of its moment: a cache between us and the reader would lie about freshness.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    say(&mut headers, "shardlake-query-id", query_id);
    headers
}

/// What the JSON document says in `meta`, for the formats that have no place for it.
fn describe(mut headers: HeaderMap, question: &Question, asked: &Resolved, found: &Completeness) -> HeaderMap {
    say(&mut headers, "shardlake-table", asked.rollup.as_deref().unwrap_or(&question.table));
    if let Some(range) = asked.range {
        say(&mut headers, "shardlake-from", &moment::iso8601(range.from));
        say(&mut headers, "shardlake-to", &moment::iso8601(range.to));
    }
    let complete = found.complete().map_or("unknown", |whole| if whole { "true" } else { "false" });
    say(&mut headers, "shardlake-complete", complete);
    say(&mut headers, "shardlake-missing-batches", &found.missing_batches().to_string());
    headers
}

fn say(headers: &mut HeaderMap, name: &'static str, value: &str) {
    let value = HeaderValue::from_str(value).expect("ids, tables, times and numbers are visible ASCII");
    headers.insert(HeaderName::from_static(name), value);
}
