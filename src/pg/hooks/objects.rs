//! The server's object access hook, which any statement calls: TRUNCATE for each table (it ignores row security), changes and
//! drops of tables and policies, also by CASCADE, and functions before they run.

use std::cell::RefCell;
use std::ffi::c_void;

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::change::{Change, Reach};
use super::functions;
use super::shared_role::shared_role;
use super::tell;
use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::{relation, role, xact};

static PREVIOUS: BackendCell<pg_sys::object_access_hook_type> = BackendCell::new(None);

/// An isolated table that the running statement changes.
pub struct Touched {
    /// The table.
    pub table: pg_sys::Oid,
    /// Its previous owner.
    owner: pg_sys::Oid,
    /// Whether one of the application's policies was altered or dropped.
    policies: bool,
}

impl Touched {
    /// Returns whether its owner or its policies changed.
    pub fn has_other_policies(&self) -> bool {
        let owner = relation::read(self.table, |class| class.relowner);
        owner.is_some_and(|owner| self.policies || owner != self.owner)
    }
}

thread_local! {
    static TOUCHED: RefCell<Vec<Touched>> = const { RefCell::new(Vec::new()) };
}

const POLICIES: u32 = 3256;

/// Functions of large objects: all users of the owner's role can read and change them.
const LARGE_OBJECTS: [u32; 20] = [
    715, 764, 765, 767, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172, 3457, 3458,
    3459, 3460,
];

/// pg_terminate_backend and pg_cancel_backend: sessions of a role may end each other.
const SIGNALS: [u32; 2] = [2096, 2171];

/// Functions of 18 that write or clear a table's statistics, for who may MAINTAIN it: planning for every tenant follows them.
const STATISTICS: [u32; 4] = [6362, 6363, 6397, 6398];

/// currtid2(), which reveals for any place in a table whether a row exists, and where its newest version is.
const ROW_VERSIONS: u32 = 1294;

/// Installs the hook.
pub fn init() {
    // SAFETY: set once, in _PG_init; the previous hook is kept and called.
    unsafe {
        PREVIOUS.set(pg_sys::object_access_hook);
        pg_sys::object_access_hook = Some(object_access);
    }
}

/// Returns the tables that were touched since the last call.
pub fn take_touched() -> Vec<Touched> {
    TOUCHED.with_borrow_mut(std::mem::take)
}

#[pg_guard]
unsafe extern "C-unwind" fn object_access(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    part: i32,
    argument: *mut c_void,
) {
    use pg_sys::ObjectAccessType::*;
    if let Some(previous) = PREVIOUS.get() {
        #[allow(ffi_unwind_calls)] // inside the boundary
        // SAFETY: passes the call to the previous hook.
        unsafe {
            pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| {
                previous(access, class, object, part, argument);
            });
        }
    }
    match access {
        OAT_FUNCTION_EXECUTE => {
            called(object.to_u32());
            functions::about_to_run(object);
        }
        OAT_POST_CREATE | OAT_POST_ALTER
            if class == pg_sys::ProcedureRelationId && xact::running() =>
        {
            functions::altered(object);
        }
        OAT_TRUNCATE => tell(|on| {
            (on.change)(&Change {
                table: object,
                command: "TRUNCATE",
                reach: Reach::Rows,
            })
        }),
        OAT_DROP | OAT_POST_ALTER if xact::running() => {
            if class == pg_sys::RelationRelationId {
                altered(relation::table_of(object));
            } else if class.to_u32() == POLICIES {
                tell(|on| {
                    if let Some(policy) = (on.policy)(object)? {
                        note(policy.table, !policy.tenancys);
                    }
                    Ok(())
                });
            }
        }
        _ => {}
    }
}

/// Notes a table that a statement is about to change, or is changing, if it is isolated now: the statement's changes are
/// not visible yet.
pub fn touch(table: pg_sys::Oid) {
    note(table, false);
}

fn note(table: pg_sys::Oid, policies: bool) {
    let known = TOUCHED.with_borrow_mut(|touched| {
        let known = touched.iter_mut().find(|touched| touched.table == table);
        known.map(|touched| touched.policies |= policies).is_some()
    });
    if known {
        return;
    }
    // Before any check: a query of this transaction would make the statement's changes visible.
    let Some(owner) = relation::read(table, |class| class.relowner) else {
        return;
    };
    tell(|on| {
        if (on.isolated)(table)? {
            TOUCHED.with_borrow_mut(|touched| {
                touched.push(Touched {
                    table,
                    owner,
                    policies,
                });
            });
        }
        Ok(())
    });
}

/// Handles a change or drop of a table or its index. Temporary tables are skipped.
fn altered(table: pg_sys::Oid) {
    let temporary = |class: &pg_sys::FormData_pg_class| {
        class.relpersistence as u8 == pg_sys::RELPERSISTENCE_TEMP
    };
    if relation::read(table, temporary).unwrap_or(true) {
        return;
    }
    touch(table);
    if shared_role() {
        tell(|on| {
            (on.change)(&Change {
                table,
                command: "DDL",
                reach: Reach::Definition,
            })
        });
    }
}

/// Checks a function that is about to run: once for each place in a statement that calls it.
fn called(function: u32) {
    if function >= pg_sys::FirstNormalObjectId {
        return;
    }
    if function == ROW_VERSIONS {
        return tell(|_| match role::bypasses_row_security() {
            true => Ok(()),
            false => Err(Error::RowVersions),
        });
    }
    let what = if LARGE_OBJECTS.contains(&function) {
        "large objects"
    } else if SIGNALS.contains(&function) {
        "other sessions"
    } else if STATISTICS.contains(&function) {
        "statistics of tables"
    } else {
        return;
    };
    if shared_role() {
        Error::SharedObjects(what).raise();
    }
}
