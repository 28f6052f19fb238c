//! The processes of background workers and of the launcher: starting, waiting, and their transactions.

use std::ffi::{CStr, c_char};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
#[cfg(not(feature = "pg18"))]
use pgrx::pg_sys::pqsignal;
#[cfg(feature = "pg18")]
use pgrx::pg_sys::pqsignal_be as pqsignal;
use pgrx::prelude::*;
use tenancy_core::time::Instant;

use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::workers::{self, Started};
use crate::pg::{cluster, extension, spi, time};

static RUN: BackendCell<Option<Run>> = BackendCell::new(None);
static HERE: BackendCell<bool> = BackendCell::new(false);
static LAUNCHER: BackendCell<bool> = BackendCell::new(false);
/// The database that a running statement drops.
static DROPPING: BackendCell<u32> = BackendCell::new(0);
static STOP: AtomicBool = AtomicBool::new(false);

/// The main functions of the processes.
#[derive(Clone, Copy)]
pub struct Run {
    /// A database's worker.
    pub worker: fn(Started),
    /// The launcher, which exits after it has worked for a database.
    pub launcher: fn(),
}

/// Registers the launcher, while the server loads its libraries.
pub fn init(run: Run) {
    RUN.set(Some(run));
    // It wants no process that writes.
    if cluster::upgrading() {
        return;
    }
    let mut launcher = describe(c"tenancy launcher", c"tenancy_launcher_main");
    // In seconds: at once. It exits after each database that it worked for.
    launcher.bgw_restart_time = 0;
    // SAFETY: the server copies the description.
    unsafe { pg_sys::RegisterBackgroundWorker(&mut launcher) };
}

/// Registers a worker for a database; returns false if the server has no process left for it. The server does not
/// restart a failed worker, which it would retry without end if the database was dropped: the next caller that needs one
/// starts it.
pub fn start(database: u32) -> bool {
    let mut worker = describe(c"tenancy worker", c"tenancy_worker_main");
    worker.bgw_main_arg = pg_sys::Datum::from(database);
    // SAFETY: the server copies the description.
    unsafe { pg_sys::RegisterDynamicBackgroundWorker(&mut worker, std::ptr::null_mut()) }
}

fn describe(name: &CStr, function: &CStr) -> pg_sys::BackgroundWorker {
    let mut worker = pg_sys::BackgroundWorker::default();
    copy(&mut worker.bgw_name, name);
    // The launcher's type too: a process that works for a database appears as its worker.
    copy(&mut worker.bgw_type, c"tenancy worker");
    copy(&mut worker.bgw_library_name, c"tenancy");
    copy(&mut worker.bgw_function_name, function);
    worker.bgw_flags =
        (pg_sys::BGWORKER_SHMEM_ACCESS | pg_sys::BGWORKER_BACKEND_DATABASE_CONNECTION) as i32;
    worker.bgw_start_time = pg_sys::BgWorkerStartTime::BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = pg_sys::BGW_NEVER_RESTART;
    worker
}

/// Returns whether the server has no process for any worker.
pub fn impossible() -> bool {
    // SAFETY: reads a setting.
    unsafe { pg_sys::max_worker_processes == 0 }
}

fn copy(into: &mut [c_char], text: &CStr) {
    for (to, from) in into.iter_mut().zip(text.to_bytes_with_nul()) {
        *to = *from as c_char;
    }
}

/// Entry point of a worker's process.
#[doc(hidden)]
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn tenancy_worker_main(database: pg_sys::Datum) {
    listen();
    connect(database.value() as u32);
    if let Some(started) = workers::arrive() {
        work(started);
    }
}

/// Entry point of the launcher's process.
#[doc(hidden)]
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn tenancy_launcher_main(_argument: pg_sys::Datum) {
    LAUNCHER.set(true);
    listen();
    // It must not wait long for a database that is being copied or dropped.
    set(c"lock_timeout", c"900ms");
    workers::launch();
    if let Some(run) = RUN.get() {
        (run.launcher)();
    }
    // SAFETY: ends the process. With 0 the server would not start it again.
    unsafe { pg_sys::proc_exit(1) };
}

