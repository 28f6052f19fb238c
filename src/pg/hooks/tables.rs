//! Tables that a query names, with their rights, and what the enclosing statement derives from the query.

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::On;
use super::change::is_asked_about;
use super::noted;
use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::nodes::{Name, each};
use crate::pg::{relation, role, xact};

static PREVIOUS: BackendCell<pg_sys::ExecutorCheckPerms_hook_type> = BackendCell::new(None);
static ON_TABLE: BackendCell<Option<OnTable>> = BackendCell::new(None);
static ON_BLIND_MERGE: BackendCell<Option<OnTable>> = BackendCell::new(None);

/// Checks whether a query may name a table.
pub type OnTable = fn(&Named) -> Result<(), Error>;

/// A table that a query, or COPY, names.
#[derive(Clone, Copy)]
pub struct Named {
    /// The table.
    pub table: pg_sys::Oid,
    /// The role whose rights are used.
    pub role: pg_sys::Oid,
    /// Whether the query inserts or updates rows of it. SELECT … FOR UPDATE does not.
    pub writes: bool,
    /// Whether the query validates a foreign key.
    pub validates: bool,
    /// What the enclosing statement derives from the query.
    pub derives: Derives,
}

/// What a utility statement derives from the queries that it runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Derives {
    /// Nothing.
    Nothing,
    /// A copy of the rows that the caller sees.
    Copy,
    /// A result over all rows, by this statement.
    All(&'static str),
}

/// What a running utility statement does with tables.
#[derive(Clone, Copy)]
pub struct Around {
    /// What it derives from its queries.
    derives: Derives,
    /// Whether it names the tables that it works on, and none is protected.
    elsewhere: bool,
    /// A protected table whose rows it copies into a new one.
    copied: Option<pg_sys::Oid>,
    /// How many activities it runs in, if it is EXPLAIN and plans a query of its own.
    explains: Option<usize>,
    /// The savepoint that it began in.
    savepoint: u32,
}

const NOTHING: Around = Around {
    derives: Derives::Nothing,
    elsewhere: false,
    copied: None,
    explains: None,
    savepoint: 0,
};

static AROUND: BackendCell<Around> = BackendCell::new(NOTHING);

/// Returns the running statement, to be restored.
pub fn around() -> Around {
    AROUND.get()
}

/// Restores the enclosing statement.
pub fn set_around(before: Around) {
    AROUND.set(before);
}

/// Returns whether the running statement derives a result over all rows.
pub fn derives_all() -> bool {
    matches!(AROUND.get().derives, Derives::All(_))
}

/// Returns whether the running statement names the tables that it works on, and none is protected.
pub fn is_elsewhere() -> bool {
    AROUND.get().elsewhere
}

/// Returns whether a query that is planned in so many activities is EXPLAIN's own, and not a function's that it runs.
pub fn is_explained(activities: usize) -> bool {
    AROUND.get().explains == Some(activities)
}

/// Called when a utility statement starts.
///
/// # Safety
/// `node` is a statement.
pub unsafe fn derive(node: *mut pg_sys::Node) {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag identifies the statement.
    let derives = unsafe {
        match (*node).type_ {
            T_AlterTableStmt => Derives::All("ALTER TABLE"),
            T_AlterDomainStmt => Derives::All("ALTER DOMAIN"),
            T_IndexStmt => Derives::All("CREATE INDEX"),
            T_RefreshMatViewStmt => Derives::All("REFRESH MATERIALIZED VIEW"),
            T_CreateTableAsStmt => {
                let create = node.cast::<pg_sys::CreateTableAsStmt>();
                if (*create).objtype == pg_sys::ObjectType::OBJECT_MATVIEW {
                    Derives::All("CREATE MATERIALIZED VIEW")
                } else {
                    Derives::Copy
                }
            }
            T_ExplainStmt => {
                let query = (*node.cast::<pg_sys::ExplainStmt>()).query;
                AROUND.set(Around {
                    explains: (!executes(query)).then(noted::activities),
                    savepoint: xact::savepoint(),
                    ..AROUND.get()
                });
                if !query.is_null() && (*query).type_ == T_Query {
                    let inner = (*query.cast::<pg_sys::Query>()).utilityStmt;
                    if !inner.is_null() && (*inner).type_ == T_CreateTableAsStmt {
                        derive(inner);
                    }
                }
                return;
            }
            _ => return,
        }
    };
    AROUND.set(Around {
        derives,
        copied: None,
        savepoint: xact::savepoint(),
        ..AROUND.get()
    });
}

