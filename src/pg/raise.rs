//! Raises the errors of the catalogue, with the name of their kind where every driver reads it: CONSTRAINT NAME, in
//! SCHEMA NAME tenancy.
//!
//! pgrx has no such fields, and drops them where an error of the server passes through Rust. It keeps the names of the
//! function and the file that raised the error. So a kind travels as the function's name. The server calls `reported` for
//! each error, before it looks for a handler, and that fills in the fields.

use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::null_mut;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenancy_core::error::find;

use super::cell::BackendCell;
use crate::error::{Error, ErrorReport};

/// The fields in a message of the protocol.
const SCHEMA_NAME: c_int = pg_sys::PG_DIAG_SCHEMA_NAME as c_int;
const CONSTRAINT_NAME: c_int = pg_sys::PG_DIAG_CONSTRAINT_NAME as c_int;

/// A SQLSTATE's class: its first two characters, of six bits each.
const CLASS_BITS: c_int = 0xFFF;
/// The classes of messages that are not errors: 00 and 01.
const SUCCESS: c_int = 0;
const WARNING: c_int = 1 << 6;

/// Returns a hint, if there is one.
type Hint = fn() -> Option<CString>;

static ON_OUT_OF_MEMORY: BackendCell<Option<fn()>> = BackendCell::new(None);
static ON_REFUSED_ROW: BackendCell<Option<Hint>> = BackendCell::new(None);

/// How the server's message begins for a new row that a policy refuses, and what it has if the row is an old one.
const REFUSED_ROW: &[u8] = b"new row violates row-level security policy";
const OLD_ROW: &[u8] = b"(USING expression)";

struct Watcher(UnsafeCell<pg_sys::ErrorContextCallback>);

// SAFETY: a backend has one thread that reaches it.
unsafe impl Sync for Watcher {}

static WATCHER: Watcher = Watcher(UnsafeCell::new(pg_sys::ErrorContextCallback {
    previous: null_mut(),
    callback: Some(reported),
    arg: null_mut(),
}));

// utils/elog.h, called as C calls it: pgrx's would catch what they raise.
unsafe extern "C" {
    fn geterrcode() -> c_int;
    fn CopyErrorData() -> *mut pg_sys::ErrorData;
    fn FreeErrorData(error: *mut pg_sys::ErrorData);
    fn err_generic_string(field: c_int, value: *const c_char) -> c_int;
    fn errhint(format: *const c_char, ...) -> c_int;
}

impl Error {
    /// Raises the error.
    pub fn raise(self) -> ! {
        ErrorReport::from(self).report(PgLogLevel::ERROR);
        unreachable!("an ERROR does not return")
    }
}

impl From<Error> for ErrorReport {
    fn from(error: Error) -> Self {
        // Also where nothing has been planned or run yet, as in the input of a constant.
        watch();
        let (kind, arguments) = error.parts();
        let mut texts = kind.fill(&arguments);
        if let Error::OfElement(n, _) = error {
            let detail = texts
                .detail
                .map_or(String::new(), |detail| format!(" {detail}"));
            texts.detail = Some(format!("Element {n} of the array.{detail}"));
        }
        let mut report = Self::new(code(kind.sqlstate), texts.message, kind.name);
        if let Some(detail) = texts.detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = texts.hint {
            report = report.set_hint(hint);
        }
        report
    }
}

/// As the server packs a SQLSTATE: six bits a character, the first lowest.
fn code(sqlstate: &str) -> PgSqlErrorCode {
    let packed = sqlstate.bytes().rev().fold(0, |code, character| {
        (code << 6) | (i32::from(character.wrapping_sub(b'0')) & 0x3F)
    });
    packed.into()
}

/// Whether a function, a trigger or the like runs the statement from inside: each leaves a callback on the server's stack,
/// below which is the one of this module.
pub fn is_inside_another() -> bool {
    // SAFETY: reads the server's stack of error callbacks, whose frames are alive.
    unsafe {
        let top = pg_sys::error_context_stack;
        !top.is_null() && top != WATCHER.0.get()
    }
}

/// Has `make_room` called when the server is out of memory, before it throws the error.
pub fn on_out_of_memory(make_room: fn()) {
    ON_OUT_OF_MEMORY.set(Some(make_room));
}

/// Has `hint` called when a policy refuses a new row, and its answer given as the hint of the error.
pub fn on_refused_row(hint: Hint) {
    ON_REFUSED_ROW.set(Some(hint));
}

/// Makes the server call `reported` for errors in the running code.
pub fn watch() {
    // SAFETY: the list of callbacks belongs to the frames that are running; ours is a static
    // at the end of the list. A frame that ends restores its next one, which is ours.
    unsafe {
        let ours = WATCHER.0.get();
        let mut link = &raw mut pg_sys::error_context_stack;
        while !(*link).is_null() && *link != ours {
            link = &raw mut (**link).previous;
        }
        *link = ours;
    }
}

/// Called by the server for each message that it reports, before it looks for a handler.
unsafe extern "C-unwind" fn reported(_: *mut c_void) {
    // SAFETY: the server is reporting a message. The copy is made outside of the server's memory for errors, and freed. Nothing
    // here has a destructor.
    unsafe {
        let code = geterrcode();
        if code == PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY as c_int {
            // There is no memory for a copy either.
            if let Some(make_room) = ON_OUT_OF_MEMORY.get() {
                make_room();
            }
            return;
        }
        if matches!(code & CLASS_BITS, SUCCESS | WARNING) {
            return;
        }
        let context = pg_sys::CurrentMemoryContext;
        pg_sys::CurrentMemoryContext = pg_sys::TopMemoryContext;
        let error = CopyErrorData();
        if is_ours(&*error) {
            err_generic_string(SCHEMA_NAME, c"tenancy".as_ptr());
            err_generic_string(CONSTRAINT_NAME, (*error).funcname);
        } else if code == PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE as c_int
            && refuses_row(&*error)
            && let Some(hint) = ON_REFUSED_ROW.get().and_then(|hint| hint())
        {
            let hint = hint.into_raw();
            errhint(c"%s".as_ptr(), hint);
            drop(CString::from_raw(hint));
        }
        FreeErrorData(error);
        pg_sys::CurrentMemoryContext = context;
    }
}

/// Whether an error is the server's, of a policy that refuses a new row. Messages are compared as the server's sources have them,
/// before they are translated.
unsafe fn refuses_row(error: &pg_sys::ErrorData) -> bool {
    if error.message_id.is_null() || !error.hint.is_null() {
        return false;
    }
    // SAFETY: a literal of the server's.
    let message = unsafe { CStr::from_ptr(error.message_id) }.to_bytes();
    message.starts_with(REFUSED_ROW) && !message.windows(OLD_ROW.len()).any(|part| part == OLD_ROW)
}

/// Whether an error was made here, and has no name yet: one of a parallel worker's has.
unsafe fn is_ours(error: &pg_sys::ErrorData) -> bool {
    if error.filename.is_null() || error.funcname.is_null() || !error.constraint_name.is_null() {
        return false;
    }
    // SAFETY: both are C strings, which live as long as the error.
    let (file, function) = unsafe {
        (
            CStr::from_ptr(error.filename),
            CStr::from_ptr(error.funcname),
        )
    };
    // The server cuts directories off.
    file.to_bytes() == b"raise.rs" && function.to_str().is_ok_and(|name| find(name).is_some())
}
