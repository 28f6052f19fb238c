//! A static of one backend.

use std::cell::Cell;

/// A static that belongs to one backend. Cheaper to read than a thread-local in a shared library,
/// which matters where it is read per row.
pub struct BackendCell<T: Copy>(Cell<T>);

// SAFETY: a PostgreSQL backend runs extension code on its one main thread (pgrx refuses calls from
// any other), so the cell is never reached from two threads.
unsafe impl<T: Copy> Sync for BackendCell<T> {}

impl<T: Copy> BackendCell<T> {
    /// A cell holding `value`.
    pub const fn new(value: T) -> Self {
        Self(Cell::new(value))
    }

    /// The value.
    #[inline]
    pub fn get(&self) -> T {
        self.0.get()
    }

    /// Puts `value` in its place.
    #[inline]
    pub fn set(&self, value: T) {
        self.0.set(value);
    }
}

impl<T: Copy> BackendCell<T> {
    /// Puts `value` in its place and returns what was there.
    pub fn replace_with(&self, value: T) -> T {
        self.0.replace(value)
    }
}
