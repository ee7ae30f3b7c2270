//! The spool owns a batch from its sealing until ClickHouse has acknowledged it.
//!
//! Each table has a queue of batches. While all is well they stay in memory; when an insert has failed, when memory is
//! full, or at shutdown they go to disk, and with [`Journal::Always`] they go there before their first attempt. The disk is
//! one directory for all tables (`spool/disk.rs`). What a process leaves there the next one takes up, oldest first.
//!
//! The batch at the head is lent to the inserter and stays the spool's until [`Spool::landed`] or [`Spool::refused`]; it
//! is never the one that gives way to a newer batch, because an attempt may be on its way.
//!
//! Rows that came out of a journal are safe before they are a batch. So their journal stays until every batch made of it
//! has landed, is on disk, or was dropped and counted: a disk that takes no batch does not make them less safe.

mod held;

mod disk;

mod recovery;

mod ledger;

mod segment;

// Beside the line: for the person on call.
pub mod inspect;

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use shardlake_schema::{BatchId, Table, TimeMs};
use tokio::sync::Notify;

pub use self::disk::SpoolError;
pub(crate) use self::{disk::Disk, ledger::Sent, recovery::Stored};
use self::{
    disk::WriteError,
    held::{Batches, Held, OnDisk},
    ledger::Place,
    segment::Head,
};
use crate::{
    account::{Book, DropReason},
    batch::Frozen,
    config::{self, Journal, WhenFull},
    journal::Sealed,
};

/// The spool of one table.
#[derive(Debug)]
pub(crate) struct Spool {
    batches: Mutex<Batches>,
    disk: Option<Arc<Disk>>,
    journal: Journal,
    memory_bytes: usize,
    when_full: WhenFull,
    book: Arc<Book>,
    changed: Notify,
    /// When the oldest batch here was sealed, ms since 1970; 0: nothing is here. For the "how far behind" gauge.
    oldest_sealed_ms: AtomicI64,
}

/// A batch that is lent to the inserter.
#[derive(Debug)]
pub(crate) struct Lent {
    pub(crate) batch: Frozen,
    /// How it was sent last, perhaps by an earlier process: look first.
    pub(crate) sent: Option<Sent>,
}

impl Spool {
    pub(crate) fn new(config: &config::Spool, when_full: WhenFull, disk: Option<Arc<Disk>>, book: Arc<Book>) -> Self {
        Self {
            batches: Mutex::default(),
            disk,
            journal: config.journal,
            memory_bytes: config.memory_bytes,
            when_full,
            book,
            changed: Notify::new(),
            oldest_sealed_ms: AtomicI64::new(0),
        }
    }

    /// Takes up a batch that an earlier process left behind. Before any [`Spool::push`].
    pub(crate) fn take_up(&self, table: Table, stored: Stored) {
        let mut batches = self.lock();
        let head = stored.head;
        self.book.recovered.fetch_add(head.rows, Relaxed);
        self.book.spooled.fetch_add(head.rows, Relaxed);
        let batch = Frozen {
            table,
            id: BatchId { cluster: head.cluster.into(), boot: head.boot, batch: head.batch },
            rows: head.rows,
            first_time: TimeMs(head.first_time_ms),
            last_time: TimeMs(head.last_time_ms),
            sealed_at: TimeMs(head.sealed_at_ms),
            body: Bytes::new(),
        };
        let on_disk = Some(OnDisk { place: stored.place, length: stored.length });
        batches.waiting.push_back(Held { batch, in_memory: false, on_disk, sent: Some(stored.sent), journal: None });
        self.note_oldest(&batches);
    }

    /// Takes a batch that was counted as batched.
    pub(crate) fn push(&self, batch: Frozen) {
        self.hold(batch, None, None);
    }

    /// The same for a batch whose rows are in a journal; `sent` as an earlier process may have done it.
    pub(crate) fn push_journalled(&self, batch: Frozen, journal: Arc<Sealed>, sent: Option<Sent>) {
        self.hold(batch, Some(journal), sent);
    }

    fn hold(&self, batch: Frozen, journal: Option<Arc<Sealed>>, sent: Option<Sent>) {
        let mut batches = self.lock();
        self.book.spooled.fetch_add(batch.rows, Relaxed);
        self.book.batched.fetch_sub(batch.rows, Relaxed);
        batches.in_memory += batch.body.len();
        let mut held = Held { batch, in_memory: true, on_disk: None, sent, journal };
        let full = batches.in_memory > self.memory_bytes;
        if full || batches.in_trouble || held.journal.is_some() || self.journal == Journal::Always {
            self.save(&mut held);
        }
        batches.waiting.push_back(held);
        while batches.in_memory > self.memory_bytes && (batches.release_one() || self.give_way(&mut batches)) {}
        self.note_oldest(&batches);
        drop(batches);
        self.changed.notify_one();
    }

