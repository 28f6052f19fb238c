//! Ids: time-ordered uuids (version 7) for everything new, and two that every install shares.
//!
//! Version 7 keeps indexes on ids dense, because new rows are added at the right end of the tree.

use uuid::Uuid;

use crate::time::Instant;

/// The platform: the root of the scope tree, the same in every install.
pub const PLATFORM_ID: Uuid = Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0000);

/// The partner `internal`, created with the platform, for tenants without another partner.
pub const INTERNAL_PARTNER_ID: Uuid = Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0001);

/// Returns a new id of version 7. Within one process it is greater than every earlier id.
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}

/// Returns the smallest id of version 7 for the millisecond of an instant, for 1970 if it is earlier.
pub fn first_at(at: Instant) -> Uuid {
    let millis = u64::try_from((at - Instant::EPOCH).millis()).unwrap_or(0);
    Uuid::from_u128(u128::from(millis & 0xffff_ffff_ffff) << 80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Length;

    #[test]
    fn the_fixed_ids_read_as_documented() {
        assert_eq!(
            PLATFORM_ID.to_string(),
            "00000000-0000-7000-8000-000000000000"
        );
        assert_eq!(
            INTERNAL_PARTNER_ID.to_string(),
            "00000000-0000-7000-8000-000000000001"
        );
    }

    #[test]
    fn the_fixed_ids_are_well_formed_version_7_and_older_than_any_new_one() {
        for fixed in [PLATFORM_ID, INTERNAL_PARTNER_ID] {
            assert_eq!(fixed.get_version_num(), 7);
            assert_eq!(fixed.get_variant(), uuid::Variant::RFC4122);
            assert!(fixed < new_id());
        }
    }

    #[test]
    fn new_ids_are_version_7_and_strictly_increase() {
        let mut last = new_id();
        for _ in 0..10_000 {
            let next = new_id();
            assert_eq!(next.get_version_num(), 7);
            assert!(next > last, "{next} came after {last}");
            last = next;
        }
    }

    #[test]
    fn ids_made_later_come_after_the_first_of_a_time() {
        let first_at = |millis| first_at(Instant::EPOCH + Length::from_millis(millis));
        let before = first_at(1_700_000_000_000);
        assert!(new_id() > before);
        assert!(new_id() < first_at(0xffff_ffff_ffff));
        assert!(first_at(1_700_000_000_001) > before);
    }
}
