//! C functions that are called for each row: they read arguments in place, cache results with the call site, and
//! allocate nothing.

use std::cell::Cell;
use std::ffi::c_void;

use pgrx::pg_sys;
use pgrx::prelude::*;
use tenancy_core::time::Instant;

use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::heap_insert::Json;
use crate::pg::tenant_sets::Slot;
use crate::pg::{numeric_text, time};

/// The result of a function.
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
    /// A value that the call site caches; see [`Call::keep`].
    Kept(Kept),
}

impl Answer {
    /// Returns a text, in the current memory context.
    pub fn text(text: &str) -> Self {
        Self::of(text.into_datum())
    }

    /// Returns a jsonb, likewise.
    pub fn json(value: serde_json::Value) -> Self {
        Self::of(pgrx::JsonB(value).into_datum())
    }

    fn of(datum: Option<pg_sys::Datum>) -> Self {
        datum.map_or(Self::Null, |datum| Self::Kept(Kept(datum)))
    }
}

/// The address of a value that lives as long as the query.
#[derive(Clone, Copy)]
pub struct Kept(pub(super) pg_sys::Datum);

/// What a call site may see, computed once per generation.
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
        /// The set that contains only it.
        set: Slot,
    },
    /// The rows of a published set.
    Set(Slot),
    /// The rows of some projects.
    Projects {
        /// Tenants whose rows are all visible, in any project.
        whole: Slot,
        /// The projects.
        projects: Slot,
        /// Tenants whose rows without a project are not visible.
        closed: Slot,
    },
}

/// A jsonb argument.
pub struct JsonArgument {
    /// The value.
    pub json: Json,
    /// Its size.
    pub bytes: usize,
    /// Whether it is an object.
    pub is_object: bool,
}

const PERMISSION_BYTES: usize = 64;

static ASKING: BackendCell<pg_sys::MemoryContext> = BackendCell::new(std::ptr::null_mut());

/// Returns the memory context of the query whose call site is computing its view.
pub fn asking() -> pg_sys::MemoryContext {
    ASKING.get()
}

/// A call site that is computing its view, also until an error.
struct Asking;

impl Asking {
    fn of(memory: pg_sys::MemoryContext) -> Self {
        ASKING.set(memory);
        Self
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        ASKING.set(std::ptr::null_mut());
    }
}

/// The state of a call site between rows.
pub struct Site {
    generation: u64,
    permission: [u8; PERMISSION_BYTES],
    permission_len: usize,
    view: View,
    kept: Cell<Option<Kept>>,
    /// Whether the permission is a constant of the statement, the same for all rows.
    fixed: bool,
}

/// One call.
pub struct Call(pg_sys::FunctionCallInfo);

impl Call {
    /// Wraps the server's call info.
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

    /// Returns whether argument `n` is NULL; only functions that are not STRICT need to check.
    #[inline]
    pub fn is_null(&self, n: usize) -> bool {
        self.arg(n).isnull
    }

    /// Returns argument `n`, a uuid.
    #[inline]
    pub fn uuid(&self, n: usize) -> &[u8; 16] {
        // SAFETY: a uuid datum is the address of 16 bytes that live as long as the call.
        unsafe { &*self.arg(n).value.cast_mut_ptr::<[u8; 16]>() }
    }

    /// Returns argument `n`, a bigint.
    #[inline]
    pub fn int8(&self, n: usize) -> i64 {
        self.arg(n).value.value() as i64
    }

    /// Returns argument `n`, an integer.
    #[inline]
    pub fn int4(&self, n: usize) -> i32 {
        self.arg(n).value.value() as i32
    }

    /// Returns argument `n`, a text; unpacked only if it is compressed or stored out of line.
    #[inline]
    pub fn text(&self, n: usize) -> &[u8] {
        self.packed(n)
    }

    /// Returns the bytes of argument `n`, a varlena.
    #[inline]
    fn packed(&self, n: usize) -> &[u8] {
        // SAFETY: a varlena is plain, short or long, or else the server makes it so; it lives as long as
        // the call.
        unsafe {
            let mut datum = self.arg(n).value.cast_mut_ptr::<pg_sys::varlena>();
            if pgrx::varatt_is_1b_e(datum) || pgrx::varatt_is_4b_c(datum) {
                datum = pg_sys::pg_detoast_datum_packed(datum);
            }
            let len = pgrx::varsize_any_exhdr(datum);
            std::slice::from_raw_parts(pgrx::vardata_any(datum).cast::<u8>(), len)
        }
    }

