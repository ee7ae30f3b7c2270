//! What stands between a request and its answer: the question resolved, asked within its limits, and given its form.

use std::{
    collections::BTreeSet,
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use clickhouse::Client;
use futures_util::FutureExt as _;
use jiff::tz::TimeZone;
use shardlake_schema::TimeMs;
use tokio::sync::OnceCell;

use crate::{
    access::{Key, Keys},
    answer::{self, Replied},
    catalogue::{Catalogue, Question},
    completeness::{self, Recent},
    error::AskError,
    execute::{Source, new_query_id, within_deadline},
    export::Export,
    following::follow,
    format::Format,
    gate::Gate,
    limits::Limits,
    metrics::{Metrics, Reuse},
    parameter::BadValue,
    reply::{self, Answered, Whole},
    resolution::{COMPARE, Resolved, resolve},
    samples,
    sharing::Sharing,
    sql,
};

/// How often the folder of the catalogue is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long the service is ready without being looked at again.
const READY_FOR: Duration = Duration::from_secs(1);

/// The query service: a ClickHouse and a catalogue. Clones share everything.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    catalogue: Mutex<Arc<Catalogue>>,
    metrics: Arc<Metrics>,
    limits: OnceCell<Limits>,
    gate: Gate,
    sharing: Sharing,
    recent: Recent,
    sql: bool,
    ready_at: tokio::sync::Mutex<Option<Instant>>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("questions", &self.catalogue().questions().count()).finish_non_exhaustive()
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
            catalogue: Mutex::new(Arc::new(catalogue)),
            metrics: Arc::new(Metrics::new()),
            limits: OnceCell::new(),
            gate: Gate::new(access.keys),
            sharing: Sharing::default(),
            recent: Recent::default(),
            sql: access.sql,
            ready_at: tokio::sync::Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    /// Follows what may change while the service runs, for ever: the file of keys, and the folder of questions.
    pub(crate) async fn follow(&self) {
        let keys = async {
            match self.gate().keys() {
                Some(keys) => keys.follow().await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(keys, self.follow_catalogue());
    }

    /// Looks at the folder of the catalogue now and then. Files that are wrong change nothing, and the log says which line.
    async fn follow_catalogue(&self) {
        if !self.catalogue().has_folder() {
            return std::future::pending().await;
        }
        follow(LOOK_EVERY, "the catalogue stays", || async {
            let catalogue = self.catalogue();
            if let Some(catalogue) = tokio::task::spawn_blocking(move || catalogue.changed()).await?? {
                tracing::info!(questions = catalogue.questions().count(), "the catalogue has changed");
                *self.shared.catalogue.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalogue);
            }
            Ok(())
        })
        .await;
    }

    /// The catalogue as it is now.
    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.shared.catalogue.lock().unwrap_or_else(PoisonError::into_inner))
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
        question: &Arc<Question>,
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
        if format != Format::Json && asked.previous.is_some() {
            let message = "an answer in this format has no place for a second range".to_owned();
            return Err(AskError::bad_parameter(
                COMPARE,
                BadValue { message, expected: "a request for JSON".to_owned() },
            ));
        }
        let inquiry = Inquiry::new(question, asked, key);
        if format != Format::Json {
            return self.answer(&inquiry, format).await.inspect_err(|error| inquiry.fail(error));
        }
        let sharing = &self.shared.sharing;
        if let Some(answer) = sharing.kept(&inquiry.name(), Instant::now()) {
            return Ok(Answered::Whole { answer, reuse: Some(Reuse::Cached) });
        }
        let service = self.clone();
        let make = || async move { service.document(&inquiry).await.inspect_err(|error| inquiry.fail(error)) }.boxed();
        let (answer, joined) = sharing.join(format!("{} {pairs:?}", question.id()), make).await;
        Ok(Answered::Whole { answer: answer?, reuse: joined.then_some(Reuse::Shared) })
    }

    /// The JSON document, kept if it is settled.
    async fn document(&self, inquiry: &Inquiry) -> Result<Arc<Whole>, AskError> {
        let Inquiry { question, asked, query_id, .. } = inquiry;
        let before = async {
            match &asked.previous {
                Some(previous) => self.fetch(inquiry, previous, &format!("{query_id}-previous")).await.map(Some),
                None => Ok(None),
            }
        };
        let (replied, before) = tokio::try_join!(self.fetch(inquiry, asked, query_id), before)?;
        let reply = answer::write(question, &replied, before.as_ref())?;
        let mut headers = reply::headers(Format::Json, query_id);
        reply::describe(&mut headers, question, asked, &replied.completeness);
        let documents: Vec<&Replied<'_>> = [&replied].into_iter().chain(&before).collect();
        let is_settled = documents
            .iter()
            .all(|replied| replied.asked.range.is_some_and(|range| replied.completeness.is_settled(range.to)));
        let tag =
            is_settled.then(|| reply::settle(&mut headers, documents.iter().map(|replied| &replied.document[..])));
        let answer = Arc::new(Whole { headers, body: reply.body.into(), rows_read: reply.rows_read, tag });
        if is_settled {
            self.shared.sharing.keep(inquiry.name(), &answer, Instant::now());
        }
        Ok(answer)
    }

    /// The other formats.
    async fn answer(&self, inquiry: &Inquiry, format: Format) -> Result<Answered, AskError> {
        let Inquiry { question, asked, query_id, .. } = inquiry;
        let mut headers = reply::headers(format, query_id);
        if !format.is_streamed() {
            let replied = self.fetch(inquiry, asked, query_id).await?;
            reply::describe(&mut headers, question, asked, &replied.completeness);
            let mut document = answer::parse(&replied.document)?;
            answer::cut(question, asked, &mut document);
            return Ok(Answered::whole(headers, samples::write(question, &document), document.statistics.rows_read));
        }
        let source = self.source(&inquiry.comment).await?;
        let query = source.export(inquiry.sql(asked), query_id, asked.values());
        let (export, completeness) = tokio::try_join!(
            Export::open(query, format, &question.columns, &asked.zone),
            completeness::check(source, &self.shared.recent, &question.table, asked, query_id)
        )?;
        reply::describe(&mut headers, question, asked, &completeness);
        Ok(Answered::Export { headers, export: Box::new(export) })
    }

    /// ClickHouse's document, and what is known of the data behind it.
    async fn fetch<'a>(&self, inquiry: &Inquiry, asked: &'a Resolved, query_id: &str) -> Result<Replied<'a>, AskError> {
        let source = self.source(&inquiry.comment).await?;
        let query = source.query(inquiry.sql(asked), query_id, asked.values_of_page());
        let check = completeness::check(source, &self.shared.recent, &inquiry.question.table, asked, query_id);
        let (document, completeness) = tokio::try_join!(source.document(query), check)?;
        Ok(Replied { asked, document, completeness, query_id: query_id.to_owned() })
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
        let headers = reply::headers(format, &query_id);
        if format.is_streamed() {
            let export = Export::open(source.export(sql, &query_id, []), format, &[], &TimeZone::UTC)
                .await
                .map_err(sql::blame)?;
            return Ok(Answered::Export { headers, export: Box::new(export) });
        }
        if format != Format::Json {
            return Err(AskError::NotAcceptable); // without a header nobody knows what is a measure
        }
        let document = source.document(source.query(sql, &query_id, [])).await.map_err(sql::blame)?;
        let reply = answer::write_rows(&document, &query_id).map_err(sql::blame)?;
        Ok(Answered::whole(headers, reply.body, reply.rows_read))
    }

    /// The tables that the catalogue reads and ClickHouse lacks, or does not show to this user. Everybody may ask this, so
    /// ClickHouse hears of one of them at a time, and while all is well once a second.
    pub(crate) async fn missing_tables(&self) -> Result<Vec<String>, AskError> {
        let mut ready_at = self.shared.ready_at.lock().await;
        if ready_at.is_some_and(|at| at.elapsed() < READY_FOR) {
            return Ok(Vec::new());
        }
        let missing = self.look_for_tables().await?;
        *ready_at = missing.is_empty().then(Instant::now);
        Ok(missing)
    }

    async fn look_for_tables(&self) -> Result<Vec<String>, AskError> {
        let comment = comment("(ready)", None);
        let source = self.source(&comment).await?;
        let sql = "SELECT name FROM system.tables WHERE database = currentDatabase()";
        let there = source.query(sql, &new_query_id(), []).fetch_all::<String>();
        let there = within_deadline(async { Ok(there.await?) }).await?;
        let catalogue = self.catalogue();
        let read = catalogue.questions().map(|question| question.table.as_str());
        let needed: BTreeSet<&str> = read.chain(["batches", "processes"]).collect();
        Ok(needed.into_iter().filter(|table| there.iter().all(|name| name != table)).map(str::to_owned).collect())
    }
}

