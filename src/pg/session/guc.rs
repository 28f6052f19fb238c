//! The settings `tenancy.*`.
//!
//! `tenancy.context` holds a token that only this library can create: its check hook refuses any other
//! value, its show hook never prints it. It is a setting, and not a static, because the server then
//! handles savepoints, ROLLBACK, parallel workers and DISCARD.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::rc::Rc;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use pgrx::pg_sys;
use pgrx::prelude::*;
use tenancy_core::audit::check_reason;
use tenancy_core::token::{Binding, Lifetime, Token};

use crate::pg::cell::BackendCell;
use crate::pg::{secret, session, xact};

/// The id of the key in tokens; there is one key now.
pub const KEY_ID: u8 = 1;

/// The behaviour of a query on a protected table without a context.
#[derive(Clone, Copy, PostgresGucEnum)]
pub enum MissingContext {
    /// An error with a hint.
    #[name = c"error"]
    Error,
    /// No rows.
    #[name = c"empty"]
    Empty,
}

/// Which indexes conditions that reveal nothing may search, though they are not marked LEAKPROOF.
#[derive(Clone, Copy, PostgresGucEnum)]
pub enum IndexSearch {
    /// Those that are searched by tenant too.
    #[name = c"own"]
    Own,
    /// All.
    #[name = c"all"]
    All,
    /// None.
    #[name = c"off"]
    Off,
}

static CONTEXT: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static TICKET: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static MISSING: GucSetting<MissingContext> =
    GucSetting::<MissingContext>::new(MissingContext::Error);
static ALLOW_BYPASS: GucSetting<bool> = GucSetting::<bool>::new(false);
static POOLED: GucSetting<bool> = GucSetting::<bool>::new(false);

static MAINTENANCE_REASON: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static PUBLISH_SECRETS: GucSetting<bool> = GucSetting::<bool>::new(false);
static INDEX_SEARCH: GucSetting<IndexSearch> = GucSetting::<IndexSearch>::new(IndexSearch::Own);

static TOKEN: BackendCell<Option<Token>> = BackendCell::new(None);
static HAS_TICKET: BackendCell<bool> = BackendCell::new(false);
thread_local! {
    /// The token that [`set_token`] is setting, and has signed.
    static SIGNED: RefCell<Option<(CString, Token)>> = const { RefCell::new(None) };
    /// The ticket in force as text: each transaction asks for it.
    static KNOWN_TICKET: RefCell<Option<Rc<str>>> = const { RefCell::new(None) };
}
static SESSION_CONTEXT: BackendCell<bool> = BackendCell::new(false);
/// Called with the new ticket's text when it changes; set once by the context module.
static ON_TICKET: BackendCell<Option<fn(&str)>> = BackendCell::new(None);
/// Called when the server sets the context or the ticket back to what was there before; set once by the context module.
static ON_RETURN: BackendCell<Option<fn()>> = BackendCell::new(None);
/// Called when the reason for maintenance is set; set once by the context module.
static ON_REASON: BackendCell<Option<fn()>> = BackendCell::new(None);
/// Whether [`set_token`] is setting the context.
static SETTING: BackendCell<bool> = BackendCell::new(false);

const SEALED: &CStr = c"(sealed)";
const UNSET: &CStr = c"";

