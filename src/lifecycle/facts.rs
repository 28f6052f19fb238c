//! Reads the tables with a tenant's rows from the registry and the catalogs, with the caller's rights.

use pgrx::JsonB;
use pgrx::prelude::*;
use tenancy_core::lifecycle::Facts;

use crate::error::Error;
use crate::pg::spi::{self, Finds, NotNull};
use crate::policy;

/// Reads the protected tables and the foreign keys to them.
pub fn read() -> Result<Facts, Error> {
    read_of(registered()?)
}

/// Reads these tables, each with a column by which its rows are found and what that holds, and the foreign keys to them.
pub fn read_of((tables, columns, keys): Columns) -> Result<Facts, Error> {
    let args = [tables.into(), columns.into(), keys.into()];
    let found = spi::planned_once(Finds::Any, || {
        spi::read_as_caller(include_str!("facts.sql"), &args, |rows| {
            match rows.into_iter().next() {
                Some(row) => row.not_null::<JsonB>(1),
                None => Err(Error::Internal("the catalogs do not answer")),
            }
        })
    })?;
    serde_json::from_value(found.0)
        .map_err(|_| Error::Internal("the catalogs' answer cannot be read"))
}

/// A table that is not protected, with a column like a tenant column.
pub struct Unprotected {
    /// The table.
    pub table: pg_sys::Oid,
    /// The column.
    pub column: String,
    /// What such columns hold, as the registry names it.
    pub key_type: String,
    /// Whether the caller may look into it, and an index finds a tenant's rows, or it is small.
    pub cheap: bool,
}

/// Reads the tables that may hold rows of tenants without being protected.
pub fn unprotected() -> Result<Vec<Unprotected>, Error> {
    let (tables, columns, keys) = registered()?;
    let args = [tables.into(), columns.into(), keys.into()];
    spi::read_as_caller(include_str!("unprotected.sql"), &args, |rows| {
        rows.into_iter()
            .map(|row| {
                Ok(Unprotected {
                    table: row.not_null(1)?,
                    column: row.not_null(2)?,
                    key_type: row.not_null(3)?,
                    cheap: row.not_null(4)?,
                })
            })
            .collect()
    })
}

/// Tables, the columns by which their rows are found, and what these hold.
pub type Columns = (Vec<pg_sys::Oid>, Vec<String>, Vec<String>);

fn registered() -> Result<Columns, Error> {
    let mut found = Columns::default();
    for (table, column, key) in policy::protected_keys()? {
        found.0.push(table);
        found.1.push(column);
        found.2.push(key);
    }
    Ok(found)
}
