//! Closes a protected table that is not isolated, and refuses a statement that names a protected table without a context.
//!
//! Each backend caches one verdict for each table. Invalidation messages drop it: of the table, of the registry, or of all.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ffi::CString;

use pgrx::pg_sys;
use tenancy_core::policy::{fault, null_tenant_hint};
use uuid::Uuid;

use super::{region, registry};
use crate::context::{Context, current};
use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::hooks::noted;
use crate::pg::hooks::refused_rows::OnRefused;
use crate::pg::hooks::tables::{Derives, Named, note_copied};
use crate::pg::trigger::Change;
use crate::pg::{cluster, extension, guc, inheritance, inval, relation, role, xact};

/// The state of a table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Not protected.
    Free,
    /// Protected and isolated.
    Isolated,
    /// Protected, and something that isolates it is missing.
    Open,
}

/// How many tenants are remembered to fit a table.
const FITTING_MAX: usize = 1000;

/// What this backend knows of a table.
struct Known {
    verdict: Verdict,
    /// The tenant column of a protected one, and whether its rows without a tenant are everybody's.
    tenant: Option<(String, bool)>,
    /// Whether any table or tablespace states a region.
    regions: bool,
    /// The tenants whose rows fit its region (`None`: those of contexts with several), and the number of invalidations until then.
    fits: Option<(HashSet<Option<Uuid>>, u64)>,
}

thread_local! {
    static KNOWN: RefCell<HashMap<u32, Known>> = RefCell::default();
}

/// What a policy that refuses a row asks of its table.
pub const ON_REFUSED: OnRefused = OnRefused {
    tenant_column: |table| tenant_of(table, |column, _| column.to_owned()),
    hint: |table| {
        tenant_of(table, |column, shared_null| {
            let has_context = guc::token().is_some() || guc::has_ticket();
            null_tenant_hint(column, shared_null, has_context)
        })
    },
};

/// Returns a text about the tenant column of a table that this backend has checked. Asks no catalog.
fn tenant_of(table: pg_sys::Oid, text: impl FnOnce(&str, bool) -> String) -> Option<CString> {
    KNOWN.with(|known| {
        let known = known.try_borrow().ok()?;
        let (column, shared_null) = known.get(&table.to_u32())?.tenant.as_ref()?;
        CString::new(text(column, *shared_null)).ok()
    })
}

static STALE: BackendCell<bool> = BackendCell::new(false);
/// Counts invalidations, so that an outdated verdict is not cached.
static CHANGES: BackendCell<u64> = BackendCell::new(0);
/// Whether the registry is being read, by queries that are not checked themselves.
static READING: BackendCell<bool> = BackendCell::new(false);
/// The table that protect() or unprotect() works on.
static WORKING_ON: BackendCell<pg_sys::Oid> = BackendCell::new(pg_sys::Oid::INVALID);

crate::triggers! {
    tenancy_protection_changed => change changed;
}

/// Makes every backend drop its verdicts, after a change of the registry; after a change of a part, only the part's.
fn changed(change: &Change) -> Result<(), Error> {
    let roots = extension::internal_table(c"protected_table_registry")?;
    if !change.is_of_row() || change.table() == roots {
        inval::send(roots);
        return Ok(());
    }
    for part in change.oids(c"relation")?.into_iter().flatten() {
        // One that was dropped was invalidated then.
        if relation::read(part, |_| ()).is_some() {
            inval::send(part);
        }
    }
    Ok(())
}

/// Registers for the server's invalidation messages.
pub fn init() {
    inval::on_relation(forget);
}

/// Drops the verdict of a changed relation; the invalid oid means all. May be called at any moment.
fn forget(table: pg_sys::Oid) {
    CHANGES.set(CHANGES.get() + 1);
    let dropped = !registry::forget(table)
        && KNOWN.with(|known| {
            let known = known.try_borrow_mut();
            known.map(|mut known| known.remove(&table.to_u32())).is_ok()
        });
    if !dropped {
        STALE.set(true);
    }
}

