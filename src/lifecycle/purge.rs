//! The procedure `tenancy.purge_tenant()`. Each batch is a transaction of its own. What is left is planned again at each call, so that
//! one that was interrupted is resumed by the next.

use pgrx::prelude::*;
use serde_json::{Value, json};
use tenancy_core::lifecycle::{Link, Stage, Table, TenantKey};
use tenancy_core::policy::Key;
use tenancy_core::tree::Level;
use uuid::Uuid;

use super::batch::{self, Way};
use super::plan::{Plan, is_true};
use super::progress::{self, Purge};
use super::{facts, writers};
use crate::adoption::{self, LOCK_TIMEOUT, Patient, wait_at_most};
use crate::context::Maintained;
use crate::error::{Error, ErrorReport};
use crate::pg::extension;
use crate::pg::procedure::Procedure;
use crate::pg::savepoint;
use crate::pg::uuid::from_pg;
use crate::{audit, authority, policy, tree};

/// How many rows a batch may have.
const BATCH_MAX: i32 = 1_000_000;
/// How often all tables are emptied again because rows were found in them afterwards.
const PASSES_MAX: usize = 10;

#[pg_extern(sql = false)]
fn lifecycle_purge_tenant(
    tenant: Option<pgrx::Uuid>,
    reason: Option<&str>,
    batch_rows: Option<i32>,
    dry_run: Option<bool>,
    lock_timeout: Option<String>,
    procedure: Procedure,
) -> Result<(), ErrorReport> {
    let tenant = from_pg(tenant.ok_or(Error::Null("tenant"))?);
    let reason = audit::checked_reason(reason)?.to_owned();
    let batch = batch_rows.ok_or(Error::Null("batch_rows"))?;
    if !(1..=BATCH_MAX).contains(&batch) {
        Err(Error::bad(
            format!("batch_rows must be from 1 to {BATCH_MAX}"),
            "It is how many rows a transaction deletes, and locks until it ends.",
        ))?;
    }
    let lock_timeout = lock_timeout.unwrap_or_else(|| LOCK_TIMEOUT.to_owned());
    wait_at_most(&lock_timeout)?;
    authorize(tenant)?;
    let lock_key = lock_key(tenant);
    let purges = extension::internal_table(c"tenant_purges")?;
    let _alone = adoption::alone_with(purges, lock_key, "purge_tenant() of this tenant")?;
    let maintenance = format!("purge_tenant(): {}", fitting(&reason));
    if dry_run.unwrap_or(false) {
        let purge = Purge::begin(tenant, &reason, lock_key, true)?;
        Maintained::begin(&maintenance)?;
        policy::pinned(|| announce(&plan(&purge)?).map(drop))?;
        return Ok(());
    }
    let transactions = Patient::new(lock_timeout, &procedure)?;
    let purge = Purge::begin(tenant, &reason, lock_key, false)?;
    // A user's context ends here: it was for this one.
    transactions.commit();
    Ok(Run {
        purge,
        transactions,
        maintained: Maintained::begin(&maintenance)?,
        batch: batch.unsigned_abs(),
    }
    .all()?)
}

/// A reason of maintenance is a short line.
fn fitting(reason: &str) -> String {
    reason.chars().take(250).collect()
}

/// Raises an error unless the caller may purge the tenant: its permission must reach above it.
fn authorize(tenant: Uuid) -> Result<(), Error> {
    let scope = tree::scope(tenant)?.ok_or_else(|| Error::NoSuchScope(tenant.to_string()))?;
    let above = scope.parent();
    if let Some(above) = above {
        authority::require_permission("tenants:purge", above)?;
    }
    match (scope.level, above) {
        (Level::Tenant, Some(_)) => Ok(()),
        (level, _) => Err(Error::NotATenant {
            scope: scope.slug,
            level: level.as_str(),
        }),
    }
}

