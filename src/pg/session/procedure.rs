//! Procedures that end their transactions, as those of PL/pgSQL do.

use std::ffi::CStr;

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};

use crate::pg::nodes::each;

/// A call of a procedure: the last parameter of its Rust function, which SQL does not have.
pub struct Procedure {
    may_commit: bool,
    /// Whether a function or a block of another language calls it.
    inside: bool,
}

/// Shows that a procedure may end its transaction.
#[derive(Clone, Copy)]
pub struct Transactions {
    inside: bool,
}

impl Procedure {
    /// Returns the right to end the transaction; `None` inside a transaction block or a function.
    pub fn transactions(&self) -> Option<Transactions> {
        let inside = self.inside;
        self.may_commit.then_some(Transactions { inside })
    }
}

impl Transactions {
    /// Commits the transaction and begins another one. Only outside of savepoints, queries, and settings of a nest level.
    pub fn commit(self) {
        // SAFETY: the server calls the procedure where it may commit; the connection ends here, and the snapshot that the portal
        // had is made again for the statements that follow.
        unsafe {
            pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32);
            pg_sys::SPI_commit();
            pg_sys::SPI_finish();
            pg_sys::EnsurePortalSnapshotExists();
        }
    }
}

impl Transactions {
    /// Runs a statement that ends transactions itself, and so cannot run in a transaction block: CREATE INDEX CONCURRENTLY. It runs
    /// as the caller's own statement at the top level would, with the settings of the session. Where `commit` may be called. Returns
    /// false, without effect, if a block of another language calls the procedure: its connection to the server would end with the
    /// first of these transactions, and the language would go on with it.
    #[must_use]
    pub fn between(self, statement: &CStr) -> bool {
        if self.inside {
            return false;
        }
        // SAFETY: the caller's promise. As the server runs a client's statement: in a transaction with a snapshot, which the statement
        // takes away; its nodes are in memory that outlives the transactions. The snapshot of the portal is made again.
        unsafe {
            pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32);
            pg_sys::SPI_commit();
            pg_sys::SPI_finish();
            let memory = pg_sys::CurrentMemoryContext;
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            each(pg_sys::pg_parse_query(statement.as_ptr()), |raw| {
                let planned =
                    pg_sys::palloc0(size_of::<pg_sys::PlannedStmt>()).cast::<pg_sys::PlannedStmt>();
                (*planned).type_ = pg_sys::NodeTag::T_PlannedStmt;
                (*planned).commandType = pg_sys::CmdType::CMD_UTILITY;
                (*planned).utilityStmt = (*raw.cast::<pg_sys::RawStmt>()).stmt;
                (*planned).stmt_location = -1;
                pg_sys::ProcessUtility(
                    planned,
                    statement.as_ptr(),
                    false,
                    pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL,
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                    pg_sys::None_Receiver,
                    std::ptr::null_mut(),
                );
            });
            pg_sys::MemoryContextSwitchTo(memory);
            if pg_sys::ActiveSnapshotSet() {
                pg_sys::PopActiveSnapshot();
            }
            pg_sys::EnsurePortalSnapshotExists();
        }
        true
    }
}

// SAFETY: reads no argument, but the call's context, as pgrx's own parameter for the call does.
unsafe impl<'fcx> ArgAbi<'fcx> for Procedure {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the server's call info; the context of a call is NULL or a node, whose tag says that it is of CALL.
        unsafe {
            let call = pg_sys::FunctionCallInfo::unbox_arg_unchecked(arg);
            let context = (*call).context;
            let may_commit = !context.is_null()
                && (*context).type_ == pg_sys::NodeTag::T_CallContext
                && !(*context.cast::<pg_sys::CallContext>()).atomic;
            let inside = pg_sys::SPI_inside_nonatomic_context();
            Self { may_commit, inside }
        }
    }

    fn is_virtual_arg() -> bool {
        true
    }
}

// SAFETY: it stands for no SQL type, like pgrx's own.
unsafe impl SqlTranslatable for Procedure {
    const TYPE_IDENT: &'static str = <pg_sys::FunctionCallInfo as SqlTranslatable>::TYPE_IDENT;
    const TYPE_ORIGIN: TypeOrigin = <pg_sys::FunctionCallInfo as SqlTranslatable>::TYPE_ORIGIN;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> =
        <pg_sys::FunctionCallInfo as SqlTranslatable>::ARGUMENT_SQL;
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        <pg_sys::FunctionCallInfo as SqlTranslatable>::RETURN_SQL;
}
