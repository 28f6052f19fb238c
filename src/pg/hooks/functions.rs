//! Functions that a statement alters, and those that run on rows that row security does not filter.

use std::cell::RefCell;

use pgrx::pg_sys;

use super::planted::is_a_users;
use super::tables;
use super::tell;
use crate::pg::{function, role, statics};

/// brin_summarize_new_values and brin_summarize_range, which build a part of an index, in any statement.
const SUMMARIZES: [u32; 2] = [3952, 3999];

thread_local! {
    /// Functions that the running statement has altered or replaced, with their previous rows.
    static ALTERED: RefCell<Vec<(pg_sys::Oid, Vec<u8>)>> = const { RefCell::new(Vec::new()) };
}

/// Notes that a function was created, altered or replaced. The change is not visible yet.
pub fn altered(function: pg_sys::Oid) {
    if role::is_superuser_role(role::current())
        || ALTERED.with_borrow(|altered| altered.iter().any(|(known, _)| *known == function))
    {
        return;
    }
    if let Some(row) = function::row(function) {
        ALTERED.with_borrow_mut(|altered| altered.push((function, row)));
    }
}

/// Returns whether the statement has altered functions.
pub fn has_altered() -> bool {
    ALTERED.with_borrow(|altered| !altered.is_empty())
}

/// Reports changed functions, after the statement.
pub fn tell_of_altered() {
    for (function, before) in ALTERED.take() {
        if function::row(function).is_some_and(|now| now != before) {
            tell(|on| (on.function_altered)(function));
        }
    }
}

/// Drops the notes of an aborted statement.
pub fn forget_altered() {
    ALTERED.take();
}

/// Checks a function that is about to run. When the server builds, rewrites or analyses a table it runs the table's functions on
/// all rows.
pub fn about_to_run(function: pg_sys::Oid) {
    if SUMMARIZES.contains(&function.to_u32()) {
        tables::leave_named();
    }
    if tables::is_elsewhere() {
        return;
    }
    let over_all = statics::InSecurityRestrictedOperation() || tables::derives_all();
    if over_all && is_a_users(function) {
        tell(|on| (on.function_over_all)(function));
    }
}
