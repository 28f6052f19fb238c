//! Why tokens were refused: a row for each provider, reason and day. Written by the worker, with the entries of failed logins.

use tenancy_core::jwt::Refusal;
use uuid::Uuid;

use crate::error::Error;
use crate::pg::counts::Count;
use crate::pg::spi;
use crate::pg::uuid::pg_uuid;

/// Adds refusals of a provider's tokens; without a provider, of tokens that belong to none.
pub fn note(provider: Option<Uuid>, reason: Refusal, count: &Count) -> Result<(), Error> {
    let seconds = |at: tenancy_core::time::Instant| at.unix_micros() as f64 / 1e6;
    spi::write(
        "SELECT tenancy_internal.note_refusal($1, $2, $3, $4, to_timestamp($5), to_timestamp($6))",
        &[
            provider.map(pg_uuid).into(),
            reason.as_str().into(),
            reason.meaning().into(),
            (count.count as i64).into(),
            seconds(count.first).into(),
            seconds(count.last).into(),
        ],
    )
    .map(drop)
}
