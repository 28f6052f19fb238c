//! `consume()`: an event that is recorded if every budget has room for it.

use crate::error::Error;
use crate::ledger::Admission;
use crate::metering::attribution::Attribution;
use crate::metering::{Arguments, id};
use crate::pg::fmgr::{Answer, Call};

crate::c_functions! {
    tenancy_consume => consume;
}

fn consume(call: &Call) -> Result<Answer, Error> {
    let place = Attribution::of_context()?;
    let mut arguments = Arguments::from(0);
    (arguments.at, arguments.admission) = (None, Admission::Required);
    Ok(id(call, &arguments.record(call, place, None)?))
}
