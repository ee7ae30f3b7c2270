//! The spool owns a batch from its sealing until ClickHouse has acknowledged it. So far it holds memory only: what it
//! holds is lost with the process, and the receipt says so.
//!
//! It is a queue of frozen batches bounded by bytes. The batch at its head is lent to the inserter and stays the
//! spool's until [`Spool::landed`] or [`Spool::refused`]; it is never the one that gives way to a newer batch, because an
//! attempt may be on its way.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use shardlake_schema::TimeMs;
use tokio::sync::Notify;

use crate::{
    account::{Book, DropReason},
    batch::Frozen,
    config::WhenFull,
};

#[derive(Debug)]
pub(crate) struct Spool {
    batches: Mutex<Batches>,
    budget_bytes: usize,
    when_full: WhenFull,
    book: Arc<Book>,
    changed: Notify,
    /// When the oldest batch here was sealed, ms since 1970; 0: nothing is here. For the "how far behind" gauge.
    oldest_sealed_ms: AtomicI64,
}

#[derive(Debug, Default)]
struct Batches {
    waiting: VecDeque<Frozen>,
    bytes: usize,
    /// The head is with the inserter.
    lent: bool,
    /// No more batches will come.
    closed: bool,
}

impl Spool {
    pub(crate) fn new(budget_bytes: usize, when_full: WhenFull, book: Arc<Book>) -> Self {
        Self {
            batches: Mutex::default(),
            budget_bytes,
            when_full,
            book,
            changed: Notify::new(),
            oldest_sealed_ms: AtomicI64::new(0),
        }
    }

    /// Takes a batch that was counted as batched.
    pub(crate) fn push(&self, batch: Frozen) {
        let mut batches = self.lock();
        self.book.spooled.fetch_add(batch.rows, Relaxed);
        self.book.batched.fetch_sub(batch.rows, Relaxed);
        batches.bytes += batch.body.len();
        batches.waiting.push_back(batch);
        while batches.bytes > self.budget_bytes && self.give_way(&mut batches) {}
        self.note_oldest(&batches);
        drop(batches);
        self.changed.notify_one();
    }

    /// Drops one batch by policy; `false` if the only one left is lent out.
    fn give_way(&self, batches: &mut Batches) -> bool {
        let first_movable = usize::from(batches.lent);
        if batches.waiting.len() <= first_movable {
            return false;
        }
        let index = match self.when_full {
            WhenFull::DropOldest => first_movable,
            WhenFull::DropNewest => batches.waiting.len() - 1,
        };
        if let Some(batch) = batches.waiting.remove(index) {
            self.forget(batches, &batch, DropReason::SpoolFull);
            tracing::error!(table = %batch.table, rows = batch.rows, batch = batch.id.batch, "spool is full, a batch was dropped");
        }
        true
    }

    fn forget(&self, batches: &mut Batches, batch: &Frozen, reason: DropReason) {
        batches.bytes -= batch.body.len();
        self.book.spooled.fetch_sub(batch.rows, Relaxed);
        self.book.drop_rows(batch.rows, reason);
    }

    /// Waits for a batch and lends it out; `None` once the spool is closed and empty.
    ///
    /// Cancel safe: a cancelled call has lent nothing.
    pub(crate) async fn next(&self) -> Option<Frozen> {
        loop {
            let changed = self.changed.notified();
            {
                let mut batches = self.lock();
                if let Some(batch) = batches.waiting.front().cloned() {
                    batches.lent = true;
                    return Some(batch);
                }
                if batches.closed {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// The lent batch was acknowledged.
    pub(crate) fn landed(&self) {
        self.take_back(|batches, batch| {
            batches.bytes -= batch.body.len();
            self.book.landed.fetch_add(batch.rows, Relaxed);
            self.book.spooled.fetch_sub(batch.rows, Relaxed);
        });
    }

    /// The lent batch can never land.
    pub(crate) fn refused(&self) {
        self.take_back(|batches, batch| self.forget(batches, &batch, DropReason::Rejected));
    }

    fn take_back(&self, settle: impl FnOnce(&mut Batches, Frozen)) {
        let mut batches = self.lock();
        batches.lent = false;
        if let Some(batch) = batches.waiting.pop_front() {
            settle(&mut batches, batch);
        }
        self.note_oldest(&batches);
    }

    /// No more batches will come: [`Spool::next`] ends once it is empty.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Gives up every batch, as [`DropReason::Shutdown`]: memory does not outlive the process. The inserter must have been
    /// stopped before.
    pub(crate) fn abandon(&self) {
        let mut batches = self.lock();
        while let Some(batch) = batches.waiting.pop_front() {
            self.forget(&mut batches, &batch, DropReason::Shutdown);
        }
        self.note_oldest(&batches);
    }

    /// When the oldest batch here was sealed.
    pub(crate) fn oldest_sealed_at(&self) -> Option<TimeMs> {
        match self.oldest_sealed_ms.load(Relaxed) {
            0 => None,
            ms => Some(TimeMs(ms)),
        }
    }

    fn note_oldest(&self, batches: &Batches) {
        let oldest = batches.waiting.front().map_or(0, |batch| batch.sealed_at.0);
        self.oldest_sealed_ms.store(oldest, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Batches> {
        // Nothing panics while the lock is held; a poisoned lock still guards whole data.
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shardlake_schema::{BatchId, Name, Table};

    use super::*;

    fn batch(sequence: u64) -> Frozen {
        Frozen {
            table: Table::Samples,
            id: BatchId { cluster: Name::EMPTY, boot: 1, batch: sequence },
            rows: 10,
            first_time: TimeMs(1),
            last_time: TimeMs(2),
            sealed_at: TimeMs(3),
            body: Bytes::from_static(&[0; 100]),
        }
    }

    fn spool(when_full: WhenFull) -> (Spool, Arc<Book>) {
        let book = Arc::new(Book::new(Table::Samples));
        (Spool::new(250, when_full, Arc::clone(&book)), book)
    }

    fn push(spool: &Spool, book: &Book, sequence: u64) {
        book.observed.fetch_add(10, Relaxed);
        book.batched.fetch_add(10, Relaxed);
        spool.push(batch(sequence));
    }

    #[tokio::test]
    async fn the_lent_batch_never_gives_way() {
        let (spool, book) = spool(WhenFull::DropOldest);
        push(&spool, &book, 1);
        assert_eq!(spool.next().await.unwrap().id.batch, 1);
        for sequence in 2..=4 {
            push(&spool, &book, sequence);
        }
        assert_eq!(book.account().dropped(), 20, "batches 2 and 3 gave way to 4");
        spool.landed();
        assert_eq!(spool.next().await.unwrap().id.batch, 4);
        spool.refused();
        let account = book.account();
        assert_eq!((account.landed, account.spooled, account.dropped()), (10, 0, 30));
        assert!(account.holds());
    }

    #[tokio::test]
    async fn the_newest_gives_way_when_told_so() {
        let (spool, book) = spool(WhenFull::DropNewest);
        for sequence in 1..=4 {
            push(&spool, &book, sequence);
        }
        spool.close();
        for expected in [1, 2] {
            assert_eq!(spool.next().await.unwrap().id.batch, expected);
            spool.landed();
        }
        assert!(spool.next().await.is_none());
        assert_eq!(spool.oldest_sealed_at(), None);
        assert!(book.account().holds());
    }
}