/// Returns whether what EXPLAIN explains is a prepared statement, whose plan is kept, also one that creates a table.
unsafe fn executes(query: *mut pg_sys::Node) -> bool {
    use pg_sys::NodeTag::*;
    // SAFETY: NULL, or a statement that the tag identifies.
    unsafe {
        if query.is_null() {
            return false;
        }
        match (*query).type_ {
            T_Query => executes((*query.cast::<pg_sys::Query>()).utilityStmt),
            T_CreateTableAsStmt => executes((*query.cast::<pg_sys::CreateTableAsStmt>()).query),
            T_ExecuteStmt => true,
            _ => false,
        }
    }
}

/// Called when a utility statement starts that runs tables' functions on all rows, of tables that it names or of others.
///
/// # Safety
/// `node` is a statement, inside a transaction.
pub unsafe fn note_named(node: *mut pg_sys::Node) {
    use pg_sys::NodeTag::*;
    let mut elsewhere = true;
    let mut look = |name: *const pg_sys::RangeVar| {
        // SAFETY: NULL or a table's name in a statement.
        let table = (!name.is_null())
            .then(|| unsafe { Name::copy(name) }.oid())
            .flatten();
        elsewhere =
            elsewhere && table.is_some_and(|table| !is_asked_about(relation::table_of(table)));
    };
    // SAFETY: the tag identifies the statement; lists hold the nodes that the grammar puts there.
    unsafe {
        match (*node).type_ {
            T_AlterTableStmt => look((*node.cast::<pg_sys::AlterTableStmt>()).relation),
            T_IndexStmt => look((*node.cast::<pg_sys::IndexStmt>()).relation),
            T_ReindexStmt => look((*node.cast::<pg_sys::ReindexStmt>()).relation),
            T_ClusterStmt => look((*node.cast::<pg_sys::ClusterStmt>()).relation),
            T_VacuumStmt => {
                let tables = (*node.cast::<pg_sys::VacuumStmt>()).rels;
                if tables.is_null() {
                    look(std::ptr::null());
                }
                each(tables, |table| {
                    look((*table.cast::<pg_sys::VacuumRelation>()).relation);
                });
            }
            _ => return,
        }
    }
    AROUND.set(Around {
        elsewhere,
        savepoint: xact::savepoint(),
        ..AROUND.get()
    });
}

/// Notes that the running statement copies rows of a protected table into a new one.
pub fn note_copied(table: pg_sys::Oid) {
    AROUND.set(Around {
        copied: Some(table),
        ..AROUND.get()
    });
}

/// Returns a protected table whose rows the running statement has copied into a new one.
pub fn copied() -> Option<pg_sys::Oid> {
    AROUND.get().copied
}

/// Notes that the running statement works on other tables than those that it names.
pub fn leave_named() {
    AROUND.set(Around {
        elsewhere: false,
        ..AROUND.get()
    });
}

/// Installs the hook.
pub fn init(on: &On) {
    ON_TABLE.set(Some(on.table));
    ON_BLIND_MERGE.set(Some(on.blind_merge));
    // SAFETY: set once, in _PG_init; the previous hook is kept and called.
    unsafe {
        PREVIOUS.set(pg_sys::ExecutorCheckPerms_hook);
        pg_sys::ExecutorCheckPerms_hook = Some(check_permissions);
    }
}

/// Handles the rollback of a savepoint, or with 0 of the transaction.
pub fn forget(savepoint: u32) {
    if AROUND.get().savepoint >= savepoint {
        AROUND.set(NOTHING);
    }
}

/// Runs after the server has checked the caller's rights: when queries start, including EXPLAIN, and for COPY.
/// Only the validation of a foreign key checks without raising an error.
#[cfg(feature = "pg15")]
#[pg_guard]
unsafe extern "C-unwind" fn check_permissions(tables: *mut pg_sys::List, raise: bool) -> bool {
    #[allow(ffi_unwind_calls)] // inside the boundary
    // SAFETY: passes the call to the previous hook.
    let allowed = PREVIOUS.get().is_none_or(|previous| unsafe {
        pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| previous(tables, raise))
    });
    // SAFETY: the list holds range table entries. What was added for partitions and children asks for no rights.
    unsafe {
        each(tables, |entry| {
            let entry = &*entry.cast::<pg_sys::RangeTblEntry>();
            if entry.rtekind == pg_sys::RTEKind::RTE_RELATION && entry.requiredPerms != 0 {
                let writes = writes(entry.requiredPerms, entry.updatedCols);
                ask(&ON_TABLE, entry.relid, entry.checkAsUser, writes, !raise);
            }
        });
    }
    allowed
}

