//! Whether a row may be read or written: `can` and `can_write`, for tables with rows of scopes above `can_see` and `can_write_shared`, and for tables in which rows without a tenant are
//! everybody's, `can_see_null` and `can_write_null`.

use tenancy_core::tenants::TenantSet;

use super::view::{context_or_missing, tenants, visible, writable, writable_shared};
use super::{Outcome, yes};
use crate::c_symbol;
use crate::error::Error;
use crate::pg::fmgr::{Answer, Call, View, answer};
use crate::pg::tenant_sets;

/// Declares a predicate for each type of key: `tenancy_<name>_uuid`, `…_int8`, `…_int4` and `…_text`.
macro_rules! predicates {
    ($($name:literal => $find:path, without a tenant $none:path;)*) => {$(
        c_symbol!(concat!("tenancy_", $name, "_uuid"), answer, |call: &Call| uuid(call, $find, $none), quick quick_uuid);
        c_symbol!(concat!("tenancy_", $name, "_int8"), answer, |call: &Call| int8(call, $find, $none), quick quick_int8);
        c_symbol!(concat!("tenancy_", $name, "_int4"), answer, |call: &Call| int4(call, $find, $none), quick quick_int4);
        c_symbol!(concat!("tenancy_", $name, "_text"), answer, |call: &Call| text(call, $find, $none));
    )*};
}

predicates! {
    "can" => tenants, without a tenant nobodys;
    "can_write" => writable, without a tenant nobodys;
    "can_write_shared" => writable_shared, without a tenant nobodys;
    "can_see" => visible, without a tenant nobodys;
    "can_see_null" => tenants, without a tenant read_by_everybody;
    "can_write_null" => writable, without a tenant written_by_platform;
}

type Find = fn(&[u8]) -> Result<View, Error>;

/// Answers for a row without a tenant, or without a permission.
type NoTenant = fn(&Call, Find) -> Outcome;

#[inline]
fn uuid(call: &Call, find: Find, none: NoTenant) -> Outcome {
    if call.is_null(0) || call.is_null(1) {
        return none(call, find);
    }
    yes(holds_uuid(call.view(find)?, call.uuid(1)))
}

#[inline]
fn int8(call: &Call, find: Find, none: NoTenant) -> Outcome {
    if call.is_null(0) || call.is_null(1) {
        return none(call, find);
    }
    yes(holds_int(call.view(find)?, call.int8(1)))
}

#[inline]
fn int4(call: &Call, find: Find, none: NoTenant) -> Outcome {
    if call.is_null(0) || call.is_null(1) {
        return none(call, find);
    }
    yes(holds_int(call.view(find)?, call.int4(1).into()))
}

#[inline]
fn text(call: &Call, find: Find, none: NoTenant) -> Outcome {
    if call.is_null(0) || call.is_null(1) {
        return none(call, find);
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

/// Returns whether the row's tenant, named by its id, is visible.
#[inline]
pub fn holds_uuid(view: View, key: &[u8; 16]) -> bool {
    match view {
        View::One { id, .. } => *key == id,
        view => among(view, |set| set.contains_id(key)),
    }
}

/// The same by external id.
#[inline]
pub fn holds_int(view: View, key: i64) -> bool {
    match view {
        View::One { int, .. } => int == Some(key),
        view => among(view, |set| set.contains_int(key)),
    }
}

/// The same by external id.
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

/// Answers for a row without a tenant, which belongs to no tenant: true in maintenance. Without a context this is still an error,
/// and so is writing such a row in a context with several tenants and none selected: in both cases a column's default found no
/// tenant.
#[cold]
fn nobodys(call: &Call, find: Find) -> Outcome {
    if call.is_null(0) {
        return Ok(Answer::Null);
    }
    call.view(find)?;
    let context = context_or_missing()?;
    match context.is_some_and(|context| context.is_maintenance()) {
        true => yes(true),
        false => Ok(Answer::Null),
    }
}

/// Answers for a row that all tenants read: true for a context that holds the permission in a tenant.
fn read_by_everybody(call: &Call, find: Find) -> Outcome {
    if call.is_null(0) {
        return Ok(Answer::Null);
    }
    yes(!matches!(call.view(find)?, View::Nothing))
}

/// Answers for such a row that is written: true in maintenance, and for a context that holds the permission at the platform. For
/// others, as for a row that belongs to no tenant.
#[cold]
fn written_by_platform(call: &Call, find: Find) -> Outcome {
    if call.is_null(0) {
        return Ok(Answer::Null);
    }
    // The call site's own view is that of rows with a tenant, of which there may be one only.
    match tenants(call.text(0))? {
        View::Everything => yes(true),
        _ => nobodys(call, find),
    }
}
