//! The server's clock.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::statics;
use crate::error::{Error, ErrorReport};

use pgrx::datum::datetime_support::ToIsoString;
use tenancy_core::time::{Instant, Length};

/// The server's epoch, the start of 2000 in UTC.
const SERVER_EPOCH_UNIX_MICROS: i64 = 946_684_800_000_000;

/// Returns the current time.
pub fn now() -> Instant {
    from_server(statics::GetCurrentTimestamp())
}

/// Returns nanoseconds of a clock that runs since the machine's start, the same in all processes. Setting the time does not
/// change it.
#[inline]
pub fn monotonic() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes into the structure; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Converts a timestamptz of the server. Its infinity is [`Instant::NEVER`].
pub fn from_server(stamp: pg_sys::TimestampTz) -> Instant {
    Instant::from_unix_micros(stamp.saturating_add(SERVER_EPOCH_UNIX_MICROS))
}

/// Converts an instant to a timestamptz of the server.
pub fn to_server(at: Instant) -> pg_sys::TimestampTz {
    match at {
        Instant::NEVER => pg_sys::TimestampTz::MAX,
        at => at.unix_micros().saturating_sub(SERVER_EPOCH_UNIX_MICROS),
    }
}

/// Converts an instant to pgrx's type; `None` if the server has no such timestamptz.
pub fn timestamp(at: Instant) -> Option<TimestampWithTimeZone> {
    to_server(at).try_into().ok()
}

/// Formats an instant as ISO 8601 in UTC, as jsonb does.
pub fn iso(at: Instant) -> Option<String> {
    Some(timestamp(at)?.to_iso_string())
}

/// The first instant that is too late for an expiry: the year 9000.
const EXPIRIES_END: Instant = Instant::from_unix_seconds(221_845_392_000);

/// Raises an error unless an expiry is after the current time (not the transaction's start).
pub fn check_expiry(end: TimestampWithTimeZone) -> Result<(), Error> {
    let instant = from_server(end.into());
    if end.is_finite() && instant > now() && instant < EXPIRIES_END {
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

/// Returns the length of an interval; `None` if it depends on the date.
pub fn span(interval: &Interval) -> Option<Length> {
    tenancy_core::span::length(interval.months(), interval.days(), interval.micros())
}

/// The same in seconds; NaN, which fails every range check, if it depends on the date.
#[pg_extern(sql = false)]
fn _seconds(span: Interval) -> f64 {
    self::span(&span).map_or(f64::NAN, |length| length.micros() as f64 / 1_000_000.0)
}
