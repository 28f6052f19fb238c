//! Limits: which kinds there are, at which levels they count, and what is admitted.
//!
//! | module | what |
//! | --- | --- |
//! | [`bucket`] | the arithmetic of one rate |
//! | [`shares`] | how much of a table each tenant, partner and database may take |
//! | [`table`] | the buckets of rates, in memory of a fixed size |
//! | [`slots`] | slots that are held, likewise |
//! | [`heap`] | which of them expires first |
//! | [`take`] | taking from all buckets that a request meets, or from none |

pub mod bucket;
pub mod heap;
pub mod shares;
pub mod slots;
pub mod table;
pub mod take;

use std::fmt;

/// The kind of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// So much in a time.
    Rate,
    /// So many at once.
    Slots,
    /// So much in all.
    Amount,
}

impl Kind {
    /// Returns the kind of this stored name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Rate, Self::Slots, Self::Amount]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }

    /// Returns the stored name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Slots => "slots",
            Self::Amount => "amount",
        }
    }

    /// Returns the function that asks a limit of this kind.
    #[must_use]
    pub const fn function(self) -> &'static str {
        match self {
            Self::Rate => "take",
            Self::Slots => "acquire_slot",
            Self::Amount => "limit_of",
        }
    }
}

/// What a value of a limit is for: each scope of a level, or each API key. In the order of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// The platform.
    Platform,
    /// Each partner.
    Partner,
    /// Each tenant.
    Tenant,
    /// Each project.
    Project,
    /// Each user.
    User,
    /// Each API key.
    ApiKey,
}

impl Level {
    /// All levels, from the platform down.
    pub const ALL: [Self; 6] = [
        Self::Platform,
        Self::Partner,
        Self::Tenant,
        Self::Project,
        Self::User,
        Self::ApiKey,
    ];

    /// Returns the level of this stored name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }

    /// Returns the stored name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Partner => "partner",
            Self::Tenant => "tenant",
            Self::Project => "project",
            Self::User => "user",
            Self::ApiKey => "api_key",
        }
    }

    /// Returns the words of messages.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::ApiKey => "API key",
            level => level.as_str(),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// The time of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Per {
    /// 1 second.
    Second,
    /// 60 seconds.
    Minute,
    /// 3600 seconds.
    Hour,
    /// 86,400 seconds.
    Day,
}

impl Per {
    /// All of them, the shortest first.
    pub const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    /// Returns the time of this stored name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|per| per.as_str() == name)
    }

    /// Returns the stored name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// Returns its nanoseconds.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        1_000_000_000
            * match self {
                Self::Second => 1,
                Self::Minute => 60,
                Self::Hour => 3600,
                Self::Day => 86_400,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_names_are_read_as_written() {
        for level in Level::ALL {
            assert_eq!(Level::named(level.as_str()), Some(level));
        }
        for per in Per::ALL {
            assert_eq!(Per::named(per.as_str()), Some(per));
        }
        for kind in [Kind::Rate, Kind::Slots, Kind::Amount] {
            assert_eq!(Kind::named(kind.as_str()), Some(kind));
        }
        assert_eq!(Level::named("Tenant"), None);
        assert_eq!(Per::named("week"), None);
    }
}
