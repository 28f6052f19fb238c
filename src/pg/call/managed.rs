//! Management functions: roles with EXECUTE call them, and they run as the extension's owner. SQL declares
//! `tenancy.f(…)` with the C function here as its body. It remembers the calling role and calls
//! `tenancy_internal.f(…)`, of the same argument types, which checks the caller's permissions.
//!
//! A SECURITY DEFINER function could not tell who called it: the server shows it only the owner.
//!
//! SQL writes out both functions of each pair: names, defaults, grants and comments are the outer one's alone, and read there.

use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::prelude::*;

use uuid::Uuid;

use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::{blockers, extension, role, spi};

static STANDING: BackendCell<Option<FindStanding>> = BackendCell::new(None);

/// Returns the caller's standing; `None` without a caller who may manage.
pub type FindStanding = fn() -> Option<Standing>;

/// The caller of a management function.
pub enum Standing {
    /// An administrator's database role, without a principal.
    Administrator,
    /// A user who belongs to the scope with this path.
    User(Vec<Uuid>),
}

/// Sets the function that finds the caller's standing.
pub fn init(standing: FindStanding) {
    STANDING.set(Some(standing));
}

static CALLER: BackendCell<Option<pg_sys::Oid>> = BackendCell::new(None);

/// Returns the caller of the running management function, else the current role.
pub fn caller() -> pg_sys::Oid {
    CALLER.get().unwrap_or_else(role::current)
}

/// Returns whether a management function is running.
pub fn is_running() -> bool {
    CALLER.get().is_some()
}

/// Restores the caller of the enclosing function, also after an error.
struct Called(Option<pg_sys::Oid>);

impl Called {
    fn by(role: pg_sys::Oid) -> Self {
        let before = CALLER.get();
        CALLER.set(Some(role));
        Self(before)
    }
}

impl Drop for Called {
    fn drop(&mut self) {
        CALLER.set(self.0);
    }
}

#[doc(hidden)]
#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_managed_wrapper() -> &'static pg_sys::Pg_finfo_record {
    const V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &V1
}

/// Runs a management function: the body of all of them.
#[doc(hidden)]
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn managed_wrapper(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the server passes a valid call.
    let result = unsafe {
        inner((*(*fcinfo).flinfo).fn_oid).and_then(|inner| {
            let manages =
                CALLER.get().is_none() && !pg_sys::get_func_retset(inner) && !records(inner);
            let below = if !manages { None } else { begin()? };
            // A function of tenancy that calls another keeps the caller.
            let _called = Called::by(caller());
            let run = || spi::as_owner(|| Ok(call(inner, fcinfo)));
            match below {
                Some(below) => blockers::call(below, run)?,
                None => run(),
            }
        })
    };
    result.unwrap_or_else(|error| error.raise())
}

/// Returns whether a function only records, which manages no user.
unsafe fn records(inner: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up inside a transaction.
    unsafe {
        let name = pg_sys::get_func_name(inner);
        !name.is_null() && CStr::from_ptr(name).to_bytes().starts_with(b"record_")
    }
}

/// Begins a management function: marks the transaction as its caller's, and returns which users must not block it.
fn begin() -> Result<Option<blockers::Below>, Error> {
    let standing = STANDING.get().and_then(|standing| standing());
    let below = match &standing {
        None => return Ok(None),
        Some(Standing::Administrator) => blockers::Below::All,
        Some(Standing::User(home)) => {
            blockers::mark(home)?;
            match home.last() {
                // No user belongs below a tenant.
                Some(scope) if home.len() < 3 => blockers::Below::Scope(*scope),
                _ => return Ok(None),
            }
        }
    };
    Ok(Some(below))
}

/// `tenancy_internal.f` of `tenancy.f`.
unsafe fn inner(outer: pg_sys::Oid) -> Result<pg_sys::Oid, Error> {
    const MISSING: Error = Error::Internal("a management function without a body");
    let schema = extension::internal_schema().ok_or(MISSING)?;
    // SAFETY: catalog look-ups inside a transaction; what they return lives in the current context.
    unsafe {
        let name = pg_sys::get_func_name(outer);
        if name.is_null() {
            return Err(MISSING);
        }
        let (mut types, mut count) = (std::ptr::null_mut(), 0);
        pg_sys::get_func_signature(outer, &mut types, &mut count);
        let types = pg_sys::buildoidvector(types, count);
        let found = pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::PROCNAMEARGSNSP as i32,
            pg_sys::Anum_pg_proc_oid as i16,
            pg_sys::Datum::from(name),
            pg_sys::Datum::from(types),
            pg_sys::Datum::from(schema),
            pg_sys::Datum::from(0),
        );
        if found == pg_sys::Oid::INVALID {
            return Err(MISSING);
        }
        Ok(found)
    }
}

/// Calls a function with the arguments of another call, and returns its NULL there.
unsafe fn call(function: pg_sys::Oid, outer: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the arguments are as many, and of the types, that the function was looked up by; the call
    // is built in the current context, which outlives it.
    unsafe {
        let mut flinfo = pg_sys::FmgrInfo::default();
        pg_sys::fmgr_info(function, &mut flinfo);
        let count = usize::try_from((*outer).nargs).unwrap_or(0);
        let size = size_of::<pg_sys::FunctionCallInfoBaseData>()
            + count * size_of::<pg_sys::NullableDatum>();
        let inner: pg_sys::FunctionCallInfo = pg_sys::palloc0(size).cast();
        (*inner).flinfo = &mut flinfo;
        (*inner).fncollation = (*outer).fncollation;
        (*inner).nargs = (*outer).nargs;
        // A function that returns rows writes them to the outer function's result.
        (*inner).resultinfo = (*outer).resultinfo;
        for n in 0..count {
            *(*inner).args.as_mut_ptr().add(n) = *(*outer).args.as_ptr().add(n);
        }
        let Some(address) = flinfo.fn_addr else {
            return pg_sys::Datum::from(0);
        };
        #[allow(ffi_unwind_calls)] // inside the boundary
        let result = pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| address(inner));
        (*outer).isnull = (*inner).isnull;
        result
    }
}
