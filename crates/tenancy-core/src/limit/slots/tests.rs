#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use proptest::prelude::*;

struct Memory {
    head: Head,
    slots: Vec<Slot>,
    heap: Vec<u32>,
    counters: Vec<Counter>,
    chains: Vec<u32>,
}

impl Memory {
    fn new(size: usize, counters: usize) -> Self {
        Self {
            head: Head::EMPTY,
            slots: vec![Slot::FREE; size],
            heap: vec![NONE; size],
            counters: vec![Counter::FREE; counters],
            chains: vec![NONE; counters],
        }
    }

    fn slots(&mut self) -> Slots<'_> {
        Slots::new(
            &mut self.head,
            &mut self.slots,
            &mut self.heap,
            &mut self.counters,
            &mut self.chains,
        )
    }

    fn acquire(
        &mut self,
        demands: &[Demand],
        tenant: u32,
        expires: u64,
        now: u64,
    ) -> Result<u32, Refused> {
        let owner = Owner {
            tenant,
            partner: tenant,
            database: 1,
        };
        self.slots()
            .acquire(demands, Holder::default(), owner, (expires, now), id)
    }

    fn check(&self) {
        let held: Vec<&Slot> = self.slots.iter().filter(|slot| slot.held).collect();
        assert_eq!(self.head.shares.taken() as usize, held.len());
        for (number, counter) in self.counters.iter().enumerate() {
            let of = held
                .iter()
                .filter(|slot| slot.counters.contains(&(number as u32)))
                .count();
            assert_eq!(counter.held as usize, of);
        }
        let used = self
            .counters
            .iter()
            .filter(|counter| counter.held > 0)
            .count();
        assert_eq!(self.head.counters as usize, used);
        let expiring = held.iter().filter(|slot| slot.expires != NEVER).count();
        assert_eq!(self.head.heap as usize, expiring);
        for (place, number) in self.heap.iter().take(expiring).enumerate() {
            let slot = &self.slots[*number as usize];
            assert_eq!(slot.place as usize, place);
            let above = self.heap[place.saturating_sub(1) / 2];
            assert!(self.slots[above as usize].expires <= slot.expires);
        }
    }
}

fn id(number: u32) -> [u8; 16] {
    u128::from(number).to_be_bytes()
}

fn demand(scope: u32, most: u64) -> Demand {
    Demand {
        key: Key {
            target: u128::from(scope).to_be_bytes(),
            database: 1,
            limit: 1,
            within: 0,
            which: [0; 4],
        },
        hash: scope % 3,
        most,
    }
}

#[test]
fn three_a_user_and_ten_a_tenant() {
    let mut memory = Memory::new(64, 64);
    let of = |user| [demand(100, 10), demand(user, 3)];
    let mut held = Vec::new();
    for user in 0..3 {
        for _ in 0..3 {
            held.push(memory.acquire(&of(user), 1, NEVER, 0).unwrap());
        }
        let refused = memory.acquire(&of(user), 1, NEVER, 0);
        assert_eq!(refused, Err(Refused::Over { demand: 1, held: 3 }));
    }
    assert!(memory.acquire(&of(3), 1, NEVER, 0).is_ok());
    let refused = memory.acquire(&of(4), 1, NEVER, 0);
    assert_eq!(
        refused,
        Err(Refused::Over {
            demand: 0,
            held: 10
        })
    );
    assert_eq!(
        memory.slots().count(&demand(100, 10), 0),
        Held {
            held: 10,
            refused: 1
        }
    );
    assert_eq!(memory.slots().count(&demand(4, 3), 0), Held::default());
    assert!(memory.slots().release(held[0], &id(held[0])));
    assert!(!memory.slots().release(held[0], &id(held[0])));
    assert!(memory.acquire(&of(4), 1, NEVER, 0).is_ok());
    memory.check();
}

