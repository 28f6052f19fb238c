//! Whether a row belongs to the context's user: `owns`, for tables with an owner column. A column of another type than uuid has the
//! external id that the user has in the context's tenant.

use std::rc::Rc;

use tenancy_core::principal::Principal;
use tenancy_core::tenants::{Tenant, TenantSet, int_key};

use super::view::context_or_missing;
use super::{Outcome, yes};
use crate::c_functions;
use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::fmgr::{Answer, Call};
use crate::pg::tenant_sets::{self, Slot};
use crate::pg::xact;

c_functions! {
    tenancy_owns => owns;
    tenancy_owns_int8 => owns_int8;
    tenancy_owns_text => owns_text;
}

#[derive(Clone, Copy)]
struct Owner {
    generation: u64,
    principal: Option<Principal>,
    /// The user's external id as an integer.
    int: Option<i64>,
    /// The user's external id; none if it has none in the context's tenant.
    key: Option<Slot>,
}

static OWNER: BackendCell<Owner> = BackendCell::new(Owner {
    generation: 0,
    principal: None,
    int: None,
    key: None,
});

/// Returns true if the row's owner is the context's user, and in maintenance.
#[inline]
fn owns(call: &Call) -> Outcome {
    is_own(call, |user| user.as_bytes() == call.uuid(0), |_| false)
}

#[inline]
fn owns_int8(call: &Call) -> Outcome {
    is_own(call, |_| false, |owner| owner.int == Some(call.int8(0)))
}

#[inline]
fn owns_text(call: &Call) -> Outcome {
    is_own(
        call,
        |_| false,
        |owner| {
            owner
                .key
                .is_some_and(|key| tenant_sets::with(key, |key| key.contains_text(call.text(0))))
        },
    )
}

#[inline]
fn is_own(
    call: &Call,
    by_id: impl FnOnce(&uuid::Uuid) -> bool,
    by_key: impl FnOnce(&Owner) -> bool,
) -> Outcome {
    let mut owner = OWNER.get();
    if owner.generation != xact::generation() {
        owner = find_owner()?;
    }
    match &owner.principal {
        None => yes(false),
        Some(Principal::Maintenance) => yes(true),
        Some(Principal::User(_)) if call.is_null(0) => Ok(Answer::Null),
        Some(Principal::User(user)) => yes(by_id(user) || by_key(&owner)),
    }
}

#[cold]
fn find_owner() -> Result<Owner, Error> {
    let context = context_or_missing()?;
    let key = context.as_ref().and_then(|context| {
        Some(Tenant {
            id: context.access.as_ref()?.user,
            external_id: Some(context.user_key()?.to_owned()),
        })
    });
    let owner = Owner {
        // Read after `current`, which may have started a generation.
        generation: xact::generation(),
        principal: context.map(|context| context.principal),
        int: key.as_ref().and_then(int_key),
        key: key.map(|key| tenant_sets::publish(&Rc::new(TenantSet::new(vec![key])))),
    };
    OWNER.set(owner);
    Ok(owner)
}
