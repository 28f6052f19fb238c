//! What generated policies call, per row: `can`, `can_see`, `tenant_id(permission)` and their
//! relatives for tables that hold the application's own keys.
//!
//! A call site finds out once per generation what it may see and keeps that; a row then costs a
//! comparison or a hash look-up. No SPI, no lock, no allocation.

use tenancy_core::tenants::{TenantSet, int_key};

use crate::access::pg_uuid;
use crate::c_function;
use crate::context::{self, Current, current};
use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::fmgr::{Answer, Call, Value, View};
use crate::pg::published::{self, Which};
use crate::pg::{guc, xact};

c_function!(tenancy_can_uuid, pg_finfo_tenancy_can_uuid, can_uuid);
c_function!(tenancy_can_int8, pg_finfo_tenancy_can_int8, can_int8);
c_function!(tenancy_can_int4, pg_finfo_tenancy_can_int4, can_int4);
c_function!(tenancy_can_text, pg_finfo_tenancy_can_text, can_text);
c_function!(
    tenancy_can_see_uuid,
    pg_finfo_tenancy_can_see_uuid,
    can_see_uuid
);
c_function!(
    tenancy_can_see_int8,
    pg_finfo_tenancy_can_see_int8,
    can_see_int8
);
c_function!(
    tenancy_can_see_int4,
    pg_finfo_tenancy_can_see_int4,
    can_see_int4
);
c_function!(
    tenancy_can_see_text,
    pg_finfo_tenancy_can_see_text,
    can_see_text
);
c_function!(tenancy_tenant_id, pg_finfo_tenancy_tenant_id, tenant_id);
c_function!(
    tenancy_tenant_key_int8,
    pg_finfo_tenancy_tenant_key_int8,
    tenant_key_int8
);
c_function!(
    tenancy_tenant_key_int4,
    pg_finfo_tenancy_tenant_key_int4,
    tenant_key_int4
);
c_function!(
    tenancy_tenant_key_text,
    pg_finfo_tenancy_tenant_key_text,
    tenant_key_text
);
c_function!(tenancy_tenant_ids, pg_finfo_tenancy_tenant_ids, tenant_ids);
c_function!(
    tenancy_tenant_keys_int8,
    pg_finfo_tenancy_tenant_keys_int8,
    tenant_keys_int8
);
c_function!(
    tenancy_tenant_keys_int4,
    pg_finfo_tenancy_tenant_keys_int4,
    tenant_keys_int4
);
c_function!(
    tenancy_tenant_keys_text,
    pg_finfo_tenancy_tenant_keys_text,
    tenant_keys_text
);
c_function!(
    tenancy_visible_ids,
    pg_finfo_tenancy_visible_ids,
    visible_ids
);
c_function!(
    tenancy_visible_keys_int8,
    pg_finfo_tenancy_visible_keys_int8,
    visible_keys_int8
);
c_function!(
    tenancy_visible_keys_int4,
    pg_finfo_tenancy_visible_keys_int4,
    visible_keys_int4
);
c_function!(
    tenancy_visible_keys_text,
    pg_finfo_tenancy_visible_keys_text,
    visible_keys_text
);
c_function!(tenancy_in_project, pg_finfo_tenancy_in_project, in_project);

type Outcome = Result<Answer, Error>;

fn yes(answer: bool) -> Outcome {
    Ok(Answer::Bool(answer))
}

// --- may this row be touched? ---------------------------------------------------------------

#[inline]
fn can_uuid(call: &Call) -> Outcome {
    let key = call.uuid(1);
    yes(match call.view(tenants)? {
        View::One { id, .. } => *key == id,
        view => among(view, |set| set.contains_id(key)),
    })
}

#[inline]
fn can_int8(call: &Call) -> Outcome {
    yes(holds_int(call.view(tenants)?, call.int8(1)))
}

#[inline]
fn can_int4(call: &Call) -> Outcome {
    yes(holds_int(call.view(tenants)?, call.int4(1).into()))
}

#[inline]
fn can_text(call: &Call) -> Outcome {
    let view = call.view(tenants)?;
    yes(among(one_as_set(view), |set| {
        set.contains_text(call.text(1))
    }))
}

#[inline]
fn can_see_uuid(call: &Call) -> Outcome {
    yes(among(call.view(visible)?, |set| {
        set.contains_id(call.uuid(1))
    }))
}

#[inline]
fn can_see_int8(call: &Call) -> Outcome {
    yes(holds_int(call.view(visible)?, call.int8(1)))
}

#[inline]
fn can_see_int4(call: &Call) -> Outcome {
    yes(holds_int(call.view(visible)?, call.int4(1).into()))
}

