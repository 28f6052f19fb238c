//! The procedure `tenancy.unfix_foreign_keys()`: puts back the foreign keys that fix_foreign_keys() has replaced.

use pgrx::prelude::*;
use tenancy_core::policy::{
    ForeignKey, MADE_KEY, drop_helper, put_back, quote_ident, tenant_is_nullable,
};

use super::alone;
use super::replaced::{self, Record};
use super::retry::{LOCK_TIMEOUT, Patient, wait_at_most};
use super::run::listed;
use crate::context;
use crate::error::{Error, ErrorReport};
use crate::pg::bounded;
use crate::pg::procedure::Procedure;
use crate::pg::spi::{self, NotNull};
use crate::policy;

/// What the maintenance of this procedure is recorded with.
const REASON: &str = "unfix_foreign_keys()";

/// What is done about a key that was replaced.
struct Undo {
    record: Record,
    /// The key with the tenant column, if it is there.
    key: Option<ForeignKey>,
    steps: Vec<Step>,
    /// What stands in the way.
    blocked: Option<String>,
}

enum Step {
    /// The statements of a transaction, in which the former key comes to its place.
    PutBack(Vec<String>),
    /// Drops a constraint that only keys that were replaced refer to.
    Drop(Made),
}

/// A unique constraint that fix_foreign_keys() has made, or its index, if it was stopped then.
struct Made {
    index: pg_sys::Oid,
    table: pg_sys::Oid,
    statement: String,
    /// The foreign keys that refer to it: the oid of the table, and the name.
    used_by: Vec<String>,
}

impl Step {
    fn sql(&self) -> String {
        match self {
            Self::PutBack(statements) => statements.join(";\n"),
            Self::Drop(made) => made.statement.clone(),
        }
    }
}

#[pg_extern(sql = false)]
fn adoption_unfix_foreign_keys(
    schemas: Option<bounded::Texts>,
    dry_run: Option<bool>,
    lock_timeout: Option<String>,
    procedure: Procedure,
) -> Result<(), ErrorReport> {
    let schemas = listed(schemas);
    let lock_timeout = lock_timeout.unwrap_or_else(|| LOCK_TIMEOUT.to_owned());
    wait_at_most(&lock_timeout)?;
    let _alone = alone::with_keys()?;
    let mut undos = plan(schemas.as_deref())?;
    for undo in &undos {
        keep(undo)?;
    }
    notice!("{}", summary(&undos));
    if !dry_run.unwrap_or(false) {
        let transactions = Patient::new(lock_timeout, &procedure)?;
        // The plan stays, whatever happens.
        transactions.commit();
        for undo in undos.iter_mut().filter(|undo| undo.blocked.is_none()) {
            run(undo, &transactions)?;
        }
    }
    for undo in &undos {
        if let Some(reason) = &undo.blocked {
            warning!(
                "foreign key {} of {} is not put back: {reason}",
                quote_ident(&undo.record.foreign_key),
                undo.record.table_name
            );
        }
    }
    Ok(())
}

/// Plans what is left to put back.
fn plan(schemas: Option<&[String]>) -> Result<Vec<Undo>, Error> {
    context::maintain(REASON)?;
    policy::pinned(|| {
        let records = replaced::records()?;
        let keys = replaced::keys(&records)?;
        let mut undos = Vec::new();
        for record in records {
            if in_schemas(record.tables[0], schemas)? {
                undos.push(undo(record, &keys));
            }
        }
        drop_made(&mut undos)?;
        // What was planned and not done is no key to put back.
        undos.retain(|undo| undo.blocked.is_some() || !undo.steps.is_empty() || undo.record.undoes);
        Ok(undos)
    })
}

fn undo(record: Record, keys: &[ForeignKey]) -> Undo {
    let mut undo = Undo {
        key: None,
        steps: Vec::new(),
        blocked: None,
        record,
    };
    let Some(key) = undo.record.replacement(keys) else {
        if undo.record.done && undo.record.key(keys).is_none() {
            undo.blocked =
                Some("no key of its name, and none with its columns, is there".to_owned());
        }
        return undo;
    };
    match stays(key) {
        Some(reason) => undo.blocked = Some(reason),
        None => {
            undo.steps = (put_back(&undo.record.former, key, keys).into_iter())
                .map(Step::PutBack)
                .collect();
        }
    }
    undo.key = Some(key.clone());
    undo
}

