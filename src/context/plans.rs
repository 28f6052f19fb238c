//! Which kind of context cached plans were made for.
//!
//! A plan made for one tenant says `tenant_id = tenancy.tenant_id(…)`, which a fleet cannot answer;
//! a plan made for a fleet is right for one tenant too, only slower. So when a context begins that
//! cached plans cannot serve, they are made anew at once; when they could be faster, after a while.

use crate::pg::cell::BackendCell;
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

/// Stands for Single and Fleet alike.
const ANY_TENANTS: u8 = 1 << 7;

/// The forms in which expressions were planned since plans were last reset.
static PLANNED: BackendCell<u8> = BackendCell::new(0);

/// An expression is being planned in this form.
pub fn planned(form: PlanShape) {
    PLANNED.set(PLANNED.get() | form.bit());
}

/// An expression is being planned that is the same for one tenant and for several.
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

/// How many contexts of one tenant in a row may run on a fleet's plans, which are right for them and
/// only slower, before these are made anew: principals of both kinds that take turns on a pooled
/// connection would otherwise have every statement planned in every transaction.
const CHEAP_PLAN_RUNS_MAX: u8 = 8;

/// See [`may_widen`].
static MAY_WIDEN: BackendCell<Option<bool>> = BackendCell::new(None);

static IN_A_ROW: BackendCell<u8> = BackendCell::new(0);

/// A context of this form begins.
pub fn enter(form: PlanShape) {
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

/// Plans are being made for one tenant in a context that may give way to a wider one without
/// anything of tenancy being called: at a savepoint's rollback, or also at the transaction's end.
pub fn may_widen(also_at_end: bool) {
    MAY_WIDEN.set(MAY_WIDEN.get().max(Some(also_at_end)));
}

/// The transaction is over.
pub fn end_transaction() {
    if MAY_WIDEN.get() == Some(true) {
        abort_savepoint();
    }
    MAY_WIDEN.set(None);
}

/// A savepoint is undone, and maybe with it a context.
pub fn abort_savepoint() {
    if MAY_WIDEN.get().is_some() && PLANNED.get() & PlanShape::Single.bit() != 0 {
        // What comes may be a fleet, which a plan for one tenant cannot serve.
        reset();
    }
}

/// Has all cached plans made anew.
pub fn reset() {
    PLANNED.set(0);
    IN_A_ROW.set(0);
    session::reset_plans();
}
