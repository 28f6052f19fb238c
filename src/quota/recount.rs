//! Counting a table anew: after rows were stored that no trigger has counted. Nobody writes the table meanwhile.

use std::collections::HashMap;
use std::ffi::CStr;
use std::rc::Rc;

use foldhash::fast::RandomState;
use pgrx::pg_sys;
use tenancy_core::quantity;
use tenancy_core::quota::{Per, Unit};

use super::count::overflow;
use super::definitions::{self, Quota};
use crate::error::Error;
use crate::pg::spi::{self, NotNull, Prepared};
use crate::pg::{inheritance, relation};
use crate::policy;

/// The number of counters that are read or written at once.
const AT_ONCE: i64 = 10_000;

/// The counters of a quota, by tenant and key.
type Counters = HashMap<(String, String), i64, RandomState>;

/// What was found.
pub struct Recounted {
    /// The quota.
    pub quota: Rc<Quota>,
    /// The number of its counters.
    pub counters: i64,
    /// How many of them were wrong.
    pub corrected: i64,
}

/// Counts a table anew after a statement that changed its parts, if it is still there and has quotas.
pub fn after_change(table: pg_sys::Oid) -> Result<(), Error> {
    if relation::read(table, |_| ()).is_none() {
        return Ok(());
    }
    let quotas = definitions::of(table)?;
    recount(table, &quotas, c"counting the table anew").map(|_| ())
}

/// Locks a table with its parts, and counts it for these quotas.
pub fn recount(
    table: pg_sys::Oid,
    quotas: &[Rc<Quota>],
    doing: &CStr,
) -> Result<Vec<Recounted>, Error> {
    if quotas.is_empty() {
        return Ok(Vec::new());
    }
    hold_still(table, doing);
    let name = spi::pinned(|| policy::relation_name(table))?;
    let mut done = Vec::new();
    for quota in quotas {
        let counted = count(table, &name, quota)?;
        let counters = counted.len() as i64;
        done.push(Recounted {
            quota: quota.clone(),
            counters,
            corrected: correct(quota, counted)?,
        });
    }
    Ok(done)
}

/// Locks a table and its parts against writers.
pub fn hold_still(table: pg_sys::Oid, doing: &CStr) {
    relation::hold_still(table, doing);
    // No part comes or goes now.
    for part in inheritance::oids(&inheritance::down(table)) {
        relation::hold_still(part, doing);
    }
}

/// Counts the rows, past policies, as the server checks foreign keys. The query runs no code of users: it reads columns of the server's
/// own types.
fn count(table: pg_sys::Oid, name: &str, quota: &Quota) -> Result<Counters, Error> {
    let owner = relation::read(table, |class| class.relowner).ok_or(Error::NoSuch("the table"))?;
    let query = quota.counted().query(name);
    spi::as_restricted_unfiltered(owner, None, || {
        Prepared::new(&query, &[])?.read(&[], |rows| {
            let mut counters = Counters::default();
            for row in rows {
                let count: String = row.not_null(3)?;
                let count = match quota.unit {
                    Unit::One => count.parse().map_err(|_| overflow(quota))?,
                    Unit::Millionth => quantity::stored(&count)?,
                };
                counters.insert((row.not_null(1)?, row.not_null(2)?), count);
            }
            Ok(counters)
        })
    })
}

/// A tenant, a key, and how much is stored.
type Counter = ((String, String), i64);

/// Corrects what differs from the counters, and returns how many that were.
fn correct(quota: &Quota, mut counted: Counters) -> Result<i64, Error> {
    let mut wrong: Vec<Counter> = Vec::new();
    let mut after = (String::new(), String::new());
    loop {
        let batch = batch(quota.id, &after)?;
        let Some((last, _)) = batch.last() else {
            break;
        };
        after = last.clone();
        for (key, used) in batch {
            let is = counted.remove(&key).unwrap_or(0);
            if is != used {
                wrong.push((key, is));
            }
        }
    }
    // Nothing needs no counter.
    wrong.extend(counted.into_iter().filter(|(_, count)| *count != 0));
    wrong.sort_unstable();
    for batch in wrong.chunks(AT_ONCE as usize) {
        write(quota, batch)?;
    }
    Ok(wrong.len() as i64)
}

fn batch(quota: i32, after: &(String, String)) -> Result<Vec<Counter>, Error> {
    spi::read(
        "SELECT c.tenant, c.key, c.used FROM tenancy_internal.quota_counters c \
         WHERE c.quota_id = $1 AND (c.tenant, c.key) > ($2, $3) ORDER BY c.tenant, c.key LIMIT $4",
        &[
            quota.into(),
            after.0.clone().into(),
            after.1.clone().into(),
            AT_ONCE.into(),
        ],
        |rows| {
            rows.into_iter()
                .map(|row| Ok(((row.not_null(1)?, row.not_null(2)?), row.not_null(3)?)))
                .collect()
        },
    )
}

fn write(quota: &Quota, counters: &[Counter]) -> Result<(), Error> {
    let tenants: Vec<String> = counters.iter().map(|((t, _), _)| t.clone()).collect();
    let keys: Vec<String> = counters.iter().map(|((_, k), _)| k.clone()).collect();
    let counts: Vec<i64> = counters.iter().map(|(_, count)| *count).collect();
    spi::write(
        "WITH counted AS (SELECT * FROM unnest($2::text[], $3::text[], $4::bigint[]) c (tenant, key, used)), \
              gone AS (DELETE FROM tenancy_internal.quota_counters q USING counted c \
                        WHERE q.quota_id = $1 AND q.tenant = c.tenant AND q.key = c.key AND c.used = 0 AND $5) \
         INSERT INTO tenancy_internal.quota_counters AS q (quota_id, tenant, key, used) \
         SELECT $1, c.tenant, c.key, c.used FROM counted c WHERE c.used > 0 OR NOT $5 \
         ON CONFLICT (quota_id, tenant, key) DO UPDATE SET used = excluded.used",
        &[
            quota.id.into(),
            tenants.into(),
            keys.into(),
            counts.into(),
            (quota.per != Per::Tenant).into(),
        ],
    )?;
    Ok(())
}
