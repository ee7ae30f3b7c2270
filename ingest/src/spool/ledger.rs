//! What became of the batches in the segments: one short record per decision, appended.
//!
//! ```text
//! record   segment u64  offset u64  verdict u8  log2 of pieces u8  attempt u32  sent at, ms since 1970, u48  crc32 u32 of these 28
//! ```
//!
//! Numbers are little-endian; a record is 32 bytes, so the next one is found even behind a damaged one. Decisions are kept
//! for as long as the segment of their batch is there, also the settled ones: without its decision a batch that landed
//! would come back with the next process. If that happens all the same (torn, damaged, never written because the disk was
//! full), the batch is looked for in ClickHouse, and found.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use shardlake_schema::TimeMs;

use crate::outside::fs::{self, File, OpenOptions};

pub(crate) const RECORD_BYTES: usize = 32;
const NAME: &str = "ledger";
/// Verdicts.
const SENT: u8 = 1;
const SETTLED: u8 = 2;

/// Where a batch lies: the segment's number and the offset of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// A decision about a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It is about to be sent like this. Written before, because a token that ClickHouse may have seen must never be taken
    /// for a fresh one.
    Sent(Sent),
    /// It is settled: landed, dropped, or set aside.
    Settled,
}

/// How and when a batch was sent last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// The number in its token.
    pub(crate) attempt: u32,
    /// It goes in 2 to the power of this many pieces.
    pub(crate) pieces_log2: u8,
    /// Or [`Sent::UNKNOWN`].
    pub(crate) at: TimeMs,
}

impl Sent {
    /// At some time before now: the largest number that a record has room for.
    pub(crate) const UNKNOWN: TimeMs = TimeMs((1 << 48) - 1);
    /// Of a batch that nothing is known of.
    pub(crate) const PERHAPS: Sent = Sent { attempt: 0, pieces_log2: 0, at: Sent::UNKNOWN };
}

/// The ledger of a directory, open.
#[derive(Debug)]
pub(super) struct Ledger {
    directory: PathBuf,
    file: File,
    bytes: u64,
    /// It is written anew once it is this long; 0: at once, because a decision is missing in it.
    rewrite_at_bytes: u64,
    /// The shortest that is worth writing anew.
    worth_bytes: u64,
    /// By segment and offset: what it must keep, the last decision about every batch of the segments that are there.
    decisions: BTreeMap<u64, BTreeMap<u64, Decision>>,
}

impl Ledger {
    /// Begins a directory's ledger anew, with `decisions` and nothing else. A disk that has no room for that goes on with
    /// the old one.
    pub(super) fn begin(
        directory: &Path,
        decisions: impl IntoIterator<Item = (Place, Decision)>,
        worth_bytes: u64,
    ) -> io::Result<Self> {
        let mut by_segment: BTreeMap<u64, BTreeMap<u64, Decision>> = BTreeMap::new();
        for (place, decision) in decisions {
            by_segment.entry(place.segment).or_default().insert(place.offset, decision);
        }
        let (file, bytes, rewrite_at_bytes) = if let Ok((file, bytes)) = write_anew(directory, &by_segment) {
            (file, bytes, worth_bytes.max(2 * bytes))
        } else {
            let file = OpenOptions::new().write(true).open(directory.join(NAME))?;
            let bytes = file.metadata()?.len();
            (file, bytes - bytes % RECORD_BYTES as u64, 0)
        };
        let directory = directory.to_owned();
        Ok(Self { directory, file, bytes, rewrite_at_bytes, worth_bytes, decisions: by_segment })
    }

    /// Waits until what is noted survives a power loss.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Notes a decision. After an error a sending is not noted; a settled batch is as soon as the disk allows.
    pub(super) fn decide(&mut self, place: Place, decision: Decision) -> io::Result<()> {
        let noted = self.append(place, decision);
        if noted.is_ok() || decision == Decision::Settled {
            self.decisions.entry(place.segment).or_default().insert(place.offset, decision);
        }
        if noted.is_err() {
            self.rewrite_at_bytes = 0;
        }
        noted
    }

    fn append(&mut self, place: Place, decision: Decision) -> io::Result<()> {
        // A full disk may take one record and not all of them, so a failure here does not count.
        if self.bytes >= self.rewrite_at_bytes
            && let Ok((file, bytes)) = write_anew(&self.directory, &self.decisions)
        {
            (self.file, self.bytes, self.rewrite_at_bytes) = (file, bytes, self.worth_bytes.max(2 * bytes));
        }
        self.file.write_all_at(&record(place, decision), self.bytes)?;
        self.bytes += RECORD_BYTES as u64;
        Ok(())
    }

