//! Functions that a protected table's definition calls, if a role that is no superuser may have written them. They see every
//! tenant's rows, so they can be added, replaced and run over all rows only in maintenance.
//!
//! Functions that such a function calls are unknown, unless it is in standard SQL.

use std::collections::HashSet;

use pgrx::pg_sys;
use serde_json::json;

use super::{ddl, guard, registry};
use crate::context;
use crate::error::Error;
use crate::pg::{function, relation, role, spi};

/// Functions that the definition of a table calls.
pub type Calls = HashSet<pg_sys::Oid>;

/// Reads which functions the definitions of tables call.
pub fn calls(tables: &[pg_sys::Oid]) -> Result<Calls, Error> {
    let tables = tables.to_vec();
    registry::read(include_str!("calls.sql"), &[tables.into()], |rows| {
        let mut found = Calls::new();
        for row in rows {
            found.extend(row.get::<pg_sys::Oid>(1)?);
        }
        Ok(found)
    })
}

/// Reads the name of a protected table whose definition calls a function.
fn caller(function: pg_sys::Oid) -> Result<Option<String>, Error> {
    spi::read(
        include_str!("callers.sql"),
        &[function.into()],
        |rows| match rows.into_iter().next() {
            Some(row) => Ok(row.get(1)?),
            None => Ok(None),
        },
    )
}

/// Returns the functions that a relation's definition calls before a statement changes it; `None` if the statement may add any.
pub fn before(relation: pg_sys::Oid) -> Result<Option<Calls>, Error> {
    if role::is_superuser_role(role::current())
        || !(guard::is_protected(relation)? || is_in_protected(relation)?)
        || guard::works_on(relation)
    {
        return Ok(None);
    }
    calls(&[relation]).map(Some)
}

/// Returns whether a column of a protected table has a composite type.
fn is_in_protected(relation: pg_sys::Oid) -> Result<bool, Error> {
    let composite = |class: &pg_sys::FormData_pg_class| {
        (class.relkind as u8 == pg_sys::RELKIND_COMPOSITE_TYPE).then_some(class.reltype)
    };
    match relation::read(relation, composite).flatten() {
        Some(of) => registry::protected_with(of),
        None => Ok(false),
    }
}

/// Checks the functions that a relation's definition calls after a statement has changed it.
pub fn after(relation: pg_sys::Oid, before: &Calls) -> Result<(), Error> {
    if calls(&[relation])?.is_subset(before) {
        return Ok(());
    }
    needs_maintenance(relation, "DDL that has a function called")
}

/// Checks new parts of a protected table, which will store rows of every tenant.
pub fn check_new_parts(root: pg_sys::Oid, parts: &[pg_sys::Oid]) -> Result<(), Error> {
    if role::is_superuser_role(role::current()) || parts.is_empty() {
        return Ok(());
    }
    let calls_of_parts = calls(parts)?;
    if calls_of_parts.is_empty() || calls_of_parts.is_subset(&calls(&[root])?) {
        return Ok(());
    }
    needs_maintenance(root, "a part that has functions called")
}

/// Checks a function that is about to run on rows that row security does not filter, in a statement that builds or
/// rewrites: REINDEX, ANALYZE, CLUSTER, VACUUM FULL, ALTER TABLE and functions that do so.
pub fn check_run(called: pg_sys::Oid) -> Result<(), Error> {
    let by_superuser =
        |function: &pg_sys::FormData_pg_proc| role::is_superuser_role(function.proowner);
    // Autovacuum is not refused: such a function was added in maintenance, or before protect().
    if role::is_superuser_role(role::outer())
        || function::read(called, by_superuser).unwrap_or(false)
    {
        return Ok(());
    }
    for table in guard::locked_tables()? {
        if !guard::works_on(table) && !calls(&[table])?.is_empty() {
            return ddl::require_maintenance("a statement that runs functions over all rows");
        }
    }
    Ok(())
}

/// Checks a function that was altered or replaced.
pub fn check_altered(function: pg_sys::Oid) -> Result<(), Error> {
    let Some(table) = caller(function)? else {
        return Ok(());
    };
    const STATEMENT: &str = "altering a function that is called";
    ddl::require_maintenance(STATEMENT)?;
    record(&table, STATEMENT)
}

fn needs_maintenance(table: pg_sys::Oid, statement: &'static str) -> Result<(), Error> {
    ddl::require_maintenance(statement)?;
    match guard::name(table)? {
        Some(name) => record(&name, statement),
        None => Ok(()),
    }
}

fn record(table: &str, statement: &str) -> Result<(), Error> {
    let details = json!({ "statement": statement });
    context::record("protected_table_altered", None, Some(table), details)
}
