//! `set_quota()`, `drop_quota()` and `recount()`: the owner of a table decides what is counted in it, as it decides in protect().

use std::rc::Rc;

use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::json;
use tenancy_core::limit::Kind;
use tenancy_core::policy::{Actor, KeyType, Protection, Refusal};
use tenancy_core::quota::statements::{self, TRIGGER, TRUNCATE_TRIGGER, UPDATE_TRIGGER};
use tenancy_core::quota::{Per, Unit};

use super::definitions::{self, Quota};
use super::recount::{self, Progress, Recounted};
use crate::error::{Error, ErrorReport};
use crate::limit::definitions as limits;
use crate::pg::spi::{self, NotNull};
use crate::pg::{inheritance, inval, relation, role, types};
use crate::{context, policy};

/// Counts a table, and holds it to a limit: the SQL function `tenancy.set_quota`. Returns the number of counters.
#[pg_extern(sql = false)]
fn _set_quota(
    table: Option<pg_sys::Oid>,
    name: Option<&str>,
    sum_of: Option<&str>,
    per: Option<&str>,
) -> Result<i64, ErrorReport> {
    let table = table.ok_or(Error::Null("target"))?;
    let name = name.ok_or(Error::Null("name"))?;
    let per = per.ok_or(Error::Null("per"))?;
    Ok(policy::pinned(|| set(table, name, sum_of, per))?)
}

/// Ends a quota: the SQL function `tenancy.drop_quota`.
#[pg_extern(sql = false)]
fn _drop_quota(table: Option<pg_sys::Oid>, name: Option<&str>) -> Result<(), ErrorReport> {
    let table = table.ok_or(Error::Null("target"))?;
    let name = name.ok_or(Error::Null("name"))?;
    Ok(policy::pinned(|| end(table, name))?)
}

/// Counts a table anew: the SQL function `tenancy.recount`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "pg_extern reads the columns here")]
fn _recount(
    table: Option<pg_sys::Oid>,
    name: Option<&str>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(name, String),
            name!(counters, i64),
            name!(corrected, i64),
        ),
    >,
    ErrorReport,
> {
    let table = table.ok_or(Error::Null("target"))?;
    let done = policy::pinned(|| count_anew(table, name))?;
    let rows = done
        .into_iter()
        .map(|done| (done.quota.name.clone(), done.counters, done.corrected));
    Ok(TableIterator::new(rows))
}

/// A table whose owner the caller may act as.
struct Owned {
    table: pg_sys::Oid,
    /// Its name with its schema.
    name: String,
    protection: Protection,
}

impl Owned {
    fn find(table: pg_sys::Oid) -> Result<Self, Error> {
        let owner =
            relation::read(table, |class| class.relowner).ok_or(Error::NoSuch("the table"))?;
        let name = policy::relation_name(table)?;
        if !role::may_act_as(owner) {
            return Err(Error::Refused(Refusal::NotOwner { table: name }));
        }
        match policy::protection(table)? {
            Some(protection) => Ok(Self {
                table,
                name,
                protection,
            }),
            None => Err(Error::Refused(
                match policy::root_of(table).filter(|root| *root != table) {
                    Some(root) => Refusal::PartOf {
                        table: name,
                        root: policy::relation_name(root)?,
                    },
                    None => Refusal::NotProtected { table: name },
                },
            )),
        }
    }

    fn run(&self, statement: &str) -> Result<(), Error> {
        policy::execute_statement(statement, Actor::Invoker, &self.name)
    }

    /// Returns the quota of this name.
    fn quota(&self, name: &str) -> Result<Rc<Quota>, Error> {
        let quotas = definitions::read(self.table)?;
        let found = quotas.iter().find(|quota| quota.name == name);
        found.cloned().ok_or_else(|| Error::NoSuchQuota {
            table: self.name.clone(),
            quota: name.chars().take(80).collect(),
        })
    }

    /// Gives the table the triggers of its quotas, or none.
    fn set_triggers(&self) -> Result<(), Error> {
        let quotas = definitions::read(self.table)?;
        let parts = inheritance::oids(&inheritance::down(self.table));
        if quotas.is_empty() {
            for trigger in [TRIGGER, UPDATE_TRIGGER] {
                self.run(&statements::drop_trigger(trigger, &self.name))?;
            }
        } else {
            let columns: Vec<&str> = quotas.iter().flat_map(|quota| quota.columns()).collect();
            for statement in statements::create_triggers(&self.name, &columns) {
                self.run(&statement)?;
            }
        }
        for part in parts {
            set_truncate_trigger(part, !quotas.is_empty())?;
        }
        self.note_undo(!quotas.is_empty())?;
        inval::send(self.table);
        Ok(())
    }

