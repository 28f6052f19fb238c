//! Elevation: what is held at the platform reaches tenants' rows, while it lasts, in statements that are
//! on record. The record is written by the worker, and is durable before the first row is read: it
//! stays when the transaction is rolled back, and read-only transactions have one too.

use pgrx::prelude::*;
use serde_json::json;
use tenancy_core::audit::parts;
use tenancy_core::principal::Principal;
use tenancy_core::redact::Redacted;

use super::{Context, current, record_now};
use crate::access::Elevation;
use crate::error::{Error, ErrorReport};
use crate::pg::cell::BackendCell;
use crate::pg::hooks::queries::{self, Mark, OnQuery, Started};
use crate::pg::spi::NotNull;
use crate::pg::{guc, spi, time, xact};

/// Recording: what it reads by itself is on no record.
static RECORDING: BackendCell<bool> = BackendCell::new(false);

/// What the hooks ask.
pub const ON_QUERY: OnQuery = OnQuery {
    again: super::current::ask_again,
    start: note_query,
    resume: require_time,
};

/// An error if a context is elevated and the statement that asks is not on record: it began before, or
/// in another tenant.
pub fn require_record(context: &Context) -> Result<(), Error> {
    match context.elevation() {
        Some(elevation) if !queries::is_noted(mark(context, elevation)) => Err(Error::NotRecorded),
        _ => Ok(()),
    }
}

/// What a statement is on record with.
fn mark(context: &Context, elevation: &Elevation) -> Mark {
    let tenant = context.tenant.as_ref().map(|tenant| tenant.id.as_u128());
    elevation.id.as_u128() ^ tenant.unwrap_or(0)
}

/// An error if the elevation is over, also in a transaction that was elevated when it began, and in a
/// statement on record: a cursor can be read from for long.
fn require_time() -> Result<(), Error> {
    match current()?.as_ref().and_then(|context| context.elevation()) {
        Some(elevation) if elevation.expires_at <= time::now_unix_micros() => {
            Err(Error::ElevationEnded)
        }
        _ => Ok(()),
    }
}

/// A query starts that row security applies to: an elevated one is put on record. So is one that a
/// function runs in a parallel worker.
fn note_query(query: &Started) -> Option<Mark> {
    if RECORDING.get() || xact::in_referential_check() {
        return None;
    }
    let noted = || -> Result<Option<Mark>, Error> {
        let Some(context) = current()? else {
            return Ok(None);
        };
        let Some(elevation) = context.elevation() else {
            return Ok(None);
        };
        require_time()?;
        let _recording = Recording::begin();
        let recorded = record(query, &context, elevation)?;
        Ok(recorded.then(|| mark(&context, elevation)))
    };
    noted().unwrap_or_else(|error| error.raise())
}

struct Recording;

impl Recording {
    fn begin() -> Self {
        RECORDING.set(true);
        Self
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        RECORDING.set(false);
    }
}

/// Puts a query on record, if it names a protected table: in several entries if one does not hold all
/// of their names.
fn record(query: &Started, context: &Context, elevation: &Elevation) -> Result<bool, Error> {
    let parts = parts(protected_names(&query.tables())?);
    let statement = Redacted::of(&query.text(), guc::standard_strings());
    let mut details = json!({
        "elevation": elevation.id.to_string(),
        "reason": elevation.reason,
        "statement": statement.text,
    });
    if let Some(cut) = statement.cut {
        details["statement_length"] = cut.length.into();
        details["statement_sha256"] = cut.sha256.into();
    }
    for (n, tables) in parts.iter().enumerate() {
        details["tables"] = json!(tables);
        if parts.len() > 1 {
            details["part"] = json!(format!("{} of {}", n + 1, parts.len()));
        }
        record_now(
            "elevation.statement",
            context.tenant.as_ref().map(|tenant| tenant.id),
            None,
            details.clone(),
        )?;
    }
    Ok(!parts.is_empty())
}

/// The names of those of the tables that are protected, or parts of one that is.
fn protected_names(tables: &[pg_sys::Oid]) -> Result<Vec<String>, Error> {
    spi::read(
        "WITH RECURSIVE up (oid) AS (\
             SELECT unnest($1::oid[]) \
             UNION SELECT i.inhparent FROM up u JOIN pg_inherits i ON i.inhrelid = u.oid) \
         SELECT format('%I.%I', n.nspname, c.relname) \
         FROM up u JOIN tenancy_internal.protected_table_registry r ON r.relation = u.oid \
         JOIN pg_class c ON c.oid = u.oid JOIN pg_namespace n ON n.oid = c.relnamespace \
         ORDER BY 1",
        &[tables.to_vec().into()],
        |rows| rows.into_iter().map(|row| row.not_null(1)).collect(),
    )
}

/// An error unless there is a principal: only a user is elevated.
#[pg_extern(sql = false)]
fn _require_principal() -> Result<pgrx::Uuid, ErrorReport> {
    match current()?.map(|context| context.principal) {
        Some(Principal::User(user)) => Ok(crate::pg::uuid::pg_uuid(user)),
        _ => Err(Error::MissingContext)?,
    }
}
