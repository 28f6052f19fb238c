//! Hooks on the server, for what policies do not cover.
//!
//! | file | what |
//! | --- | --- |
//! | `shared_role` | statements that a role that tenants share may not run |
//! | `roles` | membership in tenancy's roles |
//! | `session_statements` | statements prepared by SQL, and drivers' that SQL deallocates |
//! | `session_tickets` | refuses session tickets behind a pool |
//! | `session_objects` | cursors and temporary tables, which stay in a session |
//! | `transaction_end` | where transactions and savepoints end |
//! | `queries` | queries that row security applies to |
//! | `noted` | what this backend does, and what was noted of queries until they end |
//! | `tables` | the tables that a query names, before any of it runs |
//! | `refused_rows` | new rows that a policy refuses because their tenant is NULL |
//! | `raw` | the server's own functions behind the hooks |
//! | `change` | a change of a table's definition, and how far it reaches |
//! | `ddl` | what a statement does to the definition of tables that it names |
//! | `foreign_keys` | foreign keys from an empty table, which need no validation |
//! | `frames` | where statements within statements begin and end |
//! | `copy_from` | COPY FROM into a protected table |
//! | `copy_to` | the first copy of secrets for a subscriber |
//! | `planted` | whether an expression reveals rows, or runs code that a user wrote |
//! | `quiet` | keeps secrets out of logs and statistics |
//! | `objects` | TRUNCATE, drops and changes by any statement; functions that are called |
//! | `functions` | functions that are altered, and those that run over all rows |
//! | `changes` | new partitions and children, renamed columns, new policies, functions that a definition calls |

pub mod change;
mod changes;
mod copy_from;
mod copy_to;
mod ddl;
mod foreign_keys;
pub mod frames;
mod functions;
pub mod noted;
mod objects;
mod planted;
pub mod queries;
pub mod quiet;
mod raw;
pub mod refused_rows;
mod roles;
mod session_objects;
pub mod session_statements;
mod session_tickets;
mod shared_role;
mod source;
pub mod tables;
pub mod transaction_end;

use std::collections::HashSet;
use std::ffi::c_char;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::cell::BackendCell;
use super::{bgworker, cluster, extension, memory, xact};
use crate::error::Error;

pub use ddl::is_view;
pub use session_objects::{
    has_leftovers, listens, note_leftovers, take_held_cursors, take_leftovers, unlistened,
};
pub use shared_role::{behind_clients, shared_role};

static PREVIOUS_UTILITY: BackendCell<pg_sys::ProcessUtility_hook_type> = BackendCell::new(None);
static ON: BackendCell<Option<On>> = BackendCell::new(None);

/// A policy of a table.
pub struct TablePolicy {
    /// The table.
    pub table: pg_sys::Oid,
    /// Whether it is tenancy's.
    pub tenancys: bool,
}

