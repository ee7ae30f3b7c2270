//! Between the bot and the lane: a bounded, lock-free queue per table. Pushing costs a few atomic operations, never
//! waits and never allocates. When it is full somebody gives way, and is counted.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed, Ordering::SeqCst},
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
    /// Holds what is in the queue, and what the batcher has taken but not sealed.
    pub(crate) journal: Option<Journal>,
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
        match &self.journal {
            Some(journal) => journal.append(row, |row| self.enqueue(row)),
            None => self.enqueue(row),
        }
    }

    fn enqueue(&self, row: R) {
        self.book.queued.fetch_add(1, Relaxed);
        let gave_way = match self.when_full {
            WhenFull::DropOldest => self.rows.force_push(row).is_some(),
            WhenFull::DropNewest => self.rows.push(row).is_err(),
        };
        if gave_way {
            self.book.queued.fetch_sub(1, Relaxed);
            self.book.drop_rows(1, DropReason::QueueFull);
        }
        if self.rows.len() == self.rows.capacity() / 2 {
            self.woken.notify_one();
        }
    }

    /// Moves up to `limit` rows into `open`. They count as batched from then on.
    pub(crate) fn take(&self, open: &mut Vec<R>, limit: usize) {
        let before = open.len();
        while open.len() - before < limit {
            let Some(row) = self.rows.pop() else { break };
            open.push(row);
        }
        let taken = open.len() - before;
        self.book.batched.fetch_add(taken as u64, Relaxed);
        self.book.queued.fetch_sub(taken as u64, Relaxed);
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
        while self.rows.pop().is_some() {
            self.book.queued.fetch_sub(1, Relaxed);
            self.book.drop_rows(1, DropReason::Shutdown);
        }
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
