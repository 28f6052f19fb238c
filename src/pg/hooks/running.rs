//! The queries that are running, innermost last, for whoever must know which of them reads rows.

use std::cell::RefCell;
use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::cell::BackendCell;
use crate::pg::xact;

static PREVIOUS_RUN: BackendCell<pg_sys::ExecutorRun_hook_type> = BackendCell::new(None);
static PREVIOUS_FINISH: BackendCell<pg_sys::ExecutorFinish_hook_type> = BackendCell::new(None);
static PREVIOUS_END: BackendCell<pg_sys::ExecutorEnd_hook_type> = BackendCell::new(None);
static ON_RUN: BackendCell<Option<fn()>> = BackendCell::new(None);

thread_local! {
    static RUNNING: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
    /// Those that were noted, until they end.
    static NOTED: RefCell<Vec<*mut pg_sys::QueryDesc>> = const { RefCell::new(Vec::new()) };
}

/// A query, and the savepoint in which it began to run.
#[derive(Clone, Copy)]
struct Entry {
    query: *mut pg_sys::QueryDesc,
    savepoint: u32,
}

/// Installs the hooks; `on_run` is called as a query begins to run that row security applies to.
pub fn init(on_run: fn()) {
    ON_RUN.set(Some(on_run));
    // SAFETY: set once, in _PG_init; the previous hooks are kept and called.
    unsafe {
        PREVIOUS_RUN.set(pg_sys::ExecutorRun_hook);
        pg_sys::ExecutorRun_hook = Some(executor_run);
        PREVIOUS_FINISH.set(pg_sys::ExecutorFinish_hook);
        pg_sys::ExecutorFinish_hook = Some(executor_finish);
        PREVIOUS_END.set(pg_sys::ExecutorEnd_hook);
        pg_sys::ExecutorEnd_hook = Some(executor_end);
    }
}

/// The innermost query that is running.
pub struct Running {
    /// Its text, all of what the client sent if that had several statements.
    pub text: String,
    /// The tables that it names, also by views, and that have row security.
    pub tables: Vec<pg_sys::Oid>,
}

/// Whether the innermost running query was noted; `None` when none runs.
pub fn is_noted() -> Option<bool> {
    let query = last()?;
    Some(NOTED.with_borrow(|noted| noted.contains(&query)))
}

/// Notes the innermost running query until it ends, or the (sub)transaction is undone.
pub fn note() {
    if let Some(query) = last() {
        NOTED.with_borrow_mut(|noted| noted.push(query));
    }
}

/// A transaction ended, or a savepoint was undone: an error may have taken queries that began in it.
pub fn forget(savepoint: Option<u32>) {
    NOTED.with_borrow_mut(Vec::clear);
    let lives = |entry: &Entry| savepoint.is_some_and(|undone| entry.savepoint < undone);
    RUNNING.with_borrow_mut(|running| running.retain(lives));
}

fn last() -> Option<*mut pg_sys::QueryDesc> {
    RUNNING.with_borrow(|running| running.last().map(|entry| entry.query))
}

/// The innermost running query.
pub fn innermost() -> Option<Running> {
    let query = last()?;
    // SAFETY: on the list only while the server runs it; its fields outlive that.
    unsafe {
        let (query, plan) = (&*query, &*(*query).plannedstmt);
        let text = if query.sourceText.is_null() {
            String::new()
        } else {
            let all = CStr::from_ptr(query.sourceText).to_string_lossy();
            let start = usize::try_from(plan.stmt_location).unwrap_or(0);
            let length = usize::try_from(plan.stmt_len).unwrap_or(0);
            let end = if length == 0 {
                all.len()
            } else {
                start + length
            };
            all.get(start..end).unwrap_or(&all).to_owned()
        };
        let mut tables = Vec::new();
        crate::pg::nodes::each(plan.rtable, |entry| {
            let entry = entry.cast::<pg_sys::RangeTblEntry>();
            if (*entry).rtekind == pg_sys::RTEKind::RTE_RELATION
                && !tables.contains(&(*entry).relid)
            {
                tables.push((*entry).relid);
            }
        });
        Some(Running { text, tables })
    }
}

// The server's own, called as C calls it: an error goes by without being caught. Caught and raised again
// it would lose its context, the names that came with it and a SQLSTATE of the application's.
unsafe extern "C-unwind" {
    #[cfg(not(feature = "pg18"))]
    fn standard_ExecutorRun(
        query: *mut pg_sys::QueryDesc,
        direction: pg_sys::ScanDirection::Type,
        count: u64,
        execute_once: bool,
    );
    #[cfg(feature = "pg18")]
    fn standard_ExecutorRun(
        query: *mut pg_sys::QueryDesc,
        direction: pg_sys::ScanDirection::Type,
        count: u64,
    );
    fn standard_ExecutorFinish(query: *mut pg_sys::QueryDesc);
    fn standard_ExecutorEnd(query: *mut pg_sys::QueryDesc);
}

/// What may raise an error by itself, before the query runs.
#[pg_guard]
unsafe extern "C-unwind" fn begin(query: *mut pg_sys::QueryDesc) {
    enter(query);
    // SAFETY: a query that is about to run has a plan.
    if unsafe { (*(*query).plannedstmt).dependsOnRole }
        && let Some(on_run) = ON_RUN.get()
    {
        on_run();
    }
}

fn enter(query: *mut pg_sys::QueryDesc) {
    let savepoint = xact::savepoint();
    RUNNING.with_borrow_mut(|running| running.push(Entry { query, savepoint }));
}

fn leave() {
    RUNNING.with_borrow_mut(Vec::pop);
}

// These three have nothing to drop: an error inside passes over them, and `forget` takes the query off
// the list.

#[allow(ffi_unwind_calls)] // nothing to drop
unsafe extern "C-unwind" fn executor_run(
    query: *mut pg_sys::QueryDesc,
    direction: pg_sys::ScanDirection::Type,
    count: u64,
    #[cfg(not(feature = "pg18"))] execute_once: bool,
) {
    // SAFETY: passed on to the hook that was there before, or to the server's own function.
    unsafe {
        begin(query);
        match PREVIOUS_RUN.get() {
            Some(previous) => previous(
                query,
                direction,
                count,
                #[cfg(not(feature = "pg18"))]
                execute_once,
            ),
            None => standard_ExecutorRun(
                query,
                direction,
                count,
                #[cfg(not(feature = "pg18"))]
                execute_once,
            ),
        }
    }
    leave();
}

#[allow(ffi_unwind_calls)] // nothing to drop
unsafe extern "C-unwind" fn executor_finish(query: *mut pg_sys::QueryDesc) {
    enter(query);
    // SAFETY: as above.
    unsafe {
        match PREVIOUS_FINISH.get() {
            Some(previous) => previous(query),
            None => standard_ExecutorFinish(query),
        }
    }
    leave();
}

#[allow(ffi_unwind_calls)] // nothing to drop
unsafe extern "C-unwind" fn executor_end(query: *mut pg_sys::QueryDesc) {
    NOTED.with_borrow_mut(|noted| noted.retain(|other| *other != query));
    // SAFETY: as above.
    unsafe {
        match PREVIOUS_END.get() {
            Some(previous) => previous(query),
            None => standard_ExecutorEnd(query),
        }
    }
}
