//! The background worker's process: how it is started, what it waits for, and its transactions.

use std::ffi::{CStr, c_char};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

use super::cell::BackendCell;
use super::{queue, spi};
use crate::error::Error;

static RUN: BackendCell<Option<fn()>> = BackendCell::new(None);
static HERE: BackendCell<bool> = BackendCell::new(false);
static STOP: AtomicBool = AtomicBool::new(false);

/// What every worker runs; set while the server loads its libraries.
pub fn init(run: fn()) {
    RUN.set(Some(run));
}

/// Registers a worker for this database; false when the server has no process left for it. One that
/// fails is not restarted by the server, which would try for ever when the database is gone: whoever
/// needs it next starts it again.
pub fn start() -> bool {
    let mut worker = pg_sys::BackgroundWorker::default();
    copy(&mut worker.bgw_name, c"tenancy worker");
    copy(&mut worker.bgw_type, c"tenancy worker");
    copy(&mut worker.bgw_library_name, c"tenancy");
    copy(&mut worker.bgw_function_name, c"tenancy_worker_main");
    worker.bgw_flags =
        (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as i32;
    worker.bgw_start_time = pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = pg_sys::BGW_NEVER_RESTART;
    worker.bgw_main_arg = pg_sys::Datum::from(queue::database());
    // SAFETY: the server copies the description.
    unsafe { pg_sys::RegisterDynamicBackgroundWorker(&mut worker, std::ptr::null_mut()) }
}

fn copy(into: &mut [c_char], text: &CStr) {
    for (to, from) in into.iter_mut().zip(text.to_bytes_with_nul()) {
        *to = *from as c_char;
    }
}

/// Where a worker's process begins.
#[doc(hidden)]
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn tenancy_worker_main(database: pg_sys::Datum) {
    // SAFETY: the steps that the server asks of a background worker, in their order; the handlers are
    // set before signals are let in.
    unsafe {
        pg_sys::pqsignal(libc::SIGTERM, Some(on_sigterm));
        pg_sys::pqsignal(libc::SIGHUP, Some(on_sighup));
        pg_sys::BackgroundWorkerUnblockSignals();
        let database = pg_sys::Oid::from(database.value() as u32);
        pg_sys::BackgroundWorkerInitializeConnectionByOid(database, pg_sys::Oid::INVALID, 0);
    }
    if !queue::arrive() {
        return;
    }
    HERE.set(true);
    for (name, value) in [
        // What it answers for is on disk, whatever the database's default.
        (c"synchronous_commit", c"on"),
        // It must not be in the way: it gives up before the server looks for deadlocks.
        (c"lock_timeout", c"900ms"),
        (c"statement_timeout", c"0"),
        (c"idle_in_transaction_session_timeout", c"0"),
        (c"default_transaction_read_only", c"off"),
        (c"default_transaction_isolation", c"read committed"),
    ] {
        // SAFETY: both strings outlive the call.
        unsafe {
            pg_sys::SetConfigOption(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_OVERRIDE,
            );
        }
    }
    if let Some(run) = RUN.get() {
        run();
    }
}

/// Whether this process is a worker.
pub fn here() -> bool {
    HERE.get()
}

/// Ends the query that runs, if one does; the loop sees the flag then.
unsafe extern "C-unwind" fn on_sigterm(_signal: i32) {
    STOP.store(true, Ordering::Relaxed);
    // SAFETY: what the server's own handlers do: flags, and a latch that keeps errno.
    unsafe {
        pg_sys::QueryCancelPending = 1;
        pg_sys::InterruptPending = 1;
        pg_sys::SetLatch(pg_sys::MyLatch);
    }
}

/// Has the settings read again before the next work.
unsafe extern "C-unwind" fn on_sighup(_signal: i32) {
    // SAFETY: as above.
    unsafe {
        pg_sys::ConfigReloadPending = 1;
        pg_sys::SetLatch(pg_sys::MyLatch);
    }
}

/// Whether the server wants this worker to end.
pub fn stopping() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Lets the worker's last transactions run after it was told to end.
pub fn last_work() {
    // SAFETY: clears a flag of this process.
    unsafe { pg_sys::QueryCancelPending = 0 };
}

/// Waits until somebody wakes this process, or so long. Ends with the server.
pub fn wait(time: Duration) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // SAFETY: the process's own latch.
    unsafe {
        pg_sys::WaitLatch(
            pg_sys::MyLatch,
            events as i32,
            i64::try_from(time.as_millis()).unwrap_or(i64::MAX),
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    if !stopping() {
        pgrx::check_for_interrupts!();
    }
}

/// Reads the settings again, if the server was told to.
pub fn reload() {
    // SAFETY: the flag is set by the signal handler; outside of a transaction.
    unsafe {
        if pg_sys::ConfigReloadPending != 0 {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
}

/// Runs `f` in a transaction of the worker's own and commits it. An error aborts it and is told.
pub fn transaction<R>(doing: &CStr, f: impl FnOnce() -> Result<R, Error>) -> Result<R, String> {
    // SAFETY: outside of any transaction. Committed below or aborted.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, doing.as_ptr());
    }
    let done = PgTryBuilder::new(AssertUnwindSafe(|| {
        // SAFETY: a transaction with a snapshot, as a statement has it.
        unsafe {
            pg_sys::StartTransactionCommand();
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        }
        // The process is the bootstrap superuser's, since tenancy_owner may not log in; its work is not.
        let result = match spi::schema() {
            Some(_) => spi::as_owner(f),
            None => f(),
        }
        .map_err(|error| error.to_string())?;
        // SAFETY: ends what was begun above.
        unsafe {
            pg_sys::PopActiveSnapshot();
            pg_sys::CommitTransactionCommand();
        }
        Ok(result)
    }))
    .catch_others(|caught| {
        Err(match caught {
            CaughtError::PostgresError(report)
            | CaughtError::ErrorReport(report)
            | CaughtError::RustPanic {
                ereport: report, ..
            } => report.message().to_owned(),
        })
    })
    .execute();
    // SAFETY: ends a transaction that was not committed; does nothing where there is none.
    unsafe {
        if done.is_err() {
            pg_sys::AbortCurrentTransaction();
        }
        pg_sys::pgstat_report_stat(true);
        pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, std::ptr::null());
    }
    done
}

/// The next transaction's id: every one that was given out is smaller.
pub fn next_xid() -> u64 {
    // SAFETY: reads a counter in shared memory.
    unsafe { pg_sys::ReadNextFullTransactionId() }.value
}

/// True on a standby.
pub fn recovering() -> bool {
    // SAFETY: reads the server's state.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// Whether the server counts who is connected to a database that the statement names, and which.
///
/// # Safety
/// `node` is a statement.
pub unsafe fn make_way(node: *mut pg_sys::Node) {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag tells which statement it is; lists hold the nodes that the grammar puts there.
    unsafe {
        match (*node).type_ {
            T_DropdbStmt => leave((*node.cast::<pg_sys::DropdbStmt>()).dbname),
            T_RenameStmt => {
                let rename = node.cast::<pg_sys::RenameStmt>();
                if (*rename).renameType == pg_sys::ObjectType::OBJECT_DATABASE {
                    leave((*rename).subname);
                }
            }
            T_AlterDatabaseStmt => leave((*node.cast::<pg_sys::AlterDatabaseStmt>()).dbname),
            T_CreatedbStmt => {
                let create = node.cast::<pg_sys::CreatedbStmt>();
                super::nodes::each((*create).options, |option| {
                    let option = option.cast::<pg_sys::DefElem>();
                    if CStr::from_ptr((*option).defname) == c"template" && !(*option).arg.is_null()
                    {
                        leave(pg_sys::defGetString(option));
                    }
                });
            }
            _ => {}
        }
    }
}

unsafe fn leave(name: *mut c_char) {
    if name.is_null() || !super::xact::running() {
        return;
    }
    // SAFETY: a catalog look-up inside a transaction; an absent database gives the invalid oid.
    let database = unsafe { pg_sys::get_database_oid(name, true) };
    if database != pg_sys::Oid::INVALID {
        queue::ask_to_leave(database);
    }
}
