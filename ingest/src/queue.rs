//! Between the bot and the lane: a bounded, lock-free queue per table. Pushing costs a few atomic operations, never
//! waits and never allocates. When it is full somebody gives way, and is counted. With a journal nobody has to: a row that
//! finds no room is in the journal's file, and is read back when that is sealed; only what a failing disk does not take is
//! kept in memory beside the queue, up to the same number of rows.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst},
    },
};

use crossbeam_queue::ArrayQueue;
use shardlake_schema::Row;
use tokio::sync::Notify;

use crate::{
    account::{Book, DropReason},
    config::WhenFull,
    journal::Journal,
};

/// The queue of one table.
#[derive(Debug)]
pub(crate) struct Queue<R> {
    rows: ArrayQueue<R>,
    /// Holds what is in `rows`, and what the batcher has taken but not sealed.
    pub(crate) journal: Option<Journal>,
    /// What the journal did not take; as many rows as the queue at most.
    missed: Mutex<VecDeque<R>>,
    when_full: WhenFull,
    closed: AtomicBool,
    pub(crate) book: Arc<Book>,
    /// Woken when the queue is half full or closed, so that neither waits for the batcher's next look.
    pub(crate) woken: Notify,
}

impl<R: Row> Queue<R> {
    pub(crate) fn new(capacity: usize, when_full: WhenFull, journal: Option<Journal>, book: Arc<Book>) -> Self {
        Self {
            rows: ArrayQueue::new(capacity),
            journal,
            missed: Mutex::default(),
            when_full,
            closed: AtomicBool::new(false),
            book,
            woken: Notify::new(),
        }
    }

    /// Takes a row. Never fails: a row that finds no room is counted as dropped. Never blocks either, unless there is a
    /// journal: then it writes the row to a file first, one row at a time.
    pub(crate) fn push(&self, row: R) {
        self.book.observed.fetch_add(1, Relaxed);
        if self.closed.load(SeqCst) {
            self.book.drop_rows(1, DropReason::Shutdown);
            return;
        }
        self.book.queued.fetch_add(1, Relaxed);
        if let Some(journal) = &self.journal {
            // What is written needs no room here: it is read back when its file is sealed.
            let keep = |row, written| if written { self.rows.push(row).is_ok() } else { self.keep_missed(row) };
            journal.append(row, keep);
        } else {
            let gave_way = match self.when_full {
                WhenFull::DropOldest => self.rows.force_push(row).is_some(),
                WhenFull::DropNewest => self.rows.push(row).is_err(),
            };
            self.note_gave_way(gave_way);
        }
        if self.rows.len() == self.rows.capacity() / 2 {
            self.woken.notify_one();
        }
    }

    /// Keeps a row that the journal did not take; `false` if it was the one to give way.
    fn keep_missed(&self, row: R) -> bool {
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        let full = missed.len() >= self.rows.capacity();
        self.note_gave_way(full);
        if full && self.when_full == WhenFull::DropNewest {
            return false;
        }
        if full {
            missed.pop_front();
        }
        missed.push_back(row);
        true
    }

    fn note_gave_way(&self, gave_way: bool) {
        if gave_way {
            self.book.queued.fetch_sub(1, Relaxed);
            self.book.drop_rows(1, DropReason::QueueFull);
        }
    }

    /// Whether there are rows that the journal did not take.
    pub(crate) fn has_missed(&self) -> bool {
        !self.missed.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Takes the rows that the journal did not take. They count as batched from then on.
    pub(crate) fn take_missed(&self) -> Vec<R> {
        let missed = mem::take(&mut *self.missed.lock().unwrap_or_else(PoisonError::into_inner));
        self.count_taken(missed.len() as u64);
        missed.into()
    }

    /// Rows left the queue for a batch.
    pub(crate) fn count_taken(&self, rows: u64) {
        self.book.batched.fetch_add(rows, Relaxed);
        self.book.queued.fetch_sub(rows, Relaxed);
    }

    /// Moves up to `limit` rows into `open`. They count as batched from then on.
    pub(crate) fn take(&self, open: &mut Vec<R>, limit: usize) {
        let before = open.len();
        while open.len() - before < limit {
            let Some(row) = self.rows.pop() else { break };
            open.push(row);
        }
        self.count_taken((open.len() - before) as u64);
    }

    /// From now on every row is refused as [`DropReason::Shutdown`]. Rows already in the queue stay.
    pub(crate) fn close(&self) {
        self.closed.store(true, SeqCst);
        self.woken.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// Gives up what is still in the queue, as [`DropReason::Shutdown`].
    pub(crate) fn abandon(&self) {
        let mut rows = self.take_missed().len() as u64;
        self.book.give_up_batched(rows, DropReason::Shutdown);
        rows = self.journal.as_ref().map_or(0, Journal::abandon);
        while self.rows.pop().is_some() {
            rows += 1;
        }
        self.book.queued.fetch_sub(rows, Relaxed);
        self.book.drop_rows(rows, DropReason::Shutdown);
    }
}

#[cfg(test)]
mod tests {
    use shardlake_schema::{Labels, Table, TimeMs, rows::Sample};

    use super::*;

    fn queue(when_full: WhenFull) -> Queue<Sample> {
        Queue::new(2, when_full, None, Arc::new(Book::new(Table::Samples)))
    }

    fn row(time: i64) -> Sample {
        Sample { time: TimeMs(time), name: "up".into(), kind: "gauge".into(), labels: Labels::default(), value: 1.0 }
    }

    fn filled(when_full: WhenFull) -> (Vec<i64>, Arc<Book>) {
        let queue = queue(when_full);
        for time in 1..=3 {
            queue.push(row(time));
        }
        let mut rows = Vec::new();
        queue.take(&mut rows, 10);
        (rows.into_iter().map(|row| row.time.0).collect(), Arc::clone(&queue.book))
    }

    #[test]
    fn the_policy_says_who_gives_way() {
        let (rows, book) = filled(WhenFull::DropOldest);
        assert_eq!(rows, [2, 3]);
        assert!(book.account().holds() && book.account().dropped() == 1);

        let (rows, book) = filled(WhenFull::DropNewest);
        assert_eq!(rows, [1, 2]);
        assert!(book.account().holds() && book.account().dropped() == 1);
    }

    #[test]
    fn a_closed_queue_counts_what_it_refuses() {
        let queue = queue(WhenFull::DropOldest);
        queue.push(row(1));
        queue.close();
        queue.push(row(2));
        assert_eq!(queue.book.account().dropped(), 1);
        queue.abandon();
        assert_eq!(queue.book.account().dropped(), 2);
        assert!(queue.book.account().holds());
    }
}
