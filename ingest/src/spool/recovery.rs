//! What an earlier process left in a spool's directory. Everything is read once; what is damaged, torn or strange is set
//! aside and counted, and the rest goes on.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::Path,
};

use super::{
    disk::{Segment, read_bounded, segment_id, segment_name, segment_path},
    ledger::{self, Decision, Place, Sent},
    segment::{self, Damage, Head},
};
use crate::{outside::fs, placement};

/// A batch that an earlier process left behind.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) place: Place,
    /// Length of its record.
    pub(crate) length: usize,
    pub(crate) head: Head,
    /// How it was sent last, as far as it is known.
    pub(crate) sent: Sent,
}

/// What recovery found.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) batches: Vec<Stored>,
    /// Files, or ends of files, that were set aside.
    pub(crate) quarantined: u64,
}

/// What a segment holds.
#[derive(Debug)]
pub(super) struct Scanned {
    /// Batches that are not settled.
    pub(super) batches: Vec<Stored>,
    /// Batches that are.
    pub(super) settled: u64,
    /// Where the last whole record ends; 0 if there is none.
    pub(super) good_bytes: u64,
    /// Why nothing behind that can be read.
    pub(super) damage: Option<Damage>,
}

/// Reads a segment up to its end or its first damage.
pub(super) fn scan(id: u64, bytes: &[u8], decisions: &HashMap<Place, Decision>) -> Scanned {
    let mut scanned = Scanned { batches: Vec::new(), settled: 0, good_bytes: 0, damage: None };
    for record in segment::records(bytes) {
        match record {
            Ok(record) => {
                scanned.good_bytes = record.end;
                let place = Place { segment: id, offset: record.offset };
                let sent = match decisions.get(&place) {
                    Some(Decision::Settled) => {
                        scanned.settled += 1;
                        continue;
                    }
                    Some(Decision::Sent(sent)) => *sent,
                    None => Sent::PERHAPS,
                };
                let length = usize::try_from(record.end - record.offset).unwrap_or(usize::MAX);
                scanned.batches.push(Stored { place, length, head: record.head, sent });
            }
            Err(damage) => scanned.damage = Some(damage),
        }
    }
    scanned
}

/// One pass over a directory.
pub(super) struct Recovery<'a> {
    directory: &'a Path,
    /// About batches whose segment is still there.
    pub(super) decisions: HashMap<Place, Decision>,
    pub(super) recovered: Recovered,
    /// Segments with batches that are not settled.
    pub(super) segments: BTreeMap<u64, Segment>,
    pub(super) next_segment: u64,
}

impl<'a> Recovery<'a> {
    /// Reads everything once. Only listing the directory can fail; a file that cannot be read is set aside like one that
    /// cannot be understood.
    pub(super) fn run(directory: &'a Path) -> io::Result<Self> {
        let (decisions, _) = ledger::read(&read_bounded(&directory.join("ledger")).unwrap_or_default());
        let (recovered, segments) = (Recovered::default(), BTreeMap::new());
        let mut recovery = Self { directory, decisions, recovered, segments, next_segment: 1 };
        recovery.read_all()?;
        recovery.forget_segments_that_are_gone();
        // By age: batches that waited in memory when trouble began went to disk after younger ones.
        recovery.recovered.batches.sort_by_key(|stored| (stored.head.boot, stored.head.batch));
        Ok(recovery)
    }

    fn read_all(&mut self) -> io::Result<()> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(self.directory)? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            match segment_id(&name) {
                Some(id) => ids.push(id),
                None if matches!(&*name, "lock" | "ledger" | "ledger.new" | "quarantine" | "journal") => {}
                None if matches!(&*name, placement::FILE | placement::FILE_NEW) => {}
                None => self.set_aside(&name, "it does not belong here"),
            }
        }
        ids.sort_unstable();
        for id in &ids {
            self.read_segment(*id);
        }
        // Above those in the ledger too: an old decision must never meet a new batch.
        let highest = self.decisions.keys().map(|place| place.segment).chain(ids).max();
        self.next_segment = highest.map_or(1, |highest| highest.saturating_add(1));
        Ok(())
    }

    fn forget_segments_that_are_gone(&mut self) {
        let mut there: BTreeSet<u64> = self.decisions.keys().map(|place| place.segment).collect();
        there.retain(|id| segment_path(self.directory, *id).exists());
        self.decisions.retain(|place, _| there.contains(&place.segment));
    }

    fn read_segment(&mut self, id: u64) {
        let path = segment_path(self.directory, id);
        let name = segment_name(id);
        let bytes = match read_bounded(&path) {
            Ok(bytes) => bytes,
            Err(error) => return self.set_aside(&name, &error.to_string()),
        };
        let Scanned { batches, good_bytes, damage, .. } = scan(id, &bytes, &self.decisions);
        match damage {
            Some(damage @ (Damage::Alien | Damage::Newer)) => return self.set_aside(&name, &damage.to_string()),
            Some(damage) => self.keep_copy(&name, damage),
            None => {}
        }
        let unsettled = batches.len() as u64;
        self.recovered.batches.extend(batches);
        if unsettled > 0 {
            self.segments.insert(id, Segment { bytes: good_bytes, unsettled });
            return;
        }
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(file = name, %error, "a settled segment cannot be removed");
        }
    }

    /// Moves a file into quarantine.
    fn set_aside(&mut self, name: &str, why: &str) {
        self.recovered.quarantined += 1;
        let moved = fs::rename(self.directory.join(name), self.directory.join("quarantine").join(name));
        tracing::error!(
            file = name,
            why,
            moved = moved.is_ok(),
            "a file in the spool cannot be used, it was set aside"
        );
    }

    /// Copies a segment with a damaged end into quarantine; what comes before the damage is used.
    fn keep_copy(&mut self, name: &str, damage: Damage) {
        self.recovered.quarantined += 1;
        let copied = fs::copy(self.directory.join(name), self.directory.join("quarantine").join(name));
        tracing::error!(file = name, %damage, copied = copied.is_ok(), "the end of a segment is damaged, a copy was set aside");
    }
}
