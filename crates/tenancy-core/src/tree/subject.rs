//! Subjects that cached values depend on. An invalidation message contains only a subject's number.

use uuid::Uuid;

/// A subject that cached values depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A scope's own row, and a user's assignments.
    Scope(Uuid),
    /// The allowed networks of a scope.
    Networks(Uuid),
    /// The tenants of a partner.
    Fleet(Uuid),
    /// The same, if a tenant was added and none has changed.
    FleetGrown(Uuid),
    /// The paths of all scopes.
    Tree,
    /// A role.
    Role(Uuid),
    /// An API key.
    ApiKey(Uuid),
    /// An identity provider, with its secret and group mappings.
    Provider(Uuid),
    /// The providers that claim an issuer's tokens for an audience; by the first half of their hash.
    Claim(Uuid),
    /// The provider among them that an administrator vouches for.
    Vouched(Uuid),
    /// The budgets of a scope.
    Budgets(Uuid),
    /// Which parts of usage have budgets, of any scope.
    Parts,
    /// The credits of a budget.
    Credits(Uuid),
    /// The time zone setting of a scope.
    TimeZone(Uuid),
    /// The limits of a scope or a plan, and the plans of a tenant.
    Limits(Uuid),
    /// The features and settings of a scope or a plan.
    Options(Uuid),
}

impl Subject {
    /// Returns the subject for the providers that claim the tokens with this hash.
    #[must_use]
    pub fn claim(tokens: &[u8]) -> Self {
        Self::Claim(half(tokens))
    }

    /// Returns the subject for the provider among them that an administrator vouches for.
    #[must_use]
    pub fn vouched(tokens: &[u8]) -> Self {
        Self::Vouched(half(tokens))
    }

    /// Returns the subject with this name, as triggers use it; `None` if there is none.
    #[must_use]
    pub fn named(name: &str, id: Uuid) -> Option<Self> {
        Some(match name {
            "scope" => Self::Scope(id),
            "networks" => Self::Networks(id),
            "fleet" => Self::Fleet(id),
            "tree" => Self::Tree,
            "role" => Self::Role(id),
            "api_key" => Self::ApiKey(id),
            "provider" => Self::Provider(id),
            "claim" => Self::Claim(id),
            "vouched" => Self::Vouched(id),
            "budgets" => Self::Budgets(id),
            "parts" => Self::Parts,
            "credits" => Self::Credits(id),
            "time_zone" => Self::TimeZone(id),
            "limits" => Self::Limits(id),
            "options" => Self::Options(id),
            _ => return None,
        })
    }

    /// Returns its number. Two subjects may share a number: a backend then reads something again that has not changed.
    #[must_use]
    pub fn number(self) -> u32 {
        let (kind, id): (u64, Uuid) = match self {
            Self::Scope(id) => (1, id),
            Self::Fleet(id) => (2, id),
            Self::FleetGrown(id) => (3, id),
            Self::Tree => (4, Uuid::nil()),
            Self::Role(id) => (5, id),
            Self::ApiKey(id) => (6, id),
            Self::Provider(id) => (7, id),
            Self::Budgets(id) => (8, id),
            Self::Credits(id) => (9, id),
            Self::TimeZone(id) => (10, id),
            Self::Networks(id) => (11, id),
            Self::Claim(id) => (12, id),
            Self::Vouched(id) => (13, id),
            Self::Limits(id) => (14, id),
            Self::Options(id) => (15, id),
            Self::Parts => (16, Uuid::nil()),
        };
        let (high, low) = id.as_u64_pair();
        let mixed = mix(mix(mix(kind) ^ high) ^ low);
        (mixed >> 32) as u32
    }
}

/// Returns the first 16 bytes as an id; the nil id if there are fewer.
#[must_use]
pub fn half(hash: &[u8]) -> Uuid {
    let first = hash.first_chunk::<16>();
    first.map_or(Uuid::nil(), |first| Uuid::from_bytes(*first))
}

/// Mixes a number by the finalizer of SplitMix64.
const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn kinds(id: Uuid) -> [Subject; 14] {
        [
            Subject::Scope(id),
            Subject::Fleet(id),
            Subject::FleetGrown(id),
            Subject::Role(id),
            Subject::ApiKey(id),
            Subject::Provider(id),
            Subject::Budgets(id),
            Subject::Credits(id),
            Subject::TimeZone(id),
            Subject::Networks(id),
            Subject::Claim(id),
            Subject::Vouched(id),
            Subject::Limits(id),
            Subject::Options(id),
        ]
    }

    #[test]
    fn a_message_reaches_only_its_subject() {
        let ids = (0..5_000).map(|_| crate::id::new_id());
        let all: Vec<Subject> = ids.flat_map(kinds).chain([Subject::Tree]).collect();
        let numbers: HashSet<u32> = all.iter().map(|subject| subject.number()).collect();
        // By chance, 70,001 numbers of 32 bits have less than half a pair that is the same.
        assert!(
            all.len() - numbers.len() <= 8,
            "{} of {}",
            numbers.len(),
            all.len()
        );
    }

    #[test]
    fn the_name_of_a_subject_is_what_triggers_say() {
        let id = crate::id::new_id();
        assert_eq!(Subject::named("scope", id), Some(Subject::Scope(id)));
        assert_eq!(Subject::named("tree", id), Some(Subject::Tree));
        assert_eq!(Subject::named("time_zone", id), Some(Subject::TimeZone(id)));
        assert_eq!(Subject::named("fleet_grown", id), None);
        assert_eq!(Subject::named("", id), None);
    }
}
