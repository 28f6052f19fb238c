//! Partitions that come and go, and columns that are renamed, of tables with quotas.

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::set::{inherits, set_truncate_trigger};
use super::{changes, definitions};
use crate::error::{Error, ErrorReport};
use crate::pg::{cluster, inheritance, relation, spi};
use crate::policy;

/// Follows a new partition: its rows are counted at the end of the statement.
pub fn child(parent: pg_sys::Oid, named: Option<pg_sys::Oid>) -> Result<(), Error> {
    if cluster::creating_extension() {
        return Ok(());
    }
    let quotas = definitions::of(parent)?;
    let Some(quota) = quotas.first() else {
        return Ok(());
    };
    // Another table may have the name, such as a temporary one.
    let children = inheritance::children(parent);
    let children: Vec<pg_sys::Oid> = match named.filter(|child| children.contains(child)) {
        Some(child) => vec![child],
        None => children,
    };
    for child in children {
        if relation::read(child, |class| class.relispartition) != Some(true) {
            return Err(inherits(&policy::relation_name(quota.table)?));
        }
        for part in inheritance::oids(&inheritance::down(child)) {
            policy::pinned(|| set_truncate_trigger(part, true))?;
        }
        if policy::has_room(child)? {
            changes::count_anew(quota.table);
        }
    }
    Ok(())
}

/// Follows a partition that was detached: it is a table of its own, without quotas.
pub fn detached(parent: pg_sys::Oid, part: pg_sys::Oid) -> Result<(), Error> {
    let quotas = definitions::of(parent)?;
    let Some(quota) = quotas.first() else {
        return Ok(());
    };
    for part in inheritance::oids(&inheritance::down(part)) {
        policy::pinned(|| set_truncate_trigger(part, false))?;
    }
    changes::count_anew(quota.table);
    Ok(())
}

/// Records the new name of a column.
pub fn rename(table: pg_sys::Oid, old: &str, new: &str) -> Result<(), Error> {
    if definitions::of(table)?.is_empty() {
        return Ok(());
    }
    spi::write(
        "UPDATE tenancy_internal.quota_definitions q \
         SET key_column = CASE WHEN q.key_column = $2::name THEN $3::name ELSE q.key_column END, \
             sum_column = CASE WHEN q.sum_column = $2::name THEN $3::name ELSE q.sum_column END \
         WHERE q.relation = $1 AND $2::name IN (q.key_column, q.sum_column)",
        &[table.into(), old.to_owned().into(), new.to_owned().into()],
    )?;
    Ok(())
}

/// Has a table counted anew at the end of the running statement, which drops a part of it: for a trigger of the registry.
#[pg_extern(sql = false)]
fn _quota_part_dropped(table: Option<pg_sys::Oid>) -> Result<(), ErrorReport> {
    changes::count_anew(table.ok_or(Error::Null("table"))?);
    Ok(())
}
