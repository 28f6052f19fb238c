//! The quotas of a table. Each backend caches those of the tables, and of the parts of tables, that it has written, until their
//! definition changes: a change of a table's quotas changes its triggers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use foldhash::fast::RandomState;
use pgrx::pg_sys;
use pgrx::spi::SpiHeapTupleData;
use tenancy_core::quota::statements::Counted;
use tenancy_core::quota::{Per, Unit};

use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::spi::{self, NotNull};
use crate::pg::{extension, inheritance, inval, types};

/// A quota of a table.
#[derive(Debug)]
pub struct Quota {
    /// Its id.
    pub id: i32,
    /// The table, also for a part of it.
    pub table: pg_sys::Oid,
    /// The limit that says how much is allowed.
    pub limit: i32,
    /// The limit's name, and so its own.
    pub name: String,
    /// For what it counts.
    pub per: Per,
    /// The column with the tenant.
    pub tenant_column: String,
    /// Whether that holds ids of scopes; otherwise their external ids.
    pub by_id: bool,
    /// The column with the project, the user, or the value to count by.
    pub key_column: Option<String>,
    /// Whether that holds ids of scopes, if it holds a project or user; otherwise their external ids.
    pub key_by_id: bool,
    /// The column that is summed; `None` for the number of rows.
    pub sum_column: Option<String>,
    /// What it counts in.
    pub unit: Unit,
}

impl Quota {
    /// Returns what it counts in its table.
    pub fn counted(&self) -> Counted<'_> {
        Counted {
            tenant: &self.tenant_column,
            key: self.key_column.as_deref(),
            sum: self.sum_column.as_deref(),
            unit: self.unit,
        }
    }

    /// Returns the columns by which it counts.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        let others = [&self.key_column, &self.sum_column];
        std::iter::once(self.tenant_column.as_str())
            .chain(others.into_iter().flatten().map(String::as_str))
    }
}

/// The quotas of a table that is protected by itself.
pub type Quotas = Rc<[Rc<Quota>]>;

/// By the tables, and by their parts.
type Cache = HashMap<u32, Quotas, RandomState>;

/// The number of tables and parts that a backend caches at most.
const MOST: usize = 10_000;

static STALE: BackendCell<bool> = BackendCell::new(false);
/// Counts invalidations, so that what is outdated is not cached, and for what others derive from this cache.
static CHANGES: BackendCell<u64> = BackendCell::new(0);

/// The table of counters: looking it up takes longer than finding a counter.
static COUNTERS: BackendCell<pg_sys::Oid> = BackendCell::new(pg_sys::Oid::INVALID);

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
    /// The tables that are being read: a message about one meanwhile counts as a change.
    static READING: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// Ends reading a table, also when an error of the server unwinds.
struct Read;

impl Read {
    fn begin(table: pg_sys::Oid) -> Self {
        READING.with_borrow_mut(|reading| reading.push(table.to_u32()));
        Self
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        READING.with_borrow_mut(Vec::pop);
    }
}

/// Registers for the server's invalidation messages.
pub fn init() {
    inval::on_relation(forget);
}

/// Drops what is cached of a changed relation; the invalid oid means all. May be called at any moment.
fn forget(table: pg_sys::Oid) {
    if [pg_sys::Oid::INVALID, COUNTERS.get()].contains(&table) {
        COUNTERS.set(pg_sys::Oid::INVALID);
    }
    let dropped = CACHE.with(|cache| {
        let Ok(mut cache) = cache.try_borrow_mut() else {
            return None;
        };
        if table == pg_sys::Oid::INVALID {
            return None;
        }
        let read = READING.with_borrow(|reading| reading.contains(&table.to_u32()));
        Some(cache.remove(&table.to_u32()).is_some() || read)
    });
    match dropped {
        Some(false) => {}
        Some(true) => CHANGES.set(CHANGES.get() + 1),
        None => {
            CHANGES.set(CHANGES.get() + 1);
            STALE.set(true);
        }
    }
}

/// Returns the table of counters.
pub fn counters() -> Result<pg_sys::Oid, Error> {
    if COUNTERS.get() == pg_sys::Oid::INVALID {
        COUNTERS.set(extension::internal_table(c"quota_counters")?);
    }
    Ok(COUNTERS.get())
}

/// Returns a number that is another one once cached quotas have changed.
#[inline]
pub fn generation() -> u64 {
    CHANGES.get()
}

/// Returns the quotas of a table, or of the table that it is a part of, in the order of their ids.
pub fn of(table: pg_sys::Oid) -> Result<Quotas, Error> {
    if STALE.replace_with(false) {
        CACHE.take();
    }
    if let Some(known) = CACHE.with_borrow(|cache| cache.get(&table.to_u32()).cloned()) {
        return Ok(known);
    }
    let before = CHANGES.get();
    let reading = Read::begin(table);
    let found = read(table)?;
    drop(reading);
    if CHANGES.get() == before {
        CACHE.with_borrow_mut(|cache| {
            if cache.len() >= MOST {
                cache.clear();
                // What was derived from them would not hear of their changes.
                CHANGES.set(CHANGES.get() + 1);
            }
            cache.insert(table.to_u32(), found.clone());
        });
    }
    Ok(found)
}

/// Reads the quotas of a table, or of the table that it is a part of, also those that this transaction has just changed.
pub fn read(table: pg_sys::Oid) -> Result<Quotas, Error> {
    let tables = inheritance::oids(&inheritance::up(table));
    spi::read(
        "SELECT q.id, q.relation::oid, q.limit_id, d.name, q.per, r.tenant_column::text, r.key_type = 'uuid', q.key_column::text, \
                q.sum_column::text, q.millionths, \
                (SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = q.relation AND a.attname = q.key_column) \
         FROM tenancy_internal.quota_definitions q \
         JOIN tenancy_internal.limit_definitions d ON d.id = q.limit_id \
         JOIN tenancy_internal.protected_table_registry r ON r.relation = q.relation \
         WHERE q.relation = ANY ($1) ORDER BY q.id",
        &[tables.into()],
        |rows| {
            rows.into_iter()
                .map(|row| quota(&row).map(Rc::new))
                .collect()
        },
    )
}

fn quota(row: &SpiHeapTupleData<'_>) -> Result<Quota, Error> {
    let per: String = row.not_null(5)?;
    Ok(Quota {
        id: row.not_null(1)?,
        table: row.not_null(2)?,
        limit: row.not_null(3)?,
        name: row.not_null(4)?,
        per: Per::named(&per).ok_or(Error::Internal("a quota for nothing known"))?,
        tenant_column: row.not_null(6)?,
        by_id: row.not_null(7)?,
        key_column: row.get(8)?,
        key_by_id: row
            .get(11)?
            .is_some_and(|kind| types::base(kind) == pg_sys::UUIDOID),
        sum_column: row.get(9)?,
        unit: match row.not_null(10)? {
            true => Unit::Millionth,
            false => Unit::One,
        },
    })
}
