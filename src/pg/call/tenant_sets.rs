//! The scope sets that calls for each row read, without reference counts or borrow checks at run time.

use std::cell::UnsafeCell;
use std::rc::Rc;

use tenancy_core::tenants::TenantSet;

struct Published(UnsafeCell<Vec<Rc<TenantSet>>>);

// SAFETY: backends are single-threaded, as in `cell`.
unsafe impl Sync for Published {}

static SETS: Published = Published(UnsafeCell::new(Vec::new()));

/// The number of sets from which they are dropped although the context is the same.
const MANY: usize = 64;

/// The place of a published set. Valid until the next [`clear`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(usize);

/// Returns whether there are so many sets that they should be dropped.
pub fn is_crowded() -> bool {
    // SAFETY: as in `publish`.
    unsafe { (*SETS.0.get()).len() > MANY }
}

/// Drops all sets, when another context begins.
pub fn clear() {
    // SAFETY: no reader is active: `read` hands the set to leaf code that cannot come back here.
    unsafe { (*SETS.0.get()).clear() };
}

/// Publishes a set until the next [`clear`].
pub fn publish(set: &Rc<TenantSet>) -> Slot {
    // SAFETY: as above.
    let sets = unsafe { &mut *SETS.0.get() };
    if let Some(at) = sets.iter().position(|known| Rc::ptr_eq(known, set)) {
        return Slot(at);
    }
    sets.push(set.clone());
    Slot(sets.len() - 1)
}

/// Reads a published set. `f` must be a leaf: it runs no query and sets no context.
#[inline]
pub fn read<T>(slot: Slot, f: impl FnOnce(&TenantSet) -> T) -> Option<T> {
    // SAFETY: nothing changes the sets while a leaf reads one.
    let sets = unsafe { &*SETS.0.get() };
    sets.get(slot.0).map(|set| f(set))
}

/// Calls `f` with a published set; returns false without one. `f` must be a leaf, as above.
#[inline]
pub fn with(slot: Slot, f: impl FnOnce(&TenantSet) -> bool) -> bool {
    read(slot, f).unwrap_or(false)
}

/// Returns the number of scopes in a published set.
pub fn count(slot: Slot) -> usize {
    read(slot, TenantSet::len).unwrap_or(0)
}