/// Defines the settings and reserves the prefix.
pub fn init(on_ticket: fn(&str), on_return: fn(), on_reason: fn()) {
    ON_TICKET.set(Some(on_ticket));
    ON_RETURN.set(Some(on_return));
    ON_REASON.set(Some(on_reason));
    let secret = GucFlags::NO_SHOW_ALL | GucFlags::DISALLOW_IN_FILE;
    // SAFETY: the hooks below are guarded, and allocate with malloc as the server requires. The assign hooks raise no
    // errors.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"tenancy.context",
            c"The authenticated context of this transaction or session.",
            c"Set by tenancy.authenticate() and tenancy.assume(); other code can only clear it.",
            &CONTEXT,
            GucContext::Userset,
            secret,
            Some(check_context),
            Some(assign_context),
            Some(show_context),
        );
        GucRegistry::define_string_guc_with_hooks(
            c"tenancy.ticket",
            c"A ticket of tenancy.issue_ticket(), verified at its first use in each transaction.",
            c"Never shown.",
            &TICKET,
            GucContext::Userset,
            secret,
            Some(check_ticket),
            Some(assign_ticket),
            Some(show_ticket),
        );
        GucRegistry::define_string_guc_with_hooks(
            c"tenancy.maintenance_reason",
            c"Gives each transaction that needs a context all rows, as tenancy.maintenance() with this reason does.",
            c"For roles with tenancy_admin; for other roles it does nothing. Empty for none.",
            &MAINTENANCE_REASON,
            GucContext::Userset,
            GucFlags::DISALLOW_IN_FILE,
            Some(check_maintenance_reason),
            Some(assign_maintenance_reason),
            None,
        );
    }
    GucRegistry::define_enum_guc(
        c"tenancy.missing_context",
        c"Whether a query on a protected table without a context fails or returns no rows: error or empty.",
        c"It returns rows in neither case.",
        &MISSING,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"tenancy.allow_bypassrls",
        c"Allows a role that bypasses row security to enter a context.",
        c"Such a role reads all rows in any context; only a superuser can allow it.",
        &ALLOW_BYPASS,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"tenancy.pooled",
        c"Keeps nothing of a transaction in the session: for roles whose connections many clients share.",
        c"Forbids session contexts. When a transaction ends, undoes what it set for the session.",
        &POOLED,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"tenancy.index_search",
        c"Which indexes of protected tables conditions may search that reveal nothing but are not leakproof: own, all or off.",
        c"own: those that are searched by tenant too. all: also others; the time of a search then depends on rows of all tenants. off: none.",
        &INDEX_SEARCH,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"tenancy.publish_secrets",
        c"Lets logical replication send the keys that sign tickets and the secrets of identity providers.",
        c"Where it is off, a publication leaves out those that are written then, and a subscriber's first copy all of them.",
        &PUBLISH_SECRETS,
        GucContext::Suset,
        GucFlags::default(),
    );
    // SAFETY: a C string that lives until the process exits.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"tenancy".as_ptr()) };
}

/// Returns the current token, created by this library for this backend.
#[inline]
pub fn token() -> Option<Token> {
    TOKEN.get()
}

/// Returns whether a ticket is set.
#[inline]
pub fn has_ticket() -> bool {
    HAS_TICKET.get()
}

/// Returns whether this session ever had a session context, which may be below the transaction's.
pub fn session_context_possible() -> bool {
    SESSION_CONTEXT.get()
}

/// Returns the ticket in force, if the setting is not empty.
pub fn ticket() -> Option<Rc<str>> {
    if !has_ticket() {
        return None;
    }
    KNOWN_TICKET.with_borrow_mut(|known| {
        if known.is_none() {
            *known = TICKET.get().map(|text| text.to_string_lossy().into());
        }
        known.clone()
    })
}

/// Returns the reason for maintenance in every transaction, if the setting is not empty.
pub fn maintenance_reason() -> Option<String> {
    MAINTENANCE_REASON
        .get()
        .filter(|reason| !reason.is_empty())
        .map(|reason| reason.to_string_lossy().into_owned())
}

/// Returns whether logical replication may send secrets.
pub fn publish_secrets() -> bool {
    PUBLISH_SECRETS.get()
}

/// Returns whether a missing context is an error.
pub fn missing_is_error() -> bool {
    matches!(MISSING.get(), MissingContext::Error)
}

/// Returns the setting standard_conforming_strings.
pub fn standard_strings() -> bool {
    // SAFETY: reads a static of the server.
    unsafe { pg_sys::standard_conforming_strings }
}

