//! Deletes or changes a batch of a table's rows, with the rights of the table's owner in a restricted operation: its triggers, and the functions
//! of its indexes and constraints run as that role, whoever calls.

use pgrx::prelude::*;
use tenancy_core::lifecycle::{Change, Link, Part, Table, any_row, delete_all, delete_leaves};
use tenancy_core::policy::Relation;

use super::plan::is_true;
use crate::error::Error;
use crate::pg::spi::NotNull;
use crate::pg::{ddl, relation};
use crate::policy;

/// The most blocks that one batch reads.
const BLOCKS_MAX: u32 = 8192;
/// A part of a table with fewer rows of the tenant than this is searched by its index, if it has one.
const BY_INDEX_BELOW: f64 = 0.1;

/// How the rows of a part are found.
pub enum Way {
    /// By an index on the tenant.
    Index,
    /// Block by block.
    Blocks {
        /// The first one of the next batch.
        next: u32,
        /// How many it takes.
        size: u32,
        /// How many there were at the beginning.
        all: u32,
    },
}

impl Way {
    /// Chooses how to find the rows of a part, of which `rows` are estimated to be the tenant's.
    pub fn of(part: &Part, rows: f64, batch: u32) -> Result<Self, Error> {
        if part.indexed && rows < part.rows * BY_INDEX_BELOW {
            return Ok(Self::Index);
        }
        let all = blocks(part)?;
        let rows_a_block = (part.rows / f64::from(all.max(1))).clamp(1.0, 300.0);
        Ok(Self::Blocks {
            next: 0,
            size: blocks_of(f64::from(batch) / rows_a_block),
            all,
        })
    }

    /// Does a batch. Returns how many rows it found, and whether more may be left.
    pub fn batch(
        &mut self,
        change: &Change,
        table: &Table,
        part: &Part,
        condition: &str,
        batch: u32,
    ) -> Result<(u64, bool), Error> {
        match self {
            Self::Index => {
                let statement = change.to_some(&part.relation, condition, batch);
                let rows = as_owner(table, part, || {
                    // Else a batch may read the rows of all tenants again.
                    run("SET LOCAL enable_seqscan = off")?;
                    change_rows(change, part, &statement)
                })?;
                Ok((rows, rows > 0))
            }
            Self::Blocks { next, size, all } => {
                let end = next.saturating_add(*size).min(*all);
                let statement = change.in_blocks(&part.relation, condition, (*next, end));
                let rows = as_owner(table, part, || change_rows(change, part, &statement))?;
                Ok((rows, end < *all))
            }
        }
    }

    /// Goes on behind a batch that was committed with so many rows.
    pub fn advance(&mut self, rows: u64, batch: u32) {
        if let Self::Blocks { next, size, all } = self {
            *next = next.saturating_add(*size).min(*all);
            if rows < u64::from(batch / 2) {
                *size = size.saturating_mul(2).min(BLOCKS_MAX);
            } else if rows > u64::from(batch) * 2 {
                *size = (*size / 2).max(1);
            }
        }
    }
}

fn blocks_of(number: f64) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // clamped
    let blocks = number.clamp(1.0, f64::from(BLOCKS_MAX)) as u32;
    blocks
}

fn blocks(part: &Part) -> Result<u32, Error> {
    let found = Spi::connect(|client| {
        let rows = client.select(
            "SELECT pg_catalog.pg_relation_size($1) / pg_catalog.current_setting('block_size')::bigint",
            Some(1),
            &[pg_sys::Oid::from_u32(part.oid).into()],
        )?;
        rows.first().not_null::<i64>(1)
    })?;
    Ok(u32::try_from(found).unwrap_or(u32::MAX))
}

/// Deletes rows to which no other of these tables refers. Returns how many.
pub fn delete_leaf_rows(
    table: &Table,
    part: &Part,
    condition: &str,
    links: &[&Link],
    batch: u32,
) -> Result<u64, Error> {
    let statement = delete_leaves(&part.relation, condition, links, batch);
    as_owner(table, part, || run(&statement))
}

