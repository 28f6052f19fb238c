//! All tenants, for an index: `tenant_ids(permission)`, `visible_ids(permission)`.

use super::Outcome;
use super::view::{tenants, visible};
use crate::access::pg_uuid;
use crate::c_functions;
use crate::context;
use crate::error::Error;
use crate::pg::fmgr::{Call, Value, View};
use crate::pg::published::{self, Which};

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
    keep_keys(call, tenants, Which::Tenants, ids)
}

fn tenant_keys_int8(call: &Call) -> Outcome {
    keep_keys(call, tenants, Which::Tenants, |which| {
        Value::Int8s(ints(which))
    })
}

fn tenant_keys_int4(call: &Call) -> Outcome {
    keep_keys(call, tenants, Which::Tenants, |which| {
        Value::Int4s(narrow(ints(which)))
    })
}

fn tenant_keys_text(call: &Call) -> Outcome {
    keep_keys(call, tenants, Which::Tenants, |which| {
        Value::Texts(texts(which))
    })
}

fn visible_ids(call: &Call) -> Outcome {
    keep_keys(call, visible, Which::Visible, ids)
}

fn visible_keys_int8(call: &Call) -> Outcome {
    keep_keys(call, visible, Which::Visible, |which| {
        Value::Int8s(ints(which))
    })
}

fn visible_keys_int4(call: &Call) -> Outcome {
    keep_keys(call, visible, Which::Visible, |which| {
        Value::Int4s(narrow(ints(which)))
    })
}

fn visible_keys_text(call: &Call) -> Outcome {
    keep_keys(call, visible, Which::Visible, |which| {
        Value::Texts(texts(which))
    })
}

fn keep_keys(
    call: &Call,
    view: fn(&[u8]) -> Result<View, Error>,
    which: Which,
    keys: fn(Which) -> Value,
) -> Outcome {
    match call.view(view)? {
        View::Everything => {
            // A plan with an index condition, made before maintenance began.
            context::plans::reset();
            Err(Error::AllTenants)
        }
        View::Nothing => Ok(call.keep(|| nothing(keys(which)))),
        View::One { .. } | View::Set(_) => Ok(call.keep(|| keys(which))),
    }
}

fn nothing(value: Value) -> Value {
    match value {
        Value::Int8s(_) => Value::Int8s(Vec::new()),
        Value::Int4s(_) => Value::Int4s(Vec::new()),
        Value::Texts(_) => Value::Texts(Vec::new()),
        Value::Uuid(_) | Value::Text(_) | Value::Uuids(_) => Value::Uuids(Vec::new()),
    }
}

fn ids(which: Which) -> Value {
    let ids = published::read(which, |set| {
        set.ids().iter().map(|id| pg_uuid(*id)).collect()
    });
    Value::Uuids(ids.unwrap_or_default())
}

fn ints(which: Which) -> Vec<i64> {
    published::read(which, |set| set.ints().to_vec()).unwrap_or_default()
}

fn narrow(ints: Vec<i64>) -> Vec<i32> {
    ints.into_iter()
        .filter_map(|key| i32::try_from(key).ok())
        .collect()
}

pub fn texts(which: Which) -> Vec<String> {
    published::read(which, |set| set.texts().to_vec()).unwrap_or_default()
}
