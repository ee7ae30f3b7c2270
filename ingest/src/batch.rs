//! Rows become a batch, and a batch is frozen before its first attempt.
//!
//! A frozen batch never changes again: the same bytes, the same statement and the same identity go to ClickHouse on
//! every attempt, because a server can only recognise what looks the same. It lies in one partition and fits one insert
//! block, so it lands as a whole or not at all. Rows are sorted by the table's key: that takes 40 % off the server's CPU
//! per row (measured, see `benches/README.md`), and the client has it to spare.

use std::fmt;

use arrow::{array::RecordBatch, error::ArrowError, ipc::writer::StreamWriter};
use bytes::Bytes;
use lz4_flex::frame::FrameEncoder;
use shardlake_schema::{BatchId, Row, Table, TimeMs};

use crate::outside;

/// A sealed batch: what an insert carries, now and on every later attempt.
#[derive(Clone)]
pub(crate) struct Frozen {
    pub(crate) table: Table,
    pub(crate) id: BatchId,
    pub(crate) rows: u64,
    /// Earliest and latest time among the rows: lets a look-up read one part of the table instead of all.
    pub(crate) first_time: TimeMs,
    pub(crate) last_time: TimeMs,
    /// When the batch was sealed.
    pub(crate) sealed_at: TimeMs,
    /// An Arrow IPC stream in one LZ4 frame: what travels, byte for byte, as `Content-Encoding: lz4`.
    pub(crate) body: Bytes,
}

impl Frozen {
    /// The token of an attempt: `<cluster>/<boot>/<table>/<sequence>/<attempt>`. The same attempt number means: if an
    /// earlier try with it landed, do nothing.
    pub(crate) fn token(&self, attempt: u32) -> String {
        let BatchId { cluster, boot, batch } = &self.id;
        format!("{cluster}/{boot}/{}/{batch}/{attempt}", self.table)
    }
}

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frozen")
            .field("table", &self.table)
            .field("id", &self.id)
            .field("rows", &self.rows)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Why rows could not be frozen. All mean a fault of this build, never of the data.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FreezeError {
    #[error("rows cannot be encoded as Arrow")]
    Arrow(#[from] ArrowError),
    #[error("a batch is empty")]
    Empty,
    #[error("the encoder panicked")]
    Panicked,
    #[error("a batch cannot be compressed")]
    Compress(#[from] lz4_flex::frame::Error),
}

/// Splits `rows` by partition, in the order of their first rows: so the rows that are left of a damaged journal make the
/// first of the parts that all of them made. Usually there is one: then nothing is moved.
pub(crate) fn by_partition<R: Row>(rows: Vec<R>) -> Vec<Vec<R>> {
    let partition = |row: &R| R::TABLE.partition(row.time());
    let (first, last) = (rows.iter().min_by_key(|row| row.time()), rows.iter().max_by_key(|row| row.time()));
    if first.map(partition) == last.map(partition) {
        return if rows.is_empty() { Vec::new() } else { vec![rows] };
    }
    let mut parts: Vec<(u32, Vec<R>)> = Vec::new();
    for row in rows {
        let partition = partition(&row);
        match parts.iter_mut().find(|(known, _)| *known == partition) {
            Some((_, part)) => part.push(row),
            None => parts.push((partition, vec![row])),
        }
    }
    parts.into_iter().map(|(_, part)| part).collect()
}

/// Sorts and freezes rows of one partition. Takes about 1 ms per 10,000 rows, so call it off the bot's threads.
///
/// # Panics
/// If `rows` is empty.
pub(crate) fn freeze<R: Row>(rows: &[R], id: BatchId) -> Result<Frozen, FreezeError> {
    let times = || rows.iter().map(Row::time);
    let (Some(first_time), Some(last_time)) = (times().min(), times().max()) else {
        panic!("a batch has at least one row");
    };

    let mut sorted: Vec<&R> = rows.iter().collect();
    sorted.sort_by(|a, b| a.cmp_by_key(b));
    let body = encode(&id.record_batch(&sorted)?)?;

    Ok(Frozen { table: R::TABLE, id, rows: rows.len() as u64, first_time, last_time, sealed_at: outside::now(), body })
}

/// What travels: an Arrow IPC stream in one LZ4 frame.
pub(crate) fn encode(columns: &RecordBatch) -> Result<Bytes, FreezeError> {
    let mut stream = StreamWriter::try_new(FrameEncoder::new(Vec::new()), &columns.schema())?;
    stream.write(columns)?;
    Ok(stream.into_inner()?.finish()?.into())
}

#[cfg(test)]
mod tests {
    use shardlake_schema::{
        Name,
        rows::{GatewayCount, Process},
    };

    use super::*;

    fn count(time: i64, event: &'static str) -> GatewayCount {
        GatewayCount { time: TimeMs(time), shard: 0, event: event.into(), dispatches: 1, replayed: 0, bytes: 9 }
    }

    fn id() -> BatchId {
        BatchId { cluster: Name::from("c"), boot: 7, batch: 3 }
    }

    #[test]
    fn a_batch_never_crosses_a_partition() {
        const DAY_MS: i64 = 86_400_000;
        let rows = vec![count(DAY_MS, "b"), count(1, "b"), count(DAY_MS - 1, "a"), count(DAY_MS + 1, "a")];
        let parts = by_partition(rows);
        let times: Vec<Vec<i64>> = parts.iter().map(|part| part.iter().map(|row| row.time.0).collect()).collect();
        assert_eq!(times, [vec![DAY_MS, DAY_MS + 1], vec![1, DAY_MS - 1]], "in the order of their first rows");
        assert_eq!(by_partition(vec![count(5, "b"), count(1, "a")]).len(), 1);
        assert!(by_partition::<Process>(Vec::new()).is_empty());
    }

    #[test]
    fn freezing_is_deterministic_and_names_its_attempt() {
        let rows = [count(9, "b"), count(5, "a")];
        let frozen = freeze(&rows, id()).unwrap();
        assert_eq!(frozen.body, freeze(&[count(5, "a"), count(9, "b")], id()).unwrap().body, "sorted");
        assert_eq!(frozen.body, freeze(&rows, id()).unwrap().body);
        assert_eq!((frozen.rows, frozen.first_time, frozen.last_time), (2, TimeMs(5), TimeMs(9)));
        assert_eq!(frozen.token(2), "c/7/gateway_counts/3/2");
    }
}