/// Returns a number by which other sessions see that a tenant is being purged.
fn lock_key(tenant: Uuid) -> u32 {
    let [.., a, b, c, d] = *tenant.as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Plans, or raises an error with all that stands in the way.
fn plan(purge: &Purge) -> Result<Plan, Error> {
    let plan = Plan::read(&purge.tenant)?;
    let reasons = plan.blocked()?;
    match reasons.is_empty() {
        true => Ok(plan),
        false => Err(Error::PurgeBlocked {
            tenant: purge.slug.clone(),
            reasons: reasons.join("\n"),
        }),
    }
}

/// Says which tables are emptied in which order. Returns them with the numbers of rows that the server expects.
fn announce(plan: &Plan) -> Result<Vec<(String, i64)>, Error> {
    let mut tables = Vec::new();
    for (table, condition) in plan.tables() {
        let rows = whole(batch::estimate(table, condition)?);
        tables.push((table.relation.to_string(), rows));
        notice!(
            "tenancy: {}. {}: about {rows} rows",
            tables.len(),
            table.relation
        );
    }
    Ok(tables)
}

fn whole(rows: f64) -> i64 {
    #[allow(clippy::cast_possible_truncation)] // saturates
    let rows = rows as i64;
    rows
}

struct Run {
    purge: Purge,
    transactions: Patient,
    maintained: Maintained,
    batch: u32,
}

impl Run {
    fn all(&self) -> Result<(), Error> {
        // The record of maintenance stays, whatever follows.
        self.transactions.commit();
        let mut plan = self.transaction("the protected tables", || {
            let plan = plan(&self.purge)?;
            self.purge.keep_tables(&announce(&plan)?)?;
            Ok(plan)
        })?;
        let mut idle = 0;
        for _ in 0..PASSES_MAX {
            idle = match self.pass(&plan)? {
                0 => idle + 1,
                _ => 0,
            };
            writers::wait(&locked(&plan), &self.transactions)?;
            self.own_rows()?;
            let remarks =
                self.transaction("the unprotected tables", || remarks(&self.purge.tenant))?;
            // Rows of a transaction that has just ended are none that stay.
            match self.finish(&plan, idle > 1, &remarks)? {
                None => return Ok(()),
                Some(again) => plan = again,
            }
        }
        self.finish(&plan, true, &json!({})).map(drop)
    }

    /// Runs a transaction in maintenance for the tenant as long as it may be purged, and commits it. An error is recorded.
    fn transaction<T>(&self, table: &str, body: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        let done = self.transactions.run(table, || {
            Ok(savepoint::refused(|| {
                let body = || {
                    self.maintained.again()?;
                    self.purge.check()?;
                    policy::pinned(&body)
                };
                body().unwrap_or_else(|error: Error| error.raise())
            }))
        })?;
        match done {
            Ok(done) => {
                self.transactions.commit();
                Ok(done)
            }
            Err(refused) => {
                self.purge.note_failure(&refused.message())?;
                self.transactions.commit();
                refused.raise()
            }
        }
    }

    /// Empties all tables once. Returns how many rows it deleted.
    fn pass(&self, plan: &Plan) -> Result<u64, Error> {
        let mut deleted = 0;
        for stage in &plan.stages {
            deleted += match stage.circular {
                true => self.circle(plan, stage)?,
                false => {
                    let mut rows = 0;
                    for (table, condition) in
                        stage.tables.iter().filter_map(|place| plan.table(*place))
                    {
                        rows += self.table(table, condition)?;
                    }
                    rows
                }
            };
        }
        Ok(deleted)
    }

    /// Empties a table, batch by batch.
    fn table(&self, table: &Table, condition: &str) -> Result<u64, Error> {
        let name = table.relation.to_string();
        let expected = self.transaction(&name, || batch::estimate(table, condition))?;
        let all: f64 = table.parts.iter().map(|part| part.rows.max(0.0)).sum();
        let mut deleted = 0;
        for part in &table.parts {
            // As if the tenant's rows were spread evenly.
            let share = if all > 0.0 {
                part.rows.max(0.0) / all
            } else {
                1.0
            };
            let mut way = Way::of(part, expected * share, self.batch)?;
            let mut more = true;
            while more {
                let (rows, left) = self.transaction_mut(&name, &mut way, |way| {
                    let found = way.delete(table, part, condition, self.batch)?;
                    self.purge.note(&name, found.0, false)?;
                    Ok(found)
                })?;
                way.advance(rows, self.batch);
                (deleted, more) = (deleted + rows, left);
            }
        }
        self.transaction(&name, || self.purge.note(&name, 0, true))?;
        Ok(deleted)
    }

    /// The same for a body that needs a mutable value; it may run several times.
    fn transaction_mut<S, T>(
        &self,
        table: &str,
        state: &mut S,
        body: impl Fn(&mut S) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let state = std::cell::RefCell::new(state);
        self.transaction(table, || body(&mut state.borrow_mut()))
    }

    /// Empties tables whose rows refer to each other: rows to which no other refers, batch by batch, as long as these are many; what is
    /// left then, such as rows that refer to each other in a circle, by one statement.
    fn circle(&self, plan: &Plan, stage: &Stage) -> Result<u64, Error> {
        let tables: Vec<(&Table, &str)> = (stage.tables.iter())
            .filter_map(|place| plan.table(*place))
            .collect();
        let among = |oid: Option<u32>| tables.iter().any(|(table, _)| Some(table.oid) == oid);
        let links: Vec<&Link> = (plan.facts.links.iter())
            .filter(|link| among(link.from_root) && among(Some(link.to_root)))
            .collect();
        let mut deleted = 0;
        loop {
            let mut rows = 0;
            for (table, condition) in &tables {
                let name = table.relation.to_string();
                let to: Vec<&Link> = (links.iter().copied())
                    .filter(|link| link.to_root == table.oid)
                    .collect();
                for part in &table.parts {
                    rows += self.transaction(&name, || {
                        let found =
                            batch::delete_leaf_rows(table, part, condition, &to, self.batch)?;
                        self.purge.note(&name, found, false)?;
                        Ok(found)
                    })?;
                }
            }
            deleted += rows;
            if rows < u64::from(self.batch / 10).max(1) {
                break;
            }
        }
        let name = tables
            .first()
            .map_or_else(String::new, |(table, _)| table.relation.to_string());
        let rest = self.transaction(&name, || {
            let rows = batch::delete_together(&tables)?;
            for ((table, _), rows) in tables.iter().zip(&rows) {
                self.purge
                    .note(&table.relation.to_string(), rows.unsigned_abs(), true)?;
            }
            Ok(rows)
        })?;
        Ok(deleted + rest.iter().map(|rows| rows.unsigned_abs()).sum::<u64>())
    }

    /// Deletes tenancy's own rows of the tenant, but for the tenant itself.
    fn own_rows(&self) -> Result<(), Error> {
        while self.transaction("tenancy.scopes", || self.purge.delete_own(self.batch))? {}
        Ok(())
    }

    /// Looks for the tenant in every protected table as they are now, and while no other can become one. If it is in none, deletes the
    /// tenant and writes the certificate. Else returns what there is to do, or with `last` an error.
    fn finish(&self, before: &Plan, last: bool, remarks: &Value) -> Result<Option<Plan>, Error> {
        self.transaction("the registry of protected tables", || {
            progress::lock_registry()?;
            let plan = plan(&self.purge)?;
            match occupied(&plan)? {
                None => self.purge.finish(remarks.clone()).map(|()| None),
                Some(table) if last && before.facts.place(table.oid).is_some() => {
                    Err(Error::PurgeRowsStay(table.relation.to_string()))
                }
                Some(_) => Plan::read(&self.purge.tenant).map(Some),
            }
        })
    }
}

/// Returns a table that has rows of the tenant.
fn occupied(plan: &Plan) -> Result<Option<&Table>, Error> {
    for (table, condition) in plan.tables() {
        for part in &table.parts {
            if batch::has_rows(table, part, condition)? {
                return Ok(Some(table));
            }
        }
    }
    Ok(None)
}

/// Returns all tables and parts that a writer may have locked.
fn locked(plan: &Plan) -> Vec<pg_sys::Oid> {
    (plan.facts.tables.iter())
        .flat_map(|table| table.parts.iter().map(|part| part.oid).chain([table.oid]))
        .map(pg_sys::Oid::from_u32)
        .collect()
}

/// Returns what the certificate says beside the counts: tables that are not protected and have rows of the tenant, as far as the caller
/// can see that at little cost.
fn remarks(tenant: &TenantKey) -> Result<Value, Error> {
    let (mut found, mut unseen) = (Vec::new(), Vec::new());
    for other in facts::unprotected()? {
        let name = policy::relation_name(other.table)?;
        let key = Key::parse(&other.key_type).map(|key| key.kind);
        let Some(condition) = key.and_then(|key| tenant.condition(&other.column, key)) else {
            continue;
        };
        if !other.cheap {
            unseen.push(name);
            continue;
        }
        let query = format!("SELECT EXISTS (SELECT FROM {name} WHERE {condition})");
        if policy::as_table_owner_unfiltered(other.table, || is_true(&query))? {
            warning!("tenancy: {name} is not protected, and has rows of the tenant");
            found.push(name);
        }
    }
    Ok(json!({ "unprotected": found, "not_looked_at": unseen }))
}
