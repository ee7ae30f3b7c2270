//! Opening the lanes over a directory: what an earlier process left there comes first.

use std::{
    collections::BTreeSet,
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
    placement,
    spool::{Disk, Sent, SpoolError, Stored},
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
    /// The one of ClickHouse's addresses that batches go to.
    address: String,
}

impl<'a> Opening<'a> {
    pub(super) fn new(
        config: &'a Config,
        cluster: &'a Name,
        boot: u64,
        directory: &'a Path,
    ) -> Result<Self, SpoolError> {
        let (disk, recovered) = Disk::open(directory, config.spool.disk_bytes)?;
        let unsealed = journal::holds_rows(directory)
            .map_err(|source| SpoolError::Io { path: directory.join("journal"), source })?;
        let holds_rows = unsealed || !recovered.batches.is_empty();
        let address = placement::settle(cluster.as_str(), &config.clickhouse.url, directory, holds_rows)?;
        Ok(Self { config, cluster, boot, directory, disk: Arc::new(disk), stored: recovered.batches, address })
    }

    /// Opens `R`'s lane with everything that an earlier process left for it: batches first, then rows.
    pub(super) fn lane<R: Row>(&mut self) -> Result<Lane<R>, SpoolError> {
        let journals = journal::left_behind::<R>(self.directory).map_err(|source| self.io_error(source))?;
        let journal = match self.config.spool.journal {
            config::Journal::Always => {
                let journal = Journal::new::<R>(self.directory, self.boot, Arc::clone(&self.disk.journal_failed));
                Some(journal.map_err(|source| self.io_error(source))?)
            }
            config::Journal::Off | config::Journal::Spill => None,
        };
        let lane = Lane::new(self.config, Some(Arc::clone(&self.disk)), journal);
        let of_this_table = |stored: &mut Stored| stored.head.table == R::TABLE.name();
        let mut known = BTreeSet::new();
        for stored in self.stored.extract_if(.., of_this_table) {
            known.insert((stored.head.boot, stored.head.batch));
            lane.spool.take_up(R::TABLE, stored);
        }
        for left in journals {
            self.seal(&lane, &known, &left);
        }
        Ok(lane)
    }

    /// Makes batches of what is left of a journal, the very ones that its own process made or would have made; those in
    /// `known` are in the spool already.
    fn seal<R: Row>(&self, lane: &Lane<R>, known: &BTreeSet<(u64, u64)>, left: &Left) {
        let sealed = Arc::new(left.sealed());
        let (rows, damaged) = sealed.rows().unwrap_or_else(|error| {
            tracing::error!(file = left.name, %error, "a journal cannot be read");
            (Vec::<R>::new(), true)
        });
        for (batch, rows) in (left.first_batch..).zip(batch::by_partition(rows)) {
            if known.contains(&(left.boot, batch)) {
                continue;
            }
            let book = &lane.queue.book;
            book.recovered.fetch_add(rows.len() as u64, Relaxed);
            book.batched.fetch_add(rows.len() as u64, Relaxed);
            match batch::freeze(&rows, BatchId { cluster: self.cluster.clone(), boot: left.boot, batch }) {
                Ok(batch) => {
                    // It was sealed later than that, if at all; what counts is how long its rows have been waiting.
                    let batch = Frozen { sealed_at: batch.last_time, ..batch };
                    lane.spool.push_journalled(batch, Arc::clone(&sealed), Some(Sent::PERHAPS));
                }
                Err(error) => {
                    tracing::error!(table = %R::TABLE, %error, "rows of an earlier process cannot be encoded, they are dropped");
                    book.give_up_batched(rows.len() as u64, DropReason::Encoding);
                }
            }
        }
        let mut kept = true;
        if damaged {
            self.disk.quarantined.fetch_add(1, Relaxed);
            kept = left.copy_aside(self.directory);
        }
        if let Some(sealed) = Arc::into_inner(sealed).filter(|_| kept) {
            sealed.remove();
        }
    }

    fn io_error(&self, source: io::Error) -> SpoolError {
        SpoolError::Io { path: self.directory.join("journal"), source }
    }

    /// Every lane was opened; returns the address that batches go to.
    pub(super) fn end(self) -> String {
        for Stored { head, .. } in self.stored {
            // It stays on disk: a build that knows the table will take it up.
            tracing::error!(table = head.table, "the spool holds a batch for a table that this build does not know");
        }
        self.address
    }
}
