//! The worker's part of metering.

use super::settings;
use crate::error::Error;
use crate::pg::spi::{self, NotNull};

/// Rolls up about `most` events. Returns how many, and the oldest transaction id still running.
pub fn roll(most: i32) -> Result<(i64, u64), Error> {
    spi::write_returning(
        "SELECT tenancy_internal.roll_usage($1), pg_snapshot_xmin(pg_current_snapshot())::text::bigint",
        &[most.into()],
        |rows| {
            let row = rows.first();
            Ok((row.not_null(1)?, row.not_null::<i64>(2)?.cast_unsigned()))
        },
    )
}

/// Keeps the index by time of new events small and exact.
pub fn summarize() -> Result<(), Error> {
    spi::write("SELECT tenancy_internal.summarize_usage()", &[]).map(drop)
}

/// Deletes idempotency keys past their retention.
pub fn forget_keys() -> Result<(), Error> {
    spi::write(
        "DELETE FROM tenancy_internal.usage_keys WHERE used_at < now() - make_interval(days => $1)",
        &[settings::key_retention().into()],
    )
    .map(drop)
}

/// Drops months past their retention.
pub fn retire() -> Result<(), Error> {
    spi::write(
        "SELECT tenancy_internal.retire_usage($1)",
        &[settings::retention().into()],
    )
    .map(drop)
}