/// Returns the setting row_security: whether queries are filtered, or else refused.
pub fn row_security() -> bool {
    // SAFETY: reads a static of the server.
    unsafe { pg_sys::row_security }
}

/// Returns whether a superuser allowed roles that bypass row security.
pub fn bypass_allowed() -> bool {
    ALLOW_BYPASS.get()
}

/// Returns whether a superuser declared that many clients share the session.
pub fn pooled() -> bool {
    POOLED.get()
}

/// Returns which indexes conditions may search that are not leakproof.
pub fn index_search() -> IndexSearch {
    INDEX_SEARCH.get()
}

/// Returns whether there is a session context.
pub fn has_session_context() -> bool {
    TOKEN
        .get()
        .is_some_and(|token| token.lifetime == Lifetime::Session)
}

/// Sets the context. The only function that sets it.
pub fn set_token(token: &Token) -> Option<()> {
    if token.lifetime == Lifetime::Session {
        SESSION_CONTEXT.set(true);
    }
    let text = CString::new(token.encode(&secret::key()?, KEY_ID)).ok()?;
    let session = token.lifetime == Lifetime::Session;
    SIGNED.set(Some((text.clone(), *token)));
    SETTING.set(true);
    set(c"tenancy.context", &text, session);
    SETTING.set(false);
    SIGNED.take();
    Some(())
}

/// Clears context and ticket for the session.
pub fn clear() {
    set(c"tenancy.context", UNSET, true);
    clear_ticket();
}

/// Clears the ticket for the session.
pub fn clear_ticket() {
    set(c"tenancy.ticket", UNSET, true);
}

fn set(name: &CStr, value: &CStr, session: bool) {
    let action = if session {
        pg_sys::GucAction::GUC_ACTION_SET
    } else {
        pg_sys::GucAction::GUC_ACTION_LOCAL
    };
    // SAFETY: both strings outlive the call; the server copies them.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            0,
            false,
        );
    }
}

/// Returns whether a token was created for this backend, and for this transaction or session. A parallel worker
/// accepts its leader's: it has the same transaction start, and the session is the leader's as long as that
/// process lives.
pub fn bound_here(token: &Token) -> bool {
    match (session::parallel_leader(), token.lifetime) {
        (None, _) => token.binding == binding(token.lifetime),
        (Some(leader), Lifetime::Session) => token.binding.backend == leader,
        (Some(leader), Lifetime::Transaction) => {
            token.binding.backend == leader && token.binding.started == xact::transaction_started()
        }
    }
}

/// Returns the binding of a token created now.
pub fn binding(lifetime: Lifetime) -> Binding {
    let started = match lifetime {
        Lifetime::Transaction => xact::transaction_started(),
        Lifetime::Session => session::started(),
    };
    Binding {
        backend: session::backend(),
        started,
    }
}

/// Returns a setting's new value as a hook gets it: NULL is none.
///
/// # Safety
/// NULL or a C string, which lives as long as the hook uses it.
unsafe fn value_of<'a>(value: *const c_char) -> &'a CStr {
    if value.is_null() {
        return UNSET;
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(value) }
}

#[pg_guard]
unsafe extern "C-unwind" fn check_context(
    newval: *mut *mut c_char,
    extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: the server passes a pointer to the new value.
    let text = unsafe { value_of(*newval) };
    if text.is_empty() {
        return true;
    }
    let signed = SIGNED.with_borrow(|signed| {
        let signed = signed
            .as_ref()
            .filter(|(known, _)| known.as_c_str() == text);
        signed.map(|(_, token)| *token)
    });
    let token = signed
        .or_else(|| Token::decode(text.to_str().ok()?, &secret::key()?, KEY_ID).ok())
        .filter(bound_here);
    // SAFETY: `extra` is ours to fill with malloc'ed memory that the server frees; the message
    // strings are static and the server only reads them.
    unsafe {
        let Some(token) = token else {
            pg_sys::GUC_check_errcode(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE as i32);
            // Without this message the server would print the value.
            pg_sys::GUC_check_errmsg_string =
                c"tenancy.context cannot be set by hand".as_ptr().cast_mut();
            pg_sys::GUC_check_errhint_string =
                c"Use tenancy.authenticate(credential), or SET tenancy.ticket."
                    .as_ptr()
                    .cast_mut();
            return false;
        };
        let memory = guc_alloc(size_of::<Token>()).cast::<Token>();
        if memory.is_null() {
            return false;
        }
        memory.write(token);
        *extra = memory.cast();
    }
    true
}

