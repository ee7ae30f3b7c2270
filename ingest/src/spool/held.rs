//! What the spool of one table holds at a moment.

use std::{collections::VecDeque, mem, sync::Arc};

use super::ledger::{Place, Sent};
use crate::{batch::Frozen, journal::Sealed};

#[derive(Debug, Default)]
pub(super) struct Batches {
    pub(super) waiting: VecDeque<Held>,
    /// Bytes of bodies in memory.
    pub(super) in_memory: usize,
    /// The head is with the inserter.
    pub(super) lent: bool,
    /// The last attempt failed: what comes goes to disk.
    pub(super) in_trouble: bool,
    /// No more batches will come.
    pub(super) closed: bool,
}

impl Batches {
    /// Frees the memory of the newest batch that is on disk too; `false` if there is none.
    pub(super) fn release_one(&mut self) -> bool {
        let both = |held: &&mut Held| held.in_memory && held.on_disk.is_some();
        let freed = self.waiting.iter_mut().rev().find(both).map_or(0, Held::release);
        self.in_memory -= freed;
        freed > 0
    }

    /// The lent batch, which is at the head.
    pub(super) fn take_back(&mut self) -> Option<Held> {
        self.lent = false;
        self.waiting.pop_front()
    }
}

/// A batch, in memory, on disk, or both.
#[derive(Debug)]
pub(super) struct Held {
    /// Its body is empty while it is only on disk.
    pub(super) batch: Frozen,
    pub(super) in_memory: bool,
    pub(super) on_disk: Option<OnDisk>,
    /// How it was sent last, perhaps by an earlier process.
    pub(super) sent: Option<Sent>,
    /// What its rows came out of, unless they are safe elsewhere.
    pub(super) journal: Option<Arc<Sealed>>,
}

impl Held {
    /// Its rows need their journal no more. The file goes with the last batch that needed it.
    pub(super) fn leave_journal(&mut self) {
        if let Some(journal) = self.journal.take().and_then(Arc::into_inner) {
            journal.remove();
        }
    }

    /// Frees its memory if it is on disk; returns how many bytes that were.
    pub(super) fn release(&mut self) -> usize {
        if self.on_disk.is_none() || !self.in_memory {
            return 0;
        }
        self.in_memory = false;
        mem::take(&mut self.batch.body).len()
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct OnDisk {
    pub(super) place: Place,
    pub(super) length: usize,
}
