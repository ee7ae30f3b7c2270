//! Opening the lanes over a directory: what an earlier process left there comes first.

use std::{
    io,
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use shardlake_schema::{BatchId, Name, Row};

use super::Lane;
use crate::{
    account::DropReason,
    batch::{self, Frozen},
    config::{self, Config},
    journal::{self, Journal, Left},
    spool::{Disk, PartOf, SpoolError, Stored},
};

/// The lanes' directory, open.
pub(super) struct Opening<'a> {
    config: &'a Config,
    cluster: &'a Name,
    boot: u64,
    directory: &'a Path,
    disk: Arc<Disk>,
    /// Batches that no lane has taken up yet.
    stored: Vec<Stored>,
}

impl<'a> Opening<'a> {
    pub(super) fn new(
        config: &'a Config,
        cluster: &'a Name,
        boot: u64,
        directory: &'a Path,
    ) -> Result<Self, SpoolError> {
        let (disk, recovered) = Disk::open(directory, config.spool.disk_bytes)?;
        Ok(Self { config, cluster, boot, directory, disk: Arc::new(disk), stored: recovered.batches })
    }

    /// Opens `R`'s lane with everything that an earlier process left for it: batches first, then rows, which become
    /// batches of this process.
    pub(super) fn lane<R: Row>(&mut self) -> Result<Lane<R>, SpoolError> {
        let journals = journal::left_behind::<R>(self.directory).map_err(|source| self.io_error(source))?;
        let journal = match self.config.spool.journal {
            config::Journal::Always => {
                let journal = Journal::new::<R>(self.directory, self.boot, Arc::clone(&self.disk.journal_failed));
                Some(journal.map_err(|source| self.io_error(source))?)
            }
            config::Journal::Off | config::Journal::Spill => None,
        };
        let mut lane = Lane::new(self.config, Some(Arc::clone(&self.disk)), journal);
        let of_this_table = |stored: &mut Stored| stored.head.table == R::TABLE.name();
        let mut batches: Vec<Stored> = self.stored.extract_if(.., of_this_table).collect();
        let unsealed = self.unsealed(journals, &mut batches)?;
        for stored in batches {
            lane.spool.take_up(R::TABLE, stored);
        }
        for left in unsealed {
            self.seal(&mut lane, &left);
        }
        Ok(lane)
    }

    /// Of the journals that were left, those whose rows are not in `batches`.
    fn unsealed(&self, journals: Vec<Left>, batches: &mut Vec<Stored>) -> Result<Vec<Left>, SpoolError> {
        let mut unsealed = Vec::new();
        for left in journals {
            let parts = |stored: &&Stored| stored.head.journal.as_ref().is_some_and(|part| part.name == left.name);
            let there = batches.iter().filter(parts).count();
            let all = batches.iter().find(parts).and_then(|stored| stored.head.journal.as_ref()).map(|part| part.parts);
            if all == Some(there) {
                left.remove(); // its rows are in these batches
                continue;
            }
            // A kill came between two parts: they were never sent, and the journal has all rows.
            for stored in batches.extract_if(.., |stored| parts(&&*stored)) {
                self.disk.settle(stored.place).map_err(|source| self.io_error(source))?;
            }
            unsealed.push(left);
        }
        Ok(unsealed)
    }

    fn seal<R: Row>(&self, lane: &mut Lane<R>, left: &Left) {
        let (rows, damaged) = left.rows::<R>();
        let book = &lane.queue.book;
        book.recovered.fetch_add(rows.len() as u64, Relaxed);
        book.batched.fetch_add(rows.len() as u64, Relaxed);
        let parts = batch::by_partition(rows);
        let count = parts.len();
        for (part, rows) in parts.into_iter().enumerate() {
            let id = BatchId { cluster: self.cluster.clone(), boot: self.boot, batch: lane.sealed + 1 };
            match batch::freeze(&rows, id) {
                Ok(batch) => {
                    lane.sealed += 1;
                    let journal = Some(PartOf { name: left.name.clone(), part, parts: count });
                    lane.spool.push(Frozen { journal, ..batch });
                }
                Err(error) => {
                    tracing::error!(table = %R::TABLE, %error, "rows of an earlier process cannot be encoded, they are dropped");
                    book.give_up_batched(rows.len() as u64, DropReason::Encoding);
                }
            }
        }
        if damaged {
            left.set_aside(self.directory);
            self.disk.quarantined.fetch_add(1, Relaxed);
        } else {
            left.remove();
        }
    }

    fn io_error(&self, source: io::Error) -> SpoolError {
        SpoolError::Io { path: self.directory.join("journal"), source }
    }

    /// Every lane was opened.
    pub(super) fn end(self) {
        for Stored { head, .. } in self.stored {
            // It stays on disk: a build that knows the table will take it up.
            tracing::error!(table = head.table, "the spool holds a batch for a table that this build does not know");
        }
    }
}
