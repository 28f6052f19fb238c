//! Puts tenancy's conditions first, so that no condition of the caller is evaluated on a row, or because of a
//! row, that the caller cannot see.
//!
//! PostgreSQL evaluates a condition before a policy if no leaky function gets a column of the row. That is not
//! enough: a subquery is computed when it is first needed, and a failure then reveals that a row has passed the
//! conditions before it. The following rule does not depend on the content of conditions:
//!
//! | where an expression is evaluated on a row | file | why tenancy's conditions come first there |
//! | --- | --- | --- |
//! | a scan's filter, also of parts, of joins' inner sides, in a recheck of a concurrently changed row | `policies` | the conditions of the table's policies sort before everything else |
//! | a recheck of what an index found: lossy pages, lossy operators | `indexes` | a recheck that reveals more than its result begins with the policies |
//! | a bitmap, which is built only if the one before is not empty | `indexes` | of combined bitmaps only the first may reveal that it was built |
//! | a view of tenancy, into which a caller's conditions are moved | `views` | they are evaluated inside `CASE WHEN` of the view's own |
//! | the row that ON CONFLICT found | `conflicts` | the same, with the policies for updates |
//!
//! `support` handles requests to planner support functions. `named` adds to a plan the protected tables that planning removed
//! from a statement. `partitions` leaves out other tenants' partitions. `parameters` evaluates
//! tenancy's functions once for each execution. `keys` compares keys of tenants.
//! `own` finds tenancy's functions by name, `answers` keeps what the catalog says.
//!
//! Other nodes of a plan get rows that have passed a scan's filter (joins, sorts, aggregates), or are evaluated
//! independently of rows: index scan keys at the start, one-time filters.
//!
//! A policy is exactly what row security has for the table, and nothing that the planner derived from it with an
//! expression of the caller (see `policies`).
//!
//! Conditions that reveal nothing may still be used to search indexes before the policy: those that PostgreSQL knows as
//! leakproof, and those of `index_search`, which knows operators of `extensions` too. `index_paths` makes the paths for them, and
//! for the policies of several tenants (`fleets`). `estimates` estimates some of them by all statistics.

mod answers;
mod conflicts;
mod estimates;
mod expression;
mod extensions;
mod fleets;
mod index_paths;
mod index_search;
mod indexes;
pub mod keys;
mod named;
mod nodes;
mod own;
pub mod parameters;
pub mod partitions;
mod policies;
pub mod support;
mod views;

use std::ffi::{c_char, c_int};

use pgrx::pg_sys;
use pgrx::prelude::*;

use self::named::{Named, Protected};
use super::cell::BackendCell;
use super::spi;

static PREVIOUS_PATHS: BackendCell<pg_sys::set_rel_pathlist_hook_type> = BackendCell::new(None);
static PREVIOUS_INFO: BackendCell<pg_sys::get_relation_info_hook_type> = BackendCell::new(None);
static PREVIOUS_PLANNER: BackendCell<pg_sys::planner_hook_type> = BackendCell::new(None);
static PREVIOUS_UPPER: BackendCell<pg_sys::create_upper_paths_hook_type> = BackendCell::new(None);

/// Builds with assertions can disable it, to show that the tests find leaks.
#[cfg(debug_assertions)]
static HARDENING: pgrx::guc::GucSetting<bool> = pgrx::guc::GucSetting::<bool>::new(true);

#[cfg(debug_assertions)]
fn is_on() -> bool {
    HARDENING.get()
}

#[cfg(not(debug_assertions))]
const fn is_on() -> bool {
    true
}

/// Installs the hooks.
pub fn init(only_tenant: partitions::Ask, key: parameters::Ask) {
    answers::init();
    partitions::init(only_tenant);
    parameters::init(key);
    #[cfg(debug_assertions)]
    pgrx::guc::GucRegistry::define_bool_guc(
        c"tenancy.debug_planner_hardening",
        c"Evaluates tenancy's conditions before all others.",
        c"Only in builds with assertions, for tests of the tests.",
        &HARDENING,
        pgrx::guc::GucContext::Suset,
        pgrx::guc::GucFlags::default(),
    );
    // SAFETY: set once, in _PG_init; the previous hooks are kept and called.
    unsafe {
        PREVIOUS_PATHS.set(pg_sys::set_rel_pathlist_hook);
        pg_sys::set_rel_pathlist_hook = Some(paths_made);
        PREVIOUS_INFO.set(pg_sys::get_relation_info_hook);
        pg_sys::get_relation_info_hook = Some(relation_read);
        PREVIOUS_PLANNER.set(pg_sys::planner_hook);
        pg_sys::planner_hook = Some(plan);
        PREVIOUS_UPPER.set(pg_sys::create_upper_paths_hook);
        pg_sys::create_upper_paths_hook = Some(upper_paths);
    }
}

fn is_here() -> bool {
    own::schema(c"tenancy").is_some()
}

