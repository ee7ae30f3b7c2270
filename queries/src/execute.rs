//! One query on its way to ClickHouse and back: the catalogue's file unchanged, the values as typed server-side parameters.
//!
//! Cancel safety: dropping a future of this module closes its connection, and ClickHouse then ends the query.

use clickhouse::{Client, query::Query};

use crate::{
    error::AskError,
    limits::{Limits, MAX_REPLY_BYTES, REPLY_DEADLINE},
    parameter::Value,
};

/// ClickHouse as the service sees it: a client with the reader's credentials, and what it may ask of it.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    /// Its user reads; its database holds the tables.
    pub(crate) client: &'a Client,
    /// What goes with every query.
    pub(crate) limits: &'a Limits,
    /// Whose query it is, for ClickHouse's query log: JSON with `question` and `key`.
    pub(crate) comment: &'a str,
}

impl Source<'_> {
    /// `sql` with its values, under an id that finds it in `system.query_log` and `system.processes`.
    pub(crate) fn query<'v>(
        self,
        sql: &str,
        query_id: &str,
        values: impl IntoIterator<Item = (&'v str, &'v Value)>,
    ) -> Query {
        let query = self.limits.apply(self.client.query_raw(sql), self.comment).with_setting("query_id", query_id);
        values.into_iter().fold(query, |query, (name, value)| query.param(name, value))
    }

    /// The same within the limits of an export.
    pub(crate) fn export<'v>(
        self,
        sql: &str,
        query_id: &str,
        values: impl IntoIterator<Item = (&'v str, &'v Value)>,
    ) -> Query {
        self.limits.apply_to_export(self.query(sql, query_id, values))
    }

    /// Runs a question's query to its end: a document in ClickHouse's format `JSONCompact`.
    pub(crate) async fn document(self, query: Query) -> Result<Vec<u8>, AskError> {
        within_deadline(async {
            let mut cursor = query.fetch_bytes("JSONCompact")?;
            let mut document = Vec::new();
            while let Some(chunk) = cursor.next().await? {
                if document.len() + chunk.len() > MAX_REPLY_BYTES {
                    return Err(AskError::TooLarge);
                }
                document.extend_from_slice(&chunk);
            }
            Ok(document)
        })
        .await
    }
}

/// Gives up on ClickHouse when it stays silent.
pub(crate) async fn within_deadline<T>(work: impl Future<Output = Result<T, AskError>>) -> Result<T, AskError> {
    tokio::time::timeout(REPLY_DEADLINE, work).await.unwrap_or(Err(AskError::TooSlow))
}

/// An id that nobody else uses.
pub(crate) fn new_query_id() -> String {
    format!("shardlake-{:032x}", rand::random::<u128>())
}
