//! Prepared statements of a role that many clients share. PREPARE and DEALLOCATE are SQL, so an injected
//! statement can replace the statement of a name that the next client of the connection binds to.
//!
//! A statement prepared by SQL ends with its transaction, unless the session has a session context and no driver ever
//! used the name. A statement that a driver prepared by the protocol stays. DEALLOCATE by SQL only defers its end,
//! since drivers of other clients may still bind to it, and drivers that deallocate by SQL never reuse a name.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::ffi::{CStr, CString};

use pgrx::pg_sys;
use tenancy_core::time::Instant;

use super::shared_role::behind_clients;
use crate::error::Error;
use crate::pg::{extension, session, slots, spi, xact};

/// How many deallocated statements of drivers stay before the oldest is dropped. psycopg keeps 100 in use,
/// Rails 1,000; one takes about 15 kB.
const PUT_OFF_MAX: usize = 256;
/// How many names of drivers are remembered after their statements are gone. With more, every statement prepared by
/// SQL ends with its transaction.
const NAMES_MAX: usize = 10_000;

/// A statement that SQL prepared.
struct Prepared {
    name: CString,
    /// Whether a role that many clients share prepared it.
    shared: bool,
    /// Whether a driver may still bind to the name.
    drivers: bool,
}

/// A statement of a driver that SQL deallocated, and the start of the transaction that did.
struct PutOff {
    name: CString,
    at: Instant,
}

#[derive(Default)]
struct Statements {
    by_sql: Vec<Prepared>,
    put_off: VecDeque<PutOff>,
    /// Names that drivers used. A driver that missed a DISCARD ALL still binds to them.
    drivers: HashSet<CString>,
    /// Statements that this transaction executed: EXECUTE looks the statement up again after it ran.
    executed: Vec<CString>,
}

thread_local! {
    static STATEMENTS: RefCell<Statements> = RefCell::default();
}

/// Handles a utility statement before it runs. Returns true if it is done.
///
/// # Safety
/// `node` is a statement; `completion` is NULL or where its tag goes.
pub unsafe fn handle(
    node: *mut pg_sys::Node,
    top_level: bool,
    completion: *mut pg_sys::QueryCompletion,
) -> bool {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag identifies the statement; names are C strings, NULL for ALL.
    unsafe {
        match (*node).type_ {
            T_PrepareStmt => prepare(CStr::from_ptr((*node.cast::<pg_sys::PrepareStmt>()).name)),
            T_DiscardStmt => {
                let target = (*node.cast::<pg_sys::DiscardStmt>()).target;
                if target == pg_sys::DiscardMode::DISCARD_ALL {
                    all_gone();
                    if !session::in_transaction_block(top_level) {
                        slots::end_session();
                    }
                }
            }
            T_DeallocateStmt => {
                let name = (*node.cast::<pg_sys::DeallocateStmt>()).name;
                let done = if name.is_null() {
                    deallocate_all(top_level)
                } else {
                    deallocate(CStr::from_ptr(name))
                };
                if done && !completion.is_null() {
                    // Not DEALLOCATE ALL, after which poolers and drivers forget their statements.
                    let tag = pg_sys::CommandTag::CMDTAG_DEALLOCATE;
                    pg_sys::SetQueryCompletion(completion, tag, 0);
                }
                return done;
            }
            T_ExecuteStmt => execute(node),
            T_ExplainStmt => explain((*node.cast::<pg_sys::ExplainStmt>()).query),
            _ => {}
        }
    }
    false
}

/// Called when a query starts: a deallocated statement of a driver that it runs is still in use.
pub fn used() {
    STATEMENTS.with_borrow_mut(|all| {
        if !all.put_off.is_empty()
            && let Some(name) = session::bound_statement()
        {
            all.put_off
                .retain(|put_off| put_off.name.as_c_str() != name);
        }
    });
}

/// Drops statements prepared by SQL when a context begins.
pub fn drop_prepared() {
    drop_where(|prepared| prepared.shared);
}

/// Drops statements at the transaction's end, also after an abort, which does not undo PREPARE. `keep`: in a session context.
pub fn end_transaction(keep: bool) {
    STATEMENTS.with_borrow_mut(|all| all.executed.clear());
    drop_where(|prepared| prepared.shared && (prepared.drivers || !keep));
}

