//! Which functions and operator families of extensions are known to core.
//!
//! A name is not enough: a member of an extension counts if it is written in C, and its owner is a superuser. Only superusers
//! create functions in C, and operator families.

use std::ffi::CStr;

use pgrx::pg_sys;
use tenancy_core::index_search::{has_known_families, is_known, may_be_estimated};

use super::answers::Answers;
use super::expression::C;
use crate::pg::{extension, function};

thread_local! {
    static FUNCTIONS: Answers<pg_sys::Oid, bool> = Answers::new();
    /// By operator, whose function never changes.
    static ESTIMATED: Answers<pg_sys::Oid, bool> = Answers::new();
    static FAMILIES: Answers<pg_sys::Oid, bool> = Answers::new();
}

/// Returns whether core knows a function as one of an extension's.
pub fn knows_function(oid: pg_sys::Oid) -> bool {
    FUNCTIONS.with(|functions| functions.get(oid, || look_up(oid)))
}

fn look_up(oid: pg_sys::Oid) -> bool {
    let native = function::read(oid, |row| {
        // SAFETY: a catalog look-up inside a transaction.
        row.prolang == pg_sys::Oid::from(C) && unsafe { pg_sys::superuser_arg(row.proowner) }
    });
    // SAFETY: a catalog look-up; the name is NULL or a copy.
    let name = unsafe { text(pg_sys::get_func_name(oid)) };
    native == Some(true)
        && extension::of(pg_sys::ProcedureRelationId, oid)
            .zip(name)
            .is_some_and(|(extension, name)| is_known(&extension, &name))
}

/// Returns whether an operator with a function that core knows may be evaluated on statistics. One that a user created for the
/// function has its own estimator and negator, which the planner calls.
pub fn estimates(operator: pg_sys::Oid, function: pg_sys::Oid) -> bool {
    ESTIMATED.with(|estimated| {
        estimated.get(operator, || {
            let extension = extension::of(pg_sys::OperatorRelationId, operator);
            extension.as_deref().is_some_and(may_be_estimated)
                && extension == extension::of(pg_sys::ProcedureRelationId, function)
        })
    })
}

/// Returns whether core knows the extension of an operator family.
pub fn knows_family(oid: pg_sys::Oid) -> bool {
    FAMILIES.with(|families| {
        families.get(oid, || {
            extension::of(pg_sys::OperatorFamilyRelationId, oid)
                .is_some_and(|extension| has_known_families(&extension))
        })
    })
}

unsafe fn text(name: *const std::ffi::c_char) -> Option<String> {
    if name.is_null() {
        return None;
    }
    // SAFETY: not NULL, so a C string.
    let name = unsafe { CStr::from_ptr(name) };
    Some(name.to_string_lossy().into_owned())
}
