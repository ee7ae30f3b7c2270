//! The format of a segment: a header and records, each with a checksum. Pure: bytes in, bytes out.
//!
//! ```text
//! header   "SHRDLAKE"  version u32  crc32 u32 of these twelve bytes
//! record   length u32 of the body   crc32 u32 of length, kind and body   kind u8   body
//! body     length u32 of the head   head: JSON, see Head                 the batch: one LZ4 frame, as it travels
//! ```
//!
//! Numbers are little-endian. The head is JSON so that a person on call can read it with `strings`. A segment is written
//! from its beginning to its end and never changed; what is torn or damaged ends it: records before the damage count,
//! what comes after it cannot be found any more, because only a record's length says where the next one begins.
//!
//! Version 1 is the first. A reader reads its own version and the one before.

use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"SHRDLAKE";
const VERSION: u32 = 1;
pub(crate) const HEADER_BYTES: usize = 16;
/// Length, checksum and kind.
const RECORD_HEAD_BYTES: usize = 9;
/// The only kind of record so far.
const BATCH: u8 = 1;

/// Longest body of a record. A batch of 500,000 rows takes 20 to 30 MiB; what claims to be longer is damage.
pub(crate) const MAX_BODY_BYTES: usize = 256 << 20;
/// Longest head: names are limited to 100 bytes each.
const MAX_HEAD_BYTES: usize = 4 << 10;

/// What is kept of a batch beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) table: String,
    pub(crate) cluster: String,
    pub(crate) boot: u64,
    pub(crate) batch: u64,
    pub(crate) rows: u64,
    pub(crate) first_time_ms: i64,
    pub(crate) last_time_ms: i64,
    pub(crate) sealed_at_ms: i64,
}

impl Head {
    /// What a file with this batch is called, without its ending.
    pub(crate) fn file_stem(&self) -> String {
        let stem = format!("{}-{}-{}-{}", self.cluster, self.boot, self.table, self.batch);
        // Checked when it was written, but a file may come from anywhere.
        stem.replace(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c), "_")
    }
}

/// Why a segment cannot be read further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Damage {
    #[error("it is no segment of ours")]
    Alien,
    #[error("it was written by a newer version")]
    Newer,
    #[error("it ends in the middle of a record")]
    Torn,
    #[error("a checksum does not match")]
    Checksum,
    #[error("a record cannot be understood")]
    Nonsense,
}

/// A record in a segment: where it begins, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) offset: u64,
    /// Where the next one begins.
    pub(crate) end: u64,
    pub(crate) head: Head,
    pub(crate) body: &'a [u8],
}

/// The header of a new segment.
pub(crate) fn header() -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// A record, up to the batch's bytes, which are written behind it.
pub(crate) fn record_head(head: &Head, body: &[u8]) -> Vec<u8> {
    let head = serde_json::to_vec(head).expect("strings and numbers have a JSON form");
    let length = 4 + head.len() + body.len();
    let mut bytes = Vec::with_capacity(RECORD_HEAD_BYTES + 4 + head.len());
    let mut crc = crc32fast::Hasher::new();
    let length = u32::try_from(length).expect("a batch is far smaller than 4 GiB").to_le_bytes();
    let head_length = u32::try_from(head.len()).expect("a head is a few hundred bytes").to_le_bytes();
    for part in [&length[..], &[BATCH], &head_length, &head, body] {
        crc.update(part);
    }
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&crc.finalize().to_le_bytes());
    bytes.push(BATCH);
    bytes.extend_from_slice(&head_length);
    bytes.extend_from_slice(&head);
    bytes
}

/// The records of a segment, up to its end or its first damage.
pub(crate) fn records(segment: &[u8]) -> Records<'_> {
    Records { segment, offset: 0, ended: false }
}

pub(crate) struct Records<'a> {
    segment: &'a [u8],
    offset: usize,
    ended: bool,
}

impl<'a> Records<'a> {
    fn next_record(&mut self) -> Result<Option<Record<'a>>, Damage> {
        if self.offset == 0 {
            check_header(self.segment)?;
            self.offset = HEADER_BYTES;
        }
        if self.offset == self.segment.len() {
            return Ok(None);
        }
        let record = record_at(self.segment, self.offset)?;
        self.offset = usize::try_from(record.end).map_err(|_| Damage::Nonsense)?;
        Ok(Some(record))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.next_record().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

fn check_header(segment: &[u8]) -> Result<(), Damage> {
    let header = segment.get(..HEADER_BYTES).ok_or(Damage::Torn)?;
    if &header[..8] != MAGIC {
        return Err(Damage::Alien);
    }
    if crc32fast::hash(&header[..12]) != u32_at(header, 12) {
        return Err(Damage::Checksum);
    }
    if u32_at(header, 8) > VERSION { Err(Damage::Newer) } else { Ok(()) }
}

/// The record at `offset`.
pub(crate) fn record_at(segment: &[u8], offset: usize) -> Result<Record<'_>, Damage> {
    let rest = segment.get(offset..).ok_or(Damage::Torn)?;
    let fixed = rest.get(..RECORD_HEAD_BYTES).ok_or(Damage::Torn)?;
    let length = u32_at(fixed, 0) as usize;
    if !(4..=MAX_BODY_BYTES).contains(&length) {
        return Err(Damage::Nonsense);
    }
    let body = rest.get(RECORD_HEAD_BYTES..RECORD_HEAD_BYTES + length).ok_or(Damage::Torn)?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&fixed[..4]);
    crc.update(&fixed[8..9]);
    crc.update(body);
    if crc.finalize() != u32_at(fixed, 4) {
        return Err(Damage::Checksum);
    }
    if fixed[8] != BATCH {
        return Err(Damage::Nonsense);
    }
    let head_length = u32_at(body, 0) as usize;
    let (head, batch) = body[4..].split_at_checked(head_length).ok_or(Damage::Nonsense)?;
    if head.len() > MAX_HEAD_BYTES {
        return Err(Damage::Nonsense);
    }
    let head = serde_json::from_slice(head).map_err(|_| Damage::Nonsense)?;
    let end = (offset + RECORD_HEAD_BYTES + length) as u64;
    Ok(Record { offset: offset as u64, end, head, body: batch })
}

/// The number at `offset`, which the caller has checked to be there.
fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(number)
}
