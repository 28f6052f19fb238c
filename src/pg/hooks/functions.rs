//! Functions that a statement alters, and those that run where no row security filters what they are given.

use std::cell::RefCell;

use pgrx::pg_sys;

use super::planted::is_a_users;
use super::tables;
use super::tell;
use crate::pg::{function, role};

/// brin_summarize_new_values and brin_summarize_range: they build a part of an index, in any statement.
const SUMMARIZES: [u32; 2] = [3952, 3999];

thread_local! {
    /// Functions that the statement that runs has altered or replaced, and what they were.
    static ALTERED: RefCell<Vec<(pg_sys::Oid, Vec<u8>)>> = const { RefCell::new(Vec::new()) };
}

/// A function was made, altered or replaced. What the statement has done to it is not to be seen yet.
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

/// Whether the statement has altered functions.
pub fn has_altered() -> bool {
    ALTERED.with_borrow(|altered| !altered.is_empty())
}

/// Tells of functions that are not what they were, after the statement.
pub fn tell_of_altered() {
    for (function, before) in ALTERED.take() {
        if function::row(function).is_some_and(|now| now != before) {
            tell(|on| (on.function_altered)(function));
        }
    }
}

/// Forgets what an aborted statement has altered.
pub fn forget_altered() {
    ALTERED.take();
}

/// A function is about to run. Where the server builds, rewrites or analyses a table it runs the table's functions on all rows.
pub fn about_to_run(function: pg_sys::Oid) {
    if SUMMARIZES.contains(&function.to_u32()) {
        tables::leave_named();
    }
    if tables::is_elsewhere() {
        return;
    }
    // SAFETY: reads statics of the server.
    let over_all = unsafe { pg_sys::InSecurityRestrictedOperation() } || tables::derives_all();
    if over_all && is_a_users(function) {
        tell(|on| (on.function_over_all)(function));
    }
}