    /// Returns argument `n`, a text, as a string.
    pub fn str(&self, n: usize) -> Result<&str, Error> {
        std::str::from_utf8(self.text(n)).map_err(|_| Error::Internal("a text that is not UTF-8"))
    }

    /// Returns argument `n`, a timestamptz.
    #[inline]
    pub fn instant(&self, n: usize) -> Instant {
        time::from_server(self.int8(n))
    }

    /// Returns argument `n`, a numeric, in the server's stored form.
    #[inline]
    pub fn stored_numeric(&self, n: usize) -> &[u8] {
        self.packed(n)
    }

    /// Returns argument `n`, a numeric, in the server's text form.
    pub fn numeric(&self, n: usize) -> &str {
        // SAFETY: a numeric; the current memory context outlives the call.
        unsafe { numeric_text::of(self.arg(n).value) }
    }

    /// Returns argument `n`, a jsonb.
    pub fn json(&self, n: usize) -> JsonArgument {
        /// utils/jsonb.h: the root is an object.
        const OBJECT: u32 = 0x2000_0000;
        // SAFETY: a jsonb datum is a varlena; unpacked, it is aligned and begins with its root's header.
        unsafe {
            let json = pg_sys::pg_detoast_datum(self.arg(n).value.cast_mut_ptr());
            let bytes = pgrx::varsize_any_exhdr(json);
            let root = pgrx::vardata_any(json).cast::<u32>().read_unaligned();
            JsonArgument {
                json: Json(pg_sys::Datum::from(json)),
                bytes,
                is_object: root & OBJECT != 0,
            }
        }
    }

    /// Returns a uuid as the result.
    pub fn uuid_answer(&self, id: [u8; 16]) -> Answer {
        Answer::Kept(Kept(
            Value::Uuid(id)
                .into_datum()
                .unwrap_or(pg_sys::Datum::from(0)),
        ))
    }

    /// Returns the view of this call site for the permission in argument 0. Calls `find` once per generation
    /// and permission.
    #[inline]
    pub fn view(&self, find: fn(&[u8]) -> Result<View, Error>) -> Result<View, Error> {
        if let Some(site) = self.site()
            && site.generation == crate::pg::xact::generation()
            && (site.fixed || site.permission.get(..site.permission_len) == Some(self.text(0)))
        {
            return Ok(site.view);
        }
        self.find_view(self.text(0), find)
    }

    /// Returns the view, if the call site has a valid one and neither argument is NULL. Calls nothing.
    #[inline]
    pub fn quick_view(&self) -> Option<View> {
        let site = self.site()?;
        (site.fixed
            && site.generation == crate::pg::xact::generation()
            && !self.is_null(0)
            && !self.is_null(1))
        .then_some(site.view)
    }

    #[cold]
    fn find_view(
        &self,
        permission: &[u8],
        find: fn(&[u8]) -> Result<View, Error>,
    ) -> Result<View, Error> {
        // SAFETY: the server fills in the memory of a call site.
        let asking = Asking::of(unsafe { (*(*self.0).flinfo).fn_mcxt });
        let view = find(permission)?;
        drop(asking);
        let mut copy = [0; PERMISSION_BYTES];
        // Longer than any permission that can be granted: not cached.
        let fits = permission.len() <= PERMISSION_BYTES;
        if fits {
            copy[..permission.len()].copy_from_slice(permission);
        }
        self.remember(Site {
            // Read after `find`, which may have started a generation. There is no generation 0.
            generation: if fits {
                crate::pg::xact::generation()
            } else {
                0
            },
            permission: copy,
            permission_len: permission.len(),
            view,
            kept: Cell::new(None),
            fixed: self.first_is_constant(),
        });
        Ok(view)
    }

