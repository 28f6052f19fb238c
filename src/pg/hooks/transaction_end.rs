//! Where transactions and savepoints end.

use std::ffi::c_void;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::hooks::frames;
use crate::pg::{blockers, inval, xact};

/// The context module's callbacks.
#[derive(Clone, Copy)]
pub struct OnEnd {
    /// Called before the transaction commits or is prepared; it can still run queries.
    pub before_commit: fn(Ending) -> Result<(), Error>,
    /// Called when the transaction has ended; true if it committed or was prepared.
    pub transaction: fn(bool),
    /// Called when a savepoint, and everything after it, was rolled back.
    pub savepoint_abort: fn(u32),
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By COMMIT.
    Commit,
    /// By PREPARE TRANSACTION.
    Prepare,
}

static ON_END: BackendCell<Option<OnEnd>> = BackendCell::new(None);
/// Registers the callbacks for the backend's lifetime.
pub fn init(on_end: OnEnd) {
    ON_END.set(Some(on_end));
    // SAFETY: registered once per process, in _PG_init; the callbacks are guarded and live until the process exits.
    unsafe {
        pg_sys::RegisterXactCallback(Some(transaction_event), std::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(savepoint_event), std::ptr::null_mut());
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn transaction_event(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    if event == XACT_EVENT_PRE_PREPARE && blockers::is_marked() {
        Error::ManagedPrepared.raise();
    }
    let ending = match event {
        XACT_EVENT_PRE_COMMIT => Some(Ending::Commit),
        XACT_EVENT_PRE_PREPARE => Some(Ending::Prepare),
        _ => None,
    };
    if let Some(ending) = ending {
        // What deferred triggers have done.
        // SAFETY: the outermost frame.
        unsafe { frames::end(0) };
        if let Some(on_end) = ON_END.get()
            && let Err(error) = (on_end.before_commit)(ending)
        {
            error.raise();
        }
        return;
    }
    let committed = match event {
        XACT_EVENT_COMMIT | XACT_EVENT_PARALLEL_COMMIT | XACT_EVENT_PREPARE => true,
        XACT_EVENT_ABORT | XACT_EVENT_PARALLEL_ABORT => false,
        _ => return,
    };
    xact::new_generation();
    inval::end_transaction();
    blockers::end_transaction();
    if let Some(on_end) = ON_END.get() {
        (on_end.transaction)(committed);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn savepoint_event(
    event: pg_sys::SubXactEvent::Type,
    savepoint: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _arg: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB
        && let Some(on_end) = ON_END.get()
    {
        (on_end.savepoint_abort)(savepoint);
    }
}
