//! What the catalogs say about a table, read with the invoker's rights, and running what was planned.

use pgrx::JsonB;
use pgrx::prelude::*;
use tenancy_core::policy::{
    Actor, Backfill, Options, Protection, Registered, Step, StepKind, TableFacts, before, granted,
    quote_ident,
};

use super::registry;
use crate::error::Error;
use crate::pg::spi;

const FACTS: &str = include_str!("facts.sql");

/// A row of what protect() and unprotect() return.
pub type Row = (i32, String, Option<String>, String);

/// The facts about a table, fresh: a command of its own, so that it sees what was done before it.
pub fn facts(
    table: pg_sys::Oid,
    protection: &Protection,
    grants: &[String],
) -> Result<TableFacts, Error> {
    let registered = registry::all()?;
    let found = Spi::connect_mut(|client| {
        let rows = client.update(
            FACTS,
            Some(1),
            &[
                table.into(),
                protection.tenant_column.clone().into(),
                protection.owner_column.clone().into(),
                protection.project_column.clone().into(),
                JsonB(registered).into(),
                grants.to_vec().into(),
            ],
        )?;
        match rows.into_iter().next() {
            Some(row) => Ok::<_, Error>(row.get::<JsonB>(1)?),
            None => Ok(None),
        }
    })?;
    let JsonB(value) = found.ok_or(Error::NoSuch("the table"))?;
    let mut facts: TableFacts = serde_json::from_value(value)
        .map_err(|_| Error::Internal("the catalogs' answer cannot be read"))?;
    for record in registry::members(table)? {
        if let Some(member) = facts
            .members
            .iter_mut()
            .find(|member| member.relation == record.relation)
        {
            member.before = before(&record.items);
        }
        if record.relation == facts.relation
            && let Some(options) = registry::find(table)?
        {
            facts.registered = Some(Registered {
                options,
                granted: granted(&record.items),
            });
        }
    }
    Ok(facts)
}

/// Completes the facts with what only the table itself can tell.
pub fn look_inside(
    table: pg_sys::Oid,
    facts: &mut TableFacts,
    options: &Options,
) -> Result<(), Error> {
    // Rows that row security hides cannot be counted: then the constraint itself finds them.
    let name = facts.relation.to_string();
    match facts.root().and_then(|m| m.tenant.as_ref()) {
        None if options.add_column && !facts.filtered => {
            facts.has_rows = one::<bool>(&format!("SELECT EXISTS (SELECT FROM {name})"))?;
        }
        Some(state) if !state.not_null && !facts.filtered => {
            let column = quote_ident(&options.tenant_column);
            facts.null_rows = one::<i64>(&format!(
                "SELECT pg_catalog.count(*) FROM {name} WHERE {column} IS NULL"
            ))?;
        }
        _ => {}
    }
    // Once: later a call of unknown_keys() tells, which does not hold the table's lock.
    if facts.registered.is_none() && facts.tenant.is_some() {
        let found = super::unknown::count(table, &options.protection())?;
        let rows = found.iter().map(|(_, rows)| rows).sum();
        facts.unknown = Some((found.len() as i64, rows));
    }
    if let Some(scope) = &options.backfill {
        facts.backfill = spi::read(
            "SELECT id::text, level::text, external_id::text FROM tenancy.scopes \
             WHERE id = $1::uuid",
            &[scope.clone().into()],
            |rows| match rows.into_iter().next() {
                Some(row) => Ok(Some(Backfill {
                    id: row.get(1)?.unwrap_or_default(),
                    level: row.get(2)?.unwrap_or_default(),
                    external_id: row.get(3)?,
                })),
                None => Err(Error::NoSuchScope(scope.clone())),
            },
        )?;
    }
    Ok(())
}

fn one<T: FromDatum + IntoDatum>(query: &str) -> Result<Option<T>, Error> {
    Spi::connect_mut(|client| Ok(client.update(query, Some(1), &[])?.first().get_one()?))
}

/// Keeps everybody else away from a table, so that the facts stay what they are.
pub fn lock(facts: &TableFacts) -> Result<(), Error> {
    run(&format!(
        "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
        facts.relation
    ))
}

fn run(statement: &str) -> Result<(), Error> {
    Spi::connect_mut(|client| {
        client.update(statement, None, &[])?;
        Ok(())
    })
}

/// Executes the steps that are to be done.
pub fn execute(steps: &[Step], facts: &TableFacts) -> Result<(), Error> {
    for step in steps.iter().filter(|s| s.kind == StepKind::Do) {
        match step.actor {
            Actor::Invoker => run(&step.statement)?,
            Actor::Owner => {
                // A trigger cannot be put off out of a restricted operation.
                run("SET CONSTRAINTS ALL IMMEDIATE")?;
                spi::as_restricted(&facts.owner, || run(&step.statement))?;
            }
            Actor::Extension => spi::as_owner(|| run(&step.statement))?,
        }
    }
    Ok(())
}

/// The steps as rows.
pub fn rows(steps: Vec<Step>) -> Vec<Row> {
    (1..)
        .zip(steps)
        .map(|(n, step)| {
            let statement = (!step.statement.is_empty()).then_some(step.statement);
            (n, step.kind.as_str().to_owned(), statement, step.note)
        })
        .collect()
}

/// Runs `f` with a search_path that no caller chose: names are read and written with their schema,
/// operators are the server's own. An error's abort restores the path.
pub fn pinned<R>(f: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    let set = |path: String| {
        Spi::connect_mut(|client| {
            client.update(
                "SELECT pg_catalog.set_config('search_path', $1, true)",
                Some(1),
                &[path.into()],
            )?;
            Ok::<_, Error>(())
        })
    };
    let path =
        one::<String>("SELECT pg_catalog.current_setting('search_path')")?.unwrap_or_default();
    set("pg_catalog, pg_temp".to_owned())?;
    let result = f()?;
    set(path)?;
    Ok(result)
}
