//! The procedure `tenancy.adopt()`. Each step, and each batch of a long one, is a transaction of its own. What is left to do is
//! planned again each time, so that a call that was interrupted is resumed by the next one.

use std::collections::HashSet;

use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::{Value, json};
use tenancy_core::adoption::{Choices, Phase, Step, StepKind, TablePlan};

use super::alone;
use super::plan::{self, Adopted};
use super::retry::{LOCK_TIMEOUT, Patient, wait_at_most};
use super::step;
use super::watch::{self, Action};
use crate::context;
use crate::error::{Error, ErrorReport};
use crate::pg::procedure::Procedure;
use crate::pg::{bounded, spi};
use crate::policy;

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
    lock_timeout: Option<String>,
    watch: Option<String>,
    named_keys: Option<bool>,
    procedure: Procedure,
) -> Result<(), ErrorReport> {
    let tenant_table = tenant_table.ok_or(Error::Null("tenant_table"))?;
    let _alone = alone::with_adoption(tenant_table)?;
    let partner = partner.map(|partner| crate::pg::uuid::from_pg(partner).to_string());
    let given = [
        ("grants", listed(grants).map(Value::from)),
        ("partner", partner.map(Value::from)),
        ("named_keys", named_keys.map(Value::from)),
        ("tenant_column", tenant_column.map(Value::from)),
        ("tenant_key", tenant_key.map(Value::from)),
        ("null_rows", null_rows.map(Value::from)),
        ("decisions", decisions.map(|bounded::Json(value)| value)),
        ("isolate", Some(isolate.unwrap_or(true).into())),
    ];
    let before = watch::before(tenant_table)?;
    let choices = kept(before.as_ref().map(|(_, choices)| choices), given)?;
    let schemas = listed(schemas).or(before.map(|(schemas, _)| schemas));
    let adopted = Adopted::new(tenant_table, schemas, choices)?;
    let lock_timeout = lock_timeout.unwrap_or_else(|| LOCK_TIMEOUT.to_owned());
    let watch = match watch {
        Some(watch) => Action::parse(&watch)?,
        None => watch::action(&adopted)?,
    };
    watch::check(&adopted)?;
    for name in plan::check_decisions(&adopted)? {
        notice!(
            "tenancy: decisions name {name}, which does not exist: the decision is kept for when it does"
        );
    }
    if dry_run.unwrap_or(false) {
        let plans = planned(&adopted, &lock_timeout)?;
        notice!("{}", summary(&plans));
        return Ok(());
    }
    Ok(Run::new(adopted, lock_timeout, &procedure)?.adopt(watch)?)
}