/// As above.
#[cfg(not(feature = "pg15"))]
#[pg_guard]
unsafe extern "C-unwind" fn check_permissions(
    tables: *mut pg_sys::List,
    rights: *mut pg_sys::List,
    raise: bool,
) -> bool {
    #[allow(ffi_unwind_calls)] // inside the boundary
    // SAFETY: passes the call to the previous hook.
    let allowed = PREVIOUS.get().is_none_or(|previous| unsafe {
        pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| previous(tables, rights, raise))
    });
    // SAFETY: the list holds the rights that each table is named with.
    unsafe {
        each(rights, |entry| {
            let entry = &*entry.cast::<pg_sys::RTEPermissionInfo>();
            if entry.requiredPerms != 0 {
                let writes = writes(entry.requiredPerms, entry.updatedCols);
                ask(&ON_TABLE, entry.relid, entry.checkAsUser, writes, !raise);
            }
        });
    }
    allowed
}

/// Returns whether rows are inserted or updated with these rights. Locking rows asks for the right to UPDATE, and for no column.
fn writes(rights: pg_sys::AclMode, updated: *const pg_sys::Bitmapset) -> bool {
    let any = |right: u32| rights & right as pg_sys::AclMode != 0;
    any(pg_sys::ACL_INSERT) || any(pg_sys::ACL_UPDATE) && !updated.is_null()
}

fn ask(
    on: &BackendCell<Option<OnTable>>,
    table: pg_sys::Oid,
    role: pg_sys::Oid,
    writes: bool,
    validates: bool,
) {
    let role = if role == pg_sys::Oid::INVALID {
        role::current()
    } else {
        role
    };
    let named = Named {
        table,
        role,
        writes,
        validates,
        derives: AROUND.get().derives,
    };
    if let Some(on) = on.get()
        && let Err(error) = on(&named)
    {
        error.raise();
    }
}

/// Reports each MERGE that reads no column of its target. It needs no SELECT privilege, and PostgreSQL then applies no
/// policy to the rows that it visits: its conditions would count rows of every tenant.
///
/// # Safety
/// The plan is one that is about to run.
pub unsafe fn ask_about_blind_merges(plan: &pg_sys::PlannedStmt) {
    if plan.commandType != pg_sys::CmdType::CMD_MERGE && !plan.hasModifyingCTE {
        return;
    }
    // SAFETY: a plan's nodes have tags, and its numbers count the entries of its own lists from 1.
    unsafe {
        let check = |node: *mut pg_sys::Node| {
            if node.is_null() || (*node).type_ != pg_sys::NodeTag::T_ModifyTable {
                return;
            }
            let modify = &*node.cast::<pg_sys::ModifyTable>();
            if modify.operation != pg_sys::CmdType::CMD_MERGE {
                return;
            }
            let target = &*nth(plan.rtable, modify.nominalRelation).cast::<pg_sys::RangeTblEntry>();
            #[cfg(feature = "pg15")]
            let (rights, role) = (target.requiredPerms, target.checkAsUser);
            #[cfg(not(feature = "pg15"))]
            let (rights, role) = match target.perminfoindex {
                0 => (0, pg_sys::Oid::INVALID),
                n => {
                    let info = &*nth(plan.permInfos, n).cast::<pg_sys::RTEPermissionInfo>();
                    (info.requiredPerms, info.checkAsUser)
                }
            };
            if rights & pg_sys::ACL_SELECT as pg_sys::AclMode == 0 {
                ask(&ON_BLIND_MERGE, target.relid, role, true, false);
            }
        };
        check(plan.planTree.cast());
        each(plan.subplans, check);
    }
}

/// Element `n` of a list, counted from 1.
unsafe fn nth(list: *mut pg_sys::List, n: u32) -> *mut pg_sys::Node {
    // SAFETY: the caller's: the list has it.
    unsafe { (*(*list).elements.add(n as usize - 1)).ptr_value.cast() }
}