/// Returns why a key with the tenant column stays. Not even maintenance shows rows without a tenant: they would count as compared.
fn stays(key: &ForeignKey) -> Option<String> {
    if let Some(reason) = replaced::out_of_reach(key) {
        return Some(reason.to_owned());
    }
    let hides_rows = tenant_is_nullable(key)
        && !key.from_shared_null
        && policy::root_of(pg_sys::Oid::from_u32(key.oids.0)).is_some();
    hides_rows.then(|| {
        format!(
            "the column {} may be NULL, and rows without a tenant cannot be compared: SET NOT NULL",
            quote_ident(&key.from_tenant)
        )
    })
}

/// Adds the steps that drop constraints to which no key will refer any more: each after the last key of its table.
fn drop_made(undos: &mut [Undo]) -> Result<(), Error> {
    let put_back: Vec<String> = (undos.iter())
        .filter(|undo| undo.blocked.is_none())
        .filter_map(|undo| {
            Some(identity(
                undo.key.as_ref()?.oids.0,
                &undo.key.as_ref()?.name,
            ))
        })
        .collect();
    let tables: Vec<pg_sys::Oid> = undos.iter().map(|undo| undo.record.tables[1]).collect();
    for made in made(tables)? {
        let last = (undos.iter_mut().rev())
            .find(|undo| undo.blocked.is_none() && undo.record.tables[1] == made.table);
        if made.used_by.iter().all(|key| put_back.contains(key))
            && let Some(last) = last
        {
            last.steps.push(Step::Drop(made));
        }
    }
    Ok(())
}

fn identity(table: u32, name: &str) -> String {
    format!("{table} {name}")
}

/// Returns the unique constraints and indexes on these tables, of the caller's, that fix_foreign_keys() has made: their names say so. What
/// a subscriber finds rows by stays.
fn made(tables: Vec<pg_sys::Oid>) -> Result<Vec<Made>, Error> {
    spi::read_as_caller(
        "SELECT x.indexrelid, x.indrelid, \
                CASE WHEN k.oid IS NULL THEN pg_catalog.format('DROP INDEX %I.%I', n.nspname, i.relname) \
                     ELSE pg_catalog.format('ALTER TABLE %I.%I DROP CONSTRAINT %I', n.nspname, c.relname, k.conname) END, \
                ARRAY(SELECT f.conrelid::text || ' ' || f.conname FROM pg_catalog.pg_constraint f \
                      WHERE f.contype = 'f' AND f.conparentid = 0 AND f.conindid = x.indexrelid) \
           FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid JOIN pg_catalog.pg_class c ON c.oid = x.indrelid \
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
           LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = x.indexrelid AND k.conrelid = x.indrelid AND k.contype IN ('p', 'u', 'x') \
          WHERE x.indrelid = ANY ($1) AND x.indisunique AND NOT x.indisreplident AND NOT i.relispartition AND (k.contype = 'u') IS NOT FALSE \
            AND pg_catalog.right(i.relname, pg_catalog.length($2) + 1) = '_' || $2 AND pg_catalog.pg_has_role(c.relowner, 'USAGE') \
          ORDER BY i.relname",
        &[tables.into(), MADE_KEY.into()],
        |rows| {
            rows.into_iter()
                .map(|row| {
                    Ok(Made {
                        index: row.not_null(1)?,
                        table: row.not_null(2)?,
                        statement: row.not_null(3)?,
                        used_by: row.not_null(4)?,
                    })
                })
                .collect()
        },
    )
}

fn in_schemas(table: pg_sys::Oid, schemas: Option<&[String]>) -> Result<bool, Error> {
    let Some(schemas) = schemas else {
        return Ok(true);
    };
    spi::read_as_caller(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
          WHERE c.oid = $1 AND n.nspname = ANY ($2))",
        &[table.into(), schemas.to_vec().into()],
        |rows| match rows.into_iter().next() {
            Some(row) => row.not_null(1),
            None => Ok(false),
        },
    )
}

