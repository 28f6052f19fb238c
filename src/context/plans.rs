//! The kind of context that cached plans were made for.
//!
//! A plan for one tenant has `tenant_id = tenancy.tenant_id(…)`, which fails for a fleet. A plan for a fleet
//! is correct for one tenant too, only slower. If cached plans cannot serve a new context, they are discarded
//! at once; if they could only be faster, after a number of contexts.

use std::hash::{DefaultHasher, Hash, Hasher};

use tenancy_core::tenants::Tenant;

use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::planner::partitions;
use crate::pg::session;

/// The kind of a context, as plans see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanShape {
    /// One tenant: an equality.
    Single,
    /// Any number of tenants: a hash look-up per row, or an array for the index. Also without a
    /// context.
    Fleet,
    /// Maintenance: all rows.
    Open,
}

impl PlanShape {
    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Both Single and Fleet.
const ANY_TENANTS: u8 = 1 << 7;

/// The forms that were planned since plans were last reset.
static PLANNED: BackendCell<u8> = BackendCell::new(0);

/// Notes that an expression is planned in this form.
pub fn planned(form: PlanShape) {
    PLANNED.set(PLANNED.get() | form.bit());
}

/// Notes that an expression is planned that is the same for one tenant and for several.
pub fn planned_for_any_tenants(form: PlanShape) {
    PLANNED.set(
        PLANNED.get()
            | if form == PlanShape::Open {
                form.bit()
            } else {
                ANY_TENANTS
            },
    );
}

/// How many contexts of one tenant in a row may use a fleet's plans, which are correct but slower, before the
/// plans are discarded. Otherwise principals of both kinds that alternate on a pooled connection would plan
/// every statement in every transaction.
const CHEAP_PLAN_RUNS_MAX: u8 = 8;

/// See [`may_widen`].
static MAY_WIDEN: BackendCell<Option<bool>> = BackendCell::new(None);

static IN_A_ROW: BackendCell<u8> = BackendCell::new(0);

/// The number of the tenant for whom plans leave out the partitions of others.
static PRUNED: BackendCell<Option<u32>> = BackendCell::new(None);

/// Returns a number of a tenant and of its keys, which such a plan contains.
fn number(tenant: &Tenant) -> u32 {
    let mut hasher = DefaultHasher::new();
    tenant.hash(&mut hasher);
    hasher.finish() as u32
}

/// Notes that a plan leaves out the partitions of other tenants, and returns the tenant's number.
pub fn pruned_for(tenant: &Tenant) -> u32 {
    let number = number(tenant);
    PRUNED.set(Some(number));
    number
}

/// Discards such plans.
pub fn discard_pruned() {
    if PRUNED.replace_with(None).is_some() {
        partitions::discard();
    }
}

/// Raises an error if such a plan, made for the tenant with this number, starts in the context of another.
pub fn require_pruned_for(pruned: u32, tenant: Option<&Tenant>) -> Result<(), Error> {
    if tenant.is_some_and(|tenant| number(tenant) == pruned) {
        return Ok(());
    }
    // Also a plan that was noted, and kept only after another context had begun.
    PRUNED.set(None);
    partitions::discard();
    Err(Error::PlannedForAnother)
}

/// Begins a context of this form; `tenant` is its only one, if known.
pub fn enter(form: PlanShape, tenant: Option<&Tenant>) {
    if PRUNED
        .get()
        .is_some_and(|pruned| tenant.map(number) != Some(pruned))
    {
        discard_pruned();
    }
    let planned = PLANNED.get();
    let fits = form.bit()
        | if form == PlanShape::Open {
            0
        } else {
            ANY_TENANTS
        };
    if planned & !fits == 0 {
        IN_A_ROW.set(0);
        return;
    }
    let only_slower = form == PlanShape::Single && planned & PlanShape::Open.bit() == 0;
    if only_slower && IN_A_ROW.get() < CHEAP_PLAN_RUNS_MAX {
        IN_A_ROW.set(IN_A_ROW.get() + 1);
        return;
    }
    reset();
}

/// Notes that plans are made for one tenant in a context that a wider one may replace without a call of
/// tenancy: at a savepoint's rollback, or also at the transaction's end.
pub fn may_widen(also_at_end: bool) {
    MAY_WIDEN.set(MAY_WIDEN.get().max(Some(also_at_end)));
}

/// Resets the state at the transaction's end.
pub fn end_transaction() {
    if MAY_WIDEN.get() == Some(true) {
        abort_savepoint();
    }
    MAY_WIDEN.set(None);
}

/// Handles the rollback of a savepoint, which may end a context.
pub fn abort_savepoint() {
    if MAY_WIDEN.get().is_some() {
        widen();
    }
}

/// Discards plans for one tenant if there may be some: the next context may be a wider one, which they cannot serve.
pub fn widen() {
    if PLANNED.get() & PlanShape::Single.bit() != 0 {
        reset();
    }
}

/// Discards all cached plans.
pub fn reset() {
    PLANNED.set(0);
    PRUNED.set(None);
    IN_A_ROW.set(0);
    session::reset_plans();
}
