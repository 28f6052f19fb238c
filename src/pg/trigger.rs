//! Triggers in C.

use pgrx::pg_sys;

use super::fmgr::Call;
use crate::error::Error;

/// Runs a body with the new row's columns as its arguments, and hands that row back to the server.
///
/// # Safety
/// `fcinfo` is valid for the call.
pub unsafe fn row(
    fcinfo: pg_sys::FunctionCallInfo,
    body: impl FnOnce(&Call) -> Result<(), Error>,
) -> pg_sys::Datum {
    // SAFETY: the server calls triggers with their data as the context, which is checked; the row has
    // the columns of its relation, and is taken apart into a call with as many arguments.
    let (done, tuple) = unsafe {
        let Some(data) = data(fcinfo) else {
            Error::Internal("a trigger that is called as a function").raise();
        };
        let tuple = (*data).tg_trigtuple;
        let columns = (*(*data).tg_relation).rd_att;
        let count = usize::try_from((*columns).natts).unwrap_or(0);
        let (mut values, mut nulls) = (vec![pg_sys::Datum::from(0); count], vec![true; count]);
        pg_sys::heap_deform_tuple(tuple, columns, values.as_mut_ptr(), nulls.as_mut_ptr());
        let size = size_of::<pg_sys::FunctionCallInfoBaseData>()
            + count * size_of::<pg_sys::NullableDatum>();
        let inner: pg_sys::FunctionCallInfo = pg_sys::palloc0(size).cast();
        (*inner).flinfo = (*fcinfo).flinfo;
        (*inner).nargs = (*columns).natts as i16;
        for (n, (value, isnull)) in values.into_iter().zip(nulls).enumerate() {
            *(*inner).args.as_mut_ptr().add(n) = pg_sys::NullableDatum { value, isnull };
        }
        (body(&Call::new(inner)), tuple)
    };
    if let Err(error) = done {
        error.raise();
    }
    pg_sys::Datum::from(tuple)
}

/// Runs a body once for a statement.
///
/// # Safety
/// As for [`row`].
pub unsafe fn statement(
    fcinfo: pg_sys::FunctionCallInfo,
    body: impl FnOnce() -> Result<(), Error>,
) -> pg_sys::Datum {
    // SAFETY: the caller's promise.
    if unsafe { data(fcinfo) }.is_none() {
        Error::Internal("a trigger that is called as a function").raise();
    }
    if let Err(error) = body() {
        error.raise();
    }
    pg_sys::Datum::from(0)
}

unsafe fn data(fcinfo: pg_sys::FunctionCallInfo) -> Option<*mut pg_sys::TriggerData> {
    // SAFETY: the context of a call is NULL or a node.
    unsafe {
        let context = (*fcinfo).context;
        (!context.is_null() && (*context).type_ == pg_sys::NodeTag::T_TriggerData)
            .then_some(context.cast())
    }
}

/// Declares triggers for hand-written `CREATE FUNCTION … LANGUAGE c`, each for rows or statements.
#[macro_export]
macro_rules! triggers {
    ($($symbol:ident, $finfo:ident => $kind:ident $body:path;)*) => {
        $($crate::c_symbol!($symbol, $finfo, $crate::pg::trigger::$kind, $body);)*
    };
}
