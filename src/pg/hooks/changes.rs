//! Changes of tables that the policy module follows: new partitions and children, renamed columns, policies, owners.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

use super::tell;
use crate::pg::nodes::{Name, each};

/// What a statement changes that the policy module wants to know.
pub struct Change {
    table: Name,
    what: What,
}

enum What {
    /// The table gets a partition or a child.
    Child,
    /// A column of the table is renamed.
    Rename { old: String, new: String },
    /// The table gets a policy, or loses one or its owner.
    Policies { created: bool },
}

/// Whether a policy is tenancy's: protect() and unprotect() see to those themselves.
///
/// # Safety
/// `policy` is a policy's name in a statement.
unsafe fn is_tenancys(policy: *const c_char) -> bool {
    // SAFETY: the caller's: a policy's name in a statement.
    unsafe { CStr::from_ptr(policy) }
        .to_bytes()
        .starts_with(b"tenancy_")
}

/// The table in `DROP POLICY name ON table`, unless the policy is tenancy's.
///
/// # Safety
/// `object` is an object of such a statement: a list of names, the policy's the last.
unsafe fn table_of_policy(object: *mut pg_sys::Node) -> Option<*const pg_sys::RangeVar> {
    // SAFETY: the grammar puts two to four names there. The copy is shortened by its last.
    unsafe {
        let names = object.cast::<pg_sys::List>();
        if names.is_null() || (*names).length < 2 {
            return None;
        }
        let at = |n: i32| (*(*names).elements.add(n as usize)).ptr_value;
        let last = at((*names).length - 1).cast::<pg_sys::String>();
        if is_tenancys((*last).sval) {
            return None;
        }
        let table = pg_sys::list_truncate(pg_sys::list_copy(names), (*names).length - 1);
        Some(pg_sys::makeRangeVarFromNameList(table))
    }
}

/// What a statement will have changed.
///
/// # Safety
/// `node` is a statement.
pub unsafe fn of(node: *mut pg_sys::Node) -> Vec<Change> {
    let mut found = Vec::new();
    // SAFETY: the tag tells which statement it is; lists hold the nodes that the grammar puts there.
    unsafe {
        let mut note = |table: *const pg_sys::RangeVar, what: What| {
            let table = Name::copy(table);
            found.push(Change { table, what });
        };
        match (*node).type_ {
            // A foreign table's statement begins with a table's.
            pg_sys::NodeTag::T_CreateStmt | pg_sys::NodeTag::T_CreateForeignTableStmt => {
                let create = node.cast::<pg_sys::CreateStmt>();
                each((*create).inhRelations, |parent| {
                    note(parent.cast(), What::Child)
                });
            }
            pg_sys::NodeTag::T_AlterTableStmt => {
                let alter = node.cast::<pg_sys::AlterTableStmt>();
                each((*alter).cmds, |command| {
                    let command = command.cast::<pg_sys::AlterTableCmd>();
                    match (*command).subtype {
                        pg_sys::AlterTableType::AT_AttachPartition => {
                            note((*alter).relation, What::Child);
                        }
                        pg_sys::AlterTableType::AT_AddInherit => {
                            note((*command).def.cast(), What::Child);
                        }
                        pg_sys::AlterTableType::AT_ChangeOwner => {
                            note((*alter).relation, What::Policies { created: false });
                        }
                        _ => {}
                    }
                });
            }
            pg_sys::NodeTag::T_CreatePolicyStmt => {
                let create = node.cast::<pg_sys::CreatePolicyStmt>();
                if !is_tenancys((*create).policy_name) {
                    note((*create).table, What::Policies { created: true });
                }
            }
            pg_sys::NodeTag::T_DropStmt => {
                let drop = node.cast::<pg_sys::DropStmt>();
                if (*drop).removeType == pg_sys::ObjectType::OBJECT_POLICY {
                    each((*drop).objects, |object| {
                        if let Some(table) = table_of_policy(object) {
                            note(table, What::Policies { created: false });
                        }
                    });
                }
            }
            pg_sys::NodeTag::T_RenameStmt => {
                let rename = node.cast::<pg_sys::RenameStmt>();
                if (*rename).renameType == pg_sys::ObjectType::OBJECT_COLUMN
                    && !(*rename).relation.is_null()
                {
                    let text =
                        |name: *mut c_char| CStr::from_ptr(name).to_string_lossy().into_owned();
                    let what = What::Rename {
                        old: text((*rename).subname),
                        new: text((*rename).newname),
                    };
                    note((*rename).relation, what);
                }
            }
            _ => {}
        }
    }
    found
}

/// Tells of the changes, after the statement.
pub fn follow(changes: &[Change]) {
    for change in changes {
        let Some(table) = change.table.oid() else {
            continue;
        };
        tell(|on| match &change.what {
            What::Child => (on.child)(table),
            What::Rename { old, new } => (on.rename)(table, old, new),
            What::Policies { created } => (on.policies)(table, *created),
        });
    }
}
