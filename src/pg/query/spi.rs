//! Tenancy's own queries. They run as `tenancy_owner` with a pinned search_path, so that neither the caller's
//! rights nor its schemas affect them. That role owns tenancy's objects and has no other rights, so these
//! queries must not use objects of others.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString};

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;
use pgrx::spi::{OwnedPreparedStatement, SpiClient, SpiHeapTupleData, SpiTupleTable};
use tenancy_core::time::Instant;
use uuid::Uuid;

use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::snapshot::{self, Pushed};
use crate::pg::uuid::from_pg;
use crate::pg::{extension, inval, relation, role, savepoint, xact};

/// The search_path of tenancy's own queries.
const PINNED_PATH: &CStr = c"pg_catalog, pg_temp";

thread_local! {
    static KEPT: RefCell<HashMap<&'static str, std::rc::Rc<OwnedPreparedStatement>>> =
        RefCell::new(HashMap::new());
}

static OWNER: BackendCell<Option<pg_sys::Oid>> = BackendCell::new(None);
/// Whether tenancy's own queries are being planned.
static OWN: BackendCell<bool> = BackendCell::new(false);

/// Drops the cached owner of tenancy's objects; the next call looks it up again.
pub fn forget_owner() {
    OWNER.set(None);
}

/// Runs `f` as the owner of tenancy's objects with search_path = pg_catalog, pg_temp, and restores role and path
/// afterwards. On an error the (sub)transaction's abort restores them.
pub fn as_owner<R>(f: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    let owner = owner()?;
    // It never runs as a superuser, even if the objects or the role were altered.
    if role::is_superuser_role(owner) {
        return Err(Error::OwnerSuperuser);
    }
    uncompiled(|| as_role(owner, Security::Pinned, f))
}

/// Runs `f`, which may run code of a role, with that role's rights in a restricted operation, as the server does for
/// index expressions in REINDEX. Settings that the code changes are restored. The code resolves names with `path`,
/// after the server's own schema.
pub fn as_restricted<R>(
    role: pg_sys::Oid,
    path: Option<&CStr>,
    f: impl FnOnce() -> Result<R, Error>,
) -> Result<R, Error> {
    restricted(role, Security::Restricted, path, f)
}

/// The same, and no policy filters the rows of the role's own tables: for what must reach all rows of a table, also those that policies
/// of the application hide.
pub fn as_restricted_unfiltered<R>(
    role: pg_sys::Oid,
    path: Option<&CStr>,
    f: impl FnOnce() -> Result<R, Error>,
) -> Result<R, Error> {
    restricted(role, Security::Unfiltered, path, f)
}

fn restricted<R>(
    role: pg_sys::Oid,
    security: Security,
    path: Option<&CStr>,
    f: impl FnOnce() -> Result<R, Error>,
) -> Result<R, Error> {
    as_role(role, security, || {
        if let Some(path) = path {
            // SAFETY: at the nest level that as_role has begun.
            unsafe { save(c"search_path", path) };
        }
        f()
    })
}

/// Runs `f` with JIT compilation off, for tenancy's own queries. They read many catalogs and few rows: with thousands of
/// relations the planner estimates them as expensive, and compiling them would take seconds.
pub fn uncompiled<R>(f: impl FnOnce() -> R) -> R {
    let _before = OWN.hold(true);
    f()
}

/// Returns whether tenancy's own queries are being planned, without JIT compilation.
pub fn is_own() -> bool {
    OWN.get()
}

/// The security context of `f`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Security {
    /// Statements of tenancy.
    Pinned,
    /// Code of other roles.
    Restricted,
    /// The same, with all rows of the role's own tables, as for the checks of foreign keys.
    Unfiltered,
}

impl Security {
    fn flags(self) -> i32 {
        let restricted = match self {
            Self::Pinned => 0,
            Self::Restricted => pg_sys::SECURITY_RESTRICTED_OPERATION,
            Self::Unfiltered => {
                pg_sys::SECURITY_RESTRICTED_OPERATION | pg_sys::SECURITY_NOFORCE_RLS
            }
        };
        (pg_sys::SECURITY_LOCAL_USERID_CHANGE | restricted) as i32
    }
}

/// Sets a setting until the nest level ends.
unsafe fn save(name: &CStr, value: &CStr) {
    // SAFETY: called between NewGUCNestLevel and AtEOXact_GUC; the server copies the strings.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
    }
}