unsafe fn guc_alloc(size: usize) -> *mut c_void {
    // SAFETY: plain allocation; up to 15 the server frees `extra` with free(), from 16 with guc_free().
    #[cfg(feature = "pg15")]
    unsafe {
        libc::malloc(size)
    }
    // SAFETY: as above.
    #[cfg(not(feature = "pg15"))]
    unsafe {
        pg_sys::guc_malloc(pg_sys::LOG as i32, size)
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn assign_context(_newval: *const c_char, extra: *mut c_void) {
    // SAFETY: `extra` is NULL or what check_context left for this value.
    TOKEN.set(unsafe { extra.cast::<Token>().as_ref().copied() });
    xact::new_generation();
    // An error in set_token() leaves it on for one more change.
    let set_by_us = SETTING.replace_with(false);
    if let Some(on_return) = ON_RETURN.get()
        && !set_by_us
        && (TOKEN.get().is_some() || has_ticket())
    {
        on_return();
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn show_context() -> *const c_char {
    if TOKEN.get().is_some() {
        SEALED.as_ptr()
    } else {
        UNSET.as_ptr()
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn check_ticket(
    _newval: *mut *mut c_char,
    _extra: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    // ALTER ROLE, ALTER DATABASE and CREATE FUNCTION … SET check values in this way. Every role can
    // read what they store.
    if source != pg_sys::GucSource::PGC_S_TEST {
        return true;
    }
    // SAFETY: static strings that the server only reads.
    unsafe {
        pg_sys::GUC_check_errcode(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE as i32);
        pg_sys::GUC_check_errmsg_string = c"tenancy.ticket cannot be stored in the catalogs"
            .as_ptr()
            .cast_mut();
        pg_sys::GUC_check_errhint_string =
            c"Every role could read it there. SET it in the session, or in the startup packet."
                .as_ptr()
                .cast_mut();
    }
    false
}

#[pg_guard]
unsafe extern "C-unwind" fn check_maintenance_reason(
    newval: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: the server passes a pointer to the new value.
    let reason = unsafe { value_of(*newval) };
    if reason.is_empty()
        || reason
            .to_str()
            .is_ok_and(|reason| check_reason(reason).is_ok())
    {
        return true;
    }
    // SAFETY: a static string that the server only reads.
    unsafe {
        pg_sys::GUC_check_errdetail_string =
            c"A reason is one line of 1 to 300 printable characters."
                .as_ptr()
                .cast_mut();
    }
    false
}

#[pg_guard]
unsafe extern "C-unwind" fn assign_maintenance_reason(_newval: *const c_char, _extra: *mut c_void) {
    if let Some(on_reason) = ON_REASON.get() {
        on_reason();
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn assign_ticket(newval: *const c_char, _extra: *mut c_void) {
    xact::new_generation();
    KNOWN_TICKET.set(None);
    // SAFETY: the server passes the new value.
    let text = unsafe { value_of(newval) };
    HAS_TICKET.set(!text.is_empty());
    if let (Ok(text), Some(on_ticket)) = (text.to_str(), ON_TICKET.get()) {
        on_ticket(text);
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn show_ticket() -> *const c_char {
    match TICKET.get() {
        Some(text) if !text.is_empty() => SEALED.as_ptr(),
        _ => UNSET.as_ptr(),
    }
}
