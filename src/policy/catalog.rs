//! What the catalogs say about a table, read with the invoker's rights, and running what was planned.
//!
//! What plans, reads or changes the table itself sets off code of its owner: functions of its indexes,
//! constraints, triggers and policies, casts of its types. That runs as the owner in a restricted
//! operation, whoever called, so that a superuser can look at a table without lending its power.

use std::cell::RefCell;
use std::ffi::{CStr, CString};

use pgrx::JsonB;
use pgrx::prelude::*;
use tenancy_core::policy::{
    Actor, Backfill, Options, Protection, Refusal, Registered, Step, StepKind, TableFacts, before,
    granted, quote_ident,
};

use super::registry;
use crate::error::Error;
use crate::pg::ddl::{self, Runs};
use crate::pg::spi::NotNull;
use crate::pg::{relation, role, spi};

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
    let name = facts.relation.to_string();
    let owner = relation::read(table, |class| class.relowner).ok_or(Error::NoSuch("the table"))?;
    let path = callers_path();
    let one_as_owner = |query: &str| as_owner_of(&name, owner, Some(&path), || one::<i64>(query));
    // Rows that row security hides from the owner cannot be counted: then the constraint itself finds them.
    facts.filtered = one_as_owner(&format!(
        "SELECT pg_catalog.row_security_active({}::pg_catalog.oid)::pg_catalog.int4::pg_catalog.int8",
        table.to_u32()
    ))? != Some(0);
    match facts.root().and_then(|m| m.tenant.as_ref()) {
        None if options.add_column && !facts.filtered => {
            let rows = format!("SELECT pg_catalog.count(*) FROM (SELECT FROM {name} LIMIT 1) t");
            facts.has_rows = one_as_owner(&rows)?.map(|rows| rows > 0);
        }
        Some(state) if !state.not_null && !facts.filtered => {
            let column = quote_ident(&options.tenant_column);
            facts.null_rows = one_as_owner(&format!(
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
        // No foreign key holds it: it stays until the rows are given to it.
        let query = if options.dry_run {
            "SELECT id::text, level::text, external_id::text FROM tenancy.scopes WHERE id = $1::uuid"
        } else {
            "SELECT id::text, level::text, external_id::text FROM tenancy.scopes WHERE id = $1::uuid FOR KEY SHARE"
        };
        facts.backfill = spi::write_returning(query, &[scope.clone().into()], |rows| {
            match rows.into_iter().next() {
                Some(row) => Ok(Some(Backfill {
                    id: row.not_null(1)?,
                    level: row.not_null(2)?,
                    external_id: row.get(3)?,
                })),
                None => Err(Error::NoSuchScope(scope.clone())),
            }
        })?;
    }
    Ok(())
}

fn one<T: FromDatum + IntoDatum>(query: &str) -> Result<Option<T>, Error> {
    Spi::connect_mut(|client| Ok(client.update(query, Some(1), &[])?.first().get_one()?))
}

/// Keeps everybody else away from a table and its parts, so that the facts stay what they are, and the
/// name the table's. Only to look, keeps it from being changed or renamed.
///
/// # Errors
/// If the name is another table's by now.
pub fn lock(table: pg_sys::Oid, facts: &TableFacts, to_look: bool) -> Result<(), Error> {
    let mode = if to_look {
        "ACCESS SHARE"
    } else {
        "ACCESS EXCLUSIVE"
    };
    run(&format!("LOCK TABLE {} IN {mode} MODE", facts.relation))?;
    let held = ddl::table(&facts.relation.to_string())?;
    if held != table {
        return Err(Error::NoSuch("the table"));
    }
    Ok(())
}

/// An error if a part of a table belongs to another role: its code would run as the table's owner.
pub fn check_parts(table: pg_sys::Oid, facts: &TableFacts) -> Result<(), Error> {
    let other = Spi::connect_mut(|client| {
        let rows = client.update(OTHER_OWNER, Some(1), &[table.into()])?;
        match rows.into_iter().next() {
            Some(row) => Ok::<_, Error>(row.get::<String>(1)?),
            None => Ok(None),
        }
    })?;
    match other {
        Some(member) => Err(Error::Refused(Refusal::OtherOwner {
            table: facts.relation.to_string(),
            member,
        })),
        None => Ok(()),
    }
}

/// A part of a table that belongs to another role than the table.
const OTHER_OWNER: &str = "WITH RECURSIVE tree(oid) AS (\
         SELECT $1::oid UNION SELECT i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid) \
     SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) \
     FROM tree t JOIN pg_catalog.pg_class c ON c.oid = t.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relowner <> (SELECT r.relowner FROM pg_catalog.pg_class r WHERE r.oid = $1) \
     ORDER BY 1 LIMIT 1";

/// Runs what sets off a table's code with no more than its owner has, for who may act as the owner. The code looks names
/// up where the caller does; what only has expressions parsed looks them up with a pinned path.
fn as_owner_of<R>(
    table: &str,
    owner: pg_sys::Oid,
    path: Option<&CStr>,
    f: impl FnOnce() -> Result<R, Error>,
) -> Result<R, Error> {
    if !role::may_act_as(owner) {
        return Err(Error::Refused(Refusal::NotOwner {
            table: table.to_owned(),
        }));
    }
    spi::as_restricted(owner, path, f)
}

/// Runs a statement of tenancy's own as the caller.
pub fn run(statement: &str) -> Result<(), Error> {
    Spi::connect_mut(|client| {
        client.update(statement, None, &[])?;
        Ok(())
    })
}

/// Executes the steps that are to be done. Whose code a step may set off is read from its statement.
pub fn execute(steps: &[Step], facts: &TableFacts) -> Result<(), Error> {
    for step in steps.iter().filter(|s| s.kind == StepKind::Do) {
        let statement = &step.statement;
        let runs = ddl::runs(statement)?;
        match (step.actor, runs) {
            (Actor::Extension, Runs::NoCode) => spi::as_owner(|| run(statement))?,
            (Actor::Extension, Runs::CodeOf(_) | Runs::ExpressionsOf(_)) => {
                return Err(Error::Internal(
                    "a step on a table that is not the table's owner's",
                ));
            }
            (Actor::Owner | Actor::Invoker, Runs::NoCode) => run(statement)?,
            (_, Runs::ExpressionsOf(owner)) => {
                as_owner_of(&facts.relation.to_string(), owner, None, || run(statement))?;
            }
            (actor, Runs::CodeOf(owner)) => {
                if actor == Actor::Owner {
                    // A trigger cannot be put off out of a restricted operation.
                    run("SET CONSTRAINTS ALL IMMEDIATE")?;
                }
                let (name, path) = (facts.relation.to_string(), callers_path());
                as_owner_of(&name, owner, Some(&path), || run(statement))?;
            }
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
/// operators are the server's own. An error's abort restores the path. No code is compiled for its queries.
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
    let before = Before(CALLERS_PATH.replace(path.clone()));
    let result = spi::uncompiled(f)?;
    drop(before);
    set(path)?;
    Ok(result)
}

thread_local! {
    /// The search_path of whoever called.
    static CALLERS_PATH: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Restores the path of the caller before, also after an error.
struct Before(String);

impl Drop for Before {
    fn drop(&mut self) {
        CALLERS_PATH.set(std::mem::take(&mut self.0));
    }
}

/// Where a table's code looks names up: as in any statement of the caller's. Nothing goes before the server's own schema, which
/// tenancy's statements mean.
fn callers_path() -> CString {
    let path = CALLERS_PATH.with_borrow(|path| match path.trim() {
        "" => "pg_catalog, pg_temp".to_owned(),
        path => format!("pg_catalog, {path}, pg_temp"),
    });
    CString::new(path).unwrap_or_default()
}