/// Checks a table that a query names, as the role that it is read or written as.
pub fn check(named: &Named) -> Result<(), Error> {
    if STATISTICS.contains(&named.table.to_u32()) {
        return check_statistics(named.table.to_u32(), named.role);
    }
    if works_on(named.table) {
        return Ok(());
    }
    let verdict = verdict(named.table)?;
    if verdict == Verdict::Free || xact::in_referential_check() && !named.writes {
        return Ok(());
    }
    let context = current();
    let maintenance = matches!(&context, Ok(Some(context)) if context.is_maintenance());
    // Also where a foreign key changes rows, which may move them.
    if named.writes
        && !maintenance
        && let Ok(Some(context)) = &context
    {
        check_region(named.table, context)?;
    }
    if xact::in_referential_check() {
        return Ok(());
    }
    if named.derives == Derives::Copy {
        note_copied(named.table);
    }
    let derives = named.validates || matches!(named.derives, Derives::All(_));
    if verdict == Verdict::Isolated && !derives && matches!(context, Ok(Some(_))) {
        noted::names_protected();
        return Ok(());
    }
    if maintenance || role::bypasses(named.role) {
        return Ok(());
    }
    noted::names_protected();
    if named.validates {
        // The server's own query, which returns no rows, but must see all of them.
        return if relation::filters(named.table, named.role) {
            Err(Error::NeedsMaintenance("FOREIGN KEY"))
        } else {
            Ok(())
        };
    }
    if verdict == Verdict::Open {
        return Err(not_isolated(named.table)?);
    }
    if let Derives::All(statement) = named.derives {
        return Err(Error::NeedsMaintenance(statement));
    }
    if !guc::row_security() {
        // The server itself refuses the query.
        return Ok(());
    }
    match context? {
        None if guc::missing_is_error() || named.derives == Derives::Copy => {
            Err(Error::MissingContext)
        }
        _ => Ok(()),
    }
}

/// Refuses a statement that could write a row of the context's tenant into another region.
fn check_region(table: pg_sys::Oid, context: &Context) -> Result<(), Error> {
    let changes = CHANGES.get();
    let tenant = context.tenant.as_ref().map(|tenant| tenant.id);
    let fits = KNOWN.with_borrow(|known| {
        known.get(&table.to_u32()).is_none_or(|known| {
            let fits = known.fits.as_ref();
            !known.regions
                || fits.is_some_and(|(tenants, at)| *at == changes && tenants.contains(&tenant))
        })
    });
    if fits {
        return Ok(());
    }
    let _reading = READING.hold(true);
    region::check(table, context)?;
    KNOWN.with_borrow_mut(|known| {
        if let Some(known) = known.get_mut(&table.to_u32()) {
            let kept = known.fits.take();
            let kept = kept.filter(|(tenants, at)| *at == changes && tenants.len() < FITTING_MAX);
            let (mut tenants, at) = kept.unwrap_or((HashSet::new(), changes));
            tenants.insert(tenant);
            known.fits = Some((tenants, at));
        }
    });
    Ok(())
}

const PG_STATISTIC: u32 = 2619;
/// pg_statistic and pg_statistic_ext_data.
const STATISTICS: [u32; 2] = [PG_STATISTIC, 3429];

/// Checks a query that reads most common values of columns, directly or through a view of the server.
#[cold]
fn check_statistics(catalog: u32, role: pg_sys::Oid) -> Result<(), Error> {
    let caller = role::current();
    if READING.get() || role::bypasses(caller) || !xact::running() {
        return Ok(());
    }
    let _reading = READING.hold(true);
    if !registry::is_installed() {
        return Ok(());
    }
    // The server's views check row security of tables, but not for indexes on expressions.
    if !role::bypasses(role) || catalog == PG_STATISTIC && registry::reads_statistics(caller)? {
        match current() {
            Ok(Some(context)) if context.is_maintenance() => {}
            _ => return Err(Error::NeedsMaintenance("reading statistics of an index")),
        }
    }
    Ok(())
}

/// Refuses a MERGE for whose target PostgreSQL does not apply the policies for SELECT.
pub fn check_blind_merge(named: &Named) -> Result<(), Error> {
    if verdict(named.table)? == Verdict::Free || role::bypasses(named.role) {
        return Ok(());
    }
    if current()?.is_none() && guc::missing_is_error() {
        return Err(Error::MissingContext);
    }
    Err(Error::BlindMerge)
}

/// Returns whether a table, or one that it is a part of, is protected, and not being worked on.
pub fn is_protected(table: pg_sys::Oid) -> Result<bool, Error> {
    Ok(!works_on(table) && verdict(table)? != Verdict::Free)
}

/// Returns whether a table is protected and isolated, and not being worked on.
pub fn is_isolated(table: pg_sys::Oid) -> Result<bool, Error> {
    Ok(!works_on(table) && verdict(table)? == Verdict::Isolated)
}

