//! Answers that are sent while ClickHouse writes them: nobody holds them, so they may be large.
//!
//! The reply begins with the first bytes of the answer and not before: what fails until then gets a proper error. What fails
//! later breaks the connection off, without the end that a whole answer has, and the log says why. HTTP/1.0 cannot tell the
//! two apart, so it is refused. A client that leaves, or that stops reading, closes the connection to ClickHouse, and that
//! ends the query.

mod rows;

use std::io;

use axum::body::Body;
use bytes::Bytes;
use clickhouse::{
    QuerySummary,
    query::{BytesCursor, Query},
};
use futures_util::stream;
use jiff::tz::TimeZone;
use tokio::time::{Instant, timeout_at};

pub(crate) use self::rows::Lines;
use self::rows::Rows;
use crate::{catalogue::Column, error::AskError, format::Format, gate::Visit, limits::EXPORT_DEADLINE, metrics::Watch};

/// How a format comes to be.
enum Way {
    /// ClickHouse writes it.
    Through,
    /// Row by row from what ClickHouse writes.
    Shaped(Rows),
}

/// An answer under way, with its first bytes.
pub(crate) struct Export {
    cursor: BytesCursor,
    way: Way,
    first: Option<Bytes>,
    deadline: Instant,
}

impl Export {
    /// Asks, and waits for the first bytes. `columns` are those of the question's header, `zone` is for times in words.
    ///
    /// Cancel safety: dropping the future, and later the export, ends the query.
    pub(crate) async fn open(
        query: Query,
        format: Format,
        columns: &[Column],
        zone: &TimeZone,
    ) -> Result<Self, AskError> {
        let rows = |lines| {
            ("JSONCompactEachRowWithNamesAndTypes", Way::Shaped(Rows::new(lines, columns.to_vec(), zone.clone())))
        };
        let (written, way) = match format {
            Format::Arrow => ("ArrowStream", Way::Through),
            Format::Parquet => ("Parquet", Way::Through),
            Format::Csv => rows(Lines::Csv),
            Format::Ndjson | Format::Json | Format::Prometheus => rows(Lines::Ndjson),
        };
        let cursor = query.fetch_bytes(written)?;
        let mut export = Self { cursor, way, first: None, deadline: Instant::now() + EXPORT_DEADLINE };
        export.first = export.next().await?;
        let magic: &[u8] = match format {
            Format::Arrow => &[0xff; 4], // what a message of a stream begins with
            Format::Parquet => b"PAR1",
            _ => &[],
        };
        if export.first.as_ref().is_some_and(|first| !first.starts_with(magic)) {
            let message = format!("ClickHouse did not answer in {written}; is there a FORMAT in the SQL?");
            return Err(AskError::Failed { message });
        }
        Ok(export)
    }

    /// Rows that ClickHouse had read when it sent the first bytes.
    pub(crate) fn rows_read(&self) -> u64 {
        self.cursor.summary().and_then(QuerySummary::read_rows).unwrap_or(0)
    }

    /// The rest, as the body of a reply; `watch` is finished when all of it was taken, and `visit` lasts until then.
    pub(crate) fn into_body(self, watch: Watch, visit: Visit) -> Body {
        let state = (self, watch, visit);
        Body::from_stream(stream::try_unfold(
            state,
            |(mut export, mut watch, visit): (Self, Watch, Visit)| async move {
                match export.next().await {
                    Ok(Some(bytes)) => {
                        watch.sent(bytes.len());
                        Ok(Some((bytes, (export, watch, visit))))
                    }
                    Ok(None) => {
                        watch.finish(200);
                        Ok(None)
                    }
                    Err(error) => {
                        watch.break_off(&error);
                        Err(io::Error::other(error))
                    }
                }
            },
        ))
    }

    /// The next bytes, of which there are some.
    async fn next(&mut self) -> Result<Option<Bytes>, AskError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        loop {
            let chunk = timeout_at(self.deadline, self.cursor.next())
                .await
                .unwrap_or_else(|_| Err(clickhouse::error::Error::TimedOut))?;
            let bytes = match (chunk, &mut self.way) {
                (None, Way::Through) => return Ok(None),
                (None, Way::Shaped(rows)) => return rows.end().map(|()| None),
                (Some(chunk), Way::Through) => chunk,
                (Some(chunk), Way::Shaped(rows)) => rows.feed(&chunk)?.into(),
            };
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }
}