/// Returns the choices of a call: what it gives, and the rest as it was before. Tells what changes.
fn kept(
    before: Option<&Choices>,
    given: [(&'static str, Option<Value>); 8],
) -> Result<Choices, Error> {
    let mut choices = match before {
        Some(before) => watch::written(before)?,
        None => json!({ "partner": FIRST_PARTNER }),
    };
    for (name, value) in given {
        if let Some(value) = value {
            choices[name] = value;
        }
    }
    let choices = plan::choices(choices)?;
    if let Some(before) = before {
        let changed = choices.changed(before);
        if !changed.is_empty() {
            notice!(
                "tenancy: other arguments than in the last call: {}",
                changed.join(", ")
            );
        }
    }
    Ok(choices)
}

/// The partner that a plain installation has.
const FIRST_PARTNER: &str = "00000000-0000-7000-8000-000000000001";

/// Undoes an adoption: the procedure `tenancy.unadopt()`.
#[pg_extern(sql = false)]
fn adoption_unadopt(
    tenant_table: Option<pg_sys::Oid>,
    dry_run: Option<bool>,
    schemas: Option<bounded::Texts>,
    lock_timeout: Option<String>,
    procedure: Procedure,
) -> Result<(), ErrorReport> {
    let tenant_table = tenant_table.ok_or(Error::Null("tenant_table"))?;
    let _alone = alone::with_adoption(tenant_table)?;
    let before = watch::before(tenant_table)?.map(|(schemas, _)| schemas);
    let adopted = Adopted::new(tenant_table, listed(schemas).or(before), Choices::default())?;
    let lock_timeout = lock_timeout.unwrap_or_else(|| LOCK_TIMEOUT.to_owned());
    watch::check(&adopted)?;
    let plans = policy::pinned(|| spi::uncompiled(|| plan::undo(&adopted)))?;
    keep(&adopted, &plans)?;
    if dry_run.unwrap_or(false) {
        notice!("{}", summary(&plans));
        return Ok(());
    }
    Ok(Run::new(adopted, lock_timeout, &procedure)?.undo(&plans)?)
}

pub fn listed(texts: Option<bounded::Texts>) -> Option<Vec<String>> {
    texts.map(|bounded::Texts(texts)| texts.into_iter().flatten().collect())
}

fn all_steps(plans: &[TablePlan]) -> impl Iterator<Item = (&TablePlan, &Step)> {
    (plans.iter()).flat_map(|plan| plan.steps.iter().map(move |step| (plan, step)))
}

/// Returns whether a step fills a column before others compare it.
fn is_first_fill(step: &Step) -> bool {
    matches!(step.kind, StepKind::Fill(_)) && step.phase == Phase::Prepare
}

/// Runs plans, a transaction for each step.
struct Run {
    adopted: Adopted,
    lock_timeout: String,
    transactions: Patient,
}

impl Run {
    fn new(adopted: Adopted, lock_timeout: String, procedure: &Procedure) -> Result<Self, Error> {
        Ok(Self {
            adopted,
            transactions: Patient::new(lock_timeout.clone(), procedure)?,
            lock_timeout,
        })
    }

    fn adopt(&self, watch: Action) -> Result<(), Error> {
        let (mut open, mut filled) = (Vec::new(), HashSet::new());
        for phase in [Phase::Prepare, Phase::Isolate] {
            if phase == Phase::Isolate && !self.adopted.choices.isolate {
                return Ok(());
            }
            let plans = planned(&self.adopted, &self.lock_timeout)?;
            // The plan stays, whatever blocks it.
            self.transactions.commit();
            check(&plans, phase)?;
            // A table that is new since the first phase is prepared in the second.
            let mut steps: Vec<(&TablePlan, &Step)> = all_steps(&plans)
                .filter(|(_, step)| step.phase <= phase)
                .collect();
            steps.sort_by_key(|(_, step)| step.phase);
            let (again, steps): (Vec<_>, Vec<_>) = (steps.into_iter())
                .partition(|(plan, step)| is_first_fill(step) && filled.contains(&plan.relation));
            for (plan, _) in again {
                note(&self.adopted, plan)?;
            }
            self.all(&steps)?;
            let done = steps.iter().filter(|(_, step)| is_first_fill(step));
            filled.extend(done.map(|(plan, _)| plan.relation.clone()));
            open = (plans.iter().filter(|plan| plan.stays_open))
                .map(|plan| plan.relation.to_string())
                .collect();
        }
        watch::set(&self.adopted, Some(watch))?;
        watch::warn_of_open(&self.adopted, open)
    }

    fn undo(&self, plans: &[TablePlan]) -> Result<(), Error> {
        self.transactions.commit();
        // Before anything is undone.
        if let Some(reasons) = reasons(plans, Phase::Isolate) {
            return Err(Error::UnadoptionBlocked(reasons));
        }
        self.all(&all_steps(plans).collect::<Vec<_>>())?;
        watch::set(&self.adopted, None)
    }

    /// Runs steps one after the other.
    fn all(&self, steps: &[(&TablePlan, &Step)]) -> Result<(), Error> {
        for (n, (plan, step)) in (1..).zip(steps) {
            notice!("tenancy: {n} of {}: {}", steps.len(), step.sql());
            self.to_end(plan, step)?;
        }
        Ok(())
    }

    /// Runs a step, batch by batch.
    fn to_end(&self, plan: &TablePlan, step: &Step) -> Result<(), Error> {
        if let StepKind::Index(index) = &step.kind {
            let table = plan.relation.to_string();
            self.transactions.build_index(&step.sql(), index, &table)?;
            note(&self.adopted, plan)?;
            self.transactions.commit();
            return Ok(());
        }
        let mut next = Some(step::Position::Start);
        while let Some(position) = next {
            next = self.batch(plan, step, position)?;
            if next.is_none() {
                note(&self.adopted, plan)?;
            }
            self.transactions.commit();
        }
        Ok(())
    }

    fn batch(
        &self,
        plan: &TablePlan,
        step: &Step,
        position: step::Position,
    ) -> Result<Option<step::Position>, Error> {
        let choices = &self.adopted.choices;
        self.transactions.run(&plan.relation.to_string(), || {
            enter(&self.adopted)?;
            watch::paused(|| policy::pinned(|| step::run(plan, step, choices, position)))
        })
    }
}

/// Plans, and keeps the plan for the view `adoption`.
fn planned(adopted: &Adopted, lock_timeout: &str) -> Result<Vec<TablePlan>, Error> {
    wait_at_most(lock_timeout)?;
    enter(adopted)?;
    let plans = policy::pinned(|| spi::uncompiled(|| plan::plan(adopted)))?;
    keep(adopted, &plans)?;
    Ok(plans)
}

/// Gives this transaction all rows if tables of the schemas are protected by now: in no other context do they show theirs.
fn enter(adopted: &Adopted) -> Result<(), Error> {
    // Another step of the same call may have isolated the first.
    if adopted.began || policy::protects_in(&adopted.schemas)? {
        context::maintain("adopt()")?;
    }
    Ok(())
}

fn check(plans: &[TablePlan], phase: Phase) -> Result<(), Error> {
    reasons(plans, phase).map_or(Ok(()), |reasons| Err(Error::AdoptionBlocked(reasons)))
}

/// Returns what blocks plans in a phase, a line for each reason.
fn reasons(plans: &[TablePlan], phase: Phase) -> Option<String> {
    let reasons: Vec<String> = (plans.iter())
        .flat_map(|plan| plan.blocked.iter().map(move |blocker| (plan, blocker)))
        .filter(|(_, blocker)| blocker.phase <= phase)
        .map(|(plan, blocker)| format!("{}: {}.", plan.relation, blocker.text))
        .collect();
    (!reasons.is_empty()).then(|| reasons.join("\n"))
}

fn keep(adopted: &Adopted, plans: &[TablePlan]) -> Result<(), Error> {
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
        "SELECT tenancy_internal.keep_adoption_plan($1, $2)",
        &[
            policy::relation_name(adopted.tenant_table)?.into(),
            JsonB(Value::Array(plans)).into(),
        ],
    )?;
    Ok(())
}

fn note(adopted: &Adopted, plan: &TablePlan) -> Result<(), Error> {
    spi::write(
        "UPDATE tenancy_internal.adopted_tables SET done = done + 1, updated_at = pg_catalog.clock_timestamp() \
         WHERE tenant_table = $1 AND table_name = $2",
        &[
            policy::relation_name(adopted.tenant_table)?.into(),
            plan.relation.to_string().into(),
        ],
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