/// Returns the table's name and what its isolation lacks, if it is protected and not isolated.
pub fn missing(table: pg_sys::Oid) -> Result<Option<(String, String)>, Error> {
    if verdict(table)? != Verdict::Open {
        return Ok(None);
    }
    let _reading = READING.hold(true);
    let live = registry::live(table)?;
    Ok(live.and_then(|live| Some((live.relation.to_string(), fault(&live)?.to_string()))))
}

/// Returns whether the isolation of a protected table depends on a column.
pub fn depends_on(table: pg_sys::Oid, column: &str) -> Result<bool, Error> {
    let _reading = READING.hold(true);
    Ok(registry::live(table)?.is_some_and(|live| {
        let by = live.protection;
        by.tenant_column == column
            || by.owner_column.as_deref() == Some(column)
            || by.project_column.as_deref() == Some(column)
    }))
}

/// Returns the tenant column of a table, which a unique key within each tenant must contain.
pub fn tenant_column(table: pg_sys::Oid) -> Result<Option<String>, Error> {
    let _reading = READING.hold(true);
    Ok(registry::live(table)?.map(|live| live.protection.tenant_column))
}

/// Returns the protected tables, including parts, that this transaction builds, rewrites or analyses.
pub fn locked_tables() -> Result<Vec<pg_sys::Oid>, Error> {
    let _reading = READING.hold(true);
    if !registry::is_installed() {
        return Ok(Vec::new());
    }
    let tables = registry::tables()?.into_iter();
    Ok(tables.filter(|table| relation::is_locked(*table)).collect())
}

/// Returns a protected table's name.
pub fn name(table: pg_sys::Oid) -> Result<Option<String>, Error> {
    let _reading = READING.hold(true);
    Ok(registry::live(table)?.map(|live| live.relation.to_string()))
}

/// Runs `f`, which protects or unprotects a table.
pub fn working_on<R>(table: pg_sys::Oid, f: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    let _before = WORKING_ON.hold(table);
    f()
}

/// Returns whether protect() or unprotect() is working on a table or on one that it is a part of.
pub fn works_on(table: pg_sys::Oid) -> bool {
    let root = WORKING_ON.get();
    root != pg_sys::Oid::INVALID && inheritance::is_below(table, root)
}

fn verdict(table: pg_sys::Oid) -> Result<Verdict, Error> {
    // The server's own catalogs.
    if table.to_u32() < pg_sys::FirstNormalObjectId {
        return Ok(Verdict::Free);
    }
    if STALE.replace_with(false) {
        KNOWN.take();
    }
    if let Some(known) =
        KNOWN.with_borrow(|known| known.get(&table.to_u32()).map(|known| known.verdict))
    {
        return Ok(known);
    }
    if READING.get() || !xact::running() || cluster::creating_extension() {
        return Ok(Verdict::Free);
    }
    let before = CHANGES.get();
    let found = match find(table) {
        // While CREATE EXTENSION runs, or when a superuser gives tenancy's objects back to their owner.
        Err(Error::OwnerSuperuser) if role::is_superuser_role(role::current()) => {
            return Ok(Verdict::Free);
        }
        found => found?,
    };
    let verdict = found.verdict;
    if CHANGES.get() == before {
        KNOWN.with_borrow_mut(|known| known.insert(table.to_u32(), found));
    }
    Ok(verdict)
}

#[cold]
fn find(table: pg_sys::Oid) -> Result<Known, Error> {
    const FREE: Known = Known {
        verdict: Verdict::Free,
        tenant: None,
        regions: false,
        fits: None,
    };
    let _reading = READING.hold(true);
    if !registry::is_installed() {
        return Ok(FREE);
    }
    // Tenancy's own tables are not protected. The registry may be unreadable while their owner changes.
    let kind = relation::read(table, |class| (class.relnamespace, class.relkind as u8));
    let Some((schema, b'r' | b'p' | b'f')) = kind else {
        return Ok(FREE);
    };
    if [extension::schema(), extension::internal_schema()].contains(&Some(schema)) {
        return Ok(FREE);
    }
    let Some(live) = registry::live(table)? else {
        return Ok(FREE);
    };
    let verdict = match fault(&live) {
        None => Verdict::Isolated,
        Some(_) => Verdict::Open,
    };
    let by = live.protection;
    Ok(Known {
        verdict,
        tenant: Some((by.tenant_column, by.shared_null)),
        regions: region::any_stated()?,
        fits: None,
    })
}

#[cold]
fn not_isolated(table: pg_sys::Oid) -> Result<Error, Error> {
    Ok(match missing(table)? {
        Some((table, fault)) => Error::NotIsolated { table, fault },
        None => Error::NoSuch("the table"),
    })
}
