//! TRUNCATE knows no row security. The server asks here for each table it is to empty, also for those
//! that CASCADE or inheritance add.

use std::ffi::c_void;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::shared_role::{refuse_on, shared_role};
use crate::pg::cell::BackendCell;

static PREVIOUS: BackendCell<pg_sys::object_access_hook_type> = BackendCell::new(None);

/// Installs the hook.
pub fn init() {
    // SAFETY: set once, in _PG_init; the previous hook is kept and called.
    unsafe {
        PREVIOUS.set(pg_sys::object_access_hook);
        pg_sys::object_access_hook = Some(object_access);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn object_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    part: i32,
    argument: *mut c_void,
) {
    if let Some(previous) = PREVIOUS.get() {
        #[allow(ffi_unwind_calls)] // inside the boundary
        // SAFETY: passed on to the hook that was there before.
        unsafe {
            pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| {
                previous(access, class, object, part, argument);
            });
        }
    }
    if access == pg_sys::ObjectAccessType::OAT_TRUNCATE && shared_role() {
        refuse_on(object, "TRUNCATE");
    }
}
