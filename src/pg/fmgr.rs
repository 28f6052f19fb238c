//! C functions that are called per row: arguments are read where they lie, answers are kept with the
//! call site, nothing is allocated.

use std::cell::Cell;
use std::ffi::c_void;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::published::Which;
use crate::error::Error;

/// What a function answers.
#[derive(Clone, Copy)]
pub enum Answer {
    /// SQL NULL.
    Null,
    /// A boolean.
    Bool(bool),
    /// A bigint.
    Int8(i64),
    /// An integer.
    Int4(i32),
    /// A value that the call site keeps; see [`Call::keep`].
    Kept(Kept),
}

/// The address of a value that lives as long as the query.
#[derive(Clone, Copy)]
pub struct Kept(pg_sys::Datum);

/// What a call site may see, found out once per generation.
#[derive(Clone, Copy)]
pub enum View {
    /// No row.
    Nothing,
    /// Every row.
    Everything,
    /// The rows of one tenant.
    One {
        /// Its id.
        id: [u8; 16],
        /// Its external id as an integer.
        int: Option<i64>,
    },
    /// The rows of a published set.
    Set(Which),
}

const PERMISSION_BYTES: usize = 64;

/// A call site's memory between rows.
pub struct Site {
    generation: u64,
    permission: [u8; PERMISSION_BYTES],
    permission_len: usize,
    view: View,
    kept: Cell<Option<Kept>>,
}

/// One call.
pub struct Call(pg_sys::FunctionCallInfo);

impl Call {
    /// Wraps what the server passed.
    ///
    /// # Safety
    /// `fcinfo` is valid for the call, and has the arguments that the SQL declaration gives it.
    pub unsafe fn new(fcinfo: pg_sys::FunctionCallInfo) -> Self {
        Self(fcinfo)
    }

    fn arg(&self, n: usize) -> pg_sys::NullableDatum {
        // SAFETY: the SQL declaration has at least n + 1 arguments; the body names no more.
        unsafe { *(*self.0).args.as_ptr().add(n) }
    }

    /// Whether argument `n` is NULL; only functions that are not STRICT need to ask.
    #[inline]
    pub fn is_null(&self, n: usize) -> bool {
        self.arg(n).isnull
    }

    /// Argument `n`, a uuid.
    #[inline]
    pub fn uuid(&self, n: usize) -> &[u8; 16] {
        // SAFETY: a uuid datum is the address of 16 bytes that live as long as the call.
        unsafe { &*self.arg(n).value.cast_mut_ptr::<[u8; 16]>() }
    }

    /// Argument `n`, a bigint.
    #[inline]
    pub fn int8(&self, n: usize) -> i64 {
        self.arg(n).value.value() as i64
    }

    /// Argument `n`, an integer.
    #[inline]
    pub fn int4(&self, n: usize) -> i32 {
        self.arg(n).value.value() as i32
    }

    /// Argument `n`, a text; unpacked only if it is compressed or stored out of line.
    #[inline]
    pub fn text(&self, n: usize) -> &[u8] {
        // SAFETY: a text datum is a varlena; the packed form returned here is plain, short or long,
        // and lives as long as the call.
        unsafe {
            let text = pg_sys::pg_detoast_datum_packed(self.arg(n).value.cast_mut_ptr());
            let len = pgrx::varsize_any_exhdr(text);
            std::slice::from_raw_parts(pgrx::vardata_any(text).cast::<u8>(), len)
        }
    }

    /// The view of this call site for the permission in argument 0: `find` is asked once per
    /// generation and permission.
    #[inline]
    pub fn view(&self, find: fn(&[u8]) -> Result<View, Error>) -> Result<View, Error> {
        let permission = self.text(0);
        if let Some(site) = self.site()
            && site.generation == super::xact::generation()
            && site.permission.get(..site.permission_len) == Some(permission)
        {
            return Ok(site.view);
        }
        self.find_view(permission, find)
    }

    #[cold]
    fn find_view(
        &self,
        permission: &[u8],
        find: fn(&[u8]) -> Result<View, Error>,
    ) -> Result<View, Error> {
        let view = find(permission)?;
        if permission.len() > PERMISSION_BYTES {
            // Longer than any permission that is granted: not worth remembering.
            return Ok(view);
        }
        let mut copy = [0; PERMISSION_BYTES];
        copy[..permission.len()].copy_from_slice(permission);
        self.remember(Site {
            // After `find`, which may itself have begun a generation.
            generation: super::xact::generation(),
            permission: copy,
            permission_len: permission.len(),
            view,
            kept: Cell::new(None),
        });
        Ok(view)
    }

    #[inline]
    fn site(&self) -> Option<&Site> {
        // SAFETY: fn_extra is NULL or the Site that `remember` put there.
        unsafe { (*(*self.0).flinfo).fn_extra.cast::<Site>().as_ref() }
    }

    fn remember(&self, site: Site) {
        // SAFETY: allocated in the memory that lives as long as the call site; Site has no destructor.
        unsafe {
            let flinfo = (*self.0).flinfo;
            if (*flinfo).fn_extra.is_null() {
                (*flinfo).fn_extra =
                    pg_sys::MemoryContextAlloc((*flinfo).fn_mcxt, size_of::<Site>());
            }
            (*flinfo).fn_extra.cast::<Site>().write(site);
        }
    }

