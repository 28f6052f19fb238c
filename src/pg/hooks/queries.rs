//! Queries that row security applies to: their start, and the noted ones until they end.

use std::ffi::c_char;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::noted::{self, Doing, Identity, Mark, Noted, Noting, Query, doing, enter};
use super::{frames, functions, objects, raw, source, tables};
use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::nodes::each;
use crate::pg::planner::{parameters, partitions};
use crate::pg::{guc, memory, relation, xact};

static PREVIOUS_PLANNER: BackendCell<pg_sys::planner_hook_type> = BackendCell::new(None);
static PREVIOUS_START: BackendCell<pg_sys::ExecutorStart_hook_type> = BackendCell::new(None);
static PREVIOUS_RUN: BackendCell<pg_sys::ExecutorRun_hook_type> = BackendCell::new(None);
static PREVIOUS_FINISH: BackendCell<pg_sys::ExecutorFinish_hook_type> = BackendCell::new(None);
static PREVIOUS_END: BackendCell<pg_sys::ExecutorEnd_hook_type> = BackendCell::new(None);
static ON: BackendCell<Option<OnQuery>> = BackendCell::new(None);

/// The callbacks of the hooks.
#[derive(Clone, Copy)]
pub struct OnQuery {
    /// Returns the identity of the context, also of none.
    pub identity: fn() -> Result<Identity, Error>,
    /// Called when a query starts, or (true) continues, with a context, to check for changes.
    pub again: fn(goes_on: bool) -> Result<(), Error>,
    /// Called when a query starts that row security applies to; returns the mark if it must be noted.
    pub start: fn(&Started) -> Option<Mark>,
    /// Called when a noted query continues: raises an error if it may not.
    pub resume: fn() -> Result<(), Error>,
    /// Called when a query starts whose plan is for the tenant with this number: raises an error if the context has another.
    pub pruned: fn(tenant: u32) -> Result<(), Error>,
}

/// A query that is about to start.
pub struct Started(*mut pg_sys::QueryDesc);

/// Installs the hooks; also in parallel workers, where functions run their own queries.
pub fn init(on: OnQuery) {
    ON.set(Some(on));
    // SAFETY: set once, in _PG_init; the previous hooks are kept and called.
    unsafe {
        PREVIOUS_PLANNER.set(pg_sys::planner_hook);
        pg_sys::planner_hook = Some(planner);
        PREVIOUS_START.set(pg_sys::ExecutorStart_hook);
        pg_sys::ExecutorStart_hook = Some(executor_start);
        PREVIOUS_RUN.set(pg_sys::ExecutorRun_hook);
        pg_sys::ExecutorRun_hook = Some(executor_run);
        PREVIOUS_FINISH.set(pg_sys::ExecutorFinish_hook);
        pg_sys::ExecutorFinish_hook = Some(executor_finish);
        PREVIOUS_END.set(pg_sys::ExecutorEnd_hook);
        pg_sys::ExecutorEnd_hook = Some(executor_end);
    }
}

