//! Elevation: what is held at the platform reaches tenants' rows, while it lasts, in statements that are
//! on record. The record is written by the worker, and is durable before the first row is read: it
//! stays when the transaction is rolled back, and read-only transactions have one too.

use pgrx::prelude::*;
use serde_json::json;
use tenancy_core::audit::parts;
use tenancy_core::statement::Redacted;

use super::principal::Who;
use super::{Current, current};
use crate::access::Elevation;
use crate::audit;
use crate::error::{Error, ErrorReport};
use crate::pg::cell::BackendCell;
use crate::pg::hooks::queries::{self, Started};
use crate::pg::{guc, spi, time, xact};

/// Recording: what it reads by itself is on no record.
static RECORDING: BackendCell<bool> = BackendCell::new(false);

/// An error if a context is elevated and the statement that asks is not on record: it began before.
pub fn require_record(now: &Current) -> Result<(), Error> {
    if now.elevation().is_none() || queries::is_noted() {
        return Ok(());
    }
    Err(Error::NotRecorded)
}

/// A query starts that row security applies to: an elevated one is put on record. So is one that a
/// function runs in a parallel worker.
pub fn note_query(query: &Started) -> bool {
    if RECORDING.get() || xact::in_referential_check() {
        return false;
    }
    let noted = || -> Result<bool, Error> {
        let Some(now) = current()? else {
            return Ok(false);
        };
        let Some(elevation) = now.elevation() else {
            return Ok(false);
        };
        // Also in a transaction that was elevated when it began.
        if elevation.expires_at <= time::now_unix_micros() {
            return Err(Error::ElevationEnded);
        }
        let _recording = Recording::begin();
        record(query, &now, elevation)
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
fn record(query: &Started, now: &Current, elevation: &Elevation) -> Result<bool, Error> {
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
        audit::record_now(
            "elevation.statement",
            now.tenant.as_ref().map(|tenant| tenant.id),
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
         FROM up u JOIN tenancy.protected_table_registry r ON r.relation = u.oid \
         JOIN pg_class c ON c.oid = u.oid JOIN pg_namespace n ON n.oid = c.relnamespace \
         ORDER BY 1",
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