    /// A value kept with the call site, made by `make` if the site has none for its view yet.
    /// Earlier values stay valid until the query ends.
    #[inline]
    pub fn keep(&self, make: impl FnOnce() -> Value) -> Answer {
        if let Some(kept) = self.site().and_then(|site| site.kept.get()) {
            return Answer::Kept(kept);
        }
        let kept = Kept(self.build(make()));
        if let Some(site) = self.site() {
            site.kept.set(Some(kept));
        }
        Answer::Kept(kept)
    }

    fn build(&self, value: Value) -> pg_sys::Datum {
        // SAFETY: built in the memory of the call site, which is the current context only here.
        unsafe {
            let previous = pg_sys::MemoryContextSwitchTo((*(*self.0).flinfo).fn_mcxt);
            let datum = value.into_datum();
            pg_sys::MemoryContextSwitchTo(previous);
            datum.unwrap_or(pg_sys::Datum::from(0))
        }
    }
}

/// A value to keep.
pub enum Value {
    /// A uuid.
    Uuid([u8; 16]),
    /// A text.
    Text(String),
    /// An array of uuids.
    Uuids(Vec<pgrx::Uuid>),
    /// An array of bigints.
    Int8s(Vec<i64>),
    /// An array of integers.
    Int4s(Vec<i32>),
    /// An array of texts.
    Texts(Vec<String>),
}

impl Value {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        match self {
            Value::Uuid(bytes) => pgrx::Uuid::from_bytes(bytes).into_datum(),
            Value::Text(text) => text.into_datum(),
            Value::Uuids(values) => values.into_datum(),
            Value::Int8s(values) => values.into_datum(),
            Value::Int4s(values) => values.into_datum(),
            Value::Texts(values) => values.into_datum(),
        }
    }
}

/// Runs a body and hands its answer, or its error, to the server.
///
/// # Safety
/// As for [`Call::new`].
#[inline]
pub unsafe fn answer(
    fcinfo: pg_sys::FunctionCallInfo,
    body: impl FnOnce(&Call) -> Result<Answer, Error>,
) -> pg_sys::Datum {
    // SAFETY: the caller's promise.
    let call = unsafe { Call::new(fcinfo) };
    match body(&call) {
        Ok(Answer::Bool(value)) => pg_sys::Datum::from(value),
        Ok(Answer::Int8(value)) => pg_sys::Datum::from(value),
        Ok(Answer::Int4(value)) => pg_sys::Datum::from(value),
        Ok(Answer::Kept(Kept(datum))) => datum,
        Ok(Answer::Null) => {
            // SAFETY: as above.
            unsafe { (*fcinfo).isnull = true };
            pg_sys::Datum::from(0)
        }
        Err(error) => error.raise(),
    }
}

/// A support function's answer: a node, or no opinion.
///
/// # Safety
/// As for [`Call::new`]; argument 0 is a planner request.
pub unsafe fn request(fcinfo: pg_sys::FunctionCallInfo) -> *mut pg_sys::Node {
    // SAFETY: the caller's promise.
    unsafe { (*(*fcinfo).args.as_ptr()).value.cast_mut_ptr() }
}

/// Keeps the type of `fn_extra` from being mistaken for anything with a destructor.
const _: () = assert!(!std::mem::needs_drop::<Site>() && size_of::<*mut c_void>() > 0);

/// Declares a C function for hand-written `CREATE FUNCTION … LANGUAGE c`.
#[macro_export]
macro_rules! c_function {
    ($symbol:ident, $finfo:ident, $body:path) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub extern "C" fn $finfo() -> &'static pgrx::pg_sys::Pg_finfo_record {
            const V1: pgrx::pg_sys::Pg_finfo_record =
                pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &V1
        }

        #[doc(hidden)]
        #[unsafe(no_mangle)]
        #[pgrx::pg_guard]
        pub unsafe extern "C-unwind" fn $symbol(
            fcinfo: pgrx::pg_sys::FunctionCallInfo,
        ) -> pgrx::pg_sys::Datum {
            let body = $body;
            // SAFETY: the server calls this as sql/ declares it.
            unsafe { $crate::pg::fmgr::answer(fcinfo, body) }
        }
    };
}

/// Declares a planner support function.
#[macro_export]
macro_rules! support_function {
    ($symbol:ident, $finfo:ident, $body:path) => {
        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub extern "C" fn $finfo() -> &'static pgrx::pg_sys::Pg_finfo_record {
            const V1: pgrx::pg_sys::Pg_finfo_record =
                pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
            &V1
        }

        #[doc(hidden)]
        #[unsafe(no_mangle)]
        #[pgrx::pg_guard]
        pub unsafe extern "C-unwind" fn $symbol(
            fcinfo: pgrx::pg_sys::FunctionCallInfo,
        ) -> pgrx::pg_sys::Datum {
            let body = $body;
            // SAFETY: the planner calls this with one request; «no opinion» is a zero that is not NULL.
            unsafe { $crate::pg::support::answer($crate::pg::fmgr::request(fcinfo), body) }
        }
    };
}
