//! Whether a row's project may be read or written: `in_project`, `see_in_project` and `write_in_project`, for
//! tables with a project column: (permission, tenant, project). A column of another type than uuid has the external id that the
//! project has in its tenant.

use super::view::{project_keys, projects, writable_project_keys, writable_projects};
use super::{Outcome, yes};
use crate::c_symbol;
use crate::error::Error;
use crate::pg::fmgr::{Answer, Call, View, answer};
use crate::pg::tenant_sets::{self, Slot};
use tenancy_core::tenants::TenantSet;

/// Declares a predicate for each type of key of the tenant, `tenancy_<name>_uuid`, `…_int8`, `…_int4` and `…_text`, and for each of
/// these with a key of the project, `…_int8` and `…_text` behind that.
macro_rules! predicates {
    ($($name:literal => $find:path, by key $keys:path, shared $shared:literal;)*) => {$(
        predicates!($name, "_uuid", $find, $keys, $shared, uuid);
        predicates!($name, "_int8", $find, $keys, $shared, int8);
        predicates!($name, "_int4", $find, $keys, $shared, int4);
        predicates!($name, "_text", $find, $keys, $shared, text);
    )*};
    ($name:literal, $tenant:literal, $find:path, $keys:path, $shared:literal, $has:path) => {
        c_symbol!(concat!("tenancy_", $name, $tenant), answer, |call: &Call| is_in(call, $find, $shared, $has, by_id));
        c_symbol!(concat!("tenancy_", $name, $tenant, "_int8"), answer, |call: &Call| is_in(call, $keys, $shared, $has, by_int));
        c_symbol!(concat!("tenancy_", $name, $tenant, "_text"), answer, |call: &Call| is_in(call, $keys, $shared, $has, by_text));
    };
}

predicates! {
    "in_project" => projects, by key project_keys, shared false;
    "see_in_project" => projects, by key project_keys, shared true;
    "write_in_project" => writable_projects, by key writable_project_keys, shared false;
}

type Find = fn(&[u8]) -> Result<View, Error>;

/// Returns whether a set contains the row's tenant, or its project.
type Has = fn(&Call, &TenantSet) -> bool;

fn uuid(call: &Call, set: &TenantSet) -> bool {
    set.contains_id(call.uuid(1))
}

fn int8(call: &Call, set: &TenantSet) -> bool {
    set.contains_int(call.int8(1))
}

fn int4(call: &Call, set: &TenantSet) -> bool {
    set.contains_int(call.int4(1).into())
}

fn text(call: &Call, set: &TenantSet) -> bool {
    set.contains_text(call.text(1))
}

fn by_id(call: &Call, set: &TenantSet) -> bool {
    set.contains_id(call.uuid(2))
}

fn by_int(call: &Call, set: &TenantSet) -> bool {
    set.contains_int(call.int8(2))
}

fn by_text(call: &Call, set: &TenantSet) -> bool {
    set.contains_text(call.text(2))
}

/// Returns true for rows of the projects, and of tenants that are seen as a whole. A row without a project is
/// seen with its tenant. In a table with shared rows (`shared`), users of a project below its scope see it too,
/// unless the scope is their tenant and they hold it only by projects.
#[inline]
fn is_in(call: &Call, find: Find, shared: bool, has: Has, project: Has) -> Outcome {
    if call.is_null(0) || call.is_null(1) {
        return Ok(Answer::Null);
    }
    let tenant = |slot: Slot| tenant_sets::with(slot, |set| has(call, set));
    yes(match call.view(find)? {
        View::Everything => true,
        View::Projects {
            whole,
            projects,
            closed,
        } => {
            tenant(whole)
                || if call.is_null(2) {
                    shared && !tenant(closed)
                } else {
                    tenant_sets::with(projects, |set| project(call, set))
                }
        }
        View::Nothing | View::One { .. } | View::Set(_) => false,
    })
}
