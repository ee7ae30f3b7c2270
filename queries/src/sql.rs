//! `POST /v1/sql`: SQL of one's own, for keys that open everything, where the service was started with it.
//!
//! It runs as the same reader within the same limits as a question, and only if ClickHouse holds that reader to
//! `readonly` = 1: then a statement cannot write, and cannot lift limits past what the reader's profile allows.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use tokio::time::timeout;

use crate::error::AskError;

/// Longest statement. Longer ones are written by programs, and have data in them.
const MAX_SQL_BYTES: usize = 64 << 10;

/// How long a client may take to send it.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// What the log and the metrics call it, where a question has its name.
pub(crate) const NAME: &str = "(sql)";

/// The statement in a request's body.
pub(crate) async fn read(body: Body) -> Result<String, AskError> {
    let bytes = timeout(BODY_DEADLINE, to_bytes(body, MAX_SQL_BYTES)).await.map_err(|_| AskError::SlowBody)?;
    let bytes = bytes.map_err(|_| AskError::LongBody { most_bytes: MAX_SQL_BYTES })?;
    match String::from_utf8(bytes.into()) {
        Ok(sql) if !sql.trim().is_empty() => Ok(sql),
        _ => Err(AskError::BadSql { reason: "the body is one SQL statement, as UTF-8".to_owned() }),
    }
}

/// What is wrong with a question is its author's business; what is wrong with a statement is the asker's.
pub(crate) fn blame(error: AskError) -> AskError {
    match error {
        AskError::Failed { message: reason } | AskError::SchemaMissing { reason } | AskError::Refused { reason } => {
            AskError::BadSql { reason }
        }
        error => error,
    }
}
