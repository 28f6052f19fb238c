//! All tenants, for index conditions: `tenant_ids(permission)`, `visible_ids(permission)`.

use tenancy_core::policy::is_whole;
use tenancy_core::tenants::TenantSet;

use super::Outcome;
use super::view::{tenants, visible};
use crate::c_symbol;
use crate::context;
use crate::error::Error;
use crate::pg::fmgr::{Call, Value, View, answer};
use crate::pg::tenant_sets::{self, Slot};
use crate::pg::uuid::pg_uuid;

/// Declares a function for each type of key: `tenancy_<name>_ids`, `…_keys_int8`, `…_keys_int4`, `…_keys_text` and
/// `…_keys_numeric`.
macro_rules! sets {
    ($($name:literal => $find:path;)*) => {$(
        c_symbol!(concat!("tenancy_", $name, "_ids"), answer, |call: &Call| keep_keys(call, $find, ids));
        c_symbol!(concat!("tenancy_", $name, "_keys_int8"), answer, |call: &Call| keep_keys(call, $find, int8s));
        c_symbol!(concat!("tenancy_", $name, "_keys_int4"), answer, |call: &Call| keep_keys(call, $find, int4s));
        c_symbol!(concat!("tenancy_", $name, "_keys_text"), answer, |call: &Call| keep_keys(call, $find, texts));
        c_symbol!(concat!("tenancy_", $name, "_keys_numeric"), answer, |call: &Call| keep_keys(call, $find, numerics));
    )*};
}

sets! {
    "tenant" => tenants;
    "visible" => visible;
}

fn keep_keys(
    call: &Call,
    view: fn(&[u8]) -> Result<View, Error>,
    keys: fn(Option<Slot>) -> Value,
) -> Outcome {
    match call.view(view)? {
        View::Everything => {
            // The plan has an index condition from before maintenance began.
            context::plans::reset();
            Err(Error::AllTenants)
        }
        View::One { set, .. } | View::Set(set) => Ok(call.keep(|| keys(Some(set)))),
        View::Nothing | View::Projects { .. } => Ok(call.keep(|| keys(None))),
    }
}

fn ids(set: Option<Slot>) -> Value {
    Value::Uuids(copied(set, |set| {
        set.ids().iter().map(|id| pg_uuid(*id)).collect()
    }))
}

fn int8s(set: Option<Slot>) -> Value {
    Value::Int8s(copied(set, |set| set.ints().to_vec()))
}

/// Keys that no integer column has are left out.
fn int4s(set: Option<Slot>) -> Value {
    let narrow = |key: &i64| i32::try_from(*key).ok();
    Value::Int4s(copied(set, |set| {
        set.ints().iter().filter_map(narrow).collect()
    }))
}

fn texts(set: Option<Slot>) -> Value {
    Value::Texts(copied(set, |set| set.texts().to_vec()))
}

/// Keys that no numeric column has are left out.
fn numerics(set: Option<Slot>) -> Value {
    let whole = |key: &&String| is_whole(key);
    Value::Numerics(copied(set, |set| {
        set.texts().iter().filter(whole).cloned().collect()
    }))
}

fn copied<T>(set: Option<Slot>, keys: impl FnOnce(&TenantSet) -> Vec<T>) -> Vec<T> {
    set.and_then(|set| tenant_sets::read(set, keys))
        .unwrap_or_default()
}
