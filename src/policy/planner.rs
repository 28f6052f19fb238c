//! What the planner is told about `can` and `can_see`.
//!
//! For one tenant, `can('data:read', tenant_id)` becomes `tenant_id = tenancy.tenant_id('data:read')`:
//! a plain equality, with a function that each execution asks anew and never a constant, so the plan
//! is right for every tenant. For several, the call stays and an index may use
//! `tenant_id = ANY (tenancy.tenant_ids('data:read'))`.

use std::ffi::CStr;

use crate::context::current;
use crate::context::plans::{self, Form};
use crate::pg::published::{self, Which};
use crate::pg::support::{Key, KeyType, Opinion, Request, Wanted};
use crate::support_functions;

support_functions! {
    tenancy_can_support, pg_finfo_tenancy_can_support => can;
    tenancy_can_see_support, pg_finfo_tenancy_can_see_support => can_see;
    tenancy_owns_support, pg_finfo_tenancy_owns_support => owns;
}

/// From this part of a table on, reading all of it beats fetching by index.
const WORTH_AN_INDEX: f64 = 0.2;

fn can(request: &Request) -> Option<Opinion> {
    let form = form();
    match request {
        Request::Simplify(call) => {
            plans::planned(form);
            if form != Form::Single {
                return None;
            }
            call.equals(match call.key_type()? {
                KeyType::Uuid => c"tenant_id",
                KeyType::Int8 => c"tenant_key_bigint",
                KeyType::Int4 => c"tenant_key_integer",
                KeyType::Text => c"tenant_key_text",
            })
        }
        other => many(other, form, Which::Tenants, |key| match key {
            KeyType::Uuid => c"tenant_ids",
            KeyType::Int8 => c"tenant_keys_bigint",
            KeyType::Int4 => c"tenant_keys_integer",
            KeyType::Text => c"tenant_keys_text",
        }),
    }
}

fn can_see(request: &Request) -> Option<Opinion> {
    let form = form();
    match request {
        Request::Simplify(_) => {
            // The same plan serves one tenant and a fleet; only maintenance differs.
            plans::planned_for_any_tenants(form);
            None
        }
        other => many(other, form, Which::Visible, |key| match key {
            KeyType::Uuid => c"visible_ids",
            KeyType::Int8 => c"visible_keys_bigint",
            KeyType::Int4 => c"visible_keys_integer",
            KeyType::Text => c"visible_keys_text",
        }),
    }
}

fn owns(request: &Request) -> Option<Opinion> {
    let Request::Simplify(call) = request else {
        return None;
    };
    let form = form();
    plans::planned_for_any_tenants(form);
    // In maintenance every row is the caller's: the call says so, an equality would not.
    (form != Form::Open)
        .then(|| call.equals_own(c"user_id"))
        .flatten()
}

/// Index condition and estimate for a published set.
fn many(
    request: &Request,
    form: Form,
    which: Which,
    array: fn(KeyType) -> &'static CStr,
) -> Option<Opinion> {
    // Without a context: as for one tenant.
    let count = published::count(which).max(1);
    let has = |key: Key<'_>| {
        published::with(which, |set| match key {
            Key::Uuid(id) => set.contains_id(id),
            Key::Int(int) => set.contains_int(int),
            Key::Text(text) => set.contains_text(text),
        })
    };
    let wanted = Wanted { count, has: &has };
    match (request, form) {
        (Request::Simplify(_), _) | (Request::Index(_), Form::Open) => None,
        (Request::Selectivity(estimate), Form::Open) => estimate.all(),
        (Request::Selectivity(estimate), _) => estimate.of_tenants(&wanted),
        (Request::Index(index), _) => {
            if index.fraction(&wanted) > WORTH_AN_INDEX {
                return None;
            }
            index.equals_any(array(index.key_type()?))
        }
    }
}

/// The form to plan in. A context that no longer holds plans like none: the error is the
/// execution's to raise.
fn form() -> Form {
    match current() {
        Ok(Some(now)) => now.form(),
        Ok(None) | Err(_) => Form::Fleet,
    }
}
