//! The trigger `tenancy.count_quota`. It is called for each row: it adds to sums in memory, and reads nothing once the backend knows the
//! table's quotas.

use std::cell::RefCell;
use std::ffi::CString;
use std::rc::Rc;

use pgrx::pg_sys;
use tenancy_core::quota::changes::Overflow;
use tenancy_core::quota::has_room;

use super::changes;
use super::definitions::{self, Quota};
use crate::error::Error;
use crate::pg::trigger::{Change, Place};
use crate::{policy, triggers};

triggers! {
    tenancy_count_quota => change count;
}

/// A quota, and where the columns of a table, or of a part of one, are that it counts by. A part may have them elsewhere.
struct Counting {
    quota: Rc<Quota>,
    tenant: Place,
    key: Option<Place>,
    sum: Option<Place>,
}

/// What is counted of a table.
struct Counted {
    table: pg_sys::Oid,
    generation: u64,
    quotas: Box<[Counting]>,
}

thread_local! {
    /// The table of the last row: the next one is often of the same.
    static LAST: RefCell<Option<Rc<Counted>>> = const { RefCell::new(None) };
}

fn count(change: &Change) -> Result<(), Error> {
    let table = change.table();
    if !change.is_of_row() {
        // After TRUNCATE.
        let roots: Vec<pg_sys::Oid> = definitions::of(table)?.iter().map(|q| q.table).collect();
        roots.into_iter().for_each(changes::count_anew);
        return Ok(());
    }
    let last = LAST.with_borrow(Clone::clone);
    let counted = match last {
        Some(last) if last.table == table && last.generation == definitions::generation() => last,
        _ => find(change)?,
    };
    for counting in &counted.quotas {
        let tenants = change.keys(counting.tenant);
        let keys = counting.key.map(|key| change.keys(key));
        let amounts = match counting.sum {
            Some(sum) => change.amounts(sum)?,
            None => [1, 1],
        };
        let done = changes::add(&counting.quota, |changes| {
            for (n, sign) in [(0, -1), (1, 1)] {
                let key = keys.map(|keys| keys[n]);
                // A row without a tenant, or without the key, counts nowhere; a row that is not there has none.
                if let (Some(tenant), None | Some(Some(_))) = (tenants[n], key) {
                    changes.add(counting.quota.id, tenant, key.flatten(), sign * amounts[n])?;
                }
            }
            Ok(())
        });
        done.map_err(|Overflow| overflow(&counting.quota))?;
    }
    Ok(())
}

/// Returns the error of a sum that has no room.
pub fn overflow(quota: &Quota) -> Error {
    Error::QuotaOverflow {
        quota: quota.name.clone(),
        table: policy::relation_name(quota.table).unwrap_or_default(),
    }
}

/// Raises an error if a counter has no room for its names.
pub fn check_room(quota: &Quota, tenant: &str, key: &str) -> Result<(), Error> {
    match has_room(tenant, key) {
        true => Ok(()),
        false => Err(Error::QuotaKeyTooLong {
            column: (quota.key_column.as_ref())
                .unwrap_or(&quota.tenant_column)
                .clone(),
            table: policy::relation_name(quota.table).unwrap_or_default(),
            quota: quota.name.clone(),
        }),
    }
}

#[cold]
fn find(change: &Change) -> Result<Rc<Counted>, Error> {
    let table = change.table();
    let generation = definitions::generation();
    let quotas = definitions::of(table)?;
    let found: Result<Box<[Counting]>, Error> = quotas
        .iter()
        .map(|quota| {
            let place = |column: &str| {
                let name = CString::new(column).unwrap_or_default();
                let missing = || Error::QuotaColumnMissing {
                    column: column.to_owned(),
                    table: policy::relation_name(quota.table).unwrap_or_default(),
                    quota: quota.name.clone(),
                };
                change.place(&name).ok_or_else(missing)
            };
            Ok(Counting {
                tenant: place(&quota.tenant_column)?,
                key: quota.key_column.as_deref().map(place).transpose()?,
                sum: quota.sum_column.as_deref().map(place).transpose()?,
                quota: quota.clone(),
            })
        })
        .collect();
    let counted = Rc::new(Counted {
        table,
        generation,
        quotas: found?,
    });
    LAST.set(Some(counted.clone()));
    Ok(counted)
}
