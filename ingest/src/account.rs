//! The law, kept as a book per table: `observed + recovered = landed + spooled + in memory + dropped(reason)`.
//!
//! Each term is counted where it happens, none is computed from the others: a row is observed in `queue.rs`, held by a
//! queue, an open batch or the spool, and landed in `insert.rs`. So the sum is a check, not a tautology. While a row
//! moves from one holder to the next it may be seen in both or in neither for a moment; once nothing moves the law is
//! exact.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use shardlake_schema::Table;

/// Why a row was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// The table's queue was full.
    QueueFull,
    /// The spool was full.
    SpoolFull,
    /// ClickHouse refuses the batch for its content.
    Rejected,
    /// The recorder had been shut down already, or its deadline passed first.
    Shutdown,
    /// The batch could not be encoded: a fault of ours.
    Encoding,
    /// The spool could not read it back from disk.
    SpoolDamaged,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [DropReason; 6] = [
        DropReason::QueueFull,
        DropReason::SpoolFull,
        DropReason::Rejected,
        DropReason::Shutdown,
        DropReason::Encoding,
        DropReason::SpoolDamaged,
    ];

    /// The word used in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            DropReason::QueueFull => "queue_full",
            DropReason::SpoolFull => "spool_full",
            DropReason::Rejected => "rejected",
            DropReason::Shutdown => "shutdown",
            DropReason::Encoding => "encoding",
            DropReason::SpoolDamaged => "spool_damaged",
        }
    }
}

/// The book of one table, as it is written.
#[derive(Debug)]
pub(crate) struct Book {
    table: Table,
    /// By `queue.rs`, for every row it is given, kept or not.
    pub(crate) observed: AtomicU64,
    /// By `spool.rs`, for rows that an earlier process had left on disk.
    pub(crate) recovered: AtomicU64,
    /// By `insert.rs`, when ClickHouse has acknowledged a batch.
    pub(crate) landed: AtomicU64,
    /// By `queue.rs`: rows it holds.
    pub(crate) queued: AtomicU64,
    /// By `batch.rs`: rows taken from the queue and not yet given to the spool.
    pub(crate) batched: AtomicU64,
    /// By `spool.rs`: rows it holds, also the ones being inserted.
    pub(crate) spooled: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
}

impl Book {
    pub(crate) fn new(table: Table) -> Self {
        Self {
            table,
            observed: AtomicU64::new(0),
            recovered: AtomicU64::new(0),
            landed: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            batched: AtomicU64::new(0),
            spooled: AtomicU64::new(0),
            dropped: Default::default(),
        }
    }

    pub(crate) fn drop_rows(&self, rows: u64, reason: DropReason) {
        self.dropped[reason as usize].fetch_add(rows, Relaxed);
    }

    /// Drops rows that were counted as batched.
    pub(crate) fn give_up_batched(&self, rows: u64, reason: DropReason) {
        self.batched.fetch_sub(rows, Relaxed);
        self.drop_rows(rows, reason);
    }

    pub(crate) fn account(&self) -> Account {
        Account {
            table: self.table,
            observed: self.observed.load(Relaxed),
            recovered: self.recovered.load(Relaxed),
            landed: self.landed.load(Relaxed),
            spooled: self.spooled.load(Relaxed),
            in_memory: self.queued.load(Relaxed) + self.batched.load(Relaxed),
            dropped: DropReason::ALL.map(|reason| (reason, self.dropped[reason as usize].load(Relaxed))),
        }
    }
}

/// The book of one table, read at one moment. All figures are rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The table.
    pub table: Table,
    /// Rows recorded, kept or not.
    pub observed: u64,
    /// Rows that an earlier process had left in the spool.
    pub recovered: u64,
    /// Rows acknowledged by ClickHouse.
    pub landed: u64,
    /// Rows in sealed batches that wait for ClickHouse.
    pub spooled: u64,
    /// Rows in the queue and in the open batch.
    pub in_memory: u64,
    /// Rows dropped, by reason.
    pub dropped: [(DropReason, u64); DropReason::ALL.len()],
}

impl Account {
    /// Rows dropped for any reason.
    pub fn dropped(&self) -> u64 {
        self.dropped.iter().map(|(_, rows)| rows).sum()
    }

    /// Whether `observed + recovered = landed + spooled + in memory + dropped`. Exact once nothing moves.
    pub fn holds(&self) -> bool {
        self.observed + self.recovered == self.landed + self.spooled + self.in_memory + self.dropped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_nobody_holds_breaks_the_law() {
        let book = Book::new(Table::Samples);
        book.observed.fetch_add(2, Relaxed);
        assert!(!book.account().holds());
        book.queued.fetch_add(1, Relaxed);
        book.drop_rows(1, DropReason::SpoolFull);
        assert!(book.account().holds());
        assert_eq!(book.account().dropped(), 1);
    }
}
