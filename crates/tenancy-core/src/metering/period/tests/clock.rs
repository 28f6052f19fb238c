//! A clock by its changes, as another library reads a zone's file. Its parent has `YEARS`, [`Instant`], [`Length`], [`Stretch`] and [`Zone`]:
//! the core's tests and those over real connections are such parents.

use super::{Instant, Length, Stretch, YEARS, Zone};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A thousand days, in seconds.
const A_WHILE: i64 = 1000 * 24 * 3600;

/// A clock by its changes: when, and the offset from then on, in seconds of the Unix epoch and seconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Clock {
    pub(super) first: i64,
    pub(super) changes: Vec<(i64, i64)>,
}

impl Clock {
    /// The changes of a zone in these years, and those a while before and after.
    pub(super) fn of(zone: &TimeZone) -> Self {
        let begin = Timestamp::from_second(YEARS.start - A_WHILE).unwrap();
        let changes = zone.following(begin).map(|change| {
            let offset = change.offset().seconds();
            (change.timestamp().as_second(), i64::from(offset))
        });
        Self {
            first: zone.to_offset(begin).seconds().into(),
            changes: changes
                .take_while(|(when, _)| *when < YEARS.end + A_WHILE)
                .collect(),
        }
    }
}

impl Zone for Clock {
    fn stretch(&self, at: Instant) -> Option<Stretch> {
        let next = self
            .changes
            .partition_point(|(when, _)| Instant::from_unix_seconds(*when) <= at);
        Some(Stretch {
            offset: Length::from_seconds(match next.checked_sub(1) {
                Some(last) => self.changes[last].1,
                None => self.first,
            }),
            until: (self.changes.get(next)).map(|(when, _)| Instant::from_unix_seconds(*when)),
        })
    }
}