fn drop_where(ends: impl Fn(&Prepared) -> bool) {
    STATEMENTS.with_borrow_mut(|all| {
        let Statements {
            by_sql, executed, ..
        } = all;
        by_sql.retain(|prepared| {
            let keep = !ends(prepared) || executed.contains(&prepared.name);
            if !keep {
                session::drop_statement(&prepared.name, true);
            }
            keep
        });
    });
}

fn prepare(name: &CStr) {
    let shared = behind_clients();
    STATEMENTS.with_borrow_mut(|all| {
        let drivers = all.drivers.contains(name) || all.drivers.len() >= NAMES_MAX;
        all.by_sql
            .retain(|prepared| prepared.name.as_c_str() != name);
        all.by_sql.push(Prepared {
            name: name.to_owned(),
            shared,
            drivers,
        });
    });
}

/// Handles EXPLAIN; only EXPLAIN EXECUTE matters.
unsafe fn explain(query: *mut pg_sys::Node) {
    // SAFETY: after analysis it is a Query, whose utility statement may be EXECUTE.
    unsafe {
        if !query.is_null() && (*query).type_ == pg_sys::NodeTag::T_Query {
            let utility = (*query.cast::<pg_sys::Query>()).utilityStmt;
            if !utility.is_null() && (*utility).type_ == pg_sys::NodeTag::T_ExecuteStmt {
                execute(utility);
            }
        }
    }
}

unsafe fn execute(node: *mut pg_sys::Node) {
    STATEMENTS.with_borrow_mut(|all| {
        if all.by_sql.is_empty() {
            return;
        }
        // SAFETY: an EXECUTE has a name.
        let name = unsafe { CStr::from_ptr((*node.cast::<pg_sys::ExecuteStmt>()).name) };
        if !all.executed.iter().any(|known| known.as_c_str() == name) {
            all.executed.push(name.to_owned());
        }
    });
}

fn deallocate(name: &CStr) -> bool {
    // A statement that the same transaction prepared belongs to this client.
    let driver = session::statement(name)
        .is_some_and(|found| !found.by_sql && found.at < xact::transaction_started());
    if !driver || !behind_clients() {
        return false;
    }
    put_off(name.to_owned());
    true
}

/// Handles DEALLOCATE ALL. Outside a transaction a pooler or driver sends it, and knows of it.
fn deallocate_all(top_level: bool) -> bool {
    if !session::in_transaction_block(top_level) || !behind_clients() {
        all_gone();
        return false;
    }
    for (name, by_sql) in every() {
        if by_sql || !deallocate(&name) {
            session::drop_statement(&name, by_sql);
        }
    }
    true
}

fn put_off(name: CString) {
    let now = xact::transaction_started();
    STATEMENTS.with_borrow_mut(|all| {
        if !all.put_off.iter().any(|put_off| put_off.name == name) {
            all.put_off.push_back(PutOff { name, at: now });
        }
        while all.put_off.len() > PUT_OFF_MAX {
            // Not those of this transaction, which could be all that the next client needs.
            match all.put_off.pop_front() {
                Some(oldest) if oldest.at != now => {
                    session::drop_statement(&oldest.name, false);
                    all.drivers.insert(oldest.name);
                }
                Some(oldest) => {
                    all.put_off.push_front(oldest);
                    break;
                }
                None => break,
            }
        }
    });
}

/// Remembers the names of all statements before they are dropped.
fn all_gone() {
    let names = every();
    STATEMENTS.with_borrow_mut(|all| {
        all.put_off.clear();
        let drivers = names.into_iter().filter(|(_, by_sql)| !by_sql);
        all.drivers.extend(drivers.map(|(name, _)| name));
    });
}

/// Returns the session's statements, each with whether SQL prepared it.
fn every() -> Vec<(CString, bool)> {
    if extension::schema().is_none() {
        return Vec::new();
    }
    let found = spi::read(
        "SELECT name, from_sql FROM pg_catalog.pg_prepared_statement()",
        &[],
        |rows| {
            rows.into_iter()
                .map(|row| Ok((row.get::<String>(1)?, row.get::<bool>(2)?)))
                .collect::<Result<Vec<_>, Error>>()
        },
    )
    .unwrap_or_else(|error| error.raise());
    found
        .into_iter()
        .filter_map(|(name, by_sql)| Some((CString::new(name?).ok()?, by_sql?)))
        .collect()
}