    /// Writes a batch to disk unless it is there. A disk that does not take it leaves it in memory.
    fn save(&self, held: &mut Held) {
        self.save_by(held, Disk::write);
    }

    fn save_by(&self, held: &mut Held, write: impl FnOnce(&Disk, &Head, &[u8]) -> Result<(Place, usize), WriteError>) {
        let Some(disk) = self.disk.as_ref().filter(|_| held.on_disk.is_none()) else { return };
        let saved = write(disk, &head_of(&held.batch), &held.batch.body);
        let saved = saved.map(|(place, length)| OnDisk { place, length });
        match saved {
            Ok(on_disk) => {
                if let Some(sent) = held.sent
                    && let Err(error) = disk.sent(on_disk.place, sent)
                {
                    tracing::warn!(%error, "the spool's ledger cannot be written");
                }
                held.on_disk = Some(on_disk);
                held.leave_journal();
            }
            Err(error) => {
                tracing::warn!(table = %held.batch.table, batch = held.batch.id.batch, %error, "a batch stays in memory");
            }
        }
    }

    /// Drops one batch by policy; `false` if none can go. Only batches in memory give way: those on disk cost none.
    fn give_way(&self, batches: &mut Batches) -> bool {
        let lent = usize::from(batches.lent);
        let mut movable = batches.waiting.iter().enumerate().skip(lent).filter(|(_, held)| held.in_memory);
        let index = match self.when_full {
            WhenFull::DropOldest => movable.next(),
            WhenFull::DropNewest => movable.next_back(),
        };
        let Some(mut held) = index.map(|(index, _)| index).and_then(|index| batches.waiting.remove(index)) else {
            return false;
        };
        tracing::error!(table = %held.batch.table, rows = held.batch.rows, batch = held.batch.id.batch, "spool is full, a batch was dropped");
        self.forget(batches, &mut held, DropReason::SpoolFull);
        true
    }

    fn forget(&self, batches: &mut Batches, held: &mut Held, reason: DropReason) {
        self.let_go(batches, held);
        self.book.drop_rows(held.batch.rows, reason);
    }

    /// Takes a batch that is not in the queue any more off all accounts of space.
    fn let_go(&self, batches: &mut Batches, held: &mut Held) {
        held.leave_journal();
        if held.in_memory {
            batches.in_memory -= held.batch.body.len();
        }
        self.book.spooled.fetch_sub(held.batch.rows, Relaxed);
        if let (Some(disk), Some(on_disk)) = (&self.disk, held.on_disk)
            && let Err(error) = disk.settle(on_disk.place)
        {
            // It will be taken up again after a restart, looked for, and found.
            tracing::warn!(%error, "the spool cannot note that a batch is settled");
        }
    }

    /// Waits for a batch and lends it out; `None` once the spool is closed and empty.
    ///
    /// Cancel safe: a cancelled call has lent nothing.
    pub(crate) async fn next(&self) -> Option<Lent> {
        loop {
            let changed = self.changed.notified();
            {
                let mut batches = self.lock();
                if let Some(lent) = self.lend(&mut batches) {
                    return Some(lent);
                }
                if batches.closed {
                    return None;
                }
            }
            changed.await;
        }
    }

    fn lend(&self, batches: &mut Batches) -> Option<Lent> {
        loop {
            let held = batches.waiting.front()?;
            match self.body(held) {
                Ok(body) => {
                    let batch = Frozen { body, ..held.batch.clone() };
                    let lent = Lent { batch, sent: held.sent };
                    batches.lent = true;
                    return Some(lent);
                }
                Err(error) => {
                    tracing::error!(table = %held.batch.table, batch = held.batch.id.batch, rows = held.batch.rows, %error, "a batch cannot be read back from the spool, it is lost");
                    if let Some(mut held) = batches.waiting.pop_front() {
                        self.forget(batches, &mut held, DropReason::SpoolDamaged);
                    }
                }
            }
        }
    }

    fn body(&self, held: &Held) -> io::Result<Bytes> {
        match (&self.disk, held.on_disk) {
            (Some(disk), Some(on_disk)) if !held.in_memory => disk.read(on_disk.place, on_disk.length),
            _ => Ok(held.batch.body.clone()),
        }
    }

