//! Taking from all buckets that a request meets, or from none.

use super::bucket::{Excess, Level};
use super::table::{Demand, Shard};

/// The locked shards.
pub trait Shards {
    /// Returns a shard of a demand.
    fn shard(&mut self, number: usize) -> Shard<'_>;
}

/// What was found of a demand.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    at: Option<u32>,
    before: Level,
    after: Level,
}

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// This demand does not conform. Of several the one that lasts longest.
    Over {
        /// Its place among the demands.
        demand: usize,
        /// Until when.
        excess: Excess,
        /// How much may be taken from its bucket now.
        left: u64,
    },
    /// There is no room for another bucket.
    Full,
}

/// Takes `cost` from the bucket of each demand, or from none. Returns how much may be taken at once afterwards; `None` without
/// demands. A cost of 0 is never refused, and takes nothing. `found` is memory for as many demands.
pub fn take(
    shards: &mut impl Shards,
    demands: &[Demand],
    cost: u64,
    now: u64,
    found: &mut Vec<Found>,
) -> Result<Option<u64>, Refused> {
    found.clear();
    let mut refused: Option<Refused> = None;
    let mut left = None;
    for (n, demand) in demands.iter().enumerate() {
        let mut shard = shards.shard(demand.shard);
        let at = shard.find(&demand.key, demand.hash);
        let level = match at.and_then(|at| shard.entry(at)) {
            Some(entry) => demand.rate.drained(entry.level, now),
            None => Level { units: 0, at: now },
        };
        match demand.rate.fill(level, cost) {
            Ok(after) => {
                let here = demand.rate.left(after);
                left = Some(left.map_or(here, |left: u64| left.min(here)));
                let before = level;
                found.push(Found { at, before, after });
            }
            Err(excess) => {
                if let Some(entry) = at.and_then(|at| shard.entry_mut(at)) {
                    entry.refused += 1;
                    entry.refused_at = now;
                }
                if refused.is_none_or(|refused| refused.ends_before(excess)) {
                    refused = Some(Refused::Over {
                        demand: n,
                        excess,
                        left: demand.rate.left(level),
                    });
                }
            }
        }
    }
    if let Some(refused) = refused {
        return Err(refused);
    }
    if cost > 0 {
        write(shards, demands, found)?;
    }
    Ok(left)
}

impl Refused {
    fn ends_before(self, other: Excess) -> bool {
        match (self, other) {
            (
                Self::Over {
                    excess: Excess::Until(end),
                    ..
                },
                Excess::Until(other),
            ) => end < other,
            (
                Self::Over {
                    excess: Excess::Until(_),
                    ..
                },
                Excess::Never,
            ) => true,
            _ => false,
        }
    }
}

/// Writes the levels. Known buckets come first: one that was idle is not forgotten for a new one.
fn write(shards: &mut impl Shards, demands: &[Demand], found: &[Found]) -> Result<(), Refused> {
    let all = || demands.iter().zip(found);
    set(shards, all(), |one| one.after);
    for (n, (demand, one)) in all().enumerate() {
        if one.at.is_some() {
            continue;
        }
        let mut shard = shards.shard(demand.shard);
        if !shard.insert(demand, one.after) {
            shard.head.full += 1;
            set(shards, all(), |one| one.before);
            undo(shards, all().take(n));
            return Err(Refused::Full);
        }
    }
    Ok(())
}

/// Sets the levels of known buckets.
fn set<'a>(
    shards: &mut impl Shards,
    all: impl Iterator<Item = (&'a Demand, &'a Found)>,
    level: impl Fn(&Found) -> Level,
) {
    for (demand, one) in all {
        if let Some(at) = one.at
            && let Some(entry) = shards.shard(demand.shard).entry_mut(at)
        {
            entry.level = level(one);
            entry.rate = demand.rate;
        }
    }
}

/// Removes new buckets.
fn undo<'a>(shards: &mut impl Shards, inserted: impl Iterator<Item = (&'a Demand, &'a Found)>) {
    for (demand, _) in inserted.filter(|(_, one)| one.at.is_none()) {
        let mut shard = shards.shard(demand.shard);
        if let Some(at) = shard.find(&demand.key, demand.hash) {
            shard.remove(at);
        }
    }
}

#[cfg(test)]
mod tests;
