//! Telling other backends that what they resolved may be out of date.

use pgrx::prelude::*;

use crate::error::ErrorReport;
use crate::pg::{inval, spi, xact};

/// Called by triggers: every backend drops its answers, or those for fleets, when this commits.
#[pg_extern(sql = false)]
fn _invalidate(fleets_only: bool) -> Result<(), ErrorReport> {
    inval::send(spi::beacon(fleets_only)?);
    Ok(())
}

/// Whether this transaction, or a savepoint of it, wrote the row that has this xmin.
#[pg_extern(sql = false)]
fn _is_own(xmin: i64) -> bool {
    u32::try_from(xmin).is_ok_and(xact::is_own)
}
