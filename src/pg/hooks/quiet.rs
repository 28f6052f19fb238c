//! Keeps the arguments of functions that take secrets out of the server's log, of pg_stat_statements and of pg_stat_activity.
//!
//! The server logs a statement before anything of it runs, so this changes what is logged. A statement that only calls
//! another function, which calls one of these, is known when it does.

use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use pgrx::pg_sys;
use tenancy_core::audit::quiet::{is_quiet, quieted, without_quoted};

use super::source;
use crate::pg::cell::BackendCell;
use crate::pg::guc;

static PREVIOUS_LOG: BackendCell<pg_sys::emit_log_hook_type> = BackendCell::new(None);
static PREVIOUS_ANALYZE: BackendCell<pg_sys::post_parse_analyze_hook_type> = BackendCell::new(None);

/// What pg_stat_activity shows of a statement that sets a secret.
const SHOWN: &CStr = c"SELECT tenancy.set_secret(?)";

/// Installs the hooks.
pub fn init() {
    // SAFETY: set once, in _PG_init; the previous hooks are kept and called.
    unsafe {
        PREVIOUS_LOG.set(pg_sys::emit_log_hook);
        pg_sys::emit_log_hook = Some(emit_log);
        PREVIOUS_ANALYZE.set(pg_sys::post_parse_analyze_hook);
        pg_sys::post_parse_analyze_hook = Some(analyzed);
    }
}

/// What takes the place of CONTEXT and QUERY.
const HIDDEN: &str = "(not shown: the statement sets a secret)";

/// The start of the last statement that called such a function.
static CALLED: BackendCell<i64> = BackendCell::new(i64::MIN);

/// Called by such a function: replaces the text of the running statement in pg_stat_activity, and keeps it out of what is
/// logged from now on, also if it names another function.
pub fn called() {
    // SAFETY: a C string, which the server copies; reads a static of the server.
    unsafe {
        CALLED.set(pg_sys::GetCurrentStatementStartTimestamp());
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, SHOWN.as_ptr());
    }
}

/// Called for each message that goes to the log. Raises no error: the server is reporting one.
unsafe extern "C-unwind" fn emit_log(error: *mut pg_sys::ErrorData) {
    // SAFETY: the server passes the message, which lives for the call; a previous hook gets it as well.
    unsafe {
        if catch_unwind(AssertUnwindSafe(|| hide(&mut *error))).is_err() {
            (*error).output_to_server = false;
        }
        #[allow(ffi_unwind_calls)] // errors pass by
        if let Some(previous) = PREVIOUS_LOG.get() {
            previous(error);
        }
    }
}

unsafe fn hide(error: &mut pg_sys::ErrorData) {
    // SAFETY: NULL or C strings of the server's. New ones live as long as the message.
    unsafe {
        let other = [
            error.detail,
            error.detail_log,
            error.context,
            error.internalquery,
        ];
        if !(CALLED.get() == pg_sys::GetCurrentStatementStartTimestamp()
            || names(pg_sys::debug_query_string)
            || names(error.message)
            || other.into_iter().any(|text| names(text)))
        {
            return;
        }
        error.hide_stmt = true;
        let is_error = error.elevel >= pg_sys::PGERROR as i32;
        let quiet = |text: &str| quieted(text, guc::standard_strings());
        let context = error.assoc_context;
        for text in [&mut error.message, &mut error.detail, &mut error.detail_log] {
            // Of an error: words of the server, and what they quote of the statement.
            replace(text, context, |text| match is_error {
                true => without_quoted(text),
                false => quiet(text),
            });
        }
        // Statements within quotes, of any depth.
        for text in [&mut error.context, &mut error.internalquery] {
            replace(text, context, |_| HIDDEN.to_owned());
        }
    }
}

/// Whether a text names such a function.
unsafe fn names(text: *const c_char) -> bool {
    // SAFETY: NULL or a C string, as the caller promises.
    !text.is_null() && is_quiet(unsafe { CStr::from_ptr(text) }.to_bytes())
}

unsafe fn replace(
    text: &mut *mut c_char,
    context: pg_sys::MemoryContext,
    with: impl Fn(&str) -> String,
) {
    if text.is_null() {
        return;
    }
    // SAFETY: a C string of the server's; the copy is made in the memory of the message.
    unsafe {
        let new = with(&CStr::from_ptr(*text).to_string_lossy());
        let new = CString::new(new).unwrap_or_default();
        *text = pg_sys::MemoryContextStrdup(context, new.as_ptr());
    }
}

/// Called after a statement was analyzed. Without a number pg_stat_statements keeps no utility statement, whose text would
/// have its literals; those of others it replaces itself.
unsafe extern "C-unwind" fn analyzed(
    state: *mut pg_sys::ParseState,
    query: *mut pg_sys::Query,
    jumble: *mut pg_sys::JumbleState,
) {
    // SAFETY: the server passes the statement and its text; a previous hook gets the same.
    unsafe {
        #[allow(ffi_unwind_calls)] // errors pass by
        if let Some(previous) = PREVIOUS_ANALYZE.get() {
            previous(state, query, jumble);
        }
        let query = &mut *query;
        if query.commandType == pg_sys::CmdType::CMD_UTILITY
            && is_quiet(source::part(
                (*state).p_sourcetext,
                query.stmt_location,
                query.stmt_len,
            ))
        {
            query.queryId = 0;
        }
    }
}
