//! Changes of tables that the policy module follows: new partitions and children, renamed columns, new policies, and
//! functions that a definition calls.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys::{self, Oid};

use super::{Calls, tell, tell_above};
use crate::pg::nodes::{Name, each};
use crate::pg::relation;

/// A change that the policy module follows.
pub enum Change {
    /// A change of a named table, which is looked up after the statement.
    Named(Name, What),
    /// A change of a relation whose definition called these functions before.
    Code(Oid, Calls),
}

/// The kind of change of a named table.
pub enum What {
    /// The table gets a partition or a child, of this name.
    Child(Name),
    /// The table loses this partition.
    Detached(Name),
    /// A column of the table is renamed.
    Rename { old: String, new: String },
    /// The table gets a policy.
    Policy,
}

/// Returns whether a policy is tenancy's: protect() and unprotect() handle those themselves.
///
/// # Safety
/// `policy` is a policy's name in a statement.
unsafe fn is_tenancys(policy: *const c_char) -> bool {
    // SAFETY: the caller's: a policy's name in a statement.
    unsafe { CStr::from_ptr(policy) }
        .to_bytes()
        .starts_with(b"tenancy_")
}

/// Returns the changes that a statement will make.
///
/// # Safety
/// `node` is a statement.
pub unsafe fn of(node: *mut pg_sys::Node) -> Vec<Change> {
    let mut found = Vec::new();
    // SAFETY: the tag identifies the statement; lists hold the nodes that the grammar puts there.
    unsafe {
        let mut note = |table: *const pg_sys::RangeVar, what: What| {
            found.push(Change::Named(Name::copy(table), what));
        };
        match (*node).type_ {
            // A foreign table's statement begins with a table's.
            pg_sys::NodeTag::T_CreateStmt | pg_sys::NodeTag::T_CreateForeignTableStmt => {
                let create = node.cast::<pg_sys::CreateStmt>();
                each((*create).inhRelations, |parent| {
                    note(parent.cast(), What::Child(Name::copy((*create).relation)));
                });
            }
            pg_sys::NodeTag::T_AlterTableStmt => {
                let alter = node.cast::<pg_sys::AlterTableStmt>();
                each((*alter).cmds, |command| {
                    let command = command.cast::<pg_sys::AlterTableCmd>();
                    match (*command).subtype {
                        pg_sys::AlterTableType::AT_AttachPartition => {
                            let part = (*command).def.cast::<pg_sys::PartitionCmd>();
                            note((*alter).relation, What::Child(Name::copy((*part).name)));
                        }
                        pg_sys::AlterTableType::AT_DetachPartition
                        | pg_sys::AlterTableType::AT_DetachPartitionFinalize => {
                            let part = (*command).def.cast::<pg_sys::PartitionCmd>();
                            note((*alter).relation, What::Detached(Name::copy((*part).name)));
                        }
                        pg_sys::AlterTableType::AT_AddInherit => {
                            let child = Name::copy((*alter).relation);
                            note((*command).def.cast(), What::Child(child));
                        }
                        _ => {}
                    }
                });
            }
            pg_sys::NodeTag::T_CreatePolicyStmt => {
                let create = node.cast::<pg_sys::CreatePolicyStmt>();
                if !is_tenancys((*create).policy_name) {
                    note((*create).table, What::Policy);
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

/// Returns the functions that the definitions of relations call before a statement alters them.
pub fn of_code(relations: &[Oid]) -> Vec<Change> {
    let mut found = Vec::new();
    for &relation in relations {
        tell(|on| {
            found.extend((on.calls)(relation)?.map(|calls| Change::Code(relation, calls)));
            Ok(())
        });
    }
    found
}

/// Reports the changes, after the statement.
pub fn follow(changes: &[Change]) {
    for change in changes {
        match change {
            Change::Named(name, what) => {
                let Some(table) = name.oid() else {
                    continue;
                };
                tell(|on| match what {
                    What::Child(name) => (on.child)(table, name.oid()),
                    What::Detached(_) => Ok(()),
                    What::Rename { old, new } => (on.rename)(table, old, new),
                    What::Policy => (on.policies)(table, true),
                });
                tell_above(|follow| match what {
                    What::Child(name) => (follow.child)(table, name.oid()),
                    What::Detached(name) => name
                        .oid()
                        .map_or(Ok(()), |part| (follow.detached)(table, part)),
                    What::Rename { old, new } => (follow.rename)(table, old, new),
                    What::Policy => Ok(()),
                });
            }
            Change::Code(relation, before) => {
                if relation::read(*relation, |_| ()).is_some() {
                    tell(|on| (on.called)(*relation, before));
                }
            }
        }
    }
}
