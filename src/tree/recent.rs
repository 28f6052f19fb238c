//! Tenants so new that backends look them up by their ids, without a message about each.

use tenancy_core::id::first_at;
use tenancy_core::time::Length;
use uuid::Uuid;

use crate::pg::time;

/// Smaller ids than this one are older than a day: no sign-up takes so long to commit.
pub fn first_recent() -> Uuid {
    first_at(time::now() - Length::from_days(1))
}

/// Whether an id is so recent that backends look for it by themselves; see `access::Access::is_complete`.
pub fn is_recent(id: Uuid) -> bool {
    // Half a day, so that neither clock differences nor long transactions matter.
    id > first_at(time::now() - Length::from_hours(12))
}