/// Until the nest level ends, the server writes names, types and expressions as it does by default: tenancy compares their
/// texts.
unsafe fn plain_names() {
    // SAFETY: reads a static of the server; the rest is the caller's.
    unsafe {
        if pg_sys::quote_all_identifiers {
            save(c"quote_all_identifiers", c"off");
        }
    }
}

/// Runs `f`, which reads texts of the catalogs with the caller's rights, with a pinned search_path and without the caller's
/// `quote_all_identifiers`. On an error the (sub)transaction's abort restores both.
pub fn pinned<R>(f: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    // SAFETY: a nest level of its own, which ends below or by the abort.
    let level = unsafe {
        let level = pg_sys::NewGUCNestLevel();
        save(c"search_path", PINNED_PATH);
        plain_names();
        level
    };
    let result = f();
    // SAFETY: undoes the above.
    unsafe { pg_sys::AtEOXact_GUC(true, level) };
    result
}

/// Runs `f` with settings with which every value reads back as the same value, whatever the session has.
pub fn exact_texts<R>(f: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    const SETTINGS: [(&CStr, &CStr); 7] = [
        (c"datestyle", c"ISO, YMD"),
        (c"intervalstyle", c"postgres"),
        (c"timezone", c"UTC"),
        (c"bytea_output", c"hex"),
        (c"extra_float_digits", c"3"),
        (c"lc_monetary", c"C"),
        (c"xmlbinary", c"base64"),
    ];
    // SAFETY: a nest level of its own, which ends below or by the abort.
    let level = unsafe {
        let level = pg_sys::NewGUCNestLevel();
        for (name, value) in SETTINGS {
            save(name, value);
        }
        level
    };
    let result = f();
    // SAFETY: undoes the above.
    unsafe { pg_sys::AtEOXact_GUC(true, level) };
    result
}

/// Returns the current search_path.
pub fn search_path() -> CString {
    // SAFETY: a static of the server, NULL or a C string.
    unsafe {
        let path = pg_sys::namespace_search_path;
        if path.is_null() {
            return CString::default();
        }
        CStr::from_ptr(path).to_owned()
    }
}

/// Returns the schemas of the current search_path.
pub fn schemas() -> Result<Vec<String>, Error> {
    read_as_caller(
        "SELECT pg_catalog.current_schemas(false)::pg_catalog.text[]",
        &[],
        |rows| match rows.into_iter().next() {
            Some(row) => row.not_null(1),
            None => Ok(Vec::new()),
        },
    )
}

/// Runs `f`, which runs no code of users, with the rights of a table's owner and past its policies, as the server checks foreign keys.
pub fn as_check<R>(owner: pg_sys::Oid, f: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    as_server(
        owner,
        pg_sys::SECURITY_NOFORCE_RLS | pg_sys::SECURITY_RESTRICTED_OPERATION,
        f,
    )
}

/// Runs `f`, whose statements run a table's triggers, with the rights of a role, as the server does for ON UPDATE CASCADE. Policies
/// apply, unless they do not apply to the caller.
pub fn as_cascade<R>(role: pg_sys::Oid, f: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    let flags = match role::bypasses_row_security() {
        true => pg_sys::SECURITY_NOFORCE_RLS,
        false => 0,
    };
    as_server(role, flags, f)
}

fn as_server<R>(
    role: pg_sys::Oid,
    flags: u32,
    f: impl FnOnce() -> Result<R, Error>,
) -> Result<R, Error> {
    let (mut user, mut context) = (pg_sys::Oid::INVALID, 0);
    let flags = (pg_sys::SECURITY_LOCAL_USERID_CHANGE | flags) as i32;
    // SAFETY: the role is switched the way the server does it for its own queries, and back below or by the abort.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        pg_sys::SetUserIdAndSecContext(role, context | flags);
    }
    let result = f();
    // SAFETY: undoes the above.
    unsafe { pg_sys::SetUserIdAndSecContext(user, context) };
    result
}

