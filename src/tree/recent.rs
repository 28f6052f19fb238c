//! Tenants so new that backends look them up by their ids, without a message about each.

use tenancy_core::id::first_at;
use uuid::Uuid;

use crate::pg::time;

/// Smaller ids than this one are older than a day: no sign-up takes so long to commit.
pub fn first_recent() -> Uuid {
    first_at(recent_since())
}

/// Whether an id is so recent that backends look for it by themselves; see `access::Access::is_complete`.
pub fn is_recent(id: Uuid) -> bool {
    // Half a day, so that neither clock differences nor long transactions matter.
    const HALF_A_DAY_MILLIS: u64 = 12 * 3600 * 1000;
    id > first_at(recent_since() + HALF_A_DAY_MILLIS)
}

/// A day ago, in milliseconds of the Unix epoch.
fn recent_since() -> u64 {
    const DAY_MILLIS: i64 = 24 * 3600 * 1000;
    u64::try_from(time::now_unix_micros() / 1000 - DAY_MILLIS).unwrap_or(0)
}