/// Installs signal handlers and unblocks signals.
fn listen() {
    // SAFETY: the steps that the server asks of a background worker, in their order.
    unsafe {
        pqsignal(libc::SIGTERM, Some(on_sigterm));
        pqsignal(libc::SIGHUP, Some(on_sighup));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
}

fn connect(database: u32) {
    let database = pg_sys::Oid::from(database);
    // SAFETY: once in the process's life. Where it fails, the process ends.
    unsafe {
        pg_sys::BackgroundWorkerInitializeConnectionByOid(database, pg_sys::Oid::INVALID, 0);
    }
}

/// Makes the launcher work for a database. A process can do this only once.
pub fn work_for(database: u32, started: Started) {
    connect(database);
    workers::connected();
    work(started);
}

fn work(started: Started) {
    HERE.set(true);
    // Its replies mean that data is on disk, whatever the database's default is.
    set(c"synchronous_commit", c"on");
    // It must not block other sessions: it gives up before the server checks for deadlocks.
    set(c"lock_timeout", c"900ms");
    set(c"statement_timeout", c"0");
    set(c"idle_in_transaction_session_timeout", c"0");
    set(c"default_transaction_read_only", c"off");
    set(c"default_transaction_isolation", c"read committed");
    if let Some(run) = RUN.get() {
        (run.worker)(started);
    }
}

fn set(name: &CStr, value: &CStr) {
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

/// Returns whether this process is a worker.
pub fn here() -> bool {
    HERE.get()
}

/// Returns whether this process is the launcher.
pub fn is_launcher() -> bool {
    LAUNCHER.get()
}

/// Cancels a running query, and sets the flag that the loop checks.
unsafe extern "C-unwind" fn on_sigterm(_signal: i32) {
    STOP.store(true, Ordering::Relaxed);
    // SAFETY: what the server's own handlers do: flags, and a latch that keeps errno.
    unsafe {
        pg_sys::QueryCancelPending = 1;
        pg_sys::InterruptPending = 1;
        pg_sys::SetLatch(pg_sys::MyLatch);
    }
}

/// Makes the process read the settings again before its next work.
unsafe extern "C-unwind" fn on_sighup(_signal: i32) {
    // SAFETY: as above.
    unsafe {
        pg_sys::ConfigReloadPending = 1;
        pg_sys::SetLatch(pg_sys::MyLatch);
    }
}

/// Returns whether the server wants this worker to exit.
pub fn stopping() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Lets the worker run its last transactions after a request to exit.
pub fn last_work() {
    // SAFETY: clears a flag of this process.
    unsafe { pg_sys::QueryCancelPending = 0 };
}

/// Waits until another process wakes this one, or for `time`. Exits with the server.
pub fn wait(time: Duration) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // SAFETY: the process's own latch.
    unsafe {
        pg_sys::WaitLatch(
            pg_sys::MyLatch,
            events as i32,
            i64::from(i32::try_from(time.as_millis()).unwrap_or(i32::MAX)),
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    if !stopping() {
        pgrx::check_for_interrupts!();
    }
}

/// Waits until another process wakes this one, or until a time. Exits with the server.
pub fn wait_until(until: Instant) {
    let left = Duration::from(until - time::now());
    // A little longer, so that it is not too early.
    wait(left.saturating_add(Duration::from_millis(1)));
}

/// Reads the settings again, if the server has reloaded them.
pub fn reload() -> bool {
    // SAFETY: the flag is set by the signal handler; outside of a transaction.
    unsafe {
        let told = pg_sys::ConfigReloadPending != 0;
        if told {
            pg_sys::ConfigReloadPending = 0;
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
        told
    }
}

/// Runs `f` in a transaction of the worker and commits it. An error aborts it and is returned.
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
        // The process runs as the bootstrap superuser, since tenancy_owner cannot log in; its work runs as tenancy_owner.
        let result = match extension::schema() {
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

/// Returns the next transaction's id: all assigned ids are smaller.
pub fn next_xid() -> u64 {
    // SAFETY: reads a counter in shared memory.
    unsafe { pg_sys::ReadNextFullTransactionId() }.value
}

/// Returns true on a standby.
pub fn recovering() -> bool {
    // SAFETY: reads the server's state.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// Asks the worker of a database to exit, if the statement needs the database without other connections.
///
/// # Safety
/// `node` is a statement.
pub unsafe fn make_way(node: *mut pg_sys::Node) {
    use pg_sys::NodeTag::*;
    DROPPING.set(0);
    // SAFETY: the tag identifies the statement; lists hold the nodes that the grammar puts there.
    unsafe {
        match (*node).type_ {
            T_DropdbStmt => {
                DROPPING.set(leave((*node.cast::<pg_sys::DropdbStmt>()).dbname));
            }
            T_RenameStmt => {
                let rename = node.cast::<pg_sys::RenameStmt>();
                if (*rename).renameType == pg_sys::ObjectType::OBJECT_DATABASE {
                    leave((*rename).subname);
                }
            }
            T_AlterDatabaseStmt => {
                leave((*node.cast::<pg_sys::AlterDatabaseStmt>()).dbname);
            }
            T_CreatedbStmt => {
                let create = node.cast::<pg_sys::CreatedbStmt>();
                crate::pg::nodes::each((*create).options, |option| {
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

/// Called after the statement. Removes the work for a database that it dropped.
pub fn made_way() {
    match DROPPING.replace_with(0) {
        0 => {}
        database => workers::dropped(database),
    }
}

unsafe fn leave(name: *mut c_char) -> u32 {
    if name.is_null() || !crate::pg::xact::running() {
        return 0;
    }
    // SAFETY: a catalog look-up inside a transaction; an absent database gives the invalid oid.
    let database = unsafe { pg_sys::get_database_oid(name, true) };
    if database != pg_sys::Oid::INVALID {
        workers::ask_to_leave(database);
    }
    database.to_u32()
}
