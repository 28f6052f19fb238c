//! May this row be touched? `can`, `can_see` and `can_write`.

use tenancy_core::tenants::TenantSet;

use super::view::{tenants, visible, writable};
use super::{Outcome, yes};
use crate::c_functions;
use crate::error::Error;
use crate::pg::fmgr::{Answer, Call, View};
use crate::pg::tenant_sets;

c_functions! {
    tenancy_can_uuid, pg_finfo_tenancy_can_uuid => can_uuid, quick quick_uuid;
    tenancy_can_int8, pg_finfo_tenancy_can_int8 => can_int8, quick quick_int8;
    tenancy_can_int4, pg_finfo_tenancy_can_int4 => can_int4, quick quick_int4;
    tenancy_can_text, pg_finfo_tenancy_can_text => can_text;
    tenancy_can_write_uuid, pg_finfo_tenancy_can_write_uuid => can_write_uuid, quick quick_uuid;
    tenancy_can_write_int8, pg_finfo_tenancy_can_write_int8 => can_write_int8, quick quick_int8;
    tenancy_can_write_int4, pg_finfo_tenancy_can_write_int4 => can_write_int4, quick quick_int4;
    tenancy_can_write_text, pg_finfo_tenancy_can_write_text => can_write_text;
    tenancy_can_see_uuid, pg_finfo_tenancy_can_see_uuid => can_see_uuid, quick quick_uuid;
    tenancy_can_see_int8, pg_finfo_tenancy_can_see_int8 => can_see_int8, quick quick_int8;
    tenancy_can_see_int4, pg_finfo_tenancy_can_see_int4 => can_see_int4, quick quick_int4;
    tenancy_can_see_text, pg_finfo_tenancy_can_see_text => can_see_text;
}

#[inline]
fn can_uuid(call: &Call) -> Outcome {
    uuid(call, tenants)
}

#[inline]
fn can_int8(call: &Call) -> Outcome {
    int8(call, tenants)
}

#[inline]
fn can_int4(call: &Call) -> Outcome {
    int4(call, tenants)
}

#[inline]
fn can_text(call: &Call) -> Outcome {
    text(call, tenants)
}

#[inline]
fn can_see_uuid(call: &Call) -> Outcome {
    uuid(call, visible)
}

#[inline]
fn can_see_int8(call: &Call) -> Outcome {
    int8(call, visible)
}

#[inline]
fn can_see_int4(call: &Call) -> Outcome {
    int4(call, visible)
}

#[inline]
fn can_see_text(call: &Call) -> Outcome {
    text(call, visible)
}

#[inline]
fn can_write_uuid(call: &Call) -> Outcome {
    uuid(call, writable)
}

#[inline]
fn can_write_int8(call: &Call) -> Outcome {
    int8(call, writable)
}

#[inline]
fn can_write_int4(call: &Call) -> Outcome {
    int4(call, writable)
}

#[inline]
fn can_write_text(call: &Call) -> Outcome {
    text(call, writable)
}

type Find = fn(&[u8]) -> Result<View, Error>;

#[inline]
fn uuid(call: &Call, find: Find) -> Outcome {
    if call.is_null(0) || call.is_null(1) {
        return no_tenant(call, find);
    }
    yes(holds_uuid(call.view(find)?, call.uuid(1)))
}

#[inline]
fn int8(call: &Call, find: Find) -> Outcome {
    if call.is_null(0) || call.is_null(1) {
        return no_tenant(call, find);
    }
    yes(holds_int(call.view(find)?, call.int8(1)))
}

#[inline]
fn int4(call: &Call, find: Find) -> Outcome {
    if call.is_null(0) || call.is_null(1) {
        return no_tenant(call, find);
    }
    yes(holds_int(call.view(find)?, call.int4(1).into()))
}

#[inline]
fn text(call: &Call, find: Find) -> Outcome {
    if call.is_null(0) || call.is_null(1) {
        return no_tenant(call, find);
    }
    yes(holds_text(call.view(find)?, || call.text(1)))
}

#[inline]
fn quick_uuid(call: &Call) -> Option<bool> {
    Some(holds_uuid(call.quick_view()?, call.uuid(1)))
}

#[inline]
fn quick_int8(call: &Call) -> Option<bool> {
    Some(holds_int(call.quick_view()?, call.int8(1)))
}

#[inline]
fn quick_int4(call: &Call) -> Option<bool> {
    Some(holds_int(call.quick_view()?, call.int4(1).into()))
}

/// Whether the row's tenant, by its id, is one of those that are seen.
#[inline]
pub fn holds_uuid(view: View, key: &[u8; 16]) -> bool {
    match view {
        View::One { id, .. } => *key == id,
        view => among(view, |set| set.contains_id(key)),
    }
}

/// The same by its external id.
#[inline]
pub fn holds_int(view: View, key: i64) -> bool {
    match view {
        View::One { int, .. } => int == Some(key),
        view => among(view, |set| set.contains_int(key)),
    }
}

/// The same by its external id.
#[inline]
pub fn holds_text<'a>(view: View, key: impl FnOnce() -> &'a [u8]) -> bool {
    match view {
        View::One { set, .. } => tenant_sets::with(set, |set| set.contains_text(key())),
        view => among(view, |set| set.contains_text(key())),
    }
}

#[inline]
fn among(view: View, holds: impl FnOnce(&TenantSet) -> bool) -> bool {
    match view {
        View::Everything => true,
        View::Set(set) => tenant_sets::with(set, holds),
        View::Nothing | View::One { .. } | View::Projects { .. } => false,
    }
}

/// A row without a tenant is nobody's. Without a context that is still an error, and so is writing
/// one where the context has several tenants and selected none: both happen when a column's default
/// found no tenant.
#[cold]
fn no_tenant(call: &Call, find: Find) -> Outcome {
    if !call.is_null(0) {
        call.view(find)?;
    }
    Ok(Answer::Null)
}