#[inline]
fn can_see_text(call: &Call) -> Outcome {
    yes(among(call.view(visible)?, |set| {
        set.contains_text(call.text(1))
    }))
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

// --- the one tenant, for an equality --------------------------------------------------------

#[inline]
fn tenant_id(call: &Call) -> Outcome {
    match call.view(tenants)? {
        View::One { id, .. } => Ok(call.keep(|| Value::Uuid(id))),
        view => not_one(view),
    }
}

#[inline]
fn tenant_key_int8(call: &Call) -> Outcome {
    match call.view(tenants)? {
        View::One { int, .. } => Ok(int.map_or(Answer::Null, Answer::Int8)),
        view => not_one(view),
    }
}

#[inline]
fn tenant_key_int4(call: &Call) -> Outcome {
    match call.view(tenants)? {
        View::One { int, .. } => Ok(int
            .and_then(|key| i32::try_from(key).ok())
            .map_or(Answer::Null, Answer::Int4)),
        view => not_one(view),
    }
}

#[inline]
fn tenant_key_text(call: &Call) -> Outcome {
    let view = call.view(tenants)?;
    if !matches!(view, View::One { .. }) {
        return not_one(view);
    }
    if !published::with(Which::Tenants, |set| !set.texts().is_empty()) {
        return Ok(Answer::Null);
    }
    Ok(call.keep(|| Value::Text(texts(Which::Tenants).into_iter().next().unwrap_or_default())))
}

/// Several tenants where the plan, or the caller, wants one. The plan is discarded, so that the
/// statement's next run gets the right one; rows are not silently left out.
#[cold]
fn not_one(view: View) -> Outcome {
    let count = match view {
        View::Nothing => return Ok(Answer::Null),
        View::Everything => String::from("all"),
        _ => match published::count(Which::Tenants) {
            0 => return Ok(Answer::Null),
            several => several.to_string(),
        },
    };
    context::plans::reset();
    Err(Error::NotOneTenant(count))
}

// --- all tenants, for an index ----------------------------------------------------------------

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
            Err(Error::NotOneTenant(String::from("all")))
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
    let mut ids = Vec::new();
    published::with(which, |set| {
        ids = set.ids().iter().map(|id| pg_uuid(*id)).collect();
        true
    });
    Value::Uuids(ids)
}

fn ints(which: Which) -> Vec<i64> {
    let mut ints = Vec::new();
    published::with(which, |set| {
        ints = set.ints().to_vec();
        true
    });
    ints
}

fn narrow(ints: Vec<i64>) -> Vec<i32> {
    ints.into_iter()
        .filter_map(|key| i32::try_from(key).ok())
        .collect()
}

fn texts(which: Which) -> Vec<String> {
    let mut texts = Vec::new();
    published::with(which, |set| {
        texts = set.texts().to_vec();
        true
    });
    texts
}

// --- projects -----------------------------------------------------------------------------------

#[derive(Clone, Copy)]
struct Project {
    generation: u64,
    selected: Option<[u8; 16]>,
    present: bool,
}

static PROJECT: BackendCell<Project> = BackendCell::new(Project {
    generation: 0,
    selected: None,
    present: false,
});

/// True when no project is selected, or the row's is the selected one.
#[inline]
fn in_project(call: &Call) -> Outcome {
    let mut project = PROJECT.get();
    if project.generation != xact::generation() {
        project = find_project()?;
    }
    yes(match project.selected {
        None => project.present,
        Some(selected) => !call.is_null(0) && *call.uuid(0) == selected,
    })
}

#[cold]
fn find_project() -> Result<Project, Error> {
    let now = context_or_missing()?;
    let project = Project {
        selected: now
            .as_ref()
            .and_then(|now| now.project)
            .map(|id| *id.as_bytes()),
        present: now.is_some(),
        // After `current`, which may itself have begun a generation.
        generation: xact::generation(),
    };
    PROJECT.set(project);
    Ok(project)
}

// --- what a call site may see -------------------------------------------------------------------

fn tenants(permission: &[u8]) -> Result<View, Error> {
    view_of(permission, |now| match &now.tenant {
        Some(tenant) => View::One {
            id: *tenant.id.as_bytes(),
            int: int_key(tenant),
        },
        None => View::Set(Which::Tenants),
    })
}

fn visible(permission: &[u8]) -> Result<View, Error> {
    view_of(permission, |_| View::Set(Which::Visible))
}

fn view_of(permission: &[u8], view: fn(&Current) -> View) -> Result<View, Error> {
    let Some(now) = context_or_missing()? else {
        return Ok(View::Nothing);
    };
    Ok(match now.form() {
        context::plans::Form::Open => View::Everything,
        _ if now.permits(permission) => view(&now),
        _ => View::Nothing,
    })
}

fn context_or_missing() -> Result<Option<std::rc::Rc<Current>>, Error> {
    let now = current()?;
    if now.is_none() && guc::missing_is_error() {
        return Err(Error::MissingContext);
    }
    Ok(now)
}
