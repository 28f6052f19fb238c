//! Telling other backends that what they resolved may be out of date.

use pgrx::prelude::*;

use crate::error::ErrorReport;
use crate::pg::{inval, spi};

/// Called by triggers: every backend drops its answers, or those for fleets, when this commits.
#[pg_extern(sql = false)]
fn _invalidate(fleets_only: bool) -> Result<(), ErrorReport> {
    inval::send(spi::beacon(fleets_only)?);
    Ok(())
}
