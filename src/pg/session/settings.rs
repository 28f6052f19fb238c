//! Settings that a transaction leaves in the session for the next client of a connection.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

use crate::pg::{role, session, xact};

/// A shorter timeout would not let the next client authenticate.
const SHORTEST_TIMEOUT_MS: i32 = 1000;

/// What poolers set for each of their clients, and what tenancy ends by itself.
const LEFT_ALONE: [&CStr; 7] = [
    c"application_name",
    c"client_encoding",
    c"DateStyle",
    c"IntervalStyle",
    c"standard_conforming_strings",
    c"TimeZone",
    c"tenancy.context",
];

/// Settings that RESET ALL leaves alone, and that stay in the session all the same.
const ROLES: [&CStr; 2] = [c"session_authorization", c"role"];

/// Undoes what is set for the session, before the transaction commits. Of a role behind a pool that is
/// all that a client set, of another one that `shared` says is shared what would stop the next client.
pub fn before_commit(pooled: bool, shared: fn() -> bool) {
    if pooled {
        let set: Vec<&CStr> = set_in_session().collect();
        // The session's user first: the role goes by it.
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

/// With row_security off a query on a protected table is an error, which a context begins without.
pub fn before_context(shared: fn() -> bool) {
    // SAFETY: reads a static of the server.
    if unsafe { !pg_sys::row_security } && !xact::parallel() && shared() {
        reset(c"row_security");
    }
}

fn may_authenticate(role: pg_sys::Oid) -> bool {
    role::has(role, c"tenancy_app") || role::has(role, c"tenancy_gateway")
}

/// Settings in force that nobody needs beyond a transaction, and with which the next client could not
/// authenticate, or would have its credential read by functions and types of whoever set them.
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
            // Waits at its first query for as long as another client's transaction lasts.
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

/// Whether a path puts anything before pg_catalog, which comes first where it is not named.
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

/// The names of the settings whose value came by SET or set_config(), of the transaction too.
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

/// As RESET. One that cannot be reset is a warning: the transaction is to commit all the same.
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
