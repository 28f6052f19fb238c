//! A static of one backend.

use std::cell::Cell;

/// A static that belongs to one backend. Reading it is cheaper than a thread-local in a shared library,
/// which matters for each row.
pub struct BackendCell<T: Copy>(Cell<T>);

// SAFETY: a PostgreSQL backend runs extension code on its one main thread (pgrx refuses calls from
// any other), so the cell is never reached from two threads.
unsafe impl<T: Copy> Sync for BackendCell<T> {}

impl<T: Copy> BackendCell<T> {
    /// Creates a cell with `value`.
    pub const fn new(value: T) -> Self {
        Self(Cell::new(value))
    }

    /// Returns the value.
    #[inline]
    pub fn get(&self) -> T {
        self.0.get()
    }

    /// Replaces the value.
    #[inline]
    pub fn set(&self, value: T) {
        self.0.set(value);
    }
}

impl<T: Copy> BackendCell<T> {
    /// Replaces the value and returns the previous one.
    pub fn replace_with(&self, value: T) -> T {
        self.0.replace(value)
    }

    /// Replaces the value until the result is dropped, also by an error.
    pub fn hold(&'static self, value: T) -> Held<T> {
        Held(self, self.replace_with(value))
    }
}

/// Restores the previous value of a cell.
pub struct Held<T: Copy + 'static>(&'static BackendCell<T>, T);

impl<T: Copy> Drop for Held<T> {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}
