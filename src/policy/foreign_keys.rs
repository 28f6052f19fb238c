//! Reads the foreign keys between protected tables, with the invoker's rights.

use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::Value;
use tenancy_core::policy::{ForeignKey, Options};

use super::registry;
use crate::error::Error;
use crate::pg::spi::{self, Finds};
use crate::pg::types;

/// Returns the foreign keys of a table with these parts and to it, as facts, as they are when the table is protected.
pub(super) fn around(
    options: &Options,
    table: pg_sys::Oid,
    tables: Vec<pg_sys::Oid>,
) -> Result<Value, Error> {
    let mut columns = registry::all()?;
    if let Value::Object(columns) = &mut columns {
        for table in &tables {
            let column = options.tenant_column.clone().into();
            columns.insert(table.to_u32().to_string(), column);
        }
    }
    let (mut shared, mut everybodys) = (registry::shared()?, registry::shared_null()?);
    if options.shared || options.shared_null {
        shared.push(table);
    }
    if options.shared_null {
        everybodys.push(table);
    }
    read(columns, shared, everybodys, Some(tables))
}

/// Returns the foreign keys between protected tables. Others, which were protected once, count as such, with the tenant column that
/// they had.
pub fn between_protected(others: &[(pg_sys::Oid, String)]) -> Result<Vec<ForeignKey>, Error> {
    let mut columns = registry::all()?;
    if let Value::Object(columns) = &mut columns {
        for (table, column) in others {
            if registry::root_of(*table).is_none() {
                columns.insert(table.to_u32().to_string(), column.clone().into());
            }
        }
    }
    let found = read(columns, registry::shared()?, registry::shared_null()?, None)?;
    serde_json::from_value(found)
        .map_err(|_| Error::Internal("the catalogs' answer cannot be read"))
}

fn read(
    columns: Value,
    shared: Vec<pg_sys::Oid>,
    everybodys: Vec<pg_sys::Oid>,
    tables: Option<Vec<pg_sys::Oid>>,
) -> Result<Value, Error> {
    let args = [
        JsonB(columns).into(),
        shared.into(),
        tables.into(),
        everybodys.into(),
    ];
    let found = spi::planned_once(Finds::Any, || {
        spi::read_as_caller(include_str!("foreign_keys.sql"), &args, |rows| {
            match rows.into_iter().next() {
                Some(row) => Ok(row.get::<JsonB>(1)?),
                None => Ok(None),
            }
        })
    })?;
    let mut found = found.map_or(Value::Null, |JsonB(found)| found);
    types::name_keys(&mut found);
    Ok(found)
}
