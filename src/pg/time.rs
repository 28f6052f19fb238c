//! The server's clock.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::statics;
use crate::error::{Error, ErrorReport};

use pgrx::datum::datetime_support::ToIsoString;

const POSTGRES_EPOCH_UNIX_MICROS: i64 = 946_684_800_000_000;

/// An instant of the server's, in microseconds since 2000, in microseconds of the Unix epoch.
pub fn to_unix_micros(instant: i64) -> i64 {
    instant.saturating_add(POSTGRES_EPOCH_UNIX_MICROS)
}

/// The last second that the server's timestamps reach, of the Unix epoch.
pub const LAST_SECOND: i64 = 9_224_318_015_999;

/// Now, in microseconds since 2000.
pub fn now() -> i64 {
    statics::GetCurrentTimestamp()
}

/// Now, in microseconds of the Unix epoch.
pub fn now_unix_micros() -> i64 {
    to_unix_micros(now())
}

/// An instant of the Unix epoch, in microseconds since 2000.
pub fn from_unix(micros: i64) -> i64 {
    micros.saturating_sub(POSTGRES_EPOCH_UNIX_MICROS)
}

/// An instant of the Unix epoch as the server has it; nothing for one that it does not reach.
pub fn from_unix_micros(micros: i64) -> Option<TimestampWithTimeZone> {
    micros
        .checked_sub(POSTGRES_EPOCH_UNIX_MICROS)?
        .try_into()
        .ok()
}

/// An instant as ISO 8601 in UTC, as jsonb shows it.
pub fn iso_from_unix_micros(micros: i64) -> Option<String> {
    let stamp =
        TimestampWithTimeZone::try_from(micros.checked_sub(POSTGRES_EPOCH_UNIX_MICROS)?).ok()?;
    Some(stamp.to_iso_string())
}

/// The first instant that is too late for an expiry: the year 9000, in microseconds since 2000.
const EXPIRIES_END_MICROS: i64 = 220_898_707_200_000_000;

/// An error unless an expiry is a time in the future: of the clock, not of the transaction's begin.
pub fn check_expiry(end: TimestampWithTimeZone) -> Result<(), Error> {
    let instant: pg_sys::TimestampTz = end.into();
    if end.is_finite() && instant > now() && instant < EXPIRIES_END_MICROS {
        return Ok(());
    }
    Err(Error::bad(
        "expires_at must be a time in the future, before the year 9000",
        "Leave it out for what does not expire.",
    ))
}

/// True, also for NULL, or an error unless an expiry is a time in the future.
#[pg_extern(sql = false)]
fn _check_expiry(expires_at: Option<TimestampWithTimeZone>) -> Result<bool, ErrorReport> {
    if let Some(end) = expires_at {
        check_expiry(end)?;
    }
    Ok(true)
}

/// What an interval comes to, in microseconds; nothing where that is not certain.
pub fn span(interval: &Interval) -> Option<i64> {
    tenancy_core::span::micros(interval.months(), interval.days(), interval.micros())
}

/// The same in seconds; NaN, which is within no limits, where that is not certain.
#[pg_extern(sql = false)]
fn _seconds(span: Interval) -> f64 {
    self::span(&span).map_or(f64::NAN, |micros| micros as f64 / 1_000_000.0)
}
