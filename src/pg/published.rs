//! The tenant set that per-row calls read, without counting references or borrowing at run time.

use std::cell::UnsafeCell;
use std::rc::Rc;

use tenancy_core::tenants::TenantSet;

struct Published(UnsafeCell<Option<Rc<TenantSet>>>);

// SAFETY: backends are single-threaded, as in `cell`.
unsafe impl Sync for Published {}

static SETS: [Published; 2] = [
    Published(UnsafeCell::new(None)),
    Published(UnsafeCell::new(None)),
];

/// Which of a context's sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// The tenants themselves.
    Tenants,
    /// The tenants and the scopes above them, whose shared rows they may read.
    Visible,
}

/// Publishes a set until the next call.
pub fn publish(which: Which, set: Option<Rc<TenantSet>>) {
    // SAFETY: no reader is active: `with` hands the set to leaf code that cannot come back here.
    unsafe { *SETS[which as usize].0.get() = set };
}

/// Reads the published set, if there is one. `f` must be a leaf: it runs no query and sets no context.
#[inline]
pub fn read<T>(which: Which, f: impl FnOnce(&TenantSet) -> T) -> Option<T> {
    // SAFETY: nothing replaces the set while a leaf reads it.
    unsafe { (*SETS[which as usize].0.get()).as_ref() }.map(|set| f(set))
}

/// Asks the published set; no set holds nothing. `f` is a leaf, as above.
#[inline]
pub fn with(which: Which, f: impl FnOnce(&TenantSet) -> bool) -> bool {
    read(which, f).unwrap_or(false)
}

/// How many scopes the published set has.
pub fn count(which: Which) -> usize {
    read(which, TenantSet::len).unwrap_or(0)
}
