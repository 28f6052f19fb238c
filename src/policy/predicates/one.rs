//! The only tenant, for the equality in plans for one tenant: `tenant_id(permission)`, or a parameter.

use tenancy_core::policy::is_whole;
use tenancy_core::principal::Principal;

use super::Outcome;
use super::view::{context_or_missing, tenants_or_nothing};
use crate::c_functions;
use crate::context;
use crate::error::Error;
use crate::pg::fmgr::{Answer, Call, Value, View};
use crate::pg::keys::KeyValue;
use crate::pg::planner::parameters::Wanted;
use crate::pg::tenant_sets::{self, Slot};

c_functions! {
    tenancy_tenant_id => tenant_id;
    tenancy_tenant_key_int8 => tenant_key_int8;
    tenancy_tenant_key_int4 => tenant_key_int4;
    tenancy_tenant_key_text => tenant_key_text;
    tenancy_tenant_key_numeric => tenant_key_numeric;
}

/// Returns the same, or the user, for a parameter of an execution.
pub fn parameter(wanted: Wanted, permission: &[u8]) -> Result<Option<KeyValue>, Error> {
    let Wanted::Tenant(key) = wanted else {
        return own_user();
    };
    let (id, int, set) = match tenants_or_nothing(permission)? {
        View::One { id, int, set } => (id, int, set),
        view => {
            not_one(view)?;
            return Ok(None);
        }
    };
    Ok(key.value(id, int, || only_text(set)))
}

fn own_user() -> Result<Option<KeyValue>, Error> {
    let principal = context_or_missing()?.map(|context| context.principal);
    Ok(match principal {
        Some(Principal::User(user)) => Some(KeyValue::Uuid(user.into_bytes())),
        Some(Principal::Maintenance) | None => None,
    })
}

/// Returns the external id of a set's only tenant.
pub fn only_text(set: Slot) -> Option<String> {
    tenant_sets::read(set, |set| set.texts().first().cloned()).flatten()
}

#[inline]
fn tenant_id(call: &Call) -> Outcome {
    match call.view(tenants_or_nothing)? {
        View::One { id, .. } => Ok(call.keep(|| Value::Uuid(id))),
        view => not_one(view),
    }
}

#[inline]
fn tenant_key_int8(call: &Call) -> Outcome {
    match call.view(tenants_or_nothing)? {
        View::One { int, .. } => Ok(int.map_or(Answer::Null, Answer::Int8)),
        view => not_one(view),
    }
}

#[inline]
fn tenant_key_int4(call: &Call) -> Outcome {
    match call.view(tenants_or_nothing)? {
        View::One { int, .. } => Ok(int
            .and_then(|key| i32::try_from(key).ok())
            .map_or(Answer::Null, Answer::Int4)),
        view => not_one(view),
    }
}

#[inline]
fn tenant_key_text(call: &Call) -> Outcome {
    match call.view(tenants_or_nothing)? {
        View::One { set, .. } if tenant_sets::with(set, |set| !set.texts().is_empty()) => {
            Ok(call.keep(|| Value::Text(only_text(set).unwrap_or_default())))
        }
        View::One { .. } => Ok(Answer::Null),
        view => not_one(view),
    }
}

fn tenant_key_numeric(call: &Call) -> Outcome {
    match call.view(tenants_or_nothing)? {
        View::One { set, .. } => Ok(match only_text(set).filter(|key| is_whole(key)) {
            Some(key) => call.keep(|| Value::Numeric(key)),
            None => Answer::Null,
        }),
        view => not_one(view),
    }
}

/// Raises an error for several tenants where the plan, or the caller, needs one, so that no rows are silently
/// left out. Discards the plan, so that the next execution plans correctly.
#[cold]
fn not_one(view: View) -> Outcome {
    let error = match view {
        View::Everything => Error::AllTenants,
        View::Set(set) => Error::NotOneTenant(tenant_sets::count(set).to_string()),
        View::Nothing | View::One { .. } | View::Projects { .. } => return Ok(Answer::Null),
    };
    context::plans::reset();
    Err(error)
}
