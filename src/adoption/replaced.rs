//! What foreign keys were that fix_foreign_keys() has replaced.

use pgrx::JsonB;
use pgrx::prelude::*;
use tenancy_core::policy::{Actor, ForeignKey, Former, carries_tenant};

use super::retry::Patient;
use super::watch;
use crate::context;
use crate::error::Error;
use crate::pg::savepoint;
use crate::pg::spi::{self, NotNull};
use crate::policy;

/// A key that was replaced, or was to be.
pub struct Record {
    /// What identifies the record: the table's name then, and the key's.
    pub table_name: String,
    pub foreign_key: String,
    /// The two tables.
    pub tables: [pg_sys::Oid; 2],
    pub former: Former,
    /// Whether all was done that fix_foreign_keys() planned.
    pub done: bool,
    /// Whether it is being undone.
    pub undoes: bool,
}

impl Record {
    /// Returns the key that is in its place, if one is.
    pub fn key<'a>(&self, keys: &'a [ForeignKey]) -> Option<&'a ForeignKey> {
        let [table, _] = self.tables;
        self.former.find(table.to_u32(), &self.foreign_key, keys)
    }

    /// Returns that key if it has the tenant.
    pub fn replacement<'a>(&self, keys: &'a [ForeignKey]) -> Option<&'a ForeignKey> {
        self.key(keys).filter(|key| carries_tenant(key))
    }
}

/// Returns the records of keys that can be put back.
pub fn records() -> Result<Vec<Record>, Error> {
    let query = "SELECT table_name, foreign_key, relation::oid, referenced::oid, former, \
                        done >= pg_catalog.cardinality(statements) AND blocked IS NULL, undo_statements IS NOT NULL \
                   FROM tenancy_internal.fixed_foreign_keys WHERE former IS NOT NULL ORDER BY 1, 2";
    spi::read(query, &[], |rows| {
        rows.into_iter()
            .map(|row| {
                let JsonB(former) = row.not_null(5)?;
                Ok(Record {
                    table_name: row.not_null(1)?,
                    foreign_key: row.not_null(2)?,
                    tables: [row.not_null(3)?, row.not_null(4)?],
                    former: serde_json::from_value(former)
                        .map_err(|_| Error::Internal("a record cannot be read"))?,
                    done: row.not_null(6)?,
                    undoes: row.not_null(7)?,
                })
            })
            .collect()
    })
}

/// Returns the foreign keys among which those of records are, also of tables that are not protected any more.
pub fn keys(records: &[Record]) -> Result<Vec<ForeignKey>, Error> {
    let tables: Vec<_> = (records.iter())
        .flat_map(|record| {
            let Former {
                from_tenant,
                to_tenant,
                ..
            } = &record.former;
            let [from, to] = record.tables;
            [(from, from_tenant.clone()), (to, to_tenant.clone())]
        })
        .collect();
    policy::foreign_keys(&tables)
}

/// Returns why the caller may not change a key. Its rows are read as the tables' owner, whose code may run: in maintenance, which it
/// could begin itself.
pub fn out_of_reach(key: &ForeignKey) -> Option<&'static str> {
    if !key.caller_owns {
        Some("its tables do not both belong to the caller, or not to one role")
    } else if !key.owner_is_admin {
        Some("the owner of its tables lacks tenancy_admin")
    } else {
        None
    }
}

/// Runs statements on a table in maintenance. In no other context do tables show all their rows. Returns why they failed, if they did;
/// then they have done nothing.
pub fn execute(
    transactions: &Patient,
    statements: &[String],
    table: &str,
    reason: &str,
) -> Result<Option<String>, Error> {
    transactions.run(table, || {
        savepoint::failure(|| {
            context::maintain(reason)?;
            watch::paused(|| {
                policy::pinned(|| {
                    for statement in statements {
                        policy::execute_statement(statement, Actor::Invoker, table)?;
                    }
                    Ok(())
                })
            })
        })
    })
}
