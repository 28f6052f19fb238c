//! Changing the counters at the end of a statement: in the order of their keys, each once, and in the transaction that changed the
//! rows. The lock on a counter is held until that ends, so only writers of the same tenant, and of the same key in it, wait.

use pgrx::pg_sys;
use tenancy_core::quota::changes::Change;
use tenancy_core::quota::{Per, Refused, next};

use super::changes::{self, Below, Done};
use super::count::{check_room, overflow};
use super::definitions::{self, Quota};
use super::{allowed, recount};
use crate::error::{Error, QuotaExhausted};
use crate::pg::cell::BackendCell;
use crate::pg::counters::{self, CounterKey, Next};
use crate::pg::hooks::frames;
use crate::pg::{inval, spi, xact};
use crate::policy;

/// Whether a statement is being ended: queries of its own end meanwhile.
static ENDING: BackendCell<bool> = BackendCell::new(false);

/// Ends a statement.
pub fn end(depth: usize) -> Result<(), Error> {
    let within = ENDING.get();
    let _ending = ENDING.hold(true);
    while let Some(done) = changes::take(depth) {
        flush(&done)?;
        for table in done.uncounted {
            recount::after_change(table)?;
        }
    }
    if !within && frames::is_outermost(depth) {
        raise()?;
    }
    Ok(())
}

/// Raises counters that are still below zero: rows went that nothing has counted.
fn raise() -> Result<(), Error> {
    let below = changes::below();
    if below.is_empty() {
        return Ok(());
    }
    let counters = definitions::counters()?;
    for below in &below {
        let key = CounterKey {
            quota: below.quota,
            tenant: &below.tenant,
            key: &below.key,
        };
        counters::change(counters, key, |used| {
            Ok(match (used < 0, below.stays) {
                (false, _) => Next::Keep,
                (true, true) => Next::Set(0),
                (true, false) => Next::Delete,
            })
        })?;
    }
    xact::end_command();
    changes::none_below();
    Ok(())
}

fn flush(done: &Done) -> Result<(), Error> {
    if done.changes.is_empty() {
        return Ok(());
    }
    let counters = definitions::counters()?;
    // A value that was set before applies.
    inval::accept();
    for change in &done.changes {
        let mut quotas = done.quotas.iter();
        let quota = quotas.find(|quota| quota.id == change.quota);
        apply(
            counters,
            quota.ok_or(Error::Internal("a change of no quota"))?,
            change,
        )?;
    }
    xact::end_command();
    Ok(())
}

/// Changes a counter, or refuses.
fn apply(counters: pg_sys::Oid, quota: &Quota, change: &Change) -> Result<(), Error> {
    let allowed = match change.change > 0 {
        true => allowed::of(quota, &change.tenant, &change.key)?,
        false => None,
    };
    let key = CounterKey {
        quota: quota.id,
        tenant: &change.tenant,
        key: &change.key,
    };
    let decide = |used| {
        let next = next(used, change.change, allowed, quota.unit)
            .map_err(|refused| refuse(quota, change, used, allowed, refused))?;
        if next < 0 {
            changes::note_below(Below {
                quota: quota.id,
                tenant: change.tenant.clone(),
                key: change.key.clone(),
                stays: quota.per == Per::Tenant,
            });
        }
        // Users, projects and values of a column come and go, and what names them must not stay; a tenant's counter does.
        Ok(match next == 0 && quota.per != Per::Tenant {
            true => Next::Delete,
            false => Next::Set(next),
        })
    };
    while !counters::change(counters, key, decide)? {
        match decide(0)? {
            Next::Set(first) if first != 0 => {
                if insert(quota, change, first)? {
                    break;
                }
            }
            _ => break,
        }
    }
    Ok(())
}

/// Adds a counter; false if another transaction has added it, and has committed.
fn insert(quota: &Quota, change: &Change, used: i64) -> Result<bool, Error> {
    check_room(quota, &change.tenant, &change.key)?;
    let added = spi::execute_prepared(
        "INSERT INTO tenancy_internal.quota_counters (quota_id, tenant, key, used) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        &[
            quota.id.into(),
            change.tenant.clone().into(),
            change.key.clone().into(),
            used.into(),
        ],
    )?;
    Ok(added > 0)
}

#[cold]
fn refuse(
    quota: &Quota,
    change: &Change,
    used: i64,
    allowed: Option<i64>,
    refused: Refused,
) -> Error {
    if refused == Refused::Overflow {
        return overflow(quota);
    }
    Error::QuotaExhausted(Box::new(QuotaExhausted {
        quota: quota.name.clone(),
        table: policy::relation_name(quota.table).unwrap_or_default(),
        level: match quota.per {
            Per::Tenant | Per::Column => "tenant",
            Per::Project => "project",
            Per::User => "user",
        },
        key: (quota.key_column.clone())
            .filter(|_| quota.per == Per::Column)
            .map(|column| (column, change.key.clone())),
        used: quota.unit.text(used),
        allowed: allowed.unwrap_or_default().to_string(),
        asked: quota.unit.text(change.change),
    }))
}
