//! The server's clock.

use std::ffi::CString;

use pgrx::pg_sys;

use pgrx::datum::datetime_support::ToIsoString;

const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// An instant of the server's, in microseconds since 2000, in microseconds of the Unix epoch.
pub fn to_unix_micros(instant: i64) -> i64 {
    instant.saturating_add(POSTGRES_EPOCH)
}

/// The last second that the server's timestamps reach, of the Unix epoch.
pub const LAST_SECOND: i64 = 9_224_318_015_999;

/// Now, in microseconds since 2000.
pub fn now() -> i64 {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

/// Now, in microseconds of the Unix epoch.
pub fn now_unix_micros() -> i64 {
    to_unix_micros(now())
}

/// An instant of the Unix epoch, in microseconds since 2000.
pub fn from_unix(micros: i64) -> i64 {
    micros.saturating_sub(POSTGRES_EPOCH)
}

/// An instant of the Unix epoch as the server has it; nothing for one that it does not reach.
pub fn from_unix_micros(micros: i64) -> Option<pgrx::datum::TimestampWithTimeZone> {
    micros.checked_sub(POSTGRES_EPOCH)?.try_into().ok()
}

/// An instant as ISO 8601 in UTC, as jsonb shows it.
pub fn iso_from_unix_micros(micros: i64) -> Option<String> {
    let stamp =
        pgrx::datum::TimestampWithTimeZone::try_from(micros.checked_sub(POSTGRES_EPOCH)?).ok()?;
    Some(stamp.to_iso_string())
}

/// Whether the server knows a time zone of this name: one of tzdata's, or a rule as POSIX writes it.
pub fn is_zone(name: &str) -> bool {
    let Ok(name) = CString::new(name) else {
        return false;
    };
    // SAFETY: the name ends with a NUL byte; what is returned is the server's, for as long as the process lives.
    unsafe {
        let zone = pg_sys::pg_tzset(name.as_ptr());
        !zone.is_null() && pg_sys::pg_tz_acceptable(zone)
    }
}
