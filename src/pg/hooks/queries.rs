//! Queries that row security applies to, as they start; and those that were noted then, by the memory
//! that they run in, until they end.

use std::cell::RefCell;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::raw;
use crate::pg::cell::BackendCell;
use crate::pg::nodes::each;
use crate::pg::{fmgr, guc, relation, session};

static PREVIOUS_START: BackendCell<pg_sys::ExecutorStart_hook_type> = BackendCell::new(None);
static PREVIOUS_END: BackendCell<pg_sys::ExecutorEnd_hook_type> = BackendCell::new(None);
static ON_START: BackendCell<Option<OnStart>> = BackendCell::new(None);

/// Whether to note a query.
pub type OnStart = fn(&Started) -> bool;

thread_local! {
    /// The memory of noted queries; compared, never followed.
    static NOTED: RefCell<Vec<pg_sys::MemoryContext>> = const { RefCell::new(Vec::new()) };
}

/// A query that has just started.
pub struct Started(*mut pg_sys::QueryDesc);

/// Installs the hooks. `on_start` is told of queries that row security applies to, and says whether to
/// note them; not in parallel workers.
pub fn init(on_start: OnStart) {
    ON_START.set(Some(on_start));
    // SAFETY: set once, in _PG_init; the previous hooks are kept and called.
    unsafe {
        PREVIOUS_START.set(pg_sys::ExecutorStart_hook);
        pg_sys::ExecutorStart_hook = Some(executor_start);
        PREVIOUS_END.set(pg_sys::ExecutorEnd_hook);
        pg_sys::ExecutorEnd_hook = Some(executor_end);
    }
}

/// Whether the query that the calling function is evaluated in was noted.
pub fn is_noted() -> bool {
    let memory = fmgr::asking();
    NOTED.with_borrow(|noted| noted.contains(&memory))
}

/// A (sub)transaction was undone: a query may be gone without having ended, and its memory another's.
pub fn forget() {
    NOTED.with_borrow_mut(Vec::clear);
}

impl Started {
    /// Its text, only its own of several statements that the client sent together.
    pub fn text(&self) -> String {
        // SAFETY: the query has just started; its text, if any, is a C string that outlives it.
        unsafe {
            let (query, plan) = (&*self.0, &*(*self.0).plannedstmt);
            if query.sourceText.is_null() {
                return String::new();
            }
            let all = std::ffi::CStr::from_ptr(query.sourceText).to_string_lossy();
            let start = usize::try_from(plan.stmt_location).unwrap_or(0);
            let length = usize::try_from(plan.stmt_len).unwrap_or(0);
            let end = if length == 0 {
                all.len()
            } else {
                start + length
            };
            all.get(start..end).unwrap_or(&all).to_owned()
        }
    }

    /// The tables that it names, also by views.
    pub fn tables(&self) -> Vec<pg_sys::Oid> {
        let mut tables = Vec::new();
        self.each_table(|table| {
            if !tables.contains(&table) {
                tables.push(table);
            }
        });
        tables
    }

    /// Whether one of them has row security.
    fn has_row_security(&self) -> bool {
        let mut found = false;
        self.each_table(|table| {
            found = found || relation::read(table, |class| class.relrowsecurity) == Some(true);
        });
        found
    }

    fn each_table(&self, mut f: impl FnMut(pg_sys::Oid)) {
        // SAFETY: a plan's range table holds range table entries.
        unsafe {
            each((*(*self.0).plannedstmt).rtable, |entry| {
                let entry = entry.cast::<pg_sys::RangeTblEntry>();
                if (*entry).rtekind == pg_sys::RTEKind::RTE_RELATION {
                    f((*entry).relid);
                }
            });
        }
    }
}

/// Not guarded: an error of the server must pass as it is, with its constraint and its context. So
/// nothing here has a destructor while the server's function runs.
unsafe extern "C-unwind" fn executor_start(query: *mut pg_sys::QueryDesc, flags: i32) {
    // SAFETY: passed on to the hook that was there before, or to the server's own function.
    unsafe {
        before();
        #[allow(ffi_unwind_calls)] // errors pass by
        match PREVIOUS_START.get() {
            Some(previous) => previous(query, flags),
            None => raw::standard_ExecutorStart(query, flags),
        }
        if flags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as i32 == 0 {
            started(query);
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn before() {
    super::leftovers::check_query();
}

#[pg_guard]
unsafe extern "C-unwind" fn started(query: *mut pg_sys::QueryDesc) {
    let has_context = guc::token().is_some() || guc::has_ticket();
    if has_context
        && session::parallel_leader().is_none()
        && let Some(on_start) = ON_START.get()
        && Started(query).has_row_security()
        && on_start(&Started(query))
    {
        // SAFETY: a query that has started has a state.
        let memory = unsafe { (*(*query).estate).es_query_cxt };
        NOTED.with_borrow_mut(|noted| noted.push(memory));
    }
}

unsafe extern "C-unwind" fn executor_end(query: *mut pg_sys::QueryDesc) {
    // SAFETY: as above.
    unsafe {
        ended(query);
        #[allow(ffi_unwind_calls)] // errors pass by
        match PREVIOUS_END.get() {
            Some(previous) => previous(query),
            None => raw::standard_ExecutorEnd(query),
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn ended(query: *mut pg_sys::QueryDesc) {
    NOTED.with_borrow_mut(|noted| {
        if !noted.is_empty() {
            // SAFETY: a query that ends has a state until then.
            let memory = unsafe { (*(*query).estate).es_query_cxt };
            noted.retain(|other| *other != memory);
        }
    });
}