    /// Has unprotect() drop the triggers, too.
    fn note_undo(&self, has_quotas: bool) -> Result<(), Error> {
        let item = |trigger: &str| {
            let sql = statements::drop_trigger(trigger, "%1$s");
            json!({ "key": format!("quota:{trigger}"), "sql": sql })
        };
        let (of_root, of_part) = match has_quotas {
            true => (
                json!([item(TRIGGER), item(UPDATE_TRIGGER), item(TRUNCATE_TRIGGER)]),
                json!([item(TRUNCATE_TRIGGER)]),
            ),
            false => (json!([]), json!([])),
        };
        const UNDO: &str = "WITH part AS (\
                 UPDATE tenancy_internal.protected_member_registry m SET undo = $3 || ( \
                     SELECT coalesce(jsonb_agg(i), '[]') FROM jsonb_array_elements(m.undo) i WHERE i ->> 'key' NOT LIKE 'quota:%') \
                 WHERE m.root = $1) \
             UPDATE tenancy_internal.protected_table_registry r SET undo = $2 || ( \
                 SELECT coalesce(jsonb_agg(i), '[]') FROM jsonb_array_elements(r.undo) i WHERE i ->> 'key' NOT LIKE 'quota:%') \
             WHERE r.relation = $1";
        spi::write(
            UNDO,
            &[
                self.table.into(),
                JsonB(of_root).into(),
                JsonB(of_part).into(),
            ],
        )?;
        Ok(())
    }

    /// Returns the type of a column, for a quota to count by or to sum.
    fn column(&self, column: &str) -> Result<Column, Error> {
        let found = spi::read(
            "SELECT a.atttypid, a.atttypmod, a.attgenerated::text = 'v', \
                    coalesce((SELECT c.collisdeterministic FROM pg_collation c WHERE c.oid = a.attcollation), true) \
             FROM pg_attribute a WHERE a.attrelid = $1 AND a.attname = $2::name AND a.attnum > 0 AND NOT a.attisdropped",
            &[self.table.into(), column.to_owned().into()],
            |rows| match rows.into_iter().next() {
                Some(row) => Ok(Some(Column {
                    kind: row.not_null(1)?,
                    modifier: row.not_null(2)?,
                    is_virtual: row.not_null(3)?,
                    is_exact: row.not_null(4)?,
                })),
                None => Ok(None),
            },
        )?;
        let found = found.ok_or_else(|| {
            Error::bad(
                format!("{} has no column \"{column}\"", self.name),
                "Name a column of the table.",
            )
        })?;
        if found.is_virtual {
            return Err(Error::bad(
                format!("column \"{column}\" of {} is not stored", self.name),
                "Generate it STORED: a trigger sees no other value.",
            ));
        }
        Ok(found)
    }

    /// Raises an error unless two values of a column that are equal are also written the same: each has a counter.
    fn check_key(&self, column: &str) -> Result<(), Error> {
        let found = self.column(column)?;
        let key = types::key(found.kind, found.modifier);
        match key {
            Some(key) if key.kind != KeyType::Citext && found.is_exact => Ok(()),
            _ => Err(Error::bad(
                format!(
                    "values of column \"{column}\" of {} cannot be counted by",
                    self.name
                ),
                "It must be a uuid, an integer, a numeric without decimals, or a text with a deterministic collation.",
            )),
        }
    }
}

/// A column of a table.
struct Column {
    kind: pg_sys::Oid,
    modifier: i32,
    /// Whether it is computed when it is read.
    is_virtual: bool,
    /// Whether its collation tells apart what is written differently.
    is_exact: bool,
}

/// Creates or drops the trigger for TRUNCATE of a table or a part of one.
pub fn set_truncate_trigger(part: pg_sys::Oid, wanted: bool) -> Result<(), Error> {
    let name = policy::relation_name(part)?;
    let statement = match wanted {
        true => statements::create_truncate_trigger(&name),
        false => statements::drop_trigger(TRUNCATE_TRIGGER, &name),
    };
    policy::execute_statement(&statement, Actor::Invoker, &name)
}