fn as_role<R>(
    role: pg_sys::Oid,
    security: Security,
    f: impl FnOnce() -> Result<R, Error>,
) -> Result<R, Error> {
    let (mut user, mut context) = (pg_sys::Oid::INVALID, 0);
    // SAFETY: the role is switched the way the server does it for SECURITY DEFINER functions; the
    // setting is saved at a nest level of its own and restored below or by the abort.
    let level = unsafe {
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        pg_sys::SetUserIdAndSecContext(role, context | security.flags());
        let level = pg_sys::NewGUCNestLevel();
        save(c"search_path", PINNED_PATH);
        // With row_security off, queries that row security applies to would fail.
        if !pg_sys::row_security {
            save(c"row_security", c"on");
        }
        plain_names();
        level
    };
    let result = f();
    // SAFETY: undoes the above, in reverse order.
    unsafe {
        pg_sys::AtEOXact_GUC(security == Security::Pinned, level);
        pg_sys::SetUserIdAndSecContext(user, context);
    }
    result
}

/// Reads as the owner, and sees everything committed now, also in the middle of a statement. Assigns no transaction
/// id, so it works on standbys and in parallel workers.
pub fn read<R>(
    query: &'static str,
    args: &[DatumWithOid<'_>],
    f: impl FnOnce(SpiTupleTable<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    as_owner(|| {
        latest(|| {
            let _pushed = (!xact::parallel()).then(snapshot::push_latest);
            select(query, args, f)
        })
    })
}

/// Reads as the owner at the snapshot that was pushed last, and at no other.
pub fn select_at_snapshot<R>(
    _: &Pushed,
    query: &'static str,
    args: &[DatumWithOid<'_>],
    f: impl FnOnce(SpiTupleTable<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    as_owner(|| {
        let read = || select(query, args, f);
        // After a transaction has written, pgrx makes the server take a newer one, but not in a savepoint that has not written.
        match xact::has_written_here() {
            true => savepoint::around(read),
            false => read(),
        }
    })
}

fn select<R>(
    query: &'static str,
    args: &[DatumWithOid<'_>],
    f: impl FnOnce(SpiTupleTable<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    Spi::connect(|client| {
        let kept = kept(client, query, args)?;
        f(client.select(&*kept, None, args)?)
    })
}

/// Calls `f`, which reads at a pushed snapshot. After a transaction has written, pgrx makes the server take another one, which
/// from REPEATABLE READ on is the transaction's first. A savepoint that has not written yet reads at the pushed one.
fn latest<R>(f: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    if !xact::reads_as_of_its_begin() || xact::parallel() {
        return f();
    }
    // SAFETY: inside a transaction and outside parallel mode; what this transaction has written is to be seen.
    unsafe { pg_sys::CommandCounterIncrement() };
    savepoint::around(f)
}

/// Writes as the owner.
pub fn write(query: &'static str, args: &[DatumWithOid<'_>]) -> Result<u64, Error> {
    as_owner(|| Spi::connect_mut(|client| Ok(client.update(query, None, args)?.len() as u64)))
}

/// Writes as the owner with a cached plan, for frequent statements.
pub fn execute_prepared(query: &'static str, args: &[DatumWithOid<'_>]) -> Result<u64, Error> {
    as_owner(|| {
        Spi::connect_mut(|client| {
            let kept = kept(client, query, args)?;
            Ok(client.update(&*kept, None, args)?.len() as u64)
        })
    })
}

/// Writes as the owner, and reads the returned rows.
pub fn write_returning<R>(
    query: &'static str,
    args: &[DatumWithOid<'_>],
    f: impl FnOnce(SpiTupleTable<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    as_owner(|| Spi::connect_mut(|client| f(client.update(query, None, args)?)))
}

/// Rows of tenancy's own queries: most of their columns are never NULL.
pub trait NotNull {
    /// Returns column `n`; an error, and not a default, if it is NULL.
    fn not_null<T: FromDatum + IntoDatum>(&self, n: usize) -> Result<T, Error>;

    /// The same for an instant, a bigint of microseconds of the Unix epoch.
    fn not_null_instant(&self, n: usize) -> Result<Instant, Error> {
        Ok(Instant::from_unix_micros(self.not_null(n)?))
    }

    /// The same for an id.
    fn not_null_id(&self, n: usize) -> Result<Uuid, Error> {
        Ok(from_pg(self.not_null(n)?))
    }
}

const NULL: Error = Error::Internal("a query of tenancy's own returned NULL where it never does");

impl NotNull for SpiHeapTupleData<'_> {
    fn not_null<T: FromDatum + IntoDatum>(&self, n: usize) -> Result<T, Error> {
        self.get(n)?.ok_or(NULL)
    }
}

/// Returns column `n`, an instant as a bigint of microseconds of the Unix epoch.
pub fn instant(row: &SpiHeapTupleData<'_>, n: usize) -> Result<Option<Instant>, Error> {
    Ok(row.get(n)?.map(Instant::from_unix_micros))
}

/// The first row.
impl NotNull for SpiTupleTable<'_> {
    fn not_null<T: FromDatum + IntoDatum>(&self, n: usize) -> Result<T, Error> {
        self.get(n)?.ok_or(NULL)
    }
}

/// Reads with the caller's rights, and sees everything committed now and every change of this transaction.
pub fn read_as_caller<R>(
    query: &'static str,
    args: &[DatumWithOid<'_>],
    f: impl FnOnce(SpiTupleTable<'_>) -> Result<R, Error>,
) -> Result<R, Error> {
    at_latest(|| select(query, args, f))
}

/// Calls `f`, which reads everything committed now and every change of this transaction.
fn at_latest<R>(f: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    // SAFETY: inside a transaction and outside parallel mode.
    unsafe { pg_sys::CommandCounterIncrement() };
    latest(|| {
        let _pushed = snapshot::push_latest();
        f()
    })
}

/// A query of the current role, which is planned for any arguments.
pub struct Prepared(OwnedPreparedStatement);

impl Prepared {
    /// Parses a query with parameters of these types.
    pub fn new(query: &str, types: &[pg_sys::Oid]) -> Result<Self, Error> {
        let types: Vec<PgOid> = types.iter().map(|kind| PgOid::from(*kind)).collect();
        Spi::connect(|client| Ok(Self(client.prepare(query, &types)?.keep())))
    }

    /// Runs it as one that may write or lock rows. Returns whether there is a row.
    pub fn run(&self, args: &[DatumWithOid<'_>]) -> Result<bool, Error> {
        Spi::connect_mut(|client| Ok(!client.update(&self.0, Some(1), args)?.is_empty()))
    }

    /// Reads as [`read_as_caller`] does.
    pub fn read<R>(
        &self,
        args: &[DatumWithOid<'_>],
        f: impl FnOnce(SpiTupleTable<'_>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        at_latest(|| Spi::connect(|client| f(client.select(&self.0, None, args)?)))
    }
}

/// How the queries of [`planned_once`] find rows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Finds {
    /// As the server estimates.
    Any,
    /// By index, also if the tables are small when the query is planned: its plan stays while they grow.
    ByIndex,
}

/// Runs `f`, whose cached plans are made once, for any arguments: planning is most of the time of a long query.
pub fn planned_once<R>(finds: Finds, f: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    // SAFETY: a nest level of its own, which ends below or by the abort.
    let level = unsafe {
        let level = pg_sys::NewGUCNestLevel();
        save(c"plan_cache_mode", c"force_generic_plan");
        if finds == Finds::ByIndex {
            for scans in [c"enable_seqscan", c"enable_hashjoin", c"enable_mergejoin"] {
                save(scans, c"off");
            }
            // The server allocates the hash table of a recursive query for the estimated rows, which are millions.
            save(c"work_mem", c"128kB");
        }
        level
    };
    let result = f();
    // SAFETY: undoes the above.
    unsafe { pg_sys::AtEOXact_GUC(true, level) };
    result
}

fn kept(
    client: &SpiClient<'_>,
    query: &'static str,
    args: &[DatumWithOid<'_>],
) -> Result<std::rc::Rc<OwnedPreparedStatement>, Error> {
    if let Some(plan) = KEPT.with_borrow(|kept| kept.get(query).cloned()) {
        return Ok(plan);
    }
    let types: Vec<PgOid> = args.iter().map(|arg| PgOid::from(arg.oid())).collect();
    let plan = std::rc::Rc::new(client.prepare(query, &types)?.keep());
    KEPT.with_borrow_mut(|kept| kept.insert(query, plan.clone()));
    Ok(plan)
}

/// Returns the role that owns tenancy's objects, and sets the beacon to watch.
fn owner() -> Result<pg_sys::Oid, Error> {
    if let Some(owner) = OWNER.get() {
        return Ok(owner);
    }
    let beacon = extension::internal_table(c"beacon")?;
    let owner = relation::read(beacon, |class| class.relowner).ok_or(Error::NotInstalled)?;
    inval::watch(beacon);
    OWNER.set(Some(owner));
    Ok(owner)
}
