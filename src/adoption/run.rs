//! The procedure `tenancy.adopt()`. Each step, and each batch of a long one, is a transaction of its own. What is left to do is
//! planned again each time, so that a call that was interrupted is resumed by the next one.

use std::thread::sleep;
use std::time::Duration;

use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::{Value, json};
use tenancy_core::adoption::{Choices, Phase, Step, TablePlan};

use super::plan::{self, Adopted};
use super::step;
use super::watch::{self, Action};
use crate::context;
use crate::error::{Error, ErrorReport};
use crate::pg::{bounded, procedure, savepoint, spi};
use crate::policy;

/// How long a step waits for a lock by default, how often it is tried, and how long it pauses in between.
const LOCK_TIMEOUT: &str = "2s";
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(250);

#[allow(clippy::too_many_arguments, reason = "those of the SQL procedure")]
#[pg_extern(sql = false)]
fn adoption_adopt(
    tenant_table: Option<pg_sys::Oid>,
    dry_run: Option<bool>,
    grants: Option<bounded::Texts>,
    schemas: Option<bounded::Texts>,
    tenant_column: Option<String>,
    tenant_key: Option<String>,
    null_rows: Option<String>,
    decisions: Option<bounded::Json>,
    partner: Option<pgrx::Uuid>,
    isolate: Option<bool>,
    build_indexes: Option<bool>,
    lock_timeout: Option<String>,
    watch: Option<String>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Result<(), ErrorReport> {
    let partner = partner.ok_or(Error::Null("partner"))?;
    let mut choices = json!({
        "grants": listed(grants).unwrap_or_default(),
        "partner": crate::pg::uuid::from_pg(partner).to_string(),
        "isolate": isolate.unwrap_or(true),
        "build_indexes": build_indexes.unwrap_or(false),
    });
    let optional = [
        ("tenant_column", tenant_column.map(Value::from)),
        ("tenant_key", tenant_key.map(Value::from)),
        ("null_rows", null_rows.map(Value::from)),
        ("decisions", decisions.map(|bounded::Json(value)| value)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            choices[name] = value;
        }
    }
    let tenant_table = tenant_table.ok_or(Error::Null("tenant_table"))?;
    let adopted = Adopted::new(tenant_table, listed(schemas), plan::choices(choices)?)?;
    let lock_timeout = lock_timeout.unwrap_or_else(|| LOCK_TIMEOUT.to_owned());
    let watch = match watch {
        Some(watch) => Action::parse(&watch)?,
        None => watch::action(&adopted)?,
    };
    watch::check(&adopted)?;
    if dry_run.unwrap_or(false) {
        let plans = planned(&adopted, &lock_timeout)?;
        notice!("{}", summary(&plans));
        return Ok(());
    }
    // SAFETY: the server's call info of this call.
    if !unsafe { procedure::may_commit(fcinfo) } {
        return Err(Error::AdoptInTransaction.into());
    }
    Ok(adopt(&adopted, &lock_timeout, watch)?)
}

/// Undoes an adoption: the procedure `tenancy.unadopt()`.
#[pg_extern(sql = false)]
fn adoption_unadopt(
    tenant_table: Option<pg_sys::Oid>,
    dry_run: Option<bool>,
    schemas: Option<bounded::Texts>,
    lock_timeout: Option<String>,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Result<(), ErrorReport> {
    let tenant_table = tenant_table.ok_or(Error::Null("tenant_table"))?;
    let adopted = Adopted::new(tenant_table, listed(schemas), Choices::default())?;
    let lock_timeout = lock_timeout.unwrap_or_else(|| LOCK_TIMEOUT.to_owned());
    watch::check(&adopted)?;
    let plans = policy::pinned(|| spi::uncompiled(|| plan::undo(&adopted)))?;
    keep(&plans)?;
    if dry_run.unwrap_or(false) {
        notice!("{}", summary(&plans));
        return Ok(());
    }
    // SAFETY: the server's call info of this call.
    if !unsafe { procedure::may_commit(fcinfo) } {
        return Err(Error::AdoptInTransaction.into());
    }
    procedure::commit();
    let steps: Vec<(&TablePlan, &Step)> = all_steps(&plans).collect();
    run_all(&adopted, &steps, &lock_timeout)?;
    Ok(watch::set(&adopted, None)?)
}

fn listed(texts: Option<bounded::Texts>) -> Option<Vec<String>> {
    texts.map(|bounded::Texts(texts)| texts.into_iter().flatten().collect())
}

fn all_steps(plans: &[TablePlan]) -> impl Iterator<Item = (&TablePlan, &Step)> {
    (plans.iter()).flat_map(|plan| plan.steps.iter().map(move |step| (plan, step)))
}

/// Runs steps one after the other.
fn run_all(
    adopted: &Adopted,
    steps: &[(&TablePlan, &Step)],
    lock_timeout: &str,
) -> Result<(), Error> {
    for (n, (plan, step)) in (1..).zip(steps) {
        notice!("tenancy: {n} of {}: {}", steps.len(), step.sql());
        run_to_end(adopted, plan, step, lock_timeout)?;
    }
    Ok(())
}

fn adopt(adopted: &Adopted, lock_timeout: &str, watch: Option<Action>) -> Result<(), Error> {
    for phase in [Phase::Prepare, Phase::Isolate] {
        if phase == Phase::Isolate && !adopted.choices.isolate {
            return Ok(());
        }
        let plans = planned(adopted, lock_timeout)?;
        // The plan stays, whatever blocks it.
        procedure::commit();
        check(&plans, phase)?;
        // A table that is new since the first phase is prepared in the second.
        let mut steps: Vec<(&TablePlan, &Step)> = all_steps(&plans)
            .filter(|(_, step)| step.phase <= phase)
            .collect();
        steps.sort_by_key(|(_, step)| step.phase);
        run_all(adopted, &steps, lock_timeout)?;
    }
    watch::set(adopted, watch)
}

/// Plans, and keeps the plan for the view `adoption`.
fn planned(adopted: &Adopted, lock_timeout: &str) -> Result<Vec<TablePlan>, Error> {
    wait_at_most(lock_timeout)?;
    enter(adopted)?;
    let plans = policy::pinned(|| spi::uncompiled(|| plan::plan(adopted)))?;
    keep(&plans)?;
    Ok(plans)
}

/// Gives this transaction all rows if tables of the schemas are protected by now: they show theirs to nobody else.
fn enter(adopted: &Adopted) -> Result<(), Error> {
    if adopted.began {
        context::maintain("adopt()")?;
    }
    Ok(())
}

fn check(plans: &[TablePlan], phase: Phase) -> Result<(), Error> {
    let reasons: Vec<String> = (plans.iter())
        .flat_map(|plan| plan.blocked.iter().map(move |blocker| (plan, blocker)))
        .filter(|(_, blocker)| blocker.phase <= phase)
        .map(|(plan, blocker)| format!("{}: {}.", plan.relation, blocker.text))
        .collect();
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(Error::AdoptionBlocked(reasons.join("\n"))),
    }
}

/// Runs a step, batch by batch.
fn run_to_end(
    adopted: &Adopted,
    plan: &TablePlan,
    step: &Step,
    lock_timeout: &str,
) -> Result<(), Error> {
    let mut next = Some(step::Position::Start);
    while let Some(position) = next {
        next = run_batch(adopted, plan, step, position, lock_timeout)?;
        if next.is_none() {
            note(plan)?;
        }
        procedure::commit();
    }
    Ok(())
}

fn run_batch(
    adopted: &Adopted,
    plan: &TablePlan,
    step: &Step,
    position: step::Position,
    lock_timeout: &str,
) -> Result<Option<step::Position>, Error> {
    let mut tries = 0;
    loop {
        let done = savepoint::within_locks(|| {
            wait_at_most(lock_timeout)?;
            enter(adopted)?;
            watch::paused(|| policy::pinned(|| step::run(plan, step, &adopted.choices, position)))
        });
        match done {
            Some(done) => return done,
            None if tries == TRIES => return Err(Error::AdoptWaits(plan.relation.to_string())),
            None => tries += 1,
        }
        // Whoever waits behind this session goes first.
        procedure::commit();
        sleep(PAUSE);
        pgrx::check_for_interrupts!();
    }
}

/// Sets lock_timeout for this transaction.
fn wait_at_most(lock_timeout: &str) -> Result<(), Error> {
    spi::read_as_caller(
        "SELECT pg_catalog.set_config('lock_timeout', $1, true)",
        &[lock_timeout.to_owned().into()],
        |_| Ok(()),
    )
}

fn keep(plans: &[TablePlan]) -> Result<(), Error> {
    let plans: Vec<Value> = (plans.iter())
        .map(|plan| {
            let statements: Vec<String> = plan.steps.iter().map(Step::sql).collect();
            let blocked: Vec<&str> = plan.blocked.iter().map(|b| b.text.as_str()).collect();
            json!({
                "table_name": plan.relation.to_string(),
                "kind": plan.kind.as_str(),
                "reason": plan.reason,
                "tenant_column": plan.tenant_column,
                "statements": statements,
                "blocked": blocked,
            })
        })
        .collect();
    spi::write(
        "SELECT tenancy_internal.keep_adoption_plan($1)",
        &[JsonB(Value::Array(plans)).into()],
    )?;
    Ok(())
}

fn note(plan: &TablePlan) -> Result<(), Error> {
    spi::write(
        "UPDATE tenancy_internal.adopted_tables SET done = done + 1, updated_at = pg_catalog.clock_timestamp() WHERE table_name = $1",
        &[plan.relation.to_string().into()],
    )?;
    Ok(())
}

fn summary(plans: &[TablePlan]) -> String {
    let blocked = plans.iter().filter(|plan| !plan.blocked.is_empty()).count();
    let steps: usize = plans.iter().map(|plan| plan.steps.len()).sum();
    format!(
        "tenancy: {} tables, {steps} steps, {blocked} tables blocked: SELECT * FROM tenancy.adoption ORDER BY place",
        plans.len()
    )
}
