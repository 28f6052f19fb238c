//! Foreign keys from an empty table. Migration tools create a table first, and its foreign keys by ALTER TABLE next. The server
//! validates such a key by a query over all rows of both tables, which needs maintenance if one of them is protected. An empty
//! table has nothing to validate: the key becomes valid at once, as the server itself does in CREATE TABLE.

use pgrx::pg_sys;
use pgrx::prelude::*;

use super::change::is_asked_about;
use crate::error::Error;
use crate::pg::nodes::{Name, each};
use crate::pg::{inheritance, relation, role, xact};

/// A statement, and the empty table for which it was changed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Unvalidated {
    /// The statement as it came, or the one to run in its place.
    pub statement: *mut pg_sys::PlannedStmt,
    /// The table; invalid if the statement is as it came.
    table: pg_sys::Oid,
}

/// Returns a statement that validates nothing in its place, if it adds foreign keys to or from a protected table, and perhaps
/// columns, and the table that gets them is empty and stays so: it is locked as the statement locks it.
///
/// Not guarded, as every utility statement comes here.
///
/// # Safety
/// A utility statement.
pub unsafe extern "C-unwind" fn of_empty_table(statement: *mut pg_sys::PlannedStmt) -> Unvalidated {
    // SAFETY: as above.
    unsafe {
        if (*(*statement).utilityStmt).type_ == pg_sys::NodeTag::T_AlterTableStmt {
            return of_empty(statement);
        }
    }
    Unvalidated {
        statement,
        table: pg_sys::Oid::INVALID,
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn of_empty(statement: *mut pg_sys::PlannedStmt) -> Unvalidated {
    let unchanged = Unvalidated {
        statement,
        table: pg_sys::Oid::INVALID,
    };
    if !xact::running() {
        return unchanged;
    }
    // SAFETY: an ALTER TABLE; the copy is the caller's, in its memory.
    unsafe {
        let alter = (*statement).utilityStmt.cast::<pg_sys::AlterTableStmt>();
        let Some(referenced) = referenced(alter) else {
            return unchanged;
        };
        let Some(table) = Name::copy((*alter).relation).oid() else {
            return unchanged;
        };
        let protected = is_asked_about(table) || referenced.into_iter().any(is_asked_about);
        let owner = relation::read(table, |class| class.relowner);
        if !protected || !owner.is_some_and(|owner| role::holds(role::current(), owner)) {
            return unchanged;
        }
        // The name may mean another table once it is locked.
        if !is_empty(table) || Name::copy((*alter).relation).oid() != Some(table) {
            return unchanged;
        }
        let statement: *mut pg_sys::PlannedStmt = pg_sys::copyObjectImpl(statement.cast()).cast();
        let alter = (*statement).utilityStmt.cast::<pg_sys::AlterTableStmt>();
        each((*alter).cmds, |command| {
            let command = &*command.cast::<pg_sys::AlterTableCmd>();
            if command.subtype == pg_sys::AlterTableType::AT_AddConstraint {
                (*command.def.cast::<pg_sys::Constraint>()).skip_validation = true;
            }
        });
        Unvalidated { statement, table }
    }
}

/// Raises an error if the statement was another table's after all, or the table has got rows: an event trigger runs before the
/// server looks at the table. Not guarded, as `of_empty_table`.
///
/// # Safety
/// The statement has run.
pub unsafe extern "C-unwind" fn require_still_empty(of: Unvalidated) {
    if of.table != pg_sys::Oid::INVALID {
        // SAFETY: the statement that was changed, which ALTER TABLE does not free.
        unsafe { require_empty(of) };
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn require_empty(of: Unvalidated) {
    // SAFETY: an ALTER TABLE; the table is locked.
    let still = unsafe {
        let alter = (*of.statement).utilityStmt.cast::<pg_sys::AlterTableStmt>();
        Name::copy((*alter).relation).oid() == Some(of.table) && is_empty(of.table)
    };
    if !still {
        Error::NeedsMaintenance("FOREIGN KEY").raise();
    }
}

/// Returns the tables that are referenced, if the statement adds a validated foreign key, and nothing but columns and foreign keys.
/// A key that is not to be validated keeps the statement as it is: its flag is the same.
unsafe fn referenced(alter: *mut pg_sys::AlterTableStmt) -> Option<Vec<pg_sys::Oid>> {
    use pg_sys::AlterTableType as Kind;
    let (mut tables, mut others) = (Vec::new(), false);
    // SAFETY: the statement's commands, as the grammar makes them.
    unsafe {
        each((*alter).cmds, |command| {
            let command = &*command.cast::<pg_sys::AlterTableCmd>();
            let key = command.def.cast::<pg_sys::Constraint>();
            match command.subtype {
                Kind::AT_AddColumn => {}
                Kind::AT_AddConstraint
                    if (*key).contype == pg_sys::ConstrType::CONSTR_FOREIGN
                        && !(*key).skip_validation
                        && !(*key).pktable.is_null() =>
                {
                    tables.extend(Name::copy((*key).pktable).oid());
                }
                _ => others = true,
            }
        });
    }
    (!others && !tables.is_empty()).then_some(tables)
}

/// Locks a table, and the partitions below it, and returns whether they have no page.
unsafe fn is_empty(table: pg_sys::Oid) -> bool {
    let lock = pg_sys::ShareRowExclusiveLock as i32;
    // SAFETY: opens a relation, which is there once it is locked, and closes it; the lock stays to the transaction's end.
    let (kind, blocks) = unsafe {
        let open = pg_sys::try_relation_open(table, lock);
        if open.is_null() {
            return false;
        }
        let kind = (*(*open).rd_rel).relkind as u8;
        let blocks = match kind {
            pg_sys::RELKIND_RELATION => {
                pg_sys::RelationGetNumberOfBlocksInFork(open, pg_sys::ForkNumber::MAIN_FORKNUM)
            }
            _ => 0,
        };
        pg_sys::relation_close(open, pg_sys::NoLock as i32);
        (kind, blocks)
    };
    match kind {
        pg_sys::RELKIND_RELATION => blocks == 0,
        // SAFETY: as above; a partition that is attached meanwhile would need a lock on the table.
        pg_sys::RELKIND_PARTITIONED_TABLE => unsafe {
            inheritance::children(table)
                .into_iter()
                .all(|part| is_empty(part))
        },
        _ => false,
    }
}
