//! Support functions of `can`, `can_see` and `can_write` for the planner.
//!
//! For one tenant, `can('data:read', tenant_id)` becomes `tenant_id = tenancy.tenant_id('data:read')`:
//! a plain equality with a function, which each execution evaluates again, and never a constant. So the
//! plan is correct for every tenant. For several tenants the call stays, and an index may use
//! `tenant_id = ANY (tenancy.tenant_ids('data:read'))`.

use std::ffi::CStr;

use super::predicates::{holds_int, holds_text, holds_uuid, only_text, tenants, visible};
use crate::context::current;
use crate::context::plans::{self, PlanShape};
use crate::error::Error;
use crate::pg::fmgr::View;
use crate::pg::keys::KeyType;
use crate::pg::planner::partitions::OnlyTenant;
use crate::pg::support::{Key, Opinion, Request, Simplify, Wanted};
use crate::pg::tenant_sets;
use crate::support_functions;

support_functions! {
    tenancy_can_support => can;
    tenancy_can_see_support => can_see;
    tenancy_can_see_null_support => can_see_null;
    tenancy_can_write_null_support => can_write_null;
    tenancy_can_write_support => can_write;
    tenancy_owns_support => owns;
}

fn can(request: &Request) -> Option<Opinion> {
    let form = form();
    match request {
        Request::Simplify(call) => one(call, form),
        other => many(other, form, tenants, |key| match key {
            KeyType::Uuid => c"tenant_ids",
            KeyType::Int8 => c"tenant_keys_bigint",
            KeyType::Int4 => c"tenant_keys_integer",
            KeyType::Text => c"tenant_keys_text",
            KeyType::Numeric => c"tenant_keys_numeric",
        }),
    }
}

/// For one tenant, does what `can` does. For several, the call stays and raises an error at the first row.
fn can_write(request: &Request) -> Option<Opinion> {
    match request {
        Request::Simplify(call) => one(call, form()),
        Request::Selectivity(estimate) => estimate.all(),
        Request::Array(_) => None,
    }
}

fn one(call: &Simplify, form: PlanShape) -> Option<Opinion> {
    plans::planned(form);
    if form != PlanShape::Single {
        return None;
    }
    call.equals_only_tenant()
}

fn can_see(request: &Request) -> Option<Opinion> {
    let form = form();
    match request {
        Request::Simplify(_) => {
            // The same plan serves one tenant and a fleet; only maintenance differs.
            plans::planned_for_any_tenants(form);
            None
        }
        other => many(other, form, visible, |key| match key {
            KeyType::Uuid => c"visible_ids",
            KeyType::Int8 => c"visible_keys_bigint",
            KeyType::Int4 => c"visible_keys_integer",
            KeyType::Text => c"visible_keys_text",
            KeyType::Numeric => c"visible_keys_numeric",
        }),
    }
}

/// For one tenant, `tenant_id = tenancy.tenant_id('data:read') OR tenant_id IS NULL AND …`, both of which an index finds. For
/// several, the call stays.
fn can_see_null(request: &Request) -> Option<Opinion> {
    let form = form();
    match request {
        Request::Simplify(call) => {
            plans::planned(form);
            (form == PlanShape::Single)
                .then(|| call.equals_only_tenant_or_null())
                .flatten()
        }
        Request::Selectivity(_) => many(request, form, tenants, |_| c""),
        Request::Array(_) => None,
    }
}

/// The call stays: it is evaluated for the few rows that are written.
fn can_write_null(request: &Request) -> Option<Opinion> {
    match request {
        Request::Simplify(_) => {
            plans::planned_for_any_tenants(form());
            None
        }
        Request::Selectivity(estimate) => estimate.all(),
        Request::Array(_) => None,
    }
}

fn owns(request: &Request) -> Option<Opinion> {
    let Request::Simplify(call) = request else {
        return None;
    };
    let form = form();
    plans::planned_for_any_tenants(form);
    // In maintenance the call returns true for every row; an equality would not.
    (form != PlanShape::Open)
        .then(|| call.equals_own())
        .flatten()
}

/// Returns the index condition and the estimate for the tenants that a permission reaches.
fn many(
    request: &Request,
    form: PlanShape,
    view: fn(&[u8]) -> Result<View, Error>,
    array: fn(KeyType) -> &'static CStr,
) -> Option<Opinion> {
    // Without a valid context it plans as for one tenant: the execution raises the error.
    // An elevated context is not resolved while planning, which would record the statement.
    let view = request
        .permission()
        .filter(|_| !is_elevated())
        .and_then(|permission| view(permission).ok())
        .unwrap_or(View::Nothing);
    let has = |key: Key<'_>| match key {
        Key::Uuid(id) => holds_uuid(view, id),
        Key::Int(int) => holds_int(view, int),
        Key::Text(text) => holds_text(view, || text),
    };
    let count = match view {
        View::Set(set) => tenant_sets::count(set),
        _ => 1,
    };
    let wanted = Wanted { count, has: &has };
    match (request, form) {
        (Request::Simplify(_), _) | (Request::Array(_), PlanShape::Open) => None,
        // The planner may call the function to estimate it, in a statement that has not started.
        (Request::Array(_), _) if is_elevated() => None,
        (Request::Selectivity(estimate), PlanShape::Open) => estimate.all(),
        (Request::Selectivity(estimate), _) => estimate.of_tenants(&wanted),
        (Request::Array(condition), _) => condition.equals_any(array(condition.key_type()?)),
    }
}

/// Returns the only tenant in which a permission is held, for partitions to be left out. The plan is then discarded for another
/// tenant.
pub fn only_tenant(permission: &[u8]) -> Option<OnlyTenant> {
    let context = current().ok()??;
    // As for estimates: an elevated context is not resolved while planning.
    if context.plan_shape() != PlanShape::Single || context.elevation().is_some() {
        return None;
    }
    let View::One { id, int, set } = tenants(permission).ok()? else {
        return None;
    };
    Some(OnlyTenant {
        number: plans::pruned_for(context.only_tenant()?),
        id,
        int,
        text: only_text(set),
    })
}

fn is_elevated() -> bool {
    matches!(current(), Ok(Some(context)) if context.elevation().is_some())
}

/// Returns the form to plan in. A context that is no longer valid is planned like none: the execution raises
/// the error.
fn form() -> PlanShape {
    match current() {
        Ok(Some(context)) => context.plan_shape(),
        Ok(None) | Err(_) => PlanShape::Fleet,
    }
}
