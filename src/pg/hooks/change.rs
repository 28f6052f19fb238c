//! A change of a table's definition, and how far it reaches.

use pgrx::pg_sys;

use super::tell;

/// A change of a table by a statement.
pub struct Change {
    /// The table.
    pub table: pg_sys::Oid,
    /// The statement's name.
    pub command: &'static str,
    /// What it affects.
    pub reach: Reach,
}

/// What a change of a table affects.
pub enum Reach {
    /// The definition, without revealing anything about rows.
    Definition,
    /// Its parts, of which it gets another.
    Parts,
    /// The definition of one column, without revealing anything about rows. The isolation may depend on the column.
    Column(String),
    /// The type of one column, without revealing anything about rows. The isolation may depend on the column.
    Type(String),
    /// All rows: it reads, checks or changes them without row security, or runs code for future rows.
    Rows,
    /// The definition; a failure reveals whether these columns are unique over all rows.
    Unique(Vec<String>),
    /// All rows, if there are any.
    Contents,
    /// The isolation of the table.
    Isolation,
    /// Other sessions, which must wait.
    Lock,
}

/// Returns whether a table is protected, so that expensive checks are needed.
pub fn is_asked_about(table: pg_sys::Oid) -> bool {
    let mut protected = false;
    tell(|on| {
        protected = (on.protected)(table)?;
        Ok(())
    });
    protected
}