/// Runs each step in a transaction of its own. If one fails, the key with the tenant column stays, alone.
fn run(undo: &mut Undo, transactions: &Patient) -> Result<(), Error> {
    let name = &undo.record.table_name;
    let table = (undo.key.as_ref()).map_or_else(|| name.clone(), |key| key.from.to_string());
    for step in &undo.steps {
        let statements = match step {
            Step::PutBack(statements) => statements.clone(),
            // A key that refers to it since, or was not put back, keeps it.
            Step::Drop(made) if is_used(made)? => Vec::new(),
            Step::Drop(made) => vec![made.statement.clone()],
        };
        for statement in &statements {
            notice!("tenancy: {statement}");
        }
        let failed = replaced::execute(transactions, &statements, &table, REASON)?;
        if let Some(reason) = failed {
            transactions.commit();
            drop_begun(undo, &table, transactions)?;
            undo.blocked = Some(reason);
            keep_blocked(undo)?;
            transactions.commit();
            return Ok(());
        }
        note(undo)?;
        transactions.commit();
    }
    Ok(())
}

/// Returns whether a foreign key refers to a constraint now.
fn is_used(made: &Made) -> Result<bool, Error> {
    let now = self::made(vec![made.table])?;
    Ok(!(now.iter()).any(|now| now.index == made.index && now.used_by.is_empty()))
}

/// Drops the former key beside the other one.
fn drop_begun(undo: &Undo, table: &str, transactions: &Patient) -> Result<(), Error> {
    let Some(key) = &undo.key else {
        return Ok(());
    };
    let keys = policy::pinned(|| replaced::keys(std::slice::from_ref(&undo.record)))?;
    if let Some((_, statement)) = drop_helper(key, &keys) {
        replaced::execute(transactions, &[statement], table, REASON)?;
    }
    Ok(())
}

/// Keeps the plan of a key, for the view `foreign_key_fixes`. One with nothing left to do is done.
fn keep(undo: &Undo) -> Result<(), Error> {
    let statements: Vec<String> = undo.steps.iter().map(Step::sql).collect();
    spi::write(
        "UPDATE tenancy_internal.fixed_foreign_keys f \
            SET undo_statements = CASE WHEN $4 IS NULL AND pg_catalog.cardinality($3) = 0 THEN f.undo_statements ELSE $3 END, \
                undo_done = CASE WHEN $4 IS NULL AND pg_catalog.cardinality($3) = 0 THEN pg_catalog.cardinality(f.undo_statements) ELSE 0 END, \
                undo_blocked = $4, former = CASE WHEN $4 IS NULL AND pg_catalog.cardinality($3) = 0 THEN NULL ELSE f.former END, \
                updated_at = pg_catalog.clock_timestamp() \
          WHERE table_name = $1 AND foreign_key = $2",
        &[
            undo.record.table_name.clone().into(),
            undo.record.foreign_key.clone().into(),
            statements.into(),
            undo.blocked.clone().into(),
        ],
    )?;
    Ok(())
}

/// Notes a step that was done. After the last one there is nothing to put back any more.
fn note(undo: &Undo) -> Result<(), Error> {
    spi::write(
        "UPDATE tenancy_internal.fixed_foreign_keys f SET undo_done = undo_done + 1, updated_at = pg_catalog.clock_timestamp(), \
                former = CASE WHEN undo_done + 1 < pg_catalog.cardinality(undo_statements) THEN f.former END \
          WHERE table_name = $1 AND foreign_key = $2",
        &[
            undo.record.table_name.clone().into(),
            undo.record.foreign_key.clone().into(),
        ],
    )?;
    Ok(())
}

fn keep_blocked(undo: &Undo) -> Result<(), Error> {
    spi::write(
        "UPDATE tenancy_internal.fixed_foreign_keys SET undo_blocked = $3, updated_at = pg_catalog.clock_timestamp() \
          WHERE table_name = $1 AND foreign_key = $2",
        &[
            undo.record.table_name.clone().into(),
            undo.record.foreign_key.clone().into(),
            undo.blocked.clone().into(),
        ],
    )?;
    Ok(())
}

fn summary(undos: &[Undo]) -> String {
    let blocked = undos.iter().filter(|undo| undo.blocked.is_some()).count();
    format!(
        "tenancy: {} foreign keys to put back, {blocked} are blocked: SELECT * FROM tenancy.foreign_key_fixes",
        undos.len()
    )
}
