//! Advice about indexes of protected tables: reads the catalogs, core decides.

use std::collections::HashMap;

use pgrx::prelude::*;
use tenancy_core::index_advice::{self, Advice, Family, Index, Key, Kind, Member};
use tenancy_core::policy::Refusal;

use super::registry;
use crate::error::{Error, ErrorReport};
use crate::pg::spi::{self, NotNull};

/// Returns advice about indexes: the SQL function `tenancy.index_advice`.
#[allow(clippy::type_complexity, reason = "pg_extern reads the columns here")]
#[pg_extern(sql = false)]
fn policy_index_advice(
    table: Option<pg_sys::Oid>,
    tenant_column: Option<String>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(table_name, Option<String>),
            name!(index_name, Option<String>),
            name!(kind, String),
            name!(advice, String),
            name!(statement, Option<String>),
        ),
    >,
    ErrorReport,
> {
    let found = match table {
        None => advise(None, None)?,
        Some(table) => {
            let column = tenant_column_of(table, tenant_column)?;
            advise(Some(table), Some(column))?
        }
    };
    Ok(TableIterator::new(found.into_iter().map(|found| {
        let Advice {
            table,
            index,
            kind,
            advice,
            statement,
        } = found;
        (table, index, kind.as_str().to_owned(), advice, statement)
    })))
}

/// Returns the tenant column of a table: the registered one, or else the given one, which it must have.
fn tenant_column_of(table: pg_sys::Oid, given: Option<String>) -> Result<String, Error> {
    if let Some(root) = registry::above(table)
        && let Some(protection) = registry::find(root)?
    {
        return Ok(protection.tenant_column);
    }
    let column = given.unwrap_or_else(|| "tenant_id".to_owned());
    let (name, has) = spi::read(
        "SELECT format('%I.%I', n.nspname, c.relname), EXISTS ( \
             SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
        &[table.into(), column.clone().into()],
        |rows| match rows.into_iter().next() {
            Some(row) => Ok((row.not_null::<String>(1)?, row.not_null::<bool>(2)?)),
            None => Err(Error::NoSuch("the table")),
        },
    )?;
    if !has {
        return Err(Error::Refused(Refusal::NoSuchColumn {
            table: name,
            option: "tenant_column",
            column,
        }));
    }
    Ok(column)
}

/// Returns how many indexes of a table there is advice about.
pub fn count(table: pg_sys::Oid, tenant_column: &str) -> Result<usize, Error> {
    let found = advise(Some(table), Some(tenant_column.to_owned()))?;
    Ok((found.iter())
        .filter(|found| found.kind != Kind::Extension)
        .count())
}

fn advise(table: Option<pg_sys::Oid>, column: Option<String>) -> Result<Vec<Advice>, Error> {
    let found = read(table, column)?;
    let mut oids: Vec<pg_sys::Oid> = found
        .iter()
        .flat_map(|(_, families)| families.clone())
        .collect();
    oids.sort_unstable_by_key(|oid| oid.to_u32());
    oids.dedup();
    let families = families(oids)?;
    let mut indexes = Vec::with_capacity(found.len());
    for (mut index, of) in found {
        for (key, oid) in index.keys.iter_mut().zip(of) {
            key.family = families.get(&oid.to_u32()).cloned().unwrap_or_default();
        }
        indexes.push(index);
    }
    let installed = spi::read("SELECT extname::text FROM pg_extension", &[], |rows| {
        let mut installed = Vec::new();
        for row in rows {
            installed.push(row.not_null(1)?);
        }
        Ok(installed)
    })?;
    Ok(index_advice::advise(&indexes, &installed))
}

/// Reads indexes, without their keys' operator families, and the oids of these.
fn read(
    table: Option<pg_sys::Oid>,
    column: Option<String>,
) -> Result<Vec<(Index, Vec<pg_sys::Oid>)>, Error> {
    spi::read(
        include_str!("indexes.sql"),
        &[table.into(), column.into()],
        |rows| {
            let mut found = Vec::new();
            for row in rows {
                let tenants: Vec<bool> = row.not_null(8)?;
                let expressions: Vec<bool> = row.not_null(9)?;
                let keys =
                    (tenants.into_iter().zip(expressions)).map(|(is_tenant, is_expression)| Key {
                        is_tenant,
                        is_expression,
                        family: Family::default(),
                    });
                let index = Index {
                    table: row.not_null(1)?,
                    name: row.not_null(2)?,
                    tenant: row.not_null(3)?,
                    method: row.not_null(4)?,
                    definition: row.not_null(5)?,
                    predicate: row.get(6)?,
                    tablespace: row.get(7)?,
                    keys: keys.collect(),
                    constraint: row.not_null(11)?,
                    partitioned: row.not_null(12)?,
                    part: row.not_null(13)?,
                    valid: row.not_null(14)?,
                    has_btree: row.not_null(15)?,
                    calls: row.not_null(16)?,
                    inlined: row.not_null(17)?,
                };
                found.push((index, row.not_null(10)?));
            }
            Ok(found)
        },
    )
}

/// Reads operator families, by oid.
fn families(oids: Vec<pg_sys::Oid>) -> Result<HashMap<u32, Family>, Error> {
    let members = spi::read(include_str!("families.sql"), &[oids.into()], |rows| {
        let mut members: Vec<(FamilyName, Option<Member>)> = Vec::new();
        for row in rows {
            let family = FamilyName {
                oid: row.not_null::<pg_sys::Oid>(1)?.to_u32(),
                name: row.not_null(2)?,
                built_in: row.not_null(3)?,
                extension: row.get(4)?,
            };
            let member = match row.get::<String>(5)? {
                Some(name) => Some(Member {
                    name,
                    function: row.not_null::<pg_sys::Oid>(6)?.to_u32(),
                    function_name: row.not_null(7)?,
                    extension: row.get(8)?,
                    leakproof: row.not_null(9)?,
                    orders: row.not_null(10)?,
                }),
                None => None,
            };
            members.push((family, member));
        }
        Ok(members)
    })?;
    let of_one = members.chunk_by(|(a, _), (b, _)| a.oid == b.oid);
    Ok(of_one
        .filter_map(|rows| {
            let (family, _) = rows.first()?;
            let operators: Vec<Member> = rows.iter().filter_map(|(_, of)| of.clone()).collect();
            let extension = family.extension.as_deref();
            let read = Family::new(&family.name, family.built_in, extension, &operators);
            Some((family.oid, read))
        })
        .collect())
}

struct FamilyName {
    oid: u32,
    name: String,
    built_in: bool,
    extension: Option<String>,
}
