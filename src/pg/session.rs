//! What a backend is, and what it carries from one transaction into the next.

use pgrx::pg_sys;

use crate::error::Error;

unsafe extern "C-unwind" {
    /// commands/sequence.h: forgets currval() and lastval().
    fn ResetSequenceCaches();
}

/// This backend's process id.
pub fn backend() -> i32 {
    // SAFETY: reads a static of the server.
    unsafe { pg_sys::MyProcPid }
}

/// When this session started; what session contexts are bound to.
pub fn started() -> i64 {
    // SAFETY: reads a static of the server.
    unsafe { pg_sys::MyStartTimestamp }
}

/// The leader's process id, in a parallel worker.
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

/// Drops temporary tables and whatever else is in the session's temporary schema.
pub fn drop_temporary() {
    if has_temporary() {
        // SAFETY: called inside a transaction, outside parallel mode; dropping is transactional.
        unsafe { pg_sys::ResetTempTableNamespace() };
    }
}

/// Forgets currval() and lastval().
pub fn forget_sequences() {
    #[allow(ffi_unwind_calls)] // inside the boundary
    // SAFETY: frees the backend's own cache.
    unsafe {
        pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| ResetSequenceCaches());
    }
}

/// Whether the session ever made a temporary table.
pub fn has_temporary() -> bool {
    let (mut namespace, mut toast) = (pg_sys::Oid::INVALID, pg_sys::Oid::INVALID);
    // SAFETY: reads statics of the server.
    unsafe { pg_sys::GetTempNamespaceState(&mut namespace, &mut toast) };
    namespace != pg_sys::Oid::INVALID
}

/// Closes a cursor by name, unless it is the one that is running.
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

/// Has every cached plan made anew at its next use.
pub fn reset_plans() {
    // SAFETY: marks cached plans invalid; takes no locks and reads no catalogs.
    unsafe { pg_sys::ResetPlanCache() };
}