/// A question on its way to ClickHouse.
struct Inquiry {
    question: Arc<Question>,
    asked: Resolved,
    query_id: String,
    comment: String,
}

impl Inquiry {
    fn new(question: &Arc<Question>, asked: Resolved, key: Option<&Key>) -> Self {
        let comment = comment(&question.id(), key);
        Self { question: Arc::clone(question), asked, query_id: new_query_id(), comment }
    }

    fn sql(&self, asked: &Resolved) -> &str {
        match (&asked.rollup, &self.question.rollup) {
            (Some(_), Some(rollup)) => &rollup.sql,
            _ => &self.question.sql,
        }
    }

    /// The same for the same values of the same question; a file that has changed is another question.
    fn name(&self) -> String {
        let mut sql = DefaultHasher::new();
        self.question.sql.hash(&mut sql);
        format!("{} {:x} {:?}", self.question.id(), sql.finish(), self.asked)
    }

    fn fail(&self, error: &AskError) {
        tracing::warn!(question = self.question.id(), query_id = self.query_id, %error, "no answer");
    }
}

/// What ClickHouse's query log says about a query: whose it is.
fn comment(question: &str, key: Option<&Key>) -> String {
    serde_json::json!({ "question": question, "key": key.map(Key::name) }).to_string()
}
