//! The owner of the object that a statement changes, read from its parse tree, so that it works for every
//! statement.

use std::ffi::CString;

use pgrx::pg_sys;
use pgrx::pg_sys::NodeTag::*;

use crate::error::Error;
use crate::pg::nodes::{Name, each};
use crate::pg::relation;

/// The role whose code a statement may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// The owner of the table that it changes: its triggers, constraints and expressions.
    CodeOf(pg_sys::Oid),
    /// No code: expressions are parsed for the owner of the table.
    ExpressionsOf(pg_sys::Oid),
    /// None.
    NoCode,
}

/// Returns whose code a statement may run.
///
/// # Errors
/// If the statement is of an unknown kind, or its table does not exist.
pub fn runs(statement: &str) -> Result<Runs, Error> {
    const UNKNOWN: Error = Error::Internal("a step of a kind that is not known");
    let text = CString::new(statement).map_err(|_| UNKNOWN)?;
    // SAFETY: the text is parsed in the current memory context, and what is read of the tree is what
    // the grammar puts there for the tag; a fault in the text is raised as the server's error.
    unsafe {
        let parsed = pg_sys::raw_parser(text.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
        let mut statements = Vec::new();
        each(parsed, |raw| {
            statements.push((*raw.cast::<pg_sys::RawStmt>()).stmt)
        });
        let [node] = statements.as_slice() else {
            return Err(UNKNOWN);
        };
        match (**node).type_ {
            T_AlterTableStmt => {
                let alter = node.cast::<pg_sys::AlterTableStmt>();
                let mut default = false;
                each((*alter).cmds, |command| {
                    let command = command.cast::<pg_sys::AlterTableCmd>();
                    default =
                        default || (*command).subtype == pg_sys::AlterTableType::AT_ColumnDefault;
                });
                let owner = owner((*alter).relation)?;
                Ok(if default {
                    Runs::ExpressionsOf(owner)
                } else {
                    Runs::CodeOf(owner)
                })
            }
            T_CreatePolicyStmt => {
                owner((*node.cast::<pg_sys::CreatePolicyStmt>()).table).map(Runs::ExpressionsOf)
            }
            T_UpdateStmt => owner((*node.cast::<pg_sys::UpdateStmt>()).relation).map(Runs::CodeOf),
            // The server itself switches to the table's owner before it evaluates anything. It checks the right
            // to create in the schema, which the owner may lack.
            T_IndexStmt => Ok(Runs::NoCode),
            // Its condition is parsed and not evaluated.
            T_CreateTrigStmt => Ok(Runs::NoCode),
            T_DropStmt => match (*node.cast::<pg_sys::DropStmt>()).removeType {
                pg_sys::ObjectType::OBJECT_POLICY
                | pg_sys::ObjectType::OBJECT_INDEX
                | pg_sys::ObjectType::OBJECT_TRIGGER => Ok(Runs::NoCode),
                _ => Err(UNKNOWN),
            },
            T_RenameStmt => match (*node.cast::<pg_sys::RenameStmt>()).renameType {
                pg_sys::ObjectType::OBJECT_TABCONSTRAINT => Ok(Runs::NoCode),
                _ => Err(UNKNOWN),
            },
            T_GrantStmt | T_CommentStmt => Ok(Runs::NoCode),
            _ => Err(UNKNOWN),
        }
    }
}

/// Returns the table with a name written as in SQL.
pub fn table(name: &str) -> Result<pg_sys::Oid, Error> {
    let text = CString::new(name).map_err(|_| Error::NoSuch("the table"))?;
    // SAFETY: parsed and looked up in the current memory context, inside a transaction.
    unsafe {
        let names = pg_sys::stringToQualifiedNameList(
            text.as_ptr(),
            #[cfg(not(feature = "pg15"))]
            std::ptr::null_mut(), // errors are raised
        );
        Name::copy(pg_sys::makeRangeVarFromNameList(names)).oid()
    }
    .ok_or(Error::NoSuch("the table"))
}

unsafe fn owner(range: *const pg_sys::RangeVar) -> Result<pg_sys::Oid, Error> {
    // SAFETY: a statement's table has a name.
    let table = unsafe { Name::copy(range) }.oid();
    table
        .and_then(|table| relation::read(table, |class| class.relowner))
        .ok_or(Error::NoSuch("the table"))
}
