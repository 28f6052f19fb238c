//! Settings that a transaction leaves in the session for the next client of a connection.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

use crate::pg::{role, session, xact};

/// A shorter timeout would not let the next client authenticate.
const SHORTEST_TIMEOUT_MS: i32 = 1000;

/// Settings that poolers set for each client, and those that tenancy itself resets.
const LEFT_ALONE: [&CStr; 7] = [
    c"application_name",
    c"client_encoding",
    c"DateStyle",
    c"IntervalStyle",
    c"standard_conforming_strings",
    c"TimeZone",
    c"tenancy.context",
];

/// Settings that RESET ALL does not reset, but that stay in the session.
const ROLES: [&CStr; 2] = [c"session_authorization", c"role"];

/// Resets settings of the session before the transaction commits: for a role behind a pool, all that the client
/// set; for another role that `shared` reports as shared, those that would stop the next client.
pub fn before_commit(pooled: bool, shared: fn() -> bool) {
    if pooled {
        let set: Vec<&CStr> = set_in_session().collect();
        // The session's user first: the role depends on it.
        for name in ROLES.iter().filter(|name| set.contains(name)) {
            reset(name);
        }
        for name in set.into_iter().filter(|name| !ROLES.contains(name)) {
            reset(name);
        }
        return;
    }
    let stopping: Vec<&CStr> = stopping().collect();
    if (stopping.is_empty() && !session::has_set_role()) || !shared() {
        return;
    }
    for name in stopping {
        reset(name);
    }
    if session::has_set_role()
        && !may_authenticate(role::outer())
        && may_authenticate(role::session())
    {
        reset(c"role");
    }
}

/// Resets row_security before a context begins: if it is off, a query on a protected table is an error.
pub fn before_context(shared: fn() -> bool) {
    // SAFETY: reads a static of the server.
    if unsafe { !pg_sys::row_security } && !xact::parallel() && shared() {
        reset(c"row_security");
    }
}

fn may_authenticate(role: pg_sys::Oid) -> bool {
    role::has(role, c"tenancy_app") || role::has(role, c"tenancy_gateway")
}

/// Returns current settings that are not needed beyond a transaction, and that would keep the next client from
/// authenticating, or let functions and types of this client read its credential.
fn stopping() -> impl Iterator<Item = &'static CStr> {
    let short = |timeout: i32| (1..SHORTEST_TIMEOUT_MS).contains(&timeout);
    // SAFETY: reads statics of the server; the path is a C string.
    let found = unsafe {
        [
            (c"statement_timeout", short(pg_sys::StatementTimeout)),
            (c"lock_timeout", short(pg_sys::LockTimeout)),
            (
                c"idle_in_transaction_session_timeout",
                short(pg_sys::IdleInTransactionSessionTimeout),
            ),
            (c"idle_session_timeout", short(pg_sys::IdleSessionTimeout)),
            // The first query would wait as long as other clients' transactions last.
            (
                c"default_transaction_deferrable",
                pg_sys::DefaultXactDeferrable,
            ),
            (c"search_path", shadows(pg_sys::namespace_search_path)),
        ]
    };
    found
        .into_iter()
        .filter_map(|(name, stops)| stops.then_some(name))
}

/// Returns whether a path has anything before pg_catalog, which is implicitly first.
unsafe fn shadows(path: *const c_char) -> bool {
    if path.is_null() {
        return false;
    }
    // SAFETY: a C string of the server's.
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    let catalog = b"pg_catalog";
    path.windows(catalog.len())
        .position(|part| part.eq_ignore_ascii_case(catalog))
        .is_some_and(|at| path[..at].contains(&b','))
}

/// Returns the settings that SET or set_config() changed, also for the transaction only.
fn set_in_session() -> impl Iterator<Item = &'static CStr> {
    all().filter_map(|setting| {
        // SAFETY: the server's own table of settings; names live as long as their settings, which a
        // RESET does not remove.
        unsafe {
            let name = CStr::from_ptr((*setting).name);
            let kept = (*setting).flags & pg_sys::GUC_NO_RESET_ALL as i32 != 0;
            let set = (*setting).source == pg_sys::GucSource::PGC_S_SESSION;
            (set && (!kept || ROLES.contains(&name)) && !LEFT_ALONE.contains(&name)).then_some(name)
        }
    })
}

/// Returns the server's record of a setting; NULL if there is none of this name.
pub fn find(name: &CStr) -> *mut pg_sys::config_generic {
    // SAFETY: as above.
    let named =
        |setting: &*mut pg_sys::config_generic| unsafe { CStr::from_ptr((**setting).name) == name };
    all().find(named).unwrap_or(std::ptr::null_mut())
}

#[cfg(feature = "pg15")]
fn all() -> impl Iterator<Item = *mut pg_sys::config_generic> {
    // SAFETY: a table of pointers to all settings.
    unsafe {
        let count = usize::try_from(pg_sys::GetNumConfigOptions()).unwrap_or(0);
        let table = pg_sys::get_guc_variables();
        (0..count).map(move |n| *table.add(n))
    }
}

#[cfg(not(feature = "pg15"))]
fn all() -> impl Iterator<Item = *mut pg_sys::config_generic> {
    // SAFETY: a sorted copy of pointers to all settings, in the current memory context.
    unsafe {
        let mut count = 0;
        let table = pg_sys::get_guc_variables(&mut count);
        (0..usize::try_from(count).unwrap_or(0)).map(move |n| *table.add(n))
    }
}

/// Does what RESET does. A setting that cannot be reset is only a warning: the transaction must still commit.
fn reset(name: &CStr) {
    // SAFETY: the name is a C string of the server's; called inside a transaction.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            std::ptr::null(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SET,
            true,
            pg_sys::WARNING as i32,
            false,
        );
    }
}
