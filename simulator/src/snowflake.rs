//! Discord's ids: the milliseconds since 2015 above 22 bits that tell ids of one millisecond apart.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// 2015-01-01T00:00:00Z in Unix milliseconds.
pub(crate) const EPOCH_MS: u64 = 1_420_070_400_000;
/// The bits below the time.
pub(crate) const LOW_BITS: u32 = 22;

/// Unix milliseconds, now.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(EPOCH_MS, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// The id of something made at `at_ms` (Unix milliseconds).
pub(crate) const fn at(at_ms: u64, low: u64) -> u64 {
    (at_ms.saturating_sub(EPOCH_MS) << LOW_BITS) | (low & ((1 << LOW_BITS) - 1))
}

/// An id that no other call returns: 4 million of them fit in one millisecond.
pub(crate) fn fresh(at_ms: u64) -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    at(at_ms, COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// When the thing with this id was made, in Unix milliseconds.
pub(crate) const fn created_ms(id: u64) -> u64 {
    (id >> LOW_BITS) + EPOCH_MS
}