/// Called when the paths of a table, a part or a subquery are complete, and none is chosen yet.
#[pg_guard]
unsafe extern "C-unwind" fn paths_made(
    root: *mut pg_sys::PlannerInfo,
    rel: *mut pg_sys::RelOptInfo,
    index: pg_sys::Index,
    entry: *mut pg_sys::RangeTblEntry,
) {
    if let Some(previous) = PREVIOUS_PATHS.get() {
        #[allow(ffi_unwind_calls)] // inside the boundary
        // SAFETY: passes the call to the previous hook.
        unsafe {
            pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| previous(root, rel, index, entry));
        }
    }
    // SAFETY: the planner passes its state, valid for the call.
    unsafe {
        if (*entry).rtekind == pg_sys::RTEKind::RTE_RELATION {
            index_paths::add(root, rel, entry, is_on());
        }
        if (*root).qual_security_level == 0 || !is_on() || !is_here() {
            return;
        }
        let policies = policies::put_first(root, rel);
        if !policies.is_empty() && (*entry).rtekind == pg_sys::RTEKind::RTE_RELATION {
            indexes::harden(root, rel, &policies);
        }
    }
}

/// Called when the upper paths of a query are complete, the last of the query.
#[pg_guard]
unsafe extern "C-unwind" fn upper_paths(
    root: *mut pg_sys::PlannerInfo,
    stage: pg_sys::UpperRelationKind::Type,
    input: *mut pg_sys::RelOptInfo,
    output: *mut pg_sys::RelOptInfo,
    extra: *mut std::ffi::c_void,
) {
    if let Some(previous) = PREVIOUS_UPPER.get() {
        #[allow(ffi_unwind_calls)] // inside the boundary
        // SAFETY: passes the call to the previous hook.
        unsafe {
            pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| {
                previous(root, stage, input, output, extra);
            });
        }
    }
    // SAFETY: the planner passes its state, valid for the call.
    unsafe {
        if stage == pg_sys::UpperRelationKind::UPPERREL_FINAL
            && (*root).qual_security_level > 0
            && is_on()
            && is_here()
        {
            policies::joins_last(root);
        }
    }
}

/// Called for each table of a query, before conditions are distributed to tables.
#[pg_guard]
unsafe extern "C-unwind" fn relation_read(
    root: *mut pg_sys::PlannerInfo,
    relation: pg_sys::Oid,
    parent: bool,
    rel: *mut pg_sys::RelOptInfo,
) {
    if let Some(previous) = PREVIOUS_INFO.get() {
        #[allow(ffi_unwind_calls)] // inside the boundary
        // SAFETY: passes the call to the previous hook.
        unsafe {
            pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| {
                previous(root, relation, parent, rel);
            });
        }
    }
    // SAFETY: the planner passes its state, valid for the call.
    unsafe { views::own_conditions_first(root, is_on()) };
}

/// Not guarded: an error of the server must pass unchanged, with its constraint and its context. So nothing here
/// has a destructor while the server's function runs.
unsafe extern "C-unwind" fn plan(
    query: *mut pg_sys::Query,
    text: *const c_char,
    options: c_int,
    params: pg_sys::ParamListInfo,
) -> *mut pg_sys::PlannedStmt {
    // SAFETY: the server passes a query that is the planner's to change; the arguments are passed on as they
    // came, to the previous hook or to the server's own function.
    unsafe {
        let row_security = (*query).hasRowSecurity;
        let before = if row_security {
            before(query)
        } else {
            Before::NOTHING
        };
        #[allow(ffi_unwind_calls)] // errors pass by
        let plan = match PREVIOUS_PLANNER.get() {
            Some(previous) => previous(query, text, options, params),
            None => raw::standard_planner(query, text, options, params),
        };
        // So that a query's start need not look at its tables. The server compares the role of such a query anyway.
        (*plan).dependsOnRole |= row_security;
        before.named.keep(plan);
        if before.pruned {
            partitions::mark(plan, before.tenant);
        }
        if spi::is_own() {
            (*plan).jitFlags = pg_sys::PGJIT_NONE as c_int;
        }
        plan
    }
}

/// What was changed in a query that is about to be planned.
#[derive(Clone, Copy)]
#[repr(C)]
struct Before {
    named: Named,
    /// Whether the plan will be one tenant's.
    pruned: bool,
    tenant: u32,
}

impl Before {
    const NOTHING: Self = Self {
        named: Named::NONE,
        pruned: false,
        tenant: 0,
    };
}

/// Changes a query that names tables with row security.
#[pg_guard]
unsafe extern "C-unwind" fn before(query: *mut pg_sys::Query) -> Before {
    if !is_here() {
        return Before::NOTHING;
    }
    // SAFETY: a query, the planner's to change.
    unsafe {
        if is_on() {
            conflicts::policies_first(query);
        }
        let tables = Protected::of(query);
        let named = Named::removable(&tables);
        let tenant = partitions::add_key(tables.entries());
        Before {
            named,
            pruned: tenant.is_some(),
            tenant: tenant.unwrap_or(0),
        }
    }
}

/// Called as C calls it: see `hooks::raw`.
mod raw {
    use super::{c_char, c_int, pg_sys};

    unsafe extern "C" {
        pub fn standard_planner(
            query: *mut pg_sys::Query,
            text: *const c_char,
            options: c_int,
            params: pg_sys::ParamListInfo,
        ) -> *mut pg_sys::PlannedStmt;
    }
}
