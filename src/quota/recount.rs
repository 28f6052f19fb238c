//! Counting a table anew: after rows were stored that no trigger has counted. Nobody writes the table meanwhile.

use std::collections::HashMap;
use std::ffi::CStr;
use std::ops::Range;
use std::rc::Rc;

use foldhash::fast::RandomState;
use pgrx::spi::SpiHeapTupleData;
use pgrx::{notice, pg_sys};
use tenancy_core::quantity;
use tenancy_core::quota::{Per, Unit, steps};

use super::count::{check_room, overflow};
use super::definitions::{self, Quota};
use crate::error::Error;
use crate::pg::counters::{self, CounterKey, Next};
use crate::pg::spi::{self, NotNull, Prepared};
use crate::pg::{inheritance, relation, xact};
use crate::policy;

/// The number of counters that are read or written at once.
const AT_ONCE: i64 = 10_000;

/// The counters of a quota, by tenant and key.
type Counters = HashMap<(String, String), i64, RandomState>;

/// Whether a recount says how far it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// In notices: it was asked for.
    Shown,
    /// No: it is a part of another statement.
    Silent,
}

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
    recount(table, &quotas, c"counting the table anew", Progress::Silent).map(|_| ())
}

/// Locks a table with its parts, and counts it for these quotas. Rows and counters are read as they are now, at any isolation level.
pub fn recount(
    table: pg_sys::Oid,
    quotas: &[Rc<Quota>],
    doing: &CStr,
    progress: Progress,
) -> Result<Vec<Recounted>, Error> {
    if quotas.is_empty() {
        return Ok(Vec::new());
    }
    hold_still(table, doing);
    let parts = parts(table)?;
    let mut done = Vec::new();
    for quota in quotas {
        let counted = count(quota, &parts, progress)?;
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

/// Counts the rows, past policies, as the server checks foreign keys: those of each part as its owner. The queries run no code of users:
/// they read columns of the server's own types.
fn count(quota: &Quota, parts: &[Part], progress: Progress) -> Result<Counters, Error> {
    let mut counters = Counters::default();
    let all: usize = parts.iter().map(|part| part.steps.len()).sum();
    let mut done = 0;
    for part in parts {
        for pages in &part.steps {
            let query = quota.counted().query(&part.name, pages.as_ref());
            spi::as_restricted_unfiltered(part.owner, None, || {
                Prepared::new(&query, &[])?.read(&[], |rows| {
                    rows.into_iter()
                        .try_for_each(|row| add(&mut counters, quota, &row))
                })
            })?;
            done += 1;
            // Nobody waits long for a few.
            if progress == Progress::Shown && all > 1 {
                notice!(
                    "tenancy: quota \"{}\" of {}: {done} of {all} steps",
                    quota.name,
                    part.name
                );
            }
        }
    }
    Ok(counters)
}

/// Adds what a query has counted.
fn add(counters: &mut Counters, quota: &Quota, row: &SpiHeapTupleData<'_>) -> Result<(), Error> {
    let (tenant, key, count): (String, String, String) =
        (row.not_null(1)?, row.not_null(2)?, row.not_null(3)?);
    let count: i64 = match quota.unit {
        Unit::One => count.parse().map_err(|_| overflow(quota))?,
        Unit::Millionth => quantity::stored(&count)?,
    };
    let used = counters.entry((tenant, key)).or_default();
    *used = used.checked_add(count).ok_or_else(|| overflow(quota))?;
    Ok(())
}

/// A table, or a part of one, that stores rows itself.
struct Part {
    name: String,
    owner: pg_sys::Oid,
    /// The pages to read at once; `None` for all, where rows are not found by pages.
    steps: Vec<Option<Range<u32>>>,
}

/// Returns the parts of a table. They are locked.
fn parts(table: pg_sys::Oid) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    for part in inheritance::oids(&inheritance::down(table)) {
        let (kind, owner) = relation::read(part, |class| (class.relkind as u8, class.relowner))
            .ok_or(Error::NoSuch("the table"))?;
        if kind == pg_sys::RELKIND_PARTITIONED_TABLE {
            continue;
        }
        let steps = match relation::is_heap(part) {
            true => steps(relation::pages(part)).map(Some).collect(),
            false => vec![None],
        };
        parts.push(Part {
            name: spi::pinned(|| policy::relation_name(part))?,
            owner,
            steps,
        });
    }
    Ok(parts)
}

/// A tenant, a key, and how much is stored.
type Counter = ((String, String), i64);

/// Corrects what differs from the counters, and returns how many that were.
fn correct(quota: &Quota, mut counted: Counters) -> Result<i64, Error> {
    let table = definitions::counters()?;
    let mut wrong = 0;
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
                // In its newest version, which a query from REPEATABLE READ on might not see.
                let next = match is == 0 && quota.per != Per::Tenant {
                    true => Next::Delete,
                    false => Next::Set(is),
                };
                let counter = CounterKey {
                    quota: quota.id,
                    tenant: &key.0,
                    key: &key.1,
                };
                match counters::change(table, counter, |_| Ok(next))? {
                    true => wrong += 1,
                    // It was dropped with its tenant.
                    false => drop(counted.insert(key, is)),
                }
            }
        }
    }
    // Nothing needs no counter.
    let mut missing: Vec<Counter> = counted
        .into_iter()
        .filter(|(_, count)| *count != 0)
        .collect();
    missing.sort_unstable();
    for batch in missing.chunks(AT_ONCE as usize) {
        insert(quota, batch)?;
    }
    xact::end_command();
    Ok(wrong + missing.len() as i64)
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

fn insert(quota: &Quota, counters: &[Counter]) -> Result<(), Error> {
    for ((tenant, key), _) in counters {
        check_room(quota, tenant, key)?;
    }
    let tenants: Vec<String> = counters.iter().map(|((t, _), _)| t.clone()).collect();
    let keys: Vec<String> = counters.iter().map(|((_, k), _)| k.clone()).collect();
    let counts: Vec<i64> = counters.iter().map(|(_, count)| *count).collect();
    spi::write(
        "INSERT INTO tenancy_internal.quota_counters (quota_id, tenant, key, used) \
         SELECT $1, c.tenant, c.key, c.used FROM unnest($2::text[], $3::text[], $4::bigint[]) c (tenant, key, used)",
        &[quota.id.into(), tenants.into(), keys.into(), counts.into()],
    )?;
    Ok(())
}
