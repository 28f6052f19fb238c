//! Is the row in a project that may be touched? `in_project`, `see_in_project` and
//! `write_in_project`, for tables with a project column: (permission, tenant, project).

use super::view::{projects, writable_projects};
use super::{Outcome, yes};
use crate::c_functions;
use crate::error::Error;
use crate::pg::fmgr::{Answer, Call, View};
use crate::pg::tenant_sets::{self, Slot};
use tenancy_core::tenants::TenantSet;

c_functions! {
    tenancy_in_project_uuid, pg_finfo_tenancy_in_project_uuid => in_project_uuid;
    tenancy_in_project_int8, pg_finfo_tenancy_in_project_int8 => in_project_int8;
    tenancy_in_project_int4, pg_finfo_tenancy_in_project_int4 => in_project_int4;
    tenancy_in_project_text, pg_finfo_tenancy_in_project_text => in_project_text;
    tenancy_see_in_project_uuid, pg_finfo_tenancy_see_in_project_uuid => see_in_project_uuid;
    tenancy_see_in_project_int8, pg_finfo_tenancy_see_in_project_int8 => see_in_project_int8;
    tenancy_see_in_project_int4, pg_finfo_tenancy_see_in_project_int4 => see_in_project_int4;
    tenancy_see_in_project_text, pg_finfo_tenancy_see_in_project_text => see_in_project_text;
    tenancy_write_in_project_uuid, pg_finfo_tenancy_write_in_project_uuid => write_in_project_uuid;
    tenancy_write_in_project_int8, pg_finfo_tenancy_write_in_project_int8 => write_in_project_int8;
    tenancy_write_in_project_int4, pg_finfo_tenancy_write_in_project_int4 => write_in_project_int4;
    tenancy_write_in_project_text, pg_finfo_tenancy_write_in_project_text => write_in_project_text;
}

type Find = fn(&[u8]) -> Result<View, Error>;

fn in_project_uuid(call: &Call) -> Outcome {
    answer(call, projects, false, uuid)
}

fn in_project_int8(call: &Call) -> Outcome {
    answer(call, projects, false, int8)
}

fn in_project_int4(call: &Call) -> Outcome {
    answer(call, projects, false, int4)
}

fn in_project_text(call: &Call) -> Outcome {
    answer(call, projects, false, text)
}

fn see_in_project_uuid(call: &Call) -> Outcome {
    answer(call, projects, true, uuid)
}

fn see_in_project_int8(call: &Call) -> Outcome {
    answer(call, projects, true, int8)
}

fn see_in_project_int4(call: &Call) -> Outcome {
    answer(call, projects, true, int4)
}

fn see_in_project_text(call: &Call) -> Outcome {
    answer(call, projects, true, text)
}

fn write_in_project_uuid(call: &Call) -> Outcome {
    answer(call, writable_projects, false, uuid)
}

fn write_in_project_int8(call: &Call) -> Outcome {
    answer(call, writable_projects, false, int8)
}

fn write_in_project_int4(call: &Call) -> Outcome {
    answer(call, writable_projects, false, int4)
}

fn write_in_project_text(call: &Call) -> Outcome {
    answer(call, writable_projects, false, text)
}

/// Whether a set has the row's tenant.
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

/// True for rows of the projects, and of tenants that are seen whatever the project. A row without a
/// project is seen with its tenant; in a table with shared rows (`shared`) also by whoever is in a
/// project below it, unless the tenant itself is closed to it.
#[inline]
fn answer(call: &Call, find: Find, shared: bool, has: Has) -> Outcome {
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
                    tenant_sets::with(projects, |set| set.contains_id(call.uuid(2)))
                }
        }
        View::Nothing | View::One { .. } | View::Set(_) => false,
    })
}
