//! Elevation: what is held at the platform reaches tenants' rows, while it lasts, in statements that are
//! on record. The record is written by the worker, and is durable before the first row is read: it
//! stays when the transaction is rolled back, and read-only transactions have one too.

use pgrx::prelude::*;
use serde_json::json;
use tenancy_core::statement::without_literals;

use super::principal::Who;
use super::{Current, current};
use crate::access::Elevation;
use crate::audit;
use crate::error::{Error, ErrorReport};
use crate::pg::hooks::running;
use crate::pg::{guc, session, spi, xact};

/// Whether a context reaches rows now: an elevated one only in a statement that is on record.
pub fn reaches_rows(now: &Current) -> Result<bool, Error> {
    match now.elevation() {
        None => Ok(true),
        Some(elevation) => recorded(now, elevation),
    }
}

/// A query begins that row security applies to. An elevated one is put on record also if it will find
/// no row to ask about; in a parallel query it is the leader that does it.
pub fn before_run() {
    if (guc::token().is_none() && !guc::has_ticket()) || xact::in_referential_check() {
        return;
    }
    let recorded = || -> Result<(), Error> {
        match current()? {
            Some(now) => reaches_rows(&now).map(|_| ()),
            None => Ok(()),
        }
    };
    if let Err(error) = recorded() {
        error.raise();
    }
}

fn recorded(now: &Current, elevation: &Elevation) -> Result<bool, Error> {
    if session::parallel_leader().is_some() {
        return Ok(true);
    }
    match running::is_noted() {
        Some(true) => Ok(true),
        Some(false) => {
            record(now, elevation)?;
            running::note();
            Ok(true)
        }
        // Not a query: nothing that could be named.
        None => Ok(false),
    }
}

fn record(now: &Current, elevation: &Elevation) -> Result<(), Error> {
    let Some(query) = running::innermost() else {
        return Err(Error::Internal("a statement that does not run"));
    };
    let statement = without_literals(&query.text, guc::standard_strings());
    audit::record_now(
        "elevation.statement",
        now.tenant.as_ref().map(|tenant| tenant.id),
        None,
        json!({
            "elevation": elevation.id.to_string(),
            "reason": elevation.reason,
            "statement": statement,
            "tables": protected_names(&query.tables)?,
        }),
    )
}

/// The names of those of the tables that are protected, or parts of one that is.
fn protected_names(tables: &[pg_sys::Oid]) -> Result<Vec<String>, Error> {
    spi::read(
        "WITH RECURSIVE up (oid) AS (\
             SELECT unnest($1::oid[]) \
             UNION SELECT i.inhparent FROM up u JOIN pg_inherits i ON i.inhrelid = u.oid) \
         SELECT format('%I.%I', n.nspname, c.relname) \
         FROM up u JOIN tenancy.protected_table_registry r ON r.relation = u.oid \
         JOIN pg_class c ON c.oid = u.oid JOIN pg_namespace n ON n.oid = c.relnamespace \
         ORDER BY 1 LIMIT 50",
        &[tables.to_vec().into()],
        |rows| {
            rows.into_iter()
                .map(|row| Ok(row.get::<String>(1)?.unwrap_or_default()))
                .collect()
        },
    )
}

/// An error unless there is a principal: only a user is elevated.
#[pg_extern(sql = false)]
fn _require_principal() -> Result<pgrx::Uuid, ErrorReport> {
    match current()?.map(|now| now.who) {
        Some(Who::User(user)) => Ok(crate::access::pg_uuid(user)),
        _ => Err(Error::MissingContext)?,
    }
}