/// The callbacks of the hooks.
#[derive(Clone, Copy)]
pub struct On {
    /// Called when a table got a partition or a child. By its name the child is this one, or another of that name.
    pub child: fn(parent: pg_sys::Oid, named: Option<pg_sys::Oid>) -> Result<(), Error>,
    /// Called before a statement, if objects may have been left in the session.
    pub statement: fn() -> Result<(), Error>,
    /// Queries that row security applies to.
    pub query: queries::OnQuery,
    /// Called when a query names a table; an error refuses it.
    pub table: tables::OnTable,
    /// Called when a MERGE changes a table that it does not read; an error refuses it.
    pub blind_merge: tables::OnTable,
    /// Called when a statement changes a table's definition; an error refuses it.
    pub change: fn(&change::Change) -> Result<(), Error>,
    /// Called when a statement validates the values of a domain; an error refuses it.
    pub domain: fn(domain: pg_sys::Oid) -> Result<(), Error>,
    /// Called before the extension is dropped with its dependents; an error refuses it.
    pub drop: fn() -> Result<(), Error>,
    /// Finds a policy's table.
    pub policy: fn(policy: pg_sys::Oid) -> Result<Option<TablePolicy>, Error>,
    /// Returns the functions that a relation's definition calls before a statement changes it, if the caller may not add others.
    pub calls: fn(relation: pg_sys::Oid) -> Result<Option<Calls>, Error>,
    /// Called after a statement has changed a relation's definition; an error undoes it.
    pub called: fn(relation: pg_sys::Oid, before: &Calls) -> Result<(), Error>,
    /// Called after a function was altered or replaced; an error undoes it.
    pub function_altered: fn(function: pg_sys::Oid) -> Result<(), Error>,
    /// Called before a function runs on all rows of a table; an error refuses it.
    pub function_over_all: fn(function: pg_sys::Oid) -> Result<(), Error>,
    /// Returns whether a table is protected and isolated.
    pub isolated: fn(table: pg_sys::Oid) -> Result<bool, Error>,
    /// Called after a statement has altered an isolated table, or its policies; an error undoes it.
    pub altered: fn(table: pg_sys::Oid) -> Result<(), Error>,
    /// Returns whether a table, or one that it is a part of, is protected.
    pub protected: fn(table: pg_sys::Oid) -> Result<bool, Error>,
    /// Called after a policy of a table was created or dropped, or its owner changed.
    pub policies: fn(table: pg_sys::Oid, created: bool) -> Result<(), Error>,
    /// What is known of a table of which a policy refuses a row.
    pub refused: refused_rows::OnRefused,
    /// Called after a table's column was renamed.
    pub rename: fn(table: pg_sys::Oid, old: &str, new: &str) -> Result<(), Error>,
}

/// The callbacks of a room above the one that [`init`] is for: what it does after changes of tables.
#[derive(Clone, Copy)]
pub struct Follow {
    /// Called when a table got a partition or a child, after [`On::child`].
    pub child: fn(parent: pg_sys::Oid, named: Option<pg_sys::Oid>) -> Result<(), Error>,
    /// Called when a partition of a table was detached.
    pub detached: fn(parent: pg_sys::Oid, part: pg_sys::Oid) -> Result<(), Error>,
    /// Called after a table's column was renamed.
    pub rename: fn(table: pg_sys::Oid, old: &str, new: &str) -> Result<(), Error>,
}

static FOLLOW: BackendCell<Option<Follow>> = BackendCell::new(None);

/// Registers what a room does after changes of tables.
pub fn follow(follow: Follow) {
    FOLLOW.set(Some(follow));
}

/// Calls such a callback, if the extension is installed, and raises its error.
fn tell_above(what: impl FnOnce(&Follow) -> Result<(), Error>) {
    if extension::schema().is_some()
        && let Some(follow) = FOLLOW.get()
        && let Err(error) = what(&follow)
    {
        error.raise();
    }
}

/// Functions that a relation's definition calls.
pub type Calls = HashSet<pg_sys::Oid>;

/// Installs the hooks, except for pg_upgrade, which restores what they have checked before.
pub fn init(on: On) {
    if cluster::upgrading() {
        return;
    }
    ON.set(Some(on));
    // SAFETY: set once, in _PG_init; the previous hooks are kept and called.
    unsafe {
        PREVIOUS_UTILITY.set(pg_sys::ProcessUtility_hook);
        pg_sys::ProcessUtility_hook = Some(process_utility);
        objects::init();
    }
    queries::init(on.query);
    quiet::init();
    refused_rows::init(on.refused);
    tables::init(&on);
}

/// Calls a callback, if the extension is installed, and raises its error.
fn tell(what: impl FnOnce(&On) -> Result<(), Error>) {
    if extension::schema().is_some()
        && let Some(on) = ON.get()
        && let Err(error) = what(&on)
    {
        error.raise();
    }
}

