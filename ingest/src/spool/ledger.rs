//! What became of the batches in the segments: one short record per decision, appended.
//!
//! ```text
//! record   segment u64  offset u64  verdict u8  zero [3]  attempt u32  crc32 u32 of these 24 bytes  zero [4]
//! ```
//!
//! Numbers are little-endian; a record is 32 bytes, so the next one is found even behind a damaged one. A decision that is
//! missing here (torn, damaged, never written because the disk was full) does no harm: the batch counts as not settled,
//! is looked for in ClickHouse, and found.

use std::collections::HashMap;

pub(crate) const RECORD_BYTES: usize = 32;

/// Where a batch lies: the segment's number and the offset of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// A decision about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It will be sent with this attempt number from now on. Written before the first such attempt, because a token that
    /// ClickHouse may have seen must never be taken for a fresh one.
    Attempt(u32),
    /// It is settled: landed, dropped, or set aside.
    Settled,
}

pub(crate) fn record(place: Place, decision: Decision) -> [u8; RECORD_BYTES] {
    let (verdict, attempt) = match decision {
        Decision::Attempt(attempt) => (1, attempt),
        Decision::Settled => (2, 0),
    };
    let mut bytes = [0; RECORD_BYTES];
    bytes[..8].copy_from_slice(&place.segment.to_le_bytes());
    bytes[8..16].copy_from_slice(&place.offset.to_le_bytes());
    bytes[16] = verdict;
    bytes[20..24].copy_from_slice(&attempt.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..24]);
    bytes[24..28].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The last decision about each batch, and how many records were damaged.
pub(crate) fn read(ledger: &[u8]) -> (HashMap<Place, Decision>, usize) {
    let mut decisions = HashMap::new();
    let mut damaged = 0;
    for bytes in ledger.chunks(RECORD_BYTES) {
        match parse(bytes) {
            Some((place, decision)) => {
                decisions.insert(place, decision);
            }
            None => damaged += 1,
        }
    }
    (decisions, damaged)
}

fn parse(bytes: &[u8]) -> Option<(Place, Decision)> {
    let bytes: &[u8; RECORD_BYTES] = bytes.try_into().ok()?;
    let u64_at = |offset: usize| bytes[offset..offset + 8].try_into().map(u64::from_le_bytes).ok();
    let u32_at = |offset: usize| bytes[offset..offset + 4].try_into().map(u32::from_le_bytes).ok();
    if u32_at(24)? != crc32fast::hash(&bytes[..24]) {
        return None;
    }
    let decision = match bytes[16] {
        1 => Decision::Attempt(u32_at(20)?),
        2 => Decision::Settled,
        _ => return None,
    };
    Some((Place { segment: u64_at(0)?, offset: u64_at(8)? }, decision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_decision_counts_and_damage_costs_one_record() {
        let (a, b) = (Place { segment: 1, offset: 16 }, Place { segment: 1, offset: 99 });
        let mut ledger = Vec::new();
        for (place, decision) in
            [(a, Decision::Attempt(3)), (b, Decision::Settled), (a, Decision::Attempt(4)), (a, Decision::Settled)]
        {
            ledger.extend_from_slice(&record(place, decision));
        }
        ledger[3 * RECORD_BYTES + 5] ^= 1; // damages the last record
        ledger.extend_from_slice(&[0; 7]); // torn
        let (decisions, damaged) = read(&ledger);
        assert_eq!(damaged, 2);
        assert_eq!(decisions, HashMap::from([(a, Decision::Attempt(4)), (b, Decision::Settled)]));
    }
}
