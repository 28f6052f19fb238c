//! Reads facts about a table from the catalogs, with the invoker's rights, and executes planned steps.
//!
//! Statements that plan, read or change the table itself run its owner's code: functions of its indexes,
//! constraints, triggers and policies, casts of its types. They run as the owner in a restricted operation,
//! whichever role called, so that a superuser can inspect a table without lending its rights.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString};

use pgrx::JsonB;
use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use serde_json::{Map, Value};
use tenancy_core::policy::{
    Actor, Backfill, MemberUndo, Options, Protection, Refusal, Registered, Step, StepKind,
    TableFacts, before, granted, quote_ident,
};

use super::{foreign_keys, registry};
use crate::error::Error;
use crate::pg::ddl::{self, Runs};
use crate::pg::inheritance::{AtDepth, oids};
use crate::pg::spi::{Finds, NotNull};
use crate::pg::{relation, role, spi, types};

/// A row of the result of protect() and unprotect().
pub type Row = (i32, String, Option<String>, String);

/// Reads the facts about a table and the parts of it in `tree`, in a command of its own, so that it sees earlier changes of the
/// transaction.
pub fn facts(
    table: pg_sys::Oid,
    protection: &Protection,
    tree: &[AtDepth],
) -> Result<TableFacts, Error> {
    Ok(complete(read(table, protection, tree)?, tree)?.0)
}

/// Reads all that protect() must know, in the same way.
pub fn facts_to_protect(
    table: pg_sys::Oid,
    options: &Options,
    tree: &[AtDepth],
) -> Result<TableFacts, Error> {
    let protection = options.protection();
    let mut found = read(table, &protection, tree)?;
    let mut args = arguments(table, &protection, tree);
    args.push(JsonB(registry::all()?).into());
    args.push(options.grants.clone().into());
    found.insert(
        "foreign_keys".to_owned(),
        foreign_keys::around(options, table, oids(tree))?,
    );
    for (key, value) in one_object(include_str!("surroundings.sql"), Finds::Any, &args)? {
        match (found.get_mut(&key), value) {
            (Some(Value::Array(members)), Value::Array(more)) => {
                for (member, more) in members.iter_mut().zip(more) {
                    if let (Value::Object(member), Value::Object(more)) = (member, more) {
                        member.extend(more);
                    }
                }
            }
            (_, value) => {
                found.insert(key, value);
            }
        }
    }
    let (mut facts, records) = complete(found, tree)?;
    if let Some(options) = registry::find(table)? {
        let own = records
            .iter()
            .find(|record| record.relation == facts.relation);
        facts.registered = Some(Registered {
            options,
            granted: own.map_or_else(Vec::new, |own| granted(&own.items)),
        });
    }
    Ok(facts)
}

fn read(
    table: pg_sys::Oid,
    protection: &Protection,
    tree: &[AtDepth],
) -> Result<Map<String, Value>, Error> {
    let args = arguments(table, protection, tree);
    one_object(include_str!("facts.sql"), Finds::ByIndex, &args)
}

/// Returns the first arguments of both queries.
fn arguments(
    table: pg_sys::Oid,
    protection: &Protection,
    tree: &[AtDepth],
) -> Vec<DatumWithOid<'static>> {
    let depths: Vec<i32> = tree.iter().map(|(_, depth)| *depth).collect();
    vec![
        table.into(),
        protection.tenant_column.clone().into(),
        protection.owner_column.clone().into(),
        protection.project_column.clone().into(),
        oids(tree).into(),
        depths.into(),
    ]
}

