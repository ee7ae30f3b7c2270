//! A batch that is too large to be taken goes in pieces of nearly equal numbers of rows, in order.
//!
//! The pieces of a batch are made of its frozen bytes, so they are the same on every attempt, in every process. Halving
//! them keeps the borders between them: what has landed of four pieces is known as the first of two is.

use std::ops::Range;

use arrow::ipc::reader::StreamReader;
use bytes::Bytes;
use lz4_flex::frame::FrameDecoder;

use crate::batch::{self, FreezeError, Frozen};

/// What one insert carries.
#[derive(Debug)]
pub(super) struct Piece {
    /// Of the batch.
    pub(super) rows: Range<u64>,
    /// What its token and its query id end with; empty for a whole batch.
    pub(super) name: String,
    pub(super) body: Bytes,
}

impl Piece {
    pub(super) fn count(&self) -> u64 {
        self.rows.end - self.rows.start
    }
}

/// More pieces than a batch has rows.
const MAX_LOG2: u8 = 20;

/// The 2 to the power of `log2` pieces of a batch; fewer if it has fewer rows.
pub(super) fn pieces(batch: &Frozen, log2: u8) -> Result<Vec<Piece>, FreezeError> {
    if log2 == 0 {
        return Ok(vec![Piece { rows: 0..batch.rows, name: String::new(), body: batch.body.clone() }]);
    }
    let mut stream = StreamReader::try_new(FrameDecoder::new(&*batch.body), None)?;
    let rows = stream.next().ok_or(FreezeError::Empty)??;
    let count = 1_usize << log2.min(MAX_LOG2);
    let border = |number: usize| number * rows.num_rows() / count;
    let mut pieces = Vec::new();
    for number in 0..count {
        let (start, end) = (border(number), border(number + 1));
        if start < end {
            let body = batch::encode(&rows.slice(start, end - start))?;
            pieces.push(Piece { rows: start as u64..end as u64, name: format!("/{}of{count}", number + 1), body });
        }
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use shardlake_schema::{BatchId, Labels, TimeMs, rows::Sample};

    use super::*;

    fn batch(rows: i64) -> Frozen {
        let row = |time| {
            let name = if time % 2 == 0 { "up" } else { "down" }.into();
            Sample { time: TimeMs(time), name, kind: "gauge".into(), labels: Labels::default(), value: 1.0 }
        };
        let rows: Vec<Sample> = (0..rows).map(row).collect();
        batch::freeze(&rows, BatchId { cluster: "c".into(), boot: 1, batch: 2 }).unwrap()
    }

    fn rows_in(piece: &Piece) -> usize {
        let mut stream = StreamReader::try_new(FrameDecoder::new(&*piece.body), None).unwrap();
        stream.next().unwrap().unwrap().num_rows()
    }

    #[test]
    fn pieces_are_the_same_each_time_and_halving_keeps_their_borders() {
        let batch = batch(11);
        let mut borders = Vec::new();
        for log2 in 0..=5 {
            let pieces = pieces(&batch, log2).unwrap();
            let again = super::pieces(&batch, log2).unwrap();
            assert!(pieces.iter().zip(&again).all(|(piece, again)| piece.body == again.body));
            assert!(pieces.iter().all(|piece| rows_in(piece) as u64 == piece.count()));
            let ends: Vec<u64> = pieces.iter().map(|piece| piece.rows.end).collect();
            assert_eq!(ends.last(), Some(&11));
            assert!(borders.iter().all(|border| ends.contains(border)), "{borders:?} {ends:?}");
            borders = ends;
        }
        assert_eq!(borders.len(), 11, "no piece is empty");
    }
}