    /// The segment is gone, and nobody asks for its batches any more.
    pub(super) fn forget(&mut self, segment: u64) {
        self.decisions.remove(&segment);
    }
}

/// Writes a ledger beside the old one, and puts it in its place.
fn write_anew(directory: &Path, decisions: &BTreeMap<u64, BTreeMap<u64, Decision>>) -> io::Result<(File, u64)> {
    let mut bytes = Vec::new();
    for (segment, decisions) in decisions {
        for (offset, decision) in decisions {
            bytes.extend_from_slice(&record(Place { segment: *segment, offset: *offset }, *decision));
        }
    }
    let beside = directory.join("ledger.new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&beside)?;
    // Synced, or a power loss could leave the new name with nothing behind it.
    let written = file.write_all(&bytes).and_then(|()| if bytes.is_empty() { Ok(()) } else { file.sync_data() });
    match written.and_then(|()| fs::rename(&beside, directory.join(NAME))) {
        Ok(()) => Ok((file, bytes.len() as u64)),
        Err(error) => {
            let _ = fs::remove_file(&beside); // it takes room on a disk that may be full
            Err(error)
        }
    }
}

pub(crate) fn record(place: Place, decision: Decision) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    bytes[..8].copy_from_slice(&place.segment.to_le_bytes());
    bytes[8..16].copy_from_slice(&place.offset.to_le_bytes());
    match decision {
        Decision::Sent(sent) => {
            (bytes[16], bytes[17]) = (SENT, sent.pieces_log2);
            bytes[18..22].copy_from_slice(&sent.attempt.to_le_bytes());
            bytes[22..28].copy_from_slice(&sent.at.0.clamp(0, Sent::UNKNOWN.0).to_le_bytes()[..6]);
        }
        Decision::Settled => bytes[16] = SETTLED,
    }
    let crc = crc32fast::hash(&bytes[..28]);
    bytes[28..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The last decision about each batch, and how many records were damaged, with the offset of the first of these.
pub(crate) fn read(ledger: &[u8]) -> (HashMap<Place, Decision>, Option<(usize, usize)>) {
    let mut decisions = HashMap::new();
    let mut damaged: Option<(usize, usize)> = None;
    for (index, bytes) in ledger.chunks(RECORD_BYTES).enumerate() {
        if let Some((place, decision)) = parse(bytes) {
            decisions.insert(place, decision);
        } else {
            let (records, first) = damaged.unwrap_or((0, index * RECORD_BYTES));
            damaged = Some((records + 1, first));
        }
    }
    (decisions, damaged)
}

fn parse(bytes: &[u8]) -> Option<(Place, Decision)> {
    let bytes: &[u8; RECORD_BYTES] = bytes.try_into().ok()?;
    let u64_at = |offset: usize| bytes[offset..offset + 8].try_into().map(u64::from_le_bytes).ok();
    let u32_at = |offset: usize| bytes[offset..offset + 4].try_into().map(u32::from_le_bytes).ok();
    if u32_at(28)? != crc32fast::hash(&bytes[..28]) {
        return None;
    }
    let decision = match bytes[16] {
        SENT => {
            let mut at = [0; 8];
            at[..6].copy_from_slice(&bytes[22..28]);
            let at = TimeMs(i64::from_le_bytes(at));
            Decision::Sent(Sent { attempt: u32_at(18)?, pieces_log2: bytes[17], at })
        }
        SETTLED => Decision::Settled,
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
        let sent = |attempt| Decision::Sent(Sent { attempt, pieces_log2: 2, at: TimeMs(1_800_000_000_123) });
        let mut ledger = Vec::new();
        for (place, decision) in [(a, sent(3)), (b, Decision::Settled), (a, sent(4)), (a, Decision::Settled)] {
            ledger.extend_from_slice(&record(place, decision));
        }
        ledger[3 * RECORD_BYTES + 5] ^= 1; // damages the last record
        ledger.extend_from_slice(&[0; 7]); // torn
        let (decisions, damaged) = read(&ledger);
        assert_eq!(damaged, Some((2, 3 * RECORD_BYTES)));
        assert_eq!(decisions, HashMap::from([(a, sent(4)), (b, Decision::Settled)]));
    }
}
