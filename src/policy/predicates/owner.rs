//! Whether a row belongs to the context's user: `owns`, for tables with an owner column.

use tenancy_core::principal::Principal;

use super::view::context_or_missing;
use super::{Outcome, yes};
use crate::c_functions;
use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::fmgr::{Answer, Call};
use crate::pg::xact;

c_functions! {
    tenancy_owns => owns;
}

#[derive(Clone, Copy)]
struct Owner {
    generation: u64,
    principal: Option<Principal>,
}

static OWNER: BackendCell<Owner> = BackendCell::new(Owner {
    generation: 0,
    principal: None,
});

/// Returns true if the row's owner is the context's user, and in maintenance.
#[inline]
fn owns(call: &Call) -> Outcome {
    let mut owner = OWNER.get();
    if owner.generation != xact::generation() {
        owner = find_owner()?;
    }
    match owner.principal {
        None => yes(false),
        Some(Principal::Maintenance) => yes(true),
        Some(Principal::User(_)) if call.is_null(0) => Ok(Answer::Null),
        Some(Principal::User(user)) => yes(user.as_bytes() == call.uuid(0)),
    }
}

#[cold]
fn find_owner() -> Result<Owner, Error> {
    let principal = context_or_missing()?.map(|context| context.principal);
    let owner = Owner {
        // Read after `current`, which may have started a generation.
        generation: xact::generation(),
        principal,
    };
    OWNER.set(owner);
    Ok(owner)
}
