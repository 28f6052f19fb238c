//! All tenants, for an index: `tenant_ids(permission)`, `visible_ids(permission)`.

use tenancy_core::tenants::TenantSet;

use super::Outcome;
use super::view::{tenants, visible};
use crate::c_functions;
use crate::context;
use crate::error::Error;
use crate::pg::fmgr::{Call, Value, View};
use crate::pg::tenant_sets::{self, Slot};
use crate::pg::uuid::pg_uuid;

c_functions! {
    tenancy_tenant_ids, pg_finfo_tenancy_tenant_ids => tenant_ids;
    tenancy_tenant_keys_int8, pg_finfo_tenancy_tenant_keys_int8 => tenant_keys_int8;
    tenancy_tenant_keys_int4, pg_finfo_tenancy_tenant_keys_int4 => tenant_keys_int4;
    tenancy_tenant_keys_text, pg_finfo_tenancy_tenant_keys_text => tenant_keys_text;
    tenancy_visible_ids, pg_finfo_tenancy_visible_ids => visible_ids;
    tenancy_visible_keys_int8, pg_finfo_tenancy_visible_keys_int8 => visible_keys_int8;
    tenancy_visible_keys_int4, pg_finfo_tenancy_visible_keys_int4 => visible_keys_int4;
    tenancy_visible_keys_text, pg_finfo_tenancy_visible_keys_text => visible_keys_text;
}

fn tenant_ids(call: &Call) -> Outcome {
    keep_keys(call, tenants, ids)
}

fn tenant_keys_int8(call: &Call) -> Outcome {
    keep_keys(call, tenants, |set| Value::Int8s(ints(set)))
}

fn tenant_keys_int4(call: &Call) -> Outcome {
    keep_keys(call, tenants, |set| Value::Int4s(narrow(ints(set))))
}

fn tenant_keys_text(call: &Call) -> Outcome {
    keep_keys(call, tenants, |set| Value::Texts(texts(set)))
}

fn visible_ids(call: &Call) -> Outcome {
    keep_keys(call, visible, ids)
}

fn visible_keys_int8(call: &Call) -> Outcome {
    keep_keys(call, visible, |set| Value::Int8s(ints(set)))
}

fn visible_keys_int4(call: &Call) -> Outcome {
    keep_keys(call, visible, |set| Value::Int4s(narrow(ints(set))))
}

fn visible_keys_text(call: &Call) -> Outcome {
    keep_keys(call, visible, |set| Value::Texts(texts(set)))
}

fn keep_keys(
    call: &Call,
    view: fn(&[u8]) -> Result<View, Error>,
    keys: fn(Option<Slot>) -> Value,
) -> Outcome {
    match call.view(view)? {
        View::Everything => {
            // A plan with an index condition, made before maintenance began.
            context::plans::reset();
            Err(Error::AllTenants)
        }
        View::One { set, .. } | View::Set(set) => Ok(call.keep(|| keys(Some(set)))),
        View::Nothing | View::Projects { .. } => Ok(call.keep(|| keys(None))),
    }
}

fn ids(set: Option<Slot>) -> Value {
    let ids = |set: &TenantSet| set.ids().iter().map(|id| pg_uuid(*id)).collect();
    Value::Uuids(
        set.and_then(|set| tenant_sets::read(set, ids))
            .unwrap_or_default(),
    )
}

fn ints(set: Option<Slot>) -> Vec<i64> {
    let ints = |set: &TenantSet| set.ints().to_vec();
    set.and_then(|set| tenant_sets::read(set, ints))
        .unwrap_or_default()
}

fn narrow(ints: Vec<i64>) -> Vec<i32> {
    ints.into_iter()
        .filter_map(|key| i32::try_from(key).ok())
        .collect()
}

fn texts(set: Option<Slot>) -> Vec<String> {
    let texts = |set: &TenantSet| set.texts().to_vec();
    set.and_then(|set| tenant_sets::read(set, texts))
        .unwrap_or_default()
}