fn set(table: pg_sys::Oid, name: &str, sum_of: Option<&str>, per: &str) -> Result<i64, Error> {
    let owned = Owned::find(table)?;
    let limit = limits::find(name)?;
    limit.require(Kind::Amount)?;
    recount::hold_still(table, c"set_quota");
    check_children(&owned)?;
    let (per, key) = key_of(&owned, per)?;
    owned.check_key(&owned.protection.tenant_column)?;
    if let Some(key) = &key {
        owned.check_key(key)?;
    }
    let unit = match sum_of {
        Some(column) => unit_of(&owned, column)?,
        None => Unit::One,
    };
    // Ids are assigned in order.
    spi::write(
        "LOCK TABLE tenancy_internal.quota_definitions IN SHARE ROW EXCLUSIVE MODE",
        &[],
    )?;
    spi::write(
        "INSERT INTO tenancy_internal.quota_definitions AS q (id, relation, limit_id, per, key_column, sum_column, millionths, set_by) \
         SELECT coalesce(max(o.id), 0) + 1, $1, $2, $3, $4::name, $5::name, $6, $7::name FROM tenancy_internal.quota_definitions o \
         ON CONFLICT (relation, limit_id) DO UPDATE \
         SET per = excluded.per, key_column = excluded.key_column, sum_column = excluded.sum_column, millionths = excluded.millionths, \
             set_by = excluded.set_by, set_at = now()",
        &[
            table.into(),
            limit.id.into(),
            per.as_str().into(),
            key.clone().into(),
            sum_of.map(str::to_owned).into(),
            (unit == Unit::Millionth).into(),
            role::current_name().into(),
        ],
    )?;
    owned.set_triggers()?;
    let quota = owned.quota(name)?;
    let done = recount::recount(table, &[quota], c"set_quota", Progress::Shown)?;
    context::record(
        "quota_set",
        None,
        Some(&owned.name),
        json!({ "quota": name, "per": per.as_str(), "key_column": key, "sum_of": sum_of }),
    )?;
    Ok(done.iter().map(|done| done.counters).sum())
}

/// Raises an error if the table has children that are no partitions: triggers of the table do not run for their rows.
fn check_children(owned: &Owned) -> Result<(), Error> {
    let children = inheritance::down(owned.table).into_iter().skip(1);
    for (child, _) in children {
        if relation::read(child, |class| class.relispartition) != Some(true) {
            return Err(inherits(&owned.name));
        }
    }
    Ok(())
}

/// Returns the error for children of a table that are no partitions.
pub fn inherits(table: &str) -> Error {
    Error::bad(
        format!("{table} with a quota cannot have inheritance children"),
        "Rows of a child would not be counted. Make it a partition, or a table of its own.",
    )
}

/// Returns what a quota counts for, and the column that holds it.
fn key_of(owned: &Owned, per: &str) -> Result<(Per, Option<String>), Error> {
    let option = |per, column: &Option<String>, option| match column {
        Some(column) => Ok((per, Some(column.clone()))),
        None => Err(Error::bad(
            format!("{} has no {option}", owned.name),
            "Name it in protect(), or count by a column: per => 'column of the table'.",
        )),
    };
    match Per::named(per) {
        Some(Per::Tenant) => Ok((Per::Tenant, None)),
        Some(Per::Project) => option(
            Per::Project,
            &owned.protection.project_column,
            "project_column",
        ),
        Some(Per::User) => option(Per::User, &owned.protection.owner_column, "owner_column"),
        Some(Per::Column) | None => Ok((Per::Column, Some(per.to_owned()))),
    }
}

fn unit_of(owned: &Owned, column: &str) -> Result<Unit, Error> {
    let found = owned.column(column)?;
    match types::base(found.kind) {
        pg_sys::INT2OID | pg_sys::INT4OID | pg_sys::INT8OID => Ok(Unit::One),
        pg_sys::NUMERICOID => Ok(Unit::Millionth),
        _ => Err(Error::bad(
            format!("column \"{column}\" of {} is no number to sum", owned.name),
            "It must be an integer or a numeric. For the size of another value add a generated column, as in GENERATED ALWAYS AS (octet_length(body)) STORED.",
        )),
    }
}

fn end(table: pg_sys::Oid, name: &str) -> Result<(), Error> {
    let owned = Owned::find(table)?;
    recount::hold_still(table, c"drop_quota");
    let quota = owned.quota(name)?;
    spi::write(
        "DELETE FROM tenancy_internal.quota_definitions q WHERE q.id = $1",
        &[quota.id.into()],
    )?;
    owned.set_triggers()?;
    context::record(
        "quota_dropped",
        None,
        Some(&owned.name),
        json!({ "quota": name }),
    )
}

fn count_anew(table: pg_sys::Oid, name: Option<&str>) -> Result<Vec<Recounted>, Error> {
    let owned = Owned::find(table)?;
    let quotas = match name {
        Some(name) => vec![owned.quota(name)?],
        None => definitions::read(table)?.to_vec(),
    };
    let done = recount::recount(table, &quotas, c"recount", Progress::Shown)?;
    let corrected: i64 = done.iter().map(|done| done.corrected).sum();
    if corrected > 0 {
        context::record(
            "quota_recounted",
            None,
            Some(&owned.name),
            json!({ "corrected": corrected }),
        )?;
    }
    Ok(done)
}
