//! May this row be touched? `can` and `can_see`.

use tenancy_core::tenants::TenantSet;

use super::view::{tenants, visible};
use super::{Outcome, yes};
use crate::c_functions;
use crate::error::Error;
use crate::pg::fmgr::{Answer, Call, View};
use crate::pg::published::{self, Which};

c_functions! {
    tenancy_can_uuid, pg_finfo_tenancy_can_uuid => can_uuid, quick quick_uuid;
    tenancy_can_int8, pg_finfo_tenancy_can_int8 => can_int8, quick quick_int8;
    tenancy_can_int4, pg_finfo_tenancy_can_int4 => can_int4, quick quick_int4;
    tenancy_can_text, pg_finfo_tenancy_can_text => can_text;
    tenancy_can_see_uuid, pg_finfo_tenancy_can_see_uuid => can_see_uuid, quick quick_uuid;
    tenancy_can_see_int8, pg_finfo_tenancy_can_see_int8 => can_see_int8, quick quick_int8;
    tenancy_can_see_int4, pg_finfo_tenancy_can_see_int4 => can_see_int4, quick quick_int4;
    tenancy_can_see_text, pg_finfo_tenancy_can_see_text => can_see_text;
}

#[inline]
fn can_uuid(call: &Call) -> Outcome {
    if call.is_null(0) || call.is_null(1) {
        return no_tenant(call, tenants);
    }
    let key = call.uuid(1);
    yes(match call.view(tenants)? {
        View::One { id, .. } => *key == id,
        view => among(view, |set| set.contains_id(key)),
    })
}

#[inline]
fn can_int8(call: &Call) -> Outcome {
    if call.is_null(0) || call.is_null(1) {
        return no_tenant(call, tenants);
    }
    yes(holds_int(call.view(tenants)?, call.int8(1)))
}

#[inline]
fn can_int4(call: &Call) -> Outcome {
    if call.is_null(0) || call.is_null(1) {
        return no_tenant(call, tenants);
    }
    yes(holds_int(call.view(tenants)?, call.int4(1).into()))
}

#[inline]
fn can_text(call: &Call) -> Outcome {
    if call.is_null(0) || call.is_null(1) {
        return no_tenant(call, tenants);
    }
    let view = call.view(tenants)?;
    yes(among(one_as_set(view), |set| {
        set.contains_text(call.text(1))
    }))
}

#[inline]
fn can_see_uuid(call: &Call) -> Outcome {
    if call.is_null(0) || call.is_null(1) {
        return no_tenant(call, visible);
    }
    yes(among(call.view(visible)?, |set| {
        set.contains_id(call.uuid(1))
    }))
}

#[inline]
fn can_see_int8(call: &Call) -> Outcome {
    if call.is_null(0) || call.is_null(1) {
        return no_tenant(call, visible);
    }
    yes(holds_int(call.view(visible)?, call.int8(1)))
}

#[inline]
fn can_see_int4(call: &Call) -> Outcome {
    if call.is_null(0) || call.is_null(1) {
        return no_tenant(call, visible);
    }
    yes(holds_int(call.view(visible)?, call.int4(1).into()))
}

#[inline]
fn can_see_text(call: &Call) -> Outcome {
    if call.is_null(0) || call.is_null(1) {
        return no_tenant(call, visible);
    }
    yes(among(call.view(visible)?, |set| {
        set.contains_text(call.text(1))
    }))
}

#[inline]
fn quick_uuid(call: &Call) -> Option<bool> {
    Some(match call.quick_view()? {
        View::One { id, .. } => *call.uuid(1) == id,
        view => among(view, |set| set.contains_id(call.uuid(1))),
    })
}

#[inline]
fn quick_int8(call: &Call) -> Option<bool> {
    Some(holds_int(call.quick_view()?, call.int8(1)))
}

#[inline]
fn quick_int4(call: &Call) -> Option<bool> {
    Some(holds_int(call.quick_view()?, call.int4(1).into()))
}

#[inline]
fn holds_int(view: View, key: i64) -> bool {
    match view {
        View::One { int, .. } => int == Some(key),
        view => among(view, |set| set.contains_int(key)),
    }
}

#[inline]
fn among(view: View, holds: impl FnOnce(&TenantSet) -> bool) -> bool {
    match view {
        View::Everything => true,
        View::Set(which) => published::with(which, holds),
        View::Nothing | View::One { .. } => false,
    }
}

/// One tenant's set has one element, and its text key is there.
fn one_as_set(view: View) -> View {
    match view {
        View::One { .. } => View::Set(Which::Tenants),
        other => other,
    }
}

/// A row without a tenant is nobody's. Without a context that is still an error, and so is writing
/// one where the context has several tenants and selected none: both happen when a column's default
/// found no tenant.
#[cold]
fn no_tenant(call: &Call, find: fn(&[u8]) -> Result<View, Error>) -> Outcome {
    if call.is_null(0) {
        return Ok(Answer::Null);
    }
    let several = matches!(call.view(find)?, View::Set(_)) && published::count(Which::Tenants) > 1;
    if several && !call.text(0).ends_with(b":read") {
        return Err(Error::NotOneTenant(
            published::count(Which::Tenants).to_string(),
        ));
    }
    Ok(Answer::Null)
}