fn one_object(
    query: &'static str,
    finds: Finds,
    args: &[DatumWithOid<'_>],
) -> Result<Map<String, Value>, Error> {
    let found = spi::planned_once(finds, || {
        spi::read_as_caller(query, args, |rows| match rows.into_iter().next() {
            Some(row) => Ok(row.get::<JsonB>(1)?),
            None => Ok(None),
        })
    })?;
    match found {
        Some(JsonB(mut found)) => {
            types::name_keys(&mut found);
            match found {
                Value::Object(found) => Ok(found),
                _ => Err(Error::NoSuch("the table")),
            }
        }
        None => Err(Error::NoSuch("the table")),
    }
}

/// Adds what the registry knows of the table's and its parts' previous state, and returns these records too.
fn complete(
    found: Map<String, Value>,
    tree: &[AtDepth],
) -> Result<(TableFacts, Vec<MemberUndo>), Error> {
    let mut facts: TableFacts = serde_json::from_value(Value::Object(found))
        .map_err(|_| Error::Internal("the catalogs' answer cannot be read"))?;
    let records = registry::members(tree)?;
    let mut before_of: HashMap<_, _> = records
        .iter()
        .map(|record| (&record.relation, before(&record.items)))
        .collect();
    for member in &mut facts.members {
        member.before = before_of.remove(&member.relation).unwrap_or(member.before);
    }
    Ok((facts, records))
}

/// Completes the facts with those that need queries on the table itself.
pub fn look_inside(
    table: pg_sys::Oid,
    facts: &mut TableFacts,
    options: &Options,
) -> Result<(), Error> {
    let name = facts.relation.to_string();
    let owner = relation::read(table, |class| class.relowner).ok_or(Error::NoSuch("the table"))?;
    let path = callers_path();
    let one_as_owner = |query: &str| as_owner_of(&name, owner, Some(&path), || one::<i64>(query));
    // Rows that row security hides from the owner cannot be counted; the constraint itself finds them.
    facts.filtered = one_as_owner(&format!(
        "SELECT pg_catalog.row_security_active({}::pg_catalog.oid)::pg_catalog.int4::pg_catalog.int8",
        table.to_u32()
    ))? != Some(0);
    match facts.root().and_then(|m| m.tenant.as_ref()) {
        None if options.add_column && !facts.filtered => {
            let rows = format!("SELECT pg_catalog.count(*) FROM (SELECT FROM {name} LIMIT 1) t");
            facts.has_rows = one_as_owner(&rows)?.map(|rows| rows > 0);
        }
        Some(state) if !state.not_null && options.counted => facts.null_rows = Some(0),
        Some(state) if !state.not_null && !facts.filtered => {
            let column = quote_ident(&options.tenant_column);
            facts.null_rows = one_as_owner(&format!(
                "SELECT pg_catalog.count(*) FROM {name} WHERE {column} IS NULL"
            ))?;
        }
        _ => {}
    }
    // Only at first: later calls of unknown_keys() count them without holding the table's lock.
    if facts.registered.is_none() && facts.tenant.is_some() && !options.counted {
        let found = super::unknown::count(table, &options.protection())?;
        let rows = found.iter().map(|(_, rows)| rows).sum();
        facts.unknown = Some((found.len() as i64, rows));
    }
    if let Some(scope) = &options.backfill {
        // No foreign key keeps the tenant: the lock does, until the rows are assigned to it.
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

/// Locks a table and its parts against all other sessions, so that the facts and the table's name stay valid.
/// With `to_look` it only prevents changes and renames.
///
/// # Errors
/// If the name belongs to another table by now.
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

/// Raises an error if a part of a table belongs to another role: its code would run as the table's owner.
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

/// Finds a part of a table that belongs to another role than the table.
const OTHER_OWNER: &str = "WITH RECURSIVE tree(oid) AS (\
         SELECT $1::oid UNION SELECT i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid) \
     SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) \
     FROM tree t JOIN pg_catalog.pg_class c ON c.oid = t.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relowner <> (SELECT r.relowner FROM pg_catalog.pg_class r WHERE r.oid = $1) \
     ORDER BY 1 LIMIT 1";

/// Runs statements that run a table's code with only its owner's rights, for callers who may act as the owner. The code
/// resolves names with the caller's path; statements that only parse expressions use a pinned path.
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

/// Runs queries on a table, and on others of the same owner, with the owner's rights alone: they may run its code.
pub fn as_table_owner<R>(
    table: pg_sys::Oid,
    f: impl FnOnce() -> Result<R, Error>,
) -> Result<R, Error> {
    let owner = relation::read(table, |class| class.relowner).ok_or(Error::NoSuch("the table"))?;
    as_owner_of(&registry::name(table)?, owner, Some(&callers_path()), f)
}

/// The same with all rows of these tables, whatever policies they have: for callers in maintenance.
pub fn as_table_owner_unfiltered<R>(
    table: pg_sys::Oid,
    f: impl FnOnce() -> Result<R, Error>,
) -> Result<R, Error> {
    let owner = relation::read(table, |class| class.relowner).ok_or(Error::NoSuch("the table"))?;
    if !role::may_act_as(owner) {
        return Err(Error::Refused(Refusal::NotOwner {
            table: registry::name(table)?,
        }));
    }
    spi::as_restricted_unfiltered(owner, Some(&callers_path()), f)
}

/// Runs a statement of tenancy as the caller.
pub fn run(statement: &str) -> Result<(), Error> {
    Spi::connect_mut(|client| {
        client.update(statement, None, &[])?;
        Ok(())
    })
}

/// Executes the steps of kind `do`. A step's statement determines whose code it may run.
pub fn execute(steps: &[Step], facts: &TableFacts) -> Result<(), Error> {
    for step in steps.iter().filter(|s| s.kind == StepKind::Do) {
        execute_statement(&step.statement, step.actor, &facts.relation.to_string())?;
    }
    Ok(())
}

/// Executes a statement on a table as the role whose code it may run.
pub fn execute_statement(statement: &str, actor: Actor, table: &str) -> Result<(), Error> {
    match (actor, ddl::runs(statement)?) {
        (Actor::Extension, Runs::NoCode) => spi::as_owner(|| run(statement)),
        (Actor::Extension, Runs::CodeOf(_) | Runs::ExpressionsOf(_)) => Err(Error::Internal(
            "a step on a table that is not the table's owner's",
        )),
        (Actor::Owner | Actor::Invoker, Runs::NoCode) => run(statement),
        (_, Runs::ExpressionsOf(owner)) => as_owner_of(table, owner, None, || run(statement)),
        (actor, Runs::CodeOf(owner)) => {
            if actor == Actor::Owner {
                // A restricted operation cannot leave deferred triggers behind.
                run("SET CONSTRAINTS ALL IMMEDIATE")?;
            }
            let path = callers_path();
            as_owner_of(table, owner, Some(&path), || run(statement))
        }
    }
}

/// Converts steps to rows.
pub fn rows(steps: Vec<Step>) -> Vec<Row> {
    (1..)
        .zip(steps)
        .map(|(n, step)| {
            let statement = (!step.statement.is_empty()).then_some(step.statement);
            (n, step.kind.as_str().to_owned(), statement, step.note)
        })
        .collect()
}

/// Runs `f` with a pinned search_path: names are read and written with their schema and without needless quotes, and operators
/// are the server's own. On an error, the abort restores the path. Its queries are not JIT-compiled.
pub fn pinned<R>(f: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    let _before = Before(CALLERS_PATH.replace(spi::search_path()));
    spi::pinned(|| spi::uncompiled(f))
}

thread_local! {
    /// The caller's search_path.
    static CALLERS_PATH: RefCell<CString> = RefCell::default();
}

/// Restores the previous caller's path, also after an error.
struct Before(CString);

impl Drop for Before {
    fn drop(&mut self) {
        CALLERS_PATH.set(std::mem::take(&mut self.0));
    }
}

/// Returns the search_path for a table's code: that of the caller's statements. No schema precedes pg_catalog, which tenancy's
/// statements rely on.
fn callers_path() -> CString {
    let path = CALLERS_PATH.with_borrow(|path| path.to_string_lossy().trim().to_owned());
    let path = match path.as_str() {
        "" => "pg_catalog, pg_temp".to_owned(),
        path => format!("pg_catalog, {path}, pg_temp"),
    };
    CString::new(path).unwrap_or_default()
}