    /// The lent batch is about to be sent like this. If this fails it must not be: after a restart a token that ClickHouse
    /// knows would be taken for a fresh one.
    ///
    /// A disk that cannot note when it was sent, with the token that is known already, is no reason to hold it back.
    pub(crate) fn sending(&self, sent: Sent) -> io::Result<()> {
        let mut batches = self.lock();
        let Some(held) = batches.waiting.front_mut() else { return Ok(()) };
        let known = held.sent.unwrap_or(Sent::PERHAPS);
        let known = (sent.attempt, sent.pieces_log2) == (known.attempt, known.pieces_log2);
        if !known && held.journal.is_some() {
            // The journal alone could not say that the token is a new one.
            self.save_by(held, Disk::write_beyond_limits);
            if held.on_disk.is_none() {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        match (&self.disk, held.on_disk) {
            (Some(disk), Some(on_disk)) if known => {
                let _ = disk.sent(on_disk.place, sent); // the ledger is written anew as soon as the disk allows
            }
            (Some(disk), Some(on_disk)) => disk.sent_anew(on_disk.place, sent)?,
            _ => {}
        }
        held.sent = Some(sent);
        Ok(())
    }

    /// An attempt failed: what waits goes to disk, so that a kill of the process does not add to the trouble.
    pub(crate) fn in_trouble(&self) {
        let mut batches = self.lock();
        if !batches.in_trouble {
            batches.in_trouble = true;
            for held in &mut batches.waiting {
                self.save(held);
            }
        }
    }

    /// The lent batch was acknowledged.
    pub(crate) fn landed(&self) {
        let mut batches = self.lock();
        batches.in_trouble = false;
        if let Some(mut held) = batches.take_back() {
            self.book.landed.fetch_add(held.batch.rows, Relaxed);
            self.let_go(&mut batches, &mut held);
        }
        self.note_oldest(&batches);
    }

    /// The lent batch can never land. With a directory its bytes are kept in quarantine.
    pub(crate) fn refused(&self, batch: &Frozen) {
        if let Some(disk) = &self.disk {
            match disk.quarantine(&head_of(batch), &batch.body) {
                Ok(path) => tracing::error!(file = %path.display(), "the refused batch was kept"),
                Err(error) => tracing::error!(%error, "the refused batch could not be kept"),
            }
        }
        let mut batches = self.lock();
        if let Some(mut held) = batches.take_back() {
            self.forget(&mut batches, &mut held, DropReason::Rejected);
        }
        self.note_oldest(&batches);
    }

    /// No more batches will come: [`Spool::next`] ends once it is empty.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// The process ends: what can go to disk stays spooled for the next one, the rest is dropped as
    /// [`DropReason::Shutdown`]. The inserter must have been stopped before.
    pub(crate) fn leave(&self) {
        let mut batches = self.lock();
        batches.lent = false;
        for _ in 0..batches.waiting.len() {
            let Some(mut held) = batches.waiting.pop_front() else { break };
            self.save(&mut held);
            if held.on_disk.is_some() || held.journal.is_some() {
                batches.in_memory -= held.release();
                batches.waiting.push_back(held);
            } else {
                self.forget(&mut batches, &mut held, DropReason::Shutdown);
            }
        }
        self.note_oldest(&batches);
    }

    /// The directory that all tables share, if there is one.
    pub(crate) fn disk(&self) -> Option<&Disk> {
        self.disk.as_deref()
    }

    /// When the oldest batch here was sealed.
    pub(crate) fn oldest_sealed_at(&self) -> Option<TimeMs> {
        match self.oldest_sealed_ms.load(Relaxed) {
            0 => None,
            ms => Some(TimeMs(ms)),
        }
    }

    fn note_oldest(&self, batches: &Batches) {
        let oldest = batches.waiting.front().map_or(0, |held| held.batch.sealed_at.0);
        self.oldest_sealed_ms.store(oldest, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Batches> {
        // Nothing panics while the lock is held; a poisoned lock still guards whole data.
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn head_of(batch: &Frozen) -> Head {
    Head {
        table: batch.table.name().to_owned(),
        cluster: batch.id.cluster.to_string(),
        boot: batch.id.boot,
        batch: batch.id.batch,
        rows: batch.rows,
        first_time_ms: batch.first_time.0,
        last_time_ms: batch.last_time.0,
        sealed_at_ms: batch.sealed_at.0,
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod model;

#[cfg(test)]
mod full;