#[test]
fn another_id_frees_nothing() {
    let mut memory = Memory::new(4, 8);
    let number = memory.acquire(&[demand(1, 1)], 1, NEVER, 0).unwrap();
    assert!(!memory.slots().release(number, &id(number + 1)));
    assert!(!memory.slots().release(99, &id(99)));
    assert!(memory.acquire(&[demand(1, 1)], 1, NEVER, 0).is_err());
}

#[test]
fn a_tenant_takes_half_of_the_room() {
    let mut memory = Memory::new(100, 100);
    for _ in 0..50 {
        assert!(memory.acquire(&[], 1, NEVER, 0).is_ok());
    }
    assert_eq!(memory.acquire(&[], 1, NEVER, 0), Err(Refused::Full));
    assert_eq!(memory.head.full, 1);
    assert!(memory.acquire(&[], 2, NEVER, 0).is_ok());
    memory.check();
}

#[test]
fn without_a_counter_for_one_level_none_counts() {
    let mut memory = Memory::new(100, 3);
    assert!(
        memory
            .acquire(&[demand(1, 5), demand(2, 5)], 1, NEVER, 0)
            .is_ok()
    );
    let refused = memory.acquire(&[demand(1, 5), demand(3, 5), demand(4, 5)], 1, NEVER, 0);
    assert_eq!(refused, Err(Refused::Full));
    assert_eq!(memory.slots().count(&demand(1, 5), 0).held, 1);
    assert!(
        memory
            .acquire(&[demand(1, 5), demand(3, 5)], 1, NEVER, 0)
            .is_ok()
    );
    memory.check();
}

#[test]
fn no_demand_is_left_out() {
    let mut memory = Memory::new(100, 100);
    let demands: Vec<Demand> = (0..=COUNTERS_MAX as u32).map(|n| demand(n, 5)).collect();
    let refused = memory.acquire(&demands, 1, NEVER, 0);
    assert_eq!(refused, Err(Refused::Full));
    assert!(memory.acquire(&demands[1..], 1, NEVER, 0).is_ok());
    memory.check();
}

#[derive(Clone, Debug)]
enum Step {
    Acquire(BTreeSet<u32>, Option<u64>),
    Release(usize),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let scopes = prop::collection::btree_set(0..8u32, 0..3);
    let step = prop_oneof![
        4 => (scopes, prop::option::weighted(0.9, 1..500u64)).prop_map(|(scopes, ttl)| Step::Acquire(scopes, ttl)),
        2 => any::<prop::sample::Index>().prop_map(|n| Step::Release(n.index(64))),
        1 => (0..60u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn it_counts_as_a_list_of_slots_does(steps in steps(), most in prop::collection::vec(0..12u64, 8)) {
        let mut memory = Memory::new(64, 16);
        // What is held, by number: its scopes and its end.
        let mut model: BTreeMap<u32, (BTreeSet<u32>, u64)> = BTreeMap::new();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Wait(time) => now += time,
                Step::Release(nth) => {
                    let Some(number) = model.keys().nth(nth % model.len().max(1)).copied() else { continue };
                    let (_, end) = model.remove(&number).unwrap();
                    let released = memory.slots().release(number, &id(number));
                    prop_assert!(released || end <= now);
                }
                Step::Acquire(scopes, ttl) => {
                    model.retain(|_, (_, end)| *end > now);
                    let held = |scope: &u32| model.values().filter(|(of, _)| of.contains(scope)).count() as u64;
                    let fits = scopes.iter().all(|scope| held(scope) < most[*scope as usize]);
                    let demands: Vec<Demand> = scopes.iter().map(|scope| demand(*scope, most[*scope as usize])).collect();
                    let expires = ttl.map_or(NEVER, |ttl| now + ttl);
                    match memory.acquire(&demands, model.len() as u32, expires, now) {
                        Ok(number) => {
                            prop_assert!(fits);
                            prop_assert!(model.insert(number, (scopes, expires)).is_none());
                        }
                        Err(Refused::Over { .. }) => prop_assert!(!fits),
                        Err(Refused::Full) => prop_assert!(model.len() > 12),
                    }
                }
            }
            memory.check();
        }
    }
}