    /// Returns whether argument 0 is a constant of the statement. A parameter is not: a PL/pgSQL expression keeps
    /// its call sites while its variables change.
    fn first_is_constant(&self) -> bool {
        // SAFETY: the expression of a call, where the server knows it, is a node with a tag.
        unsafe {
            let call = (*(*self.0).flinfo).fn_expr.cast::<pg_sys::FuncExpr>();
            if call.is_null()
                || (*call).xpr.type_ != pg_sys::NodeTag::T_FuncExpr
                || (*call).args.is_null()
            {
                return false;
            }
            let first = (*(*(*call).args).elements).ptr_value.cast::<pg_sys::Node>();
            (*first).type_ == pg_sys::NodeTag::T_Const
        }
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

    /// Returns a value cached with the call site; calls `make` if there is none for its view yet. Earlier values stay
    /// valid until the query ends. A call site whose permission changes from row to row caches nothing: its
    /// values are freed with the row.
    #[inline]
    pub fn keep(&self, make: impl FnOnce() -> Value) -> Answer {
        let Some(site) = self.site().filter(|site| site.fixed) else {
            return Answer::Kept(Kept(make().into_datum().unwrap_or(pg_sys::Datum::from(0))));
        };
        if let Some(kept) = site.kept.get() {
            return Answer::Kept(kept);
        }
        let kept = Kept(self.build(make()));
        site.kept.set(Some(kept));
        Answer::Kept(kept)
    }

    fn build(&self, value: Value) -> pg_sys::Datum {
        if let Value::Uuid(id) = value {
            // SAFETY: a uuid datum is the address of 16 bytes, here in the memory of the call site.
            unsafe {
                let memory = pg_sys::MemoryContextAlloc((*(*self.0).flinfo).fn_mcxt, id.len());
                memory.cast::<[u8; 16]>().write(id);
                return pg_sys::Datum::from(memory);
            }
        }
        // SAFETY: built in the memory of the call site, which is the current context only here.
        unsafe {
            let previous = pg_sys::MemoryContextSwitchTo((*(*self.0).flinfo).fn_mcxt);
            let datum = value.into_datum();
            pg_sys::MemoryContextSwitchTo(previous);
            datum.unwrap_or(pg_sys::Datum::from(0))
        }
    }
}

/// A value to cache.
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
    /// A whole number.
    Numeric(String),
    /// An array of whole numbers.
    Numerics(Vec<String>),
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
            Value::Numeric(text) => Some(numeric_text::read(&text)),
            Value::Numerics(texts) => Some(numeric_text::array(&texts)),
        }
    }
}

/// Runs a body and passes its result, or its error, to the server.
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

/// Keeps the type of `fn_extra` from being mistaken for anything with a destructor.
const _: () = assert!(!std::mem::needs_drop::<Site>() && size_of::<*mut c_void>() > 0);

/// Declares C functions for hand-written `CREATE FUNCTION … LANGUAGE c`: `symbol => body;`.
#[macro_export]
macro_rules! c_functions {
    ($($symbol:ident => $body:path;)*) => {
        $($crate::c_symbol!(stringify!($symbol), $crate::pg::fmgr::answer, $body);)*
    };
}

/// Declares planner support functions, likewise.
#[macro_export]
macro_rules! support_functions {
    ($($symbol:ident => $body:path;)*) => {
        $($crate::c_symbol!(stringify!($symbol), $crate::pg::support::answer, $body);)*
    };
}

/// Declares one symbol: the function, and the info function that tells its calling convention. `quick`
/// answers most rows without the guard that turns a panic into an error: it calls nothing of the server
/// and cannot panic.
#[doc(hidden)]
#[macro_export]
macro_rules! c_symbol {
    ($symbol:expr, $answer:path, $body:expr $(, quick $quick:path)?) => {
        const _: () = {
            #[unsafe(export_name = concat!("pg_finfo_", $symbol))]
            extern "C" fn finfo() -> &'static pgrx::pg_sys::Pg_finfo_record {
                const V1: pgrx::pg_sys::Pg_finfo_record =
                    pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
                &V1
            }

            #[unsafe(export_name = $symbol)]
            unsafe extern "C-unwind" fn function(
                fcinfo: pgrx::pg_sys::FunctionCallInfo,
            ) -> pgrx::pg_sys::Datum {
                #[pgrx::pg_guard]
                unsafe extern "C-unwind" fn guarded(
                    fcinfo: pgrx::pg_sys::FunctionCallInfo,
                ) -> pgrx::pg_sys::Datum {
                    let (answer, body) = ($answer, $body);
                    // SAFETY: the server calls this as sql/ declares it.
                    unsafe { answer(fcinfo, body) }
                }
                $(
                    let quick = $quick;
                    // SAFETY: as above.
                    if let Some(yes) = quick(&unsafe { $crate::pg::fmgr::Call::new(fcinfo) }) {
                        return pgrx::pg_sys::Datum::from(yes);
                    }
                )?
                // SAFETY: as above.
                unsafe { guarded(fcinfo) }
            }
        };
    };
}
