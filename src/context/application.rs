//! `audit()`: entries of applications. Called often, so it runs no query and parses nothing.

use tenancy_core::audit::{DETAILS_MAX, check_action, check_target};

use super::current;
use super::record::actor_of;
use crate::audit;
use crate::error::Error;
use crate::pg::fmgr::{Answer, Call};
use crate::pg::role;

crate::c_functions! {
    tenancy_audit => record;
}

fn record(call: &Call) -> Result<Answer, Error> {
    for (n, name) in [(0, "action"), (2, "details")] {
        if call.is_null(n) {
            return Err(Error::Null(name));
        }
    }
    let context = current()?;
    match &context {
        Some(context) if !context.holds("audit:write") => {
            return Err(Error::NotPermitted("audit:write"));
        }
        None if !role::has_role(c"tenancy_admin") => return Err(Error::MissingContext),
        _ => {}
    }
    let action = call.str(0)?;
    check_action(action).map_err(|fault| {
        Error::bad(
            fault,
            "An action is words of a-z, 0-9 and _, joined by dots, as in invoice.sent.",
        )
    })?;
    let target = if call.is_null(1) {
        None
    } else {
        let target = call.str(1)?;
        check_target(target).map_err(|fault| Error::bad(fault, "For example an id or a name."))?;
        Some(target)
    };
    let details = call.json(2);
    if !details.is_object || details.bytes > DETAILS_MAX {
        return Err(Error::bad(
            "details must be a JSON object of 64 kB at most",
            "For example {\"amount\": 7}. Keep what is larger in a table, and record its id.",
        ));
    }
    let actor = actor_of(context.as_deref());
    let id = audit::write(action, &actor, target, details.json)?;
    Ok(call.uuid_answer(*id.as_bytes()))
}
