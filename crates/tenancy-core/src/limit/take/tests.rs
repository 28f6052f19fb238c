#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;

use super::super::Per;
use super::super::bucket::Rate;
use super::super::shares::Owner;
use super::super::table::{Entry, Head, Key, NONE};
use super::*;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

struct Memory(Vec<(Head, Vec<u32>, Vec<Entry>)>);

impl Memory {
    fn new(shards: usize, size: usize) -> Self {
        let one = || (Head::EMPTY, vec![NONE; size], vec![Entry::FREE; size]);
        Self((0..shards).map(|_| one()).collect())
    }

    fn take(&mut self, demands: &[Demand], cost: u64, now: u64) -> Result<Option<u64>, Refused> {
        take(self, demands, cost, now, &mut Vec::new())
    }

    fn used(&self) -> u32 {
        self.0.iter().map(|(head, ..)| head.shares.taken()).sum()
    }

    /// Checks that the counts are those of the entries.
    fn check(&self) {
        for (head, chains, entries) in &self.0 {
            let in_use = entries.iter().filter(|entry| entry.is_in_use()).count();
            assert_eq!(head.shares.taken() as usize, in_use);
            let mut reached = 0;
            for first in chains {
                let mut at = *first;
                while let Some(entry) = entries.get(at as usize) {
                    assert!(entry.is_in_use());
                    reached += 1;
                    at = entry.next();
                }
            }
            assert_eq!(reached, in_use);
            assert_eq!(head.shares.sums(), [in_use as u32; 3]);
        }
    }
}

impl Shards for Memory {
    fn shard(&mut self, number: usize) -> Shard<'_> {
        let (head, chains, entries) = &mut self.0[number];
        Shard::new(head, chains, entries)
    }
}

fn demand(n: u32, shards: usize, rate: Rate, owner: u32) -> Demand {
    // Few hashes, so that chains are long.
    let hash = n.wrapping_mul(0x9E37_79B9) >> 24;
    Demand {
        key: Key {
            target: u128::from(n).to_be_bytes(),
            database: 1,
            limit: 1,
            within: 0,
            which: [0; 4],
        },
        shard: n as usize % shards,
        hash,
        owner: Owner {
            tenant: owner,
            partner: owner / 8,
            database: 1,
        },
        rate,
    }
}

fn per_second(amount: u64, burst: u64) -> Rate {
    Rate {
        per: Per::Second,
        amount,
        burst,
    }
}

#[test]
fn a_refusal_of_one_level_takes_nothing_from_the_others() {
    let mut memory = Memory::new(2, 16);
    let (user, tenant) = (
        demand(1, 2, per_second(1, 3), 1),
        demand(2, 2, per_second(1, 10), 1),
    );
    let both = [tenant, user];
    for left in [2, 1, 0] {
        assert_eq!(memory.take(&both, 1, 0), Ok(Some(left)));
    }
    for _ in 0..100 {
        let Err(Refused::Over {
            demand,
            excess,
            left,
        }) = memory.take(&both, 1, 0)
        else {
            panic!("a user took more than its burst")
        };
        assert_eq!((demand, excess, left), (1, Excess::Until(SECOND), 0));
    }
    assert_eq!(memory.take(&[tenant], 0, 0), Ok(Some(7)));
    assert_eq!(memory.take(&[tenant], 7, 0), Ok(Some(0)));
    memory.check();
    // The refusals are counted where they were.
    let refused: u64 = memory.0[1].2.iter().map(|entry| entry.refused).sum();
    assert_eq!(refused, 100);
}

#[test]
fn the_longest_refusal_is_reported() {
    let mut memory = Memory::new(1, 16);
    let all = [
        demand(1, 1, per_second(10, 10), 1),
        demand(2, 1, per_second(1, 10), 1),
        demand(3, 1, per_second(5, 10), 1),
    ];
    assert_eq!(memory.take(&all, 10, 0), Ok(Some(0)));
    let refused = memory.take(&all, 1, 0);
    assert!(matches!(refused, Err(Refused::Over { demand: 1, .. })));
    let refused = memory.take(&all, 11, 0);
    let never = Refused::Over {
        demand: 0,
        excess: Excess::Never,
        left: 0,
    };
    assert_eq!(refused, Err(never));
}