/// Deletes all rows of these tables at once. Returns how many of each.
pub fn delete_together(tables: &[(&Table, &str)]) -> Result<Vec<i64>, Error> {
    let Some((first, _)) = tables.first() else {
        return Ok(Vec::new());
    };
    let named: Vec<(&Relation, &str)> = (tables.iter())
        .map(|(table, condition)| (&table.relation, *condition))
        .collect();
    let statement = delete_all(&named);
    immediate()?;
    policy::as_table_owner_unfiltered(pg_sys::Oid::from_u32(first.oid), || {
        for (table, _) in tables {
            hold(&table.relation, table.oid, table.owner)?;
        }
        Spi::connect_mut(|client| {
            client
                .update(&statement, Some(1), &[])?
                .first()
                .not_null::<Vec<i64>>(1)
        })
    })
}

/// Returns whether a part has rows with a condition.
pub fn has_rows(table: &Table, part: &Part, condition: &str) -> Result<bool, Error> {
    let query = any_row(&part.relation, condition);
    policy::as_table_owner_unfiltered(pg_sys::Oid::from_u32(table.oid), || is_true(&query))
}

/// Returns the first of these tables that has rows with its condition.
pub fn occupied<'a>(
    tables: impl Iterator<Item = (&'a Table, &'a str)>,
) -> Result<Option<&'a Table>, Error> {
    for (table, condition) in tables {
        for part in &table.parts {
            if has_rows(table, part, condition)? {
                return Ok(Some(table));
            }
        }
    }
    Ok(None)
}

/// Returns how many rows with a condition a table has.
pub fn count(table: &Table, condition: &str) -> Result<i64, Error> {
    let query = format!(
        "SELECT pg_catalog.count(*) FROM {} WHERE {condition}",
        table.relation
    );
    policy::as_table_owner_unfiltered(pg_sys::Oid::from_u32(table.oid), || {
        Spi::connect_mut(|client| client.update(&query, Some(1), &[])?.first().not_null(1))
    })
}

/// Returns how many rows with a condition the server expects in a table.
pub fn estimate(table: &Table, condition: &str) -> Result<f64, Error> {
    let query = format!(
        "EXPLAIN (FORMAT JSON) SELECT FROM {} WHERE {condition}",
        table.relation
    );
    policy::as_table_owner_unfiltered(pg_sys::Oid::from_u32(table.oid), || {
        Spi::connect_mut(|client| {
            let found = client.update(&query, Some(1), &[])?.first();
            let plan = found.get_one::<pgrx::Json>()?;
            let rows = plan.and_then(|plan| plan.0.pointer("/0/Plan/Plan Rows")?.as_f64());
            Ok(rows.unwrap_or(0.0))
        })
    })
}

fn as_owner(
    table: &Table,
    part: &Part,
    f: impl FnOnce() -> Result<u64, Error>,
) -> Result<u64, Error> {
    immediate()?;
    policy::as_table_owner_unfiltered(pg_sys::Oid::from_u32(table.oid), || {
        hold(&part.relation, part.oid, table.owner)?;
        f()
    })
}

/// A restricted operation cannot leave deferred triggers behind.
pub fn immediate() -> Result<(), Error> {
    run("SET CONSTRAINTS ALL IMMEDIATE").map(drop)
}

/// Locks a table by its name, and makes sure that it is still the one meant, and still its owner's: another role's code would run as
/// that owner.
pub fn hold(name: &Relation, oid: u32, owner: u32) -> Result<(), Error> {
    run(&format!("LOCK TABLE ONLY {name} IN ROW EXCLUSIVE MODE"))?;
    let found = ddl::table(&name.to_string())?;
    let same = relation::read(found, |class| class.relowner.to_u32()) == Some(owner);
    match found.to_u32() == oid && same {
        true => Ok(()),
        false => Err(Error::NoSuch("the table")),
    }
}

/// Runs a statement with the rights of the current role. Returns how many rows it changed.
fn run(statement: &str) -> Result<u64, Error> {
    Spi::connect_mut(|client| Ok(client.update(statement, None, &[])?.len() as u64))
}

/// Runs the statement of a batch. Returns how many rows it changed; an error if one is as it was, because of a trigger.
fn change_rows(change: &Change, part: &Part, statement: &str) -> Result<u64, Error> {
    if *change == Change::Delete {
        return run(statement);
    }
    Spi::connect_mut(|client| {
        let mut changed = 0;
        for row in client.update(statement, None, &[])? {
            if row.get(1)? == Some(true) {
                return Err(Error::ForgottenRowsStay(part.relation.to_string()));
            }
            changed += 1;
        }
        Ok(changed)
    })
}
