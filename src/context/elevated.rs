//! Elevation: permissions held at the platform reach tenants' rows, for a time, in recorded statements. The
//! worker writes the record, which is durable before the first row is read. It stays if the transaction is
//! rolled back, and read-only transactions have it too.

use pgrx::prelude::*;
use serde_json::json;
use tenancy_core::audit::parts;
use tenancy_core::principal::Principal;
use tenancy_core::redact::Redacted;

use super::{Context, current, plans, record_now};
use crate::access::Elevation;
use crate::error::{Error, ErrorReport};
use crate::pg::cell::BackendCell;
use crate::pg::hooks::noted::{self, Mark};
use crate::pg::hooks::queries::{OnQuery, Started};
use crate::pg::spi::NotNull;
use crate::pg::{guc, spi, time, xact};

/// Whether a statement is being recorded: queries of the recording itself are not recorded.
static RECORDING: BackendCell<bool> = BackendCell::new(false);

/// The functions that hooks call.
pub const ON_QUERY: OnQuery = OnQuery {
    identity: super::current::identity,
    again: super::current::ask_again,
    start: note_query,
    resume: require_time,
    pruned: require_planned_for,
};

/// Raises an error if a plan that leaves out partitions was made for another tenant than the context's.
fn require_planned_for(number: u32) -> Result<(), Error> {
    let context = current()?;
    let tenant = context.as_ref().and_then(|context| context.only_tenant());
    plans::require_pruned_for(number, tenant)
}

/// Raises an error if the context is elevated and the statement is not recorded, because it began before the
/// elevation or in another tenant.
pub fn require_record(context: &Context) -> Result<(), Error> {
    match context.elevation() {
        Some(elevation) if !noted::is_noted(mark(context, elevation)) => Err(Error::NotRecorded),
        _ => Ok(()),
    }
}

/// Returns the mark of a recorded statement.
fn mark(context: &Context, elevation: &Elevation) -> Mark {
    let tenant = context.tenant.as_ref().map(|tenant| tenant.id.as_u128());
    elevation.id.as_u128() ^ tenant.unwrap_or(0)
}

/// Raises an error if the elevation has ended, also in a transaction that began elevated, and in a recorded
/// statement: a cursor can be open for long.
fn require_time() -> Result<(), Error> {
    match current()?.as_ref().and_then(|context| context.elevation()) {
        Some(elevation) if elevation.expires_at <= time::now() => Err(Error::ElevationEnded),
        _ => Ok(()),
    }
}

/// Records an elevated query that row security applies to, when it starts; also one that a function runs in
/// a parallel worker.
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

/// Records a query that names a protected table, in several entries if one cannot hold all of their names.
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

/// Returns the names of the tables that are protected, or are parts of a protected one.
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

/// Returns the principal's user, or raises an error: only users can be elevated.
#[pg_extern(sql = false)]
fn _require_principal() -> Result<pgrx::Uuid, ErrorReport> {
    match current()?.map(|context| context.principal) {
        Some(Principal::User(user)) => Ok(crate::pg::uuid::pg_uuid(user)),
        _ => Err(Error::MissingContext)?,
    }
}
