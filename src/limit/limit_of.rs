//! `limit_of()`: a limit of kind amount, as it applies to the context.

use tenancy_core::limit::Kind;

use super::{definitions, effective};
use crate::error::Error;
use crate::pg::fmgr::{Answer, Call};

crate::c_functions! {
    tenancy_limit_of => limit_of;
}

fn limit_of(call: &Call) -> Result<Answer, Error> {
    if call.is_null(0) {
        return Err(Error::Null("name"));
    }
    let effective = effective::of_context()?;
    let least = definitions::with(call.str(0)?, |definition| -> Result<_, Error> {
        definition.require(Kind::Amount)?;
        Ok(effective.least(definition.id))
    })??;
    Ok(least.map_or(Answer::Null, Answer::Int8))
}
