//! Snapshots that are newer than the statement's.

use std::cell::Cell;

use pgrx::pg_sys;

/// A snapshot that the caller takes at a chosen moment.
pub struct Snapshot(Cell<pg_sys::Snapshot>);

impl Snapshot {
    /// Prepares a snapshot, so that taking it allocates nothing and raises nothing. It sees what this transaction has
    /// written so far. Raises an error in parallel mode, where none can be taken.
    pub fn prepare() -> Self {
        // SAFETY: inside a transaction; the server's own snapshot, which is good until the next one is taken.
        unsafe {
            pg_sys::CommandCounterIncrement();
            Self(Cell::new(pg_sys::GetLatestSnapshot()))
        }
    }

    /// Takes the snapshot, which sees everything committed now.
    pub fn take(&self) {
        // SAFETY: as above; the memory that it needs is there.
        self.0.set(unsafe { pg_sys::GetLatestSnapshot() });
    }

    /// Returns whether it sees the end of a top transaction of another backend.
    pub fn sees(&self, transaction: u32) -> bool {
        // SAFETY: the server's snapshot, taken above; its array is as long as it says.
        let (first, next, running) = unsafe {
            let snapshot = &*self.0.get();
            let count = snapshot.xcnt as usize;
            let running = match snapshot.xip.is_null() {
                true => &[],
                false => std::slice::from_raw_parts(snapshot.xip, count),
            };
            (snapshot.xmin, snapshot.xmax, running)
        };
        let precedes = |other: pg_sys::TransactionId| {
            transaction.wrapping_sub(other.into_inner()).cast_signed() < 0
        };
        precedes(first) || (precedes(next) && !running.contains(&transaction.into()))
    }

    /// Makes queries read at it until the result is dropped. Must be called before another snapshot is taken.
    pub fn push(&self) -> Pushed {
        // SAFETY: inside a transaction; the server copies it.
        unsafe { pg_sys::PushActiveSnapshot(self.0.get()) };
        Pushed(())
    }
}

/// Makes queries read everything committed now. Not in parallel mode.
pub fn push_latest() -> Pushed {
    // SAFETY: inside a transaction and outside parallel mode; popped in drop.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot()) };
    Pushed(())
}

/// A snapshot that queries read at.
pub struct Pushed(());

impl Drop for Pushed {
    fn drop(&mut self) {
        // While unwinding, the server's abort pops the snapshot itself.
        if !std::thread::panicking() {
            // SAFETY: pops what was pushed.
            unsafe { pg_sys::PopActiveSnapshot() };
        }
    }
}
