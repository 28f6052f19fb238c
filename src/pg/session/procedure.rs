//! Procedures that end their transactions, as those of PL/pgSQL do.

use pgrx::pg_sys;

/// Returns whether a procedure may end its transaction: not inside a transaction block or a function.
///
/// # Safety
/// `fcinfo` is the server's call info of the procedure.
pub unsafe fn may_commit(fcinfo: pg_sys::FunctionCallInfo) -> bool {
    // SAFETY: the context of a call is NULL or a node, whose tag says that it is of CALL.
    unsafe {
        let context = (*fcinfo).context;
        !context.is_null()
            && (*context).type_ == pg_sys::NodeTag::T_CallContext
            && !(*context.cast::<pg_sys::CallContext>()).atomic
    }
}

/// Commits the transaction and begins another one. Only where `may_commit` is true, outside of savepoints, queries and settings of
/// a nest level.
pub fn commit() {
    // SAFETY: as above; the connection ends here, and the snapshot that the portal had is made again for the statements that follow.
    unsafe {
        pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32);
        pg_sys::SPI_commit();
        pg_sys::SPI_finish();
        pg_sys::EnsurePortalSnapshotExists();
    }
}
