//! Changes of tables that the policy module follows: new partitions and children, renamed columns.

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
}

/// What a statement will have changed.
///
/// # Safety
/// `node` is a statement.
pub unsafe fn of(node: *mut pg_sys::Node) -> Vec<Change> {
    let mut found = Vec::new();
    // SAFETY: the tag tells which statement it is; lists hold the nodes that the grammar puts there.
    unsafe {
        let mut child_of = |parent: *const pg_sys::RangeVar| {
            found.push(Change {
                table: Name::copy(parent),
                what: What::Child,
            });
        };
        match (*node).type_ {
            // A foreign table's statement begins with a table's.
            pg_sys::NodeTag::T_CreateStmt | pg_sys::NodeTag::T_CreateForeignTableStmt => {
                let create = node.cast::<pg_sys::CreateStmt>();
                each((*create).inhRelations, |parent| child_of(parent.cast()));
            }
            pg_sys::NodeTag::T_AlterTableStmt => {
                let alter = node.cast::<pg_sys::AlterTableStmt>();
                each((*alter).cmds, |command| {
                    let command = command.cast::<pg_sys::AlterTableCmd>();
                    match (*command).subtype {
                        pg_sys::AlterTableType::AT_AttachPartition => child_of((*alter).relation),
                        pg_sys::AlterTableType::AT_AddInherit => child_of((*command).def.cast()),
                        _ => {}
                    }
                });
            }
            pg_sys::NodeTag::T_RenameStmt => {
                let rename = node.cast::<pg_sys::RenameStmt>();
                if (*rename).renameType == pg_sys::ObjectType::OBJECT_COLUMN
                    && !(*rename).relation.is_null()
                {
                    let text =
                        |name: *mut c_char| CStr::from_ptr(name).to_string_lossy().into_owned();
                    found.push(Change {
                        table: Name::copy((*rename).relation),
                        what: What::Rename {
                            old: text((*rename).subname),
                            new: text((*rename).newname),
                        },
                    });
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
        });
    }
}
