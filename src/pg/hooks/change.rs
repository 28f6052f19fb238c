//! A change of a table's definition, and how far it reaches.

use pgrx::pg_sys;

use super::tell;

/// What a statement does to a table.
pub struct Change {
    /// The table.
    pub table: pg_sys::Oid,
    /// The statement's name.
    pub command: &'static str,
    /// How far it reaches.
    pub reach: Reach,
}

/// How far a change of a table reaches.
pub enum Reach {
    /// The definition; it tells nothing about rows.
    Definition,
    /// The definition of one column, which tells nothing about rows. What isolates the table may depend on the column.
    Column(String),
    /// All rows: it reads, checks or changes them whatever row security says, or has code run for those to come.
    Rows,
    /// The definition; whether these columns are unique over all rows is told by a failure.
    Unique(Vec<String>),
    /// All rows, if there are any.
    Contents,
    /// What isolates the table.
    Isolation,
    /// Others, who have to wait.
    Lock,
}

/// Whether a table is protected: what costs more than a look is only asked then.
pub fn is_asked_about(table: pg_sys::Oid) -> bool {
    let mut protected = false;
    tell(|on| {
        protected = (on.protected)(table)?;
        Ok(())
    });
    protected
}
