//! Rows whose key no tenant has: only maintenance() sees them.

use std::collections::HashSet;

use pgrx::prelude::*;
use serde_json::json;
use tenancy_core::policy::{Protection, Refusal, Tally};

use super::registry;
use crate::context;
use crate::error::{Error, ErrorReport};
use crate::pg::scan::{self, Key};
use crate::pg::spi::{self, NotNull};

/// Counts the rows of a protected table by keys that no tenant has: the SQL function `tenancy.unknown_keys`.
#[pg_extern(sql = false)]
fn policy_unknown_keys(
    table: Option<pg_sys::Oid>,
) -> Result<TableIterator<'static, (name!(key, Option<String>), name!(rows, i64))>, ErrorReport> {
    let table = table.ok_or(Error::Null("target"))?;
    Ok(TableIterator::new(spi::pinned(|| unknown_keys(table))?))
}

fn unknown_keys(table: pg_sys::Oid) -> Result<Vec<(Option<String>, i64)>, Error> {
    let (name, allowed) = Spi::connect(|client| {
        let rows = client.select(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), \
                    pg_catalog.pg_has_role(c.relowner, 'USAGE') OR pg_catalog.has_table_privilege(c.oid, 'SELECT') \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
            Some(1),
            &[table.into()],
        )?;
        match rows.into_iter().next() {
            Some(row) => Ok((
                row.not_null::<String>(1)?,
                // NULL for a table that was just dropped.
                row.get::<bool>(2)?.unwrap_or(false),
            )),
            None => Err(Error::NoSuch("the table")),
        }
    })?;
    if !allowed {
        return Err(Error::Refused(Refusal::NotOwner { table: name }));
    }
    let Some(root) = registry::above(table) else {
        return Err(Error::Refused(Refusal::NotProtected { table: name }));
    };
    let Some(protection) = registry::find(root)? else {
        return Err(Error::Refused(Refusal::NotProtected { table: name }));
    };
    let found = count(table, &protection)?;
    // A rollback does not undo that it has read every tenant's rows.
    context::record_now(
        "unknown_keys",
        None,
        Some(&name),
        json!({ "keys": found.len(), "rows": found.iter().map(|f| f.1).sum::<i64>() }),
    )?;
    Ok(found)
}

/// Counts the rows of a table and its parts by keys that no tenant has; in a table with shared rows, by keys that neither a
/// tenant, a partner nor the platform has. Runs no code of the table's owner.
pub fn count(
    table: pg_sys::Oid,
    protection: &Protection,
) -> Result<Vec<(Option<String>, i64)>, Error> {
    let mut tally = Tally::default();
    let mut by_id = false;
    for part in registry::parts(table) {
        scan::keys(part, &protection.tenant_column, |key| {
            by_id = matches!(key, Key::Uuid(_));
            let key = key.into_text();
            if tally.add(&key) {
                look_up(&mut tally, by_id, protection.shared)?;
            }
            Ok(())
        })?;
    }
    look_up(&mut tally, by_id, protection.shared)?;
    Ok(tally.finish())
}

fn look_up(tally: &mut Tally, by_id: bool, shared: bool) -> Result<(), Error> {
    let query = if by_id {
        "SELECT k FROM unnest($1::text[]) k WHERE NOT EXISTS (\
             SELECT FROM tenancy.scopes s WHERE s.id = k::uuid \
             AND (s.level = 'tenant' OR $2 AND s.level IN ('platform', 'partner')))"
    } else {
        "SELECT k FROM unnest($1::text[]) k WHERE NOT EXISTS (\
             SELECT FROM tenancy.scopes s WHERE s.external_id = k \
             AND (s.level = 'tenant' OR $2 AND s.keys_rows))"
    };
    let unknown = spi::read(query, &[tally.batch().into(), shared.into()], |rows| {
        let mut unknown = HashSet::new();
        for row in rows {
            unknown.extend(row.get::<String>(1)?);
        }
        Ok(unknown)
    })?;
    tally.settle(&unknown);
    Ok(())
}