/// Drops the notes of a transaction that ended, or of a savepoint that was rolled back.
pub fn forget(savepoint: u32) {
    noted::forget(savepoint);
    tables::forget(savepoint);
    frames::forget(savepoint);
    if savepoint == 0 {
        objects::take_touched();
        functions::forget_altered();
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn leave(depth: usize) {
    noted::leave(depth);
}

impl Started {
    /// Returns its text, without other statements that the client sent together.
    pub fn text(&self) -> String {
        // SAFETY: the query is about to start; its text, if any, is a C string that outlives it.
        unsafe {
            let (query, plan) = (&*self.0, &*(*self.0).plannedstmt);
            let text = source::part(query.sourceText, plan.stmt_location, plan.stmt_len);
            String::from_utf8_lossy(text).into_owned()
        }
    }

    /// Returns the tables that it names, also through views.
    pub fn tables(&self) -> Vec<pg_sys::Oid> {
        let mut tables = Vec::new();
        self.each_table(|table| {
            if !tables.contains(&table) {
                tables.push(table);
            }
        });
        tables
    }

    /// Returns whether one of them has row security.
    fn has_row_security(&self) -> bool {
        // SAFETY: a query has a plan. It depends on the role if row security was applied.
        if unsafe { (*(*self.0).plannedstmt).dependsOnRole } {
            return true;
        }
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

// The hooks are not guarded: an error of the server must pass unchanged, with its constraint and its context. So
// nothing in them has a destructor while the server's function runs.

unsafe extern "C-unwind" fn planner(
    parse: *mut pg_sys::Query,
    text: *const c_char,
    options: i32,
    params: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: passes the call to the previous hook, or to the server's own function.
    unsafe {
        let row_security = (*parse).hasRowSecurity;
        let depth = begin_plan();
        #[allow(ffi_unwind_calls)] // errors pass by
        let plan = match PREVIOUS_PLANNER.get() {
            Some(previous) => previous(parse, text, options, params),
            None => raw::standard_planner(parse, text, options, params),
        };
        if row_security && !tables::is_explained(depth) {
            planned(plan);
        }
        leave(depth);
        plan
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn planned(plan: *mut pg_sys::PlannedStmt) {
    // SAFETY: the planner's result, which is the hook's to change.
    unsafe { parameters::replace(plan) };
}

#[pg_guard]
unsafe extern "C-unwind" fn begin_plan() -> usize {
    memory::require();
    enter(Doing::Plans)
}

unsafe extern "C-unwind" fn executor_start(query: *mut pg_sys::QueryDesc, flags: i32) {
    // SAFETY: as above.
    unsafe {
        let depth = before(query, flags);
        #[allow(ffi_unwind_calls)] // errors pass by
        match PREVIOUS_START.get() {
            Some(previous) => previous(query, flags),
            None => raw::standard_ExecutorStart(query, flags),
        }
        started(query, depth, flags);
    }
}

/// Decides before the query starts: starting it evaluates expressions that prune partitions.
#[pg_guard]
unsafe extern "C-unwind" fn before(query: *mut pg_sys::QueryDesc, flags: i32) -> usize {
    memory::require();
    super::session_objects::check_query();
    super::session_statements::used();
    if flags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as i32 != 0 {
        return enter(Doing::Plans);
    }
    let on = ON.get().filter(|_| has_context());
    if let Some(on) = on {
        ask_again(&on, false);
    }
    // SAFETY: a query has a plan.
    let pruned = unsafe { partitions::marked((*query).plannedstmt) };
    if let (Some(on), Some(tenant)) = (on, pruned)
        && let Err(error) = (on.pruned)(tenant)
    {
        error.raise();
    }
    let query = Started(query);
    let on = on.filter(|_| query.has_row_security());
    enter(Doing::Runs(Noting {
        mark: on.and_then(|on| (on.start)(&query)),
        ..Noting::default()
    }))
}

fn has_context() -> bool {
    guc::token().is_some() || guc::has_ticket()
}

/// Checks for changes since the last statement.
fn ask_again(on: &OnQuery, goes_on: bool) {
    if let Err(error) = (on.again)(goes_on) {
        error.raise();
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn started(query: *mut pg_sys::QueryDesc, depth: usize, flags: i32) {
    // SAFETY: a query that has started has a plan and a state.
    let begun = unsafe {
        tables::ask_about_blind_merges(&*(*query).plannedstmt);
        begin(query, flags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as i32 != 0)
    };
    if let Err(error) = begun {
        error.raise();
    }
    noted::leave(depth);
}

/// Notes a query, and gives it the tenant of the context.
unsafe fn begin(query: *mut pg_sys::QueryDesc, explained: bool) -> Result<(), Error> {
    // SAFETY: the caller's.
    unsafe {
        let mut noting = match doing() {
            Some(Doing::Runs(noting)) => noting,
            _ => Noting::default(),
        };
        if noting.protected
            && let Some(on) = ON.get()
        {
            noting.identity = Some((on.identity)()?);
        }
        parameters::fill(query, explained)?;
        if noting.mark.is_some() {
            stay_in_this_process(query);
        }
        noted::note((*(*query).estate).es_query_cxt, noting);
        Ok(())
    }
}

unsafe extern "C-unwind" fn executor_run(
    query: *mut pg_sys::QueryDesc,
    direction: pg_sys::ScanDirection::Type,
    count: u64,
    #[cfg(not(feature = "pg18"))] execute_once: bool,
) {
    // SAFETY: as above.
    unsafe {
        let depth = run(query, direction);
        #[allow(ffi_unwind_calls)] // errors pass by
        match PREVIOUS_RUN.get() {
            Some(previous) => previous(
                query,
                direction,
                count,
                #[cfg(not(feature = "pg18"))]
                execute_once,
            ),
            None => raw::standard_ExecutorRun(
                query,
                direction,
                count,
                #[cfg(not(feature = "pg18"))]
                execute_once,
            ),
        }
        leave(depth);
    }
}

unsafe extern "C-unwind" fn executor_finish(query: *mut pg_sys::QueryDesc) {
    // SAFETY: as above.
    unsafe {
        let depth = finish(query);
        let frame = frames::begin();
        #[allow(ffi_unwind_calls)] // errors pass by
        match PREVIOUS_FINISH.get() {
            Some(previous) => previous(query),
            None => raw::standard_ExecutorFinish(query),
        }
        leave(depth);
        frames::end(frame);
    }
}

/// Runs a started query, for the first time or again, as a cursor does. What starts a query may run it much later.
#[pg_guard]
unsafe extern "C-unwind" fn run(
    query: *mut pg_sys::QueryDesc,
    direction: pg_sys::ScanDirection::Type,
) -> usize {
    // SAFETY: a query that has started has a state until it ends.
    let (memory, goes_on) = unsafe { ((*(*query).estate).es_query_cxt, (*query).already_executed) };
    let noted = noted::of(memory);
    let noting = noted.map(|noted| noted.noting).unwrap_or_default();
    // A cursor that has returned all rows is asked for none.
    if let Some(on) = ON.get()
        && direction != pg_sys::ScanDirection::NoMovementScanDirection
    {
        let asks = noting.identity.is_some() || goes_on && Started(query).has_row_security();
        if asks && has_context() {
            ask_again(&on, goes_on);
        }
        if noting.mark.is_some()
            && let Err(error) = (on.resume)()
        {
            error.raise();
        }
        // SAFETY: as above.
        let same = noted.map(|noted| unsafe { require_same_context(query, memory, &noted, &on) });
        if let Some(Err(error)) = same {
            error.raise();
        }
    }
    enter(Doing::Runs(Noting {
        query: Query(query),
        ..noting
    }))
}

/// Raises an error if a query continues in another context than it started in, or if its tenant is not the same any more: what it
/// has evaluated so far, such as the key of an index scan, would be another's.
unsafe fn require_same_context(
    query: *mut pg_sys::QueryDesc,
    memory: pg_sys::MemoryContext,
    noted: &Noted,
    on: &OnQuery,
) -> Result<(), Error> {
    let Some(began) = noted.noting.identity else {
        return Ok(());
    };
    if noted.generation == xact::generation() {
        return Ok(());
    }
    // The tenant of an elevated context is asked for inside the statement.
    let depth = enter(Doing::Runs(noted.noting));
    // SAFETY: the caller's.
    let same = (on.identity)()? == began && unsafe { parameters::are_same(query)? };
    noted::leave(depth);
    if !same {
        return Err(Error::ContextChanged);
    }
    noted::compared(memory);
    Ok(())
}

/// Runs the last part of a query, in which it may end what it began.
#[pg_guard]
unsafe extern "C-unwind" fn finish(query: *mut pg_sys::QueryDesc) -> usize {
    // SAFETY: as above.
    let noted = noted::of(unsafe { (*(*query).estate).es_query_cxt });
    enter(Doing::Runs(Noting {
        query: Query(query),
        ..noted.map(|noted| noted.noting).unwrap_or_default()
    }))
}

/// Keeps a noted query in this process: a parallel worker could not verify that its leader noted it. The plan may be
/// shared with other executions, so a copy is changed.
unsafe fn stay_in_this_process(query: *mut pg_sys::QueryDesc) {
    // SAFETY: a query that has started has a plan and a state; the copy lives as long as the state, and
    // `ended` restores the plan. A plan for workers also runs without any.
    unsafe {
        let plan = (*query).plannedstmt;
        if (*plan).parallelModeNeeded {
            let size = size_of::<pg_sys::PlannedStmt>();
            let copy = pg_sys::MemoryContextAlloc((*(*query).estate).es_query_cxt, size);
            let copy = copy.cast::<pg_sys::PlannedStmt>();
            copy.copy_from_nonoverlapping(plan, 1);
            (*copy).parallelModeNeeded = false;
            (*query).plannedstmt = copy;
        }
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
    // SAFETY: a query that ends has a state until then, with the plan that it was started with.
    unsafe {
        let noted = noted::take((*(*query).estate).es_query_cxt);
        if noted.is_some_and(|noted| noted.noting.mark.is_some()) {
            (*query).plannedstmt = (*(*query).estate).es_plannedstmt;
        }
    }
}
