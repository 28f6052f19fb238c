//! The backend, and its state that outlives transactions.
//!
//! | file | what |
//! | --- | --- |
//! | `guc` | the settings `tenancy.*`: sealed context, ticket, switches |
//! | `secret` | the key in shared memory that context tokens are made with |
//! | `ceilings` | settings that a transaction cannot raise |
//! | `settings` | settings that a transaction leaves in the session |
//! | `client` | where the client is |
//! | `lock` | locks that a session holds over transactions |
//! | `procedure` | procedures that end their transactions |
//! | `cluster` | the cluster and the transaction |
//! | `xact` | the transaction, its savepoint and its statement |

pub mod ceilings;
pub mod client;
pub mod cluster;
pub mod guc;
pub mod lock;
pub mod procedure;
pub mod secret;
pub mod settings;
pub mod xact;

use std::ffi::{CStr, c_void};

use pgrx::pg_sys;
use tenancy_core::time::Instant;

use crate::error::Error;
use crate::pg::{statics, time};

unsafe extern "C-unwind" {
    /// commands/async.h: stops listening to all channels at the commit.
    fn Async_UnlistenAll();
}

/// Returns this backend's process id.
pub fn backend() -> i32 {
    // SAFETY: reads a static of the server.
    unsafe { pg_sys::MyProcPid }
}

/// Returns whether this process serves a client.
pub fn is_clients() -> bool {
    // SAFETY: reads a static of the server.
    unsafe { pg_sys::MyBackendType == pg_sys::BackendType::B_BACKEND }
}

/// Returns when this session started, to which session contexts are bound.
pub fn started() -> Instant {
    // SAFETY: reads a static of the server.
    time::from_server(unsafe { pg_sys::MyStartTimestamp })
}

/// Returns the leader's process id, in a parallel worker.
pub fn parallel_leader() -> Option<i32> {
    // SAFETY: MyProc is set in every backend; a worker joins its leader's lock group before it
    // restores any setting, and the leader outlives it.
    unsafe {
        if pg_sys::ParallelWorkerNumber < 0 || pg_sys::MyProc.is_null() {
            return None;
        }
        let leader = (*pg_sys::MyProc).lockGroupLeader;
        Some(if leader.is_null() { 0 } else { (*leader).pid })
    }
}

/// Drops all objects in the session's temporary schema.
pub fn drop_temporary() {
    if has_temporary() {
        // SAFETY: called inside a transaction, outside parallel mode; dropping is transactional.
        unsafe { pg_sys::ResetTempTableNamespace() };
    }
}

/// Forgets currval() and lastval().
pub fn forget_sequences() {
    statics::ResetSequenceCaches();
}

/// Returns whether the session ever created a temporary object.
pub fn has_temporary() -> bool {
    let (mut namespace, mut toast) = (pg_sys::Oid::INVALID, pg_sys::Oid::INVALID);
    // SAFETY: reads statics of the server.
    unsafe { pg_sys::GetTempNamespaceState(&mut namespace, &mut toast) };
    namespace != pg_sys::Oid::INVALID
}

/// Closes a cursor by name, unless it is running.
pub fn close_cursor(name: &str) -> Result<(), Error> {
    let name = std::ffi::CString::new(name)
        .map_err(|_| Error::Internal("a cursor name with a NUL byte"))?;
    // SAFETY: the portal is looked up by name and dropped as CLOSE does; an active one is left.
    unsafe {
        let portal = pg_sys::GetPortalByName(name.as_ptr());
        if !portal.is_null() && (*portal).status != pg_sys::PortalStatus::PORTAL_ACTIVE {
            pg_sys::PortalDrop(portal, false);
        }
    }
    Ok(())
}

/// Stops listening to all channels when the transaction commits.
pub fn unlisten() {
    #[allow(ffi_unwind_calls)] // inside the boundary
    // SAFETY: called inside a transaction; what UNLISTEN * does.
    unsafe {
        pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| Async_UnlistenAll());
    }
}

/// Releases the session's advisory locks; those of the transaction stay.
pub fn release_advisory_locks() {
    if !holds_main_locks() {
        return;
    }
    // SAFETY: what pg_advisory_unlock_all() does; reads no catalog, so it may run after an abort too.
    unsafe { pg_sys::LockReleaseSession(pg_sys::USER_LOCKMETHOD as pg_sys::LOCKMETHODID) };
}

/// Returns whether this backend holds a lock in the server's main lock table. All advisory locks are there, and locks of tables
/// mostly are not. Cheaper than a search of the backend's own locks.
fn holds_main_locks() -> bool {
    // SAFETY: MyProc is set in every backend that runs statements; each of its lists is two pointers, backwards and forwards, both
    // NULL or to the list itself if it is empty. Other processes may move table locks of this backend into a list, but only this
    // backend adds and removes its advisory locks.
    unsafe {
        let Some(proc) = pg_sys::MyProc.as_ref() else {
            return true;
        };
        proc.myProcLocks.iter().any(|list| {
            let list = std::ptr::from_ref(list).cast::<[*const c_void; 2]>();
            let next = std::ptr::read_volatile(list)[1];
            !next.is_null() && next != list.cast()
        })
    }
}

/// A prepared statement.
#[derive(Clone, Copy)]
pub struct Statement {
    /// Whether PREPARE made it, and not the protocol.
    pub by_sql: bool,
    /// When it was prepared.
    pub at: Instant,
}

/// Returns the prepared statement with this name.
pub fn statement(name: &CStr) -> Option<Statement> {
    // SAFETY: looked up in the backend's own table; read before anything can drop it.
    unsafe {
        let found = pg_sys::FetchPreparedStatement(name.as_ptr(), false);
        found.as_ref().map(|found| Statement {
            by_sql: found.from_sql,
            at: time::from_server(found.prepare_time),
        })
    }
}

/// Drops the prepared statement with this name, if it exists and was prepared in this way.
pub fn drop_statement(name: &CStr, by_sql: bool) {
    if statement(name).is_some_and(|found| found.by_sql == by_sql) {
        // SAFETY: reads no catalog, so it may run after an abort too. A portal that runs the statement
        // holds its plan, and a copy of its text.
        unsafe { pg_sys::DropPreparedStatement(name.as_ptr(), false) };
    }
}

/// Returns the name of the prepared statement that the client's running portal is bound to.
pub fn bound_statement() -> Option<&'static CStr> {
    // SAFETY: reads a static of the server; the portal and its names live while it is active. The
    // caller compares the name at once.
    unsafe {
        let name = pg_sys::ActivePortal.as_ref()?.prepStmtName;
        (!name.is_null()).then(|| CStr::from_ptr(name))
    }
}

/// Returns whether SET ROLE changed the session's role.
pub fn has_set_role() -> bool {
    statics::GetOuterUserId() != statics::GetSessionUserId()
}

/// Returns whether a statement runs in a transaction that continues after it, or inside another statement.
pub fn in_transaction_block(top_level: bool) -> bool {
    // SAFETY: reads the server's transaction state.
    unsafe { pg_sys::IsInTransactionBlock(top_level) }
}

/// Invalidates every cached plan.
pub fn reset_plans() {
    // SAFETY: marks cached plans invalid; takes no locks and reads no catalogs.
    unsafe { pg_sys::ResetPlanCache() };
}