/// Not guarded: an error of the server must pass unchanged, with its constraint and its context. So nothing here
/// has a destructor while the server's function runs.
#[allow(clippy::too_many_arguments)]
unsafe extern "C-unwind" fn process_utility(
    statement: *mut pg_sys::PlannedStmt,
    query: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    params: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    dest: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: the server passes a statement that is valid for the call. What is needed of it after the
    // call is read before: a COMMIT inside may free it. The arguments are passed on as they came, to
    // the previous hook or to the server's own function.
    unsafe {
        let top_level = context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL;
        if prepared((*statement).utilityStmt, top_level, completion) {
            return;
        }
        let around = tables::around();
        let frame = frames::begin();
        let unvalidated = foreign_keys::of_empty_table(statement);
        let read_only_tree = read_only_tree && statement == unvalidated.statement;
        let statement = unvalidated.statement;
        let changes = before((*statement).utilityStmt);
        copy_to::hide_secrets(statement);
        if !copy_from::run(statement, query, completion) {
            #[allow(ffi_unwind_calls)] // errors pass by
            match PREVIOUS_UTILITY.get() {
                Some(previous) => previous(
                    statement,
                    query,
                    read_only_tree,
                    context,
                    params,
                    environment,
                    dest,
                    completion,
                ),
                None => raw::standard_ProcessUtility(
                    statement,
                    query,
                    read_only_tree,
                    context,
                    params,
                    environment,
                    dest,
                    completion,
                ),
            }
        }
        foreign_keys::require_still_empty(unvalidated);
        tables::set_around(around);
        after(changes);
        end_frame(frame);
    }
}

/// Ends a statement's frame, unless the transaction has ended in it.
#[pg_guard]
unsafe extern "C-unwind" fn end_frame(frame: usize) {
    if xact::running() {
        // SAFETY: what `begin` returned.
        unsafe { frames::end(frame) };
    } else {
        frames::leave(frame);
    }
}

/// Handles statements about prepared statements. Returns whether it is done.
#[pg_guard]
unsafe extern "C-unwind" fn prepared(
    node: *mut pg_sys::Node,
    top_level: bool,
    completion: *mut pg_sys::QueryCompletion,
) -> bool {
    // SAFETY: the node is a utility statement; the server passes where its tag goes.
    unsafe { session_statements::handle(node, top_level, completion) }
}

/// Checks a statement, and returns its changes: NULL for none, else freed by `after`. After an error these few bytes
/// are lost.
#[pg_guard]
unsafe extern "C-unwind" fn before(node: *mut pg_sys::Node) -> *mut Vec<changes::Change> {
    // SAFETY: the node is a utility statement.
    if unsafe { is_rollback(node) } {
        if !memory::watch() {
            return std::ptr::null_mut();
        }
    } else {
        memory::require();
    }
    // SAFETY: the node is a utility statement.
    let changes = unsafe {
        shared_role::check(node);
        roles::check(node);
        session_tickets::check(node);
        session_objects::check(node);
        let altered = if xact::running() {
            tables::note_named(node);
            ddl::check(node)
        } else {
            Vec::new()
        };
        tables::derive(node);
        bgworker::make_way(node);
        let mut changes = changes::of(node);
        changes.extend(changes::of_code(&altered));
        changes
    };
    if changes.is_empty() {
        std::ptr::null_mut()
    } else {
        Box::into_raw(Box::new(changes))
    }
}

unsafe fn is_rollback(node: *mut pg_sys::Node) -> bool {
    use pg_sys::TransactionStmtKind::{TRANS_STMT_ROLLBACK, TRANS_STMT_ROLLBACK_TO};
    // SAFETY: the tag identifies the statement.
    unsafe {
        (*node).type_ == pg_sys::NodeTag::T_TransactionStmt
            && matches!(
                (*node.cast::<pg_sys::TransactionStmt>()).kind,
                TRANS_STMT_ROLLBACK | TRANS_STMT_ROLLBACK_TO
            )
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn after(changes: *mut Vec<changes::Change>) {
    // SAFETY: NULL, or what `before` made, freed here.
    let changes = (!changes.is_null()).then(|| unsafe { Box::from_raw(changes) });
    bgworker::made_way();
    if !xact::running() {
        return;
    }
    let touched = objects::take_touched();
    if changes.is_some() || !touched.is_empty() || functions::has_altered() {
        // The statement's last changes must be visible: the server does the same next.
        xact::end_command();
    }
    if let Some(changes) = changes
        && extension::schema().is_some()
    {
        changes::follow(&changes);
    }
    functions::tell_of_altered();
    for touched in touched.into_iter().chain(objects::take_touched()) {
        tell(|on| (on.altered)(touched.table));
        if touched.has_other_policies() {
            tell(|on| (on.policies)(touched.table, false));
        }
    }
}
