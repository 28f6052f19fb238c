//! The server's clock.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::statics;
use crate::error::{Error, ErrorReport};

use pgrx::datum::datetime_support::ToIsoString;

const POSTGRES_EPOCH_UNIX_MICROS: i64 = 946_684_800_000_000;

/// Converts an instant from microseconds since 2000 to microseconds of the Unix epoch.
pub fn to_unix_micros(instant: i64) -> i64 {
    instant.saturating_add(POSTGRES_EPOCH_UNIX_MICROS)
}

/// The last second of the server's timestamps, in the Unix epoch.
pub const LAST_SECOND: i64 = 9_224_318_015_999;

/// Returns the current time, in microseconds since 2000.
pub fn now() -> i64 {
    statics::GetCurrentTimestamp()
}

/// Returns the current time, in microseconds of the Unix epoch.
pub fn now_unix_micros() -> i64 {
    to_unix_micros(now())
}

/// Converts an instant from the Unix epoch to microseconds since 2000.
pub fn from_unix(micros: i64) -> i64 {
    micros.saturating_sub(POSTGRES_EPOCH_UNIX_MICROS)
}

/// Converts an instant of the Unix epoch to the server's type; `None` if it is out of range.
pub fn from_unix_micros(micros: i64) -> Option<TimestampWithTimeZone> {
    micros
        .checked_sub(POSTGRES_EPOCH_UNIX_MICROS)?
        .try_into()
        .ok()
}

/// Formats an instant as ISO 8601 in UTC, as jsonb does.
pub fn iso_from_unix_micros(micros: i64) -> Option<String> {
    let stamp =
        TimestampWithTimeZone::try_from(micros.checked_sub(POSTGRES_EPOCH_UNIX_MICROS)?).ok()?;
    Some(stamp.to_iso_string())
}

/// The first instant that is too late for an expiry: the year 9000, in microseconds since 2000.
const EXPIRIES_END_MICROS: i64 = 220_898_707_200_000_000;

/// Raises an error unless an expiry is after the current time (not the transaction's start).
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

/// Returns true for NULL and for a time in the future; else raises an error.
#[pg_extern(sql = false)]
fn _check_expiry(expires_at: Option<TimestampWithTimeZone>) -> Result<bool, ErrorReport> {
    if let Some(end) = expires_at {
        check_expiry(end)?;
    }
    Ok(true)
}

/// Returns the length of an interval, in microseconds; `None` if it depends on the date.
pub fn span(interval: &Interval) -> Option<i64> {
    tenancy_core::span::micros(interval.months(), interval.days(), interval.micros())
}

/// The same in seconds; NaN, which fails every range check, if it depends on the date.
#[pg_extern(sql = false)]
fn _seconds(span: Interval) -> f64 {
    self::span(&span).map_or(f64::NAN, |micros| micros as f64 / 1_000_000.0)
}
