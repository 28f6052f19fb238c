//! Which kind of context cached plans were made for.
//!
//! A plan made for one tenant says `tenant_id = tenancy.tenant_id(…)`, which a fleet cannot answer;
//! a plan made for a fleet is right for one tenant too, but slow. So when a context of another kind
//! than the plans' begins, cached plans are made anew.

use crate::pg::cell::BackendCell;
use crate::pg::session;

/// The kind of a context, as plans see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One tenant: an equality.
    Single,
    /// Any number of tenants: a hash look-up per row, or an array for the index. Also without a
    /// context.
    Fleet,
    /// Maintenance: all rows.
    Open,
}

impl Form {
    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Stands for Single and Fleet alike.
const ANY_TENANTS: u8 = 1 << 7;

/// The forms in which expressions were planned since plans were last reset.
static PLANNED: BackendCell<u8> = BackendCell::new(0);

/// An expression is being planned in this form.
pub fn planned(form: Form) {
    PLANNED.set(PLANNED.get() | form.bit());
}

/// An expression is being planned that is the same for one tenant and for several.
pub fn planned_for_any_tenants(form: Form) {
    PLANNED.set(
        PLANNED.get()
            | if form == Form::Open {
                form.bit()
            } else {
                ANY_TENANTS
            },
    );
}

/// A context of this form begins.
pub fn enter(form: Form) {
    let fits = form.bit() | if form == Form::Open { 0 } else { ANY_TENANTS };
    if PLANNED.get() & !fits != 0 {
        reset();
    }
}

/// Has all cached plans made anew.
pub fn reset() {
    PLANNED.set(0);
    session::reset_plans();
}
