//! Marks with the transaction of each backend, for loaders, whose snapshots tell whether it has ended.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// No transaction.
const NONE: u32 = 0;
/// No load.
const NEVER: u64 = u64::MAX;

/// A backend's transaction, if it recorded something. On a separate cache line, because its backend writes it without
/// a lock. A loader whose snapshot sees the end of a transaction also sees the mark, which was written before.
#[derive(Debug)]
#[repr(align(64))]
pub struct Mark {
    transaction: AtomicU32,
    /// The first load whose snapshot saw its end. Accessed under the lock.
    seen_by: AtomicU64,
}

impl Default for Mark {
    fn default() -> Self {
        Self::new()
    }
}

impl Mark {
    /// Creates the mark of a backend that has recorded nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            transaction: AtomicU32::new(NONE),
            seen_by: AtomicU64::new(NEVER),
        }
    }

    /// Writes the id of the top transaction, before it ends.
    pub fn set(&self, transaction: u32) {
        self.transaction.store(transaction, Ordering::Release);
    }

    /// Stores the number of a load that sees the transaction's end, if it is the first.
    pub(super) fn tell(&self, number: u64, sees: impl Fn(u32) -> bool) {
        let transaction = self.transaction.load(Ordering::Acquire);
        if transaction != NONE && self.seen_by.load(Ordering::Relaxed) == NEVER && sees(transaction)
        {
            self.seen_by.store(number, Ordering::Relaxed);
        }
    }

    /// Returns whether this load or an earlier one saw the transaction, which has not finished.
    pub(super) fn was_seen_by(&self, number: u64) -> bool {
        self.seen_by.load(Ordering::Relaxed) <= number
    }

    /// Clears it, and returns the first load that saw the transaction.
    pub(super) fn clear(&self) -> Option<u64> {
        self.transaction.store(NONE, Ordering::Relaxed);
        let first = self.seen_by.swap(NEVER, Ordering::Relaxed);
        (first != NEVER).then_some(first)
    }
}
