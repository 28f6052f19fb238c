//! The arithmetic of one rate: the generic cell rate algorithm in its form as a leaky bucket (ITU-T I.371, annex A).
//!
//! The level of a bucket rises by what is taken, and falls at the rate. A request conforms if the level with it is at most the
//! burst. Levels are in units of which each thing taken counts as many as its time has nanoseconds. Then the level falls by
//! `rate` units a nanosecond, and all numbers are whole: nothing is rounded. The unit does not depend on the rate, so a level
//! stays what it was when the rate changes.
//!
//! So in no span of `t` nanoseconds more is taken than burst + rate · t / time, and nothing is refused that keeps to this.

use super::Per;

/// How much may be taken in which time, and at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The time.
    pub per: Per,
    /// How much in this time.
    pub amount: u64,
    /// How much at once.
    pub burst: u64,
}

/// How full a bucket was at a time of the caller's clock, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// In units.
    pub units: u128,
    /// When.
    pub at: u64,
}

/// Why a request does not conform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// It will after this many nanoseconds, if nothing else is taken.
    Until(u64),
    /// It never will: it is more than the burst, or the rate is 0.
    Never,
}

impl Rate {
    const fn unit(&self) -> u128 {
        self.per.nanos() as u128
    }

    const fn full(&self) -> u128 {
        self.burst as u128 * self.unit()
    }

    /// Returns how full a bucket is now. A clock behind that of the level, of another processor, counts as the level's. A level
    /// above the burst, which was lowered since, counts as the burst.
    #[must_use]
    pub fn drained(&self, level: Level, now: u64) -> Level {
        let at = now.max(level.at);
        let gone = u128::from(self.amount) * u128::from(at - level.at);
        let units = level.units.saturating_sub(gone);
        Level {
            units: units.min(self.full()),
            at,
        }
    }

    /// Returns the level with `cost` taken. `level` is drained.
    pub fn fill(&self, level: Level, cost: u64) -> Result<Level, Excess> {
        if cost == 0 {
            return Ok(level);
        }
        if self.amount == 0 || cost > self.burst {
            return Err(Excess::Never);
        }
        let units = level.units + u128::from(cost) * self.unit();
        match units.checked_sub(self.full()) {
            None | Some(0) => Ok(Level { units, ..level }),
            Some(over) => Err(Excess::Until(self.time(over))),
        }
    }

    /// Returns in how many nanoseconds so many units have drained.
    fn time(&self, units: u128) -> u64 {
        let nanos = units.div_ceil(u128::from(self.amount.max(1)));
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// Returns how much may be taken at once now. `level` is drained.
    #[must_use]
    pub fn left(&self, level: Level) -> u64 {
        if self.amount == 0 {
            return 0;
        }
        let left = self.full().saturating_sub(level.units) / self.unit();
        u64::try_from(left).unwrap_or(u64::MAX)
    }

    /// Returns how much was taken of what may be taken at once. `level` is drained.
    #[must_use]
    pub fn used(&self, level: Level) -> u64 {
        u64::try_from(level.units.div_ceil(self.unit())).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
