//! The procedure `tenancy.purge_tenant()`. Each batch is a transaction of its own. What is left is planned again at each call, so that
//! one that was interrupted is resumed by the next.

use pgrx::prelude::*;
use serde_json::{Value, json};
use tenancy_core::lifecycle::TenantKey;
use tenancy_core::policy::Key;
use tenancy_core::tree::Level;
use uuid::Uuid;

use super::plan::{Plan, is_true};
use super::progress::{self, Purge};
use super::run::{Call, PASSES_MAX, Run, lock_key, locked};
use super::{batch, facts, writers};
use crate::error::{Error, ErrorReport};
use crate::pg::extension;
use crate::pg::procedure::Procedure;
use crate::pg::uuid::from_pg;
use crate::{adoption, authority, policy, tree};

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
    let call = Call::new("purge_tenant()", reason, batch_rows, dry_run, lock_timeout)?;
    authorize(tenant)?;
    let lock_key = lock_key(tenant);
    let purges = extension::internal_table(c"tenant_purges")?;
    let _alone = adoption::alone_with(purges, lock_key, "purge_tenant() of this tenant")?;
    let begin = || Purge::begin(tenant, &call.reason, lock_key, call.dry_run);
    if call.dry_run {
        let purge = begin()?;
        call.maintain()?;
        policy::pinned(|| announce(&plan(&purge)?).map(drop))?;
        return Ok(());
    }
    Ok(all(&call.run(&procedure, begin)?)?)
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

/// The whole purge.
fn all(run: &Run<Purge>) -> Result<(), Error> {
    // The record of maintenance stays, whatever follows.
    run.transactions.commit();
    let mut plan = run.transaction("the protected tables", || {
        let plan = plan(&run.record)?;
        run.record.keep_tables(&announce(&plan)?)?;
        Ok(plan)
    })?;
    let mut idle = 0;
    for _ in 0..PASSES_MAX {
        idle = match run.pass(&plan)? {
            0 => idle + 1,
            _ => 0,
        };
        writers::wait(&locked(&plan.facts), &run.transactions)?;
        own_rows(run)?;
        let remarks = run.transaction("the unprotected tables", || remarks(&run.record.tenant))?;
        // Rows of a transaction that has just ended are none that stay.
        match finish(run, &plan, idle > 1, &remarks)? {
            None => return Ok(()),
            Some(again) => plan = again,
        }
    }
    finish(run, &plan, true, &json!({})).map(drop)
}

/// Deletes tenancy's own rows of the tenant, but for the tenant itself.
fn own_rows(run: &Run<Purge>) -> Result<(), Error> {
    while run.transaction("tenancy.scopes", || run.record.delete_own(run.batch))? {}
    Ok(())
}

/// Looks for the tenant in every protected table as they are now, and while no other can become one. If it is in none, deletes the
/// tenant and writes the certificate. Else returns what there is to do, or with `last` an error.
fn finish(
    run: &Run<Purge>,
    before: &Plan,
    last: bool,
    remarks: &Value,
) -> Result<Option<Plan>, Error> {
    run.transaction("the registry of protected tables", || {
        progress::lock_registry()?;
        let plan = plan(&run.record)?;
        match batch::occupied(plan.tables())? {
            None => run.record.finish(remarks.clone()).map(|()| None),
            Some(table) if last && before.facts.place(table.oid).is_some() => {
                Err(Error::PurgeRowsStay(table.relation.to_string()))
            }
            Some(_) => Plan::read(&run.record.tenant).map(Some),
        }
    })
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