#[test]
fn without_demands_nothing_is_refused() {
    assert_eq!(Memory::new(1, 4).take(&[], 1000, 0), Ok(None));
}

#[test]
fn a_tenant_takes_half_of_the_room_and_a_second_one_gets_some() {
    let mut memory = Memory::new(1, 1024);
    let flood = |memory: &mut Memory, owner: u32| {
        let first = owner * 10_000;
        let mut got = 0;
        for n in first..first + 2000 {
            got += u32::from(
                memory
                    .take(&[demand(n, 1, per_second(1, 5), owner)], 1, 0)
                    .is_ok(),
            );
        }
        got
    };
    assert_eq!(flood(&mut memory, 1), 512);
    assert_eq!(flood(&mut memory, 2), 256);
    // Of another partner: those of one share what it may have.
    assert_eq!(flood(&mut memory, 9), 128);
    memory.check();
    assert_eq!(memory.0[0].0.full, 2000 * 3 - 512 - 256 - 128);
    // All of them are in use for a second, and idle then.
    assert_eq!(memory.used(), 896);
    let again = demand(1, 1, per_second(1, 5), 4);
    assert_eq!(memory.take(&[again], 1, SECOND), Ok(Some(4)));
    for n in 0..400 {
        let next = demand(50_000 + n, 1, per_second(1, 5), 1);
        assert!(memory.take(&[next], 1, SECOND).is_ok());
    }
    memory.check();
}

#[test]
fn without_room_for_one_of_them_none_is_taken() {
    let mut memory = Memory::new(2, 4);
    let known = demand(0, 2, per_second(1, 5), 1);
    assert_eq!(memory.take(&[known], 1, 0), Ok(Some(4)));
    // Shard 1 is full for this tenant: two of four.
    for n in [1, 3] {
        assert!(
            memory
                .take(&[demand(n, 2, per_second(1, 5), 1)], 1, 0)
                .is_ok()
        );
    }
    let (fresh, more) = (
        demand(2, 2, per_second(1, 5), 1),
        demand(5, 2, per_second(1, 5), 1),
    );
    assert_eq!(memory.take(&[known, fresh, more], 2, 0), Err(Refused::Full));
    memory.check();
    assert_eq!(memory.used(), 3);
    assert_eq!(memory.take(&[known], 0, 0), Ok(Some(4)));
}

proptest! {
    /// Compared with buckets of which none is ever forgotten.
    #[test]
    fn forgetting_loses_nothing(
        rates in prop::collection::vec((1..50u64, 1..20u64), 12),
        requests in prop::collection::vec((prop::collection::btree_set(0..12u32, 0..5), 0..6u64, 0..SECOND), 1..200),
    ) {
        let mut memory = Memory::new(3, 64);
        let mut model: HashMap<u32, Level> = HashMap::new();
        let mut now = 0;
        for (buckets, cost, wait) in requests {
            now += wait;
            let demands: Vec<Demand> = buckets.iter().map(|n| {
                let (amount, burst) = rates[*n as usize];
                demand(*n, 3, per_second(amount, burst), *n)
            }).collect();
            let levels: Vec<_> = buckets.iter().zip(&demands).map(|(n, demand)| {
                let level = model.get(n).copied().unwrap_or_default();
                demand.rate.fill(demand.rate.drained(level, now), cost)
            }).collect();
            let expected = levels.iter().all(Result::is_ok);
            let taken = memory.take(&demands, cost, now);
            prop_assert_eq!(taken.is_ok(), expected, "{:?}", taken);
            if let (Ok(left), true) = (taken, expected) {
                let least = demands.iter().zip(&levels).map(|(demand, level)| demand.rate.left(level.unwrap())).min();
                prop_assert_eq!(left, least);
                for (n, level) in buckets.iter().zip(levels) {
                    model.insert(*n, level.unwrap());
                }
            }
            memory.check();
        }
    }
}
