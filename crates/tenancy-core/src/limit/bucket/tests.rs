#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use proptest::prelude::*;

/// The rule itself: what was taken, and when. Nothing in it drains.
#[derive(Default)]
struct Model(Vec<(u64, u64)>);

impl Model {
    /// Whether in every span of time that ends now at most burst + rate · t is taken, with `cost`.
    fn conforms(&self, rate: &Rate, cost: u64, now: u64) -> bool {
        let unit = u128::from(rate.per.nanos());
        let may = |since: u64| {
            u128::from(rate.burst) * unit + u128::from(rate.amount) * u128::from(now - since)
        };
        let mut taken = u128::from(cost) * unit;
        taken <= may(now)
            && self.0.iter().rev().all(|(at, cost)| {
                taken += u128::from(*cost) * unit;
                taken <= may(*at)
            })
    }
}

fn rates() -> impl Strategy<Value = Rate> {
    let per = prop::sample::select(Per::ALL.to_vec());
    let amount = prop_oneof![1..10u64, 1..1000u64, 1..=1_000_000_000u64];
    let burst = prop_oneof![1..5u64, 1..1000u64, 1..=1_000_000_000u64];
    (per, amount, burst).prop_map(|(per, amount, burst)| Rate { per, amount, burst })
}

/// Steps of time that are of the order of what one costs, of a burst, or of none.
fn events() -> impl Strategy<Value = Vec<(u8, u16, u64)>> {
    let cost = prop_oneof![Just(1u64), 0..4u64, 1..2000u64];
    prop::collection::vec((0..4u8, any::<u16>(), cost), 1..80)
}

fn step(rate: &Rate, (kind, part, _): (u8, u16, u64)) -> u64 {
    let one = rate.per.nanos() / rate.amount.max(1);
    let whole = match kind {
        0 => 0,
        1 => one + 1,
        2 => one.saturating_mul(rate.burst.min(1000)),
        _ => 1000,
    };
    (u128::from(whole) * u128::from(part) / 32_768) as u64
}

proptest! {
    #[test]
    fn it_admits_what_conforms_and_nothing_else(rate in rates(), events in events()) {
        let (mut model, mut level, mut now) = (Model::default(), Level::default(), 0u64);
        for event in events {
            now += step(&rate, event);
            let cost = event.2;
            level = rate.drained(level, now);
            match rate.fill(level, cost) {
                Ok(filled) => {
                    prop_assert!(model.conforms(&rate, cost, now));
                    prop_assert_eq!(rate.left(level) - cost, rate.left(filled));
                    level = filled;
                    model.0.push((now, cost));
                }
                Err(excess) => {
                    prop_assert!(!model.conforms(&rate, cost, now));
                    prop_assert!(rate.left(level) < cost);
                    match excess {
                        Excess::Never => prop_assert!(cost > rate.burst),
                        // Exactly then, and not a nanosecond before.
                        Excess::Until(nanos) => {
                            prop_assert!(model.conforms(&rate, cost, now + nanos));
                            prop_assert!(!model.conforms(&rate, cost, now + nanos - 1));
                            let after = |nanos| rate.fill(rate.drained(level, now + nanos), cost);
                            prop_assert!(after(nanos).is_ok());
                            prop_assert_eq!(after(nanos - 1), Err(Excess::Until(1)));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_left_conforms_and_one_more_does_not(rate in rates(), units in any::<u128>(), wait in 0..u64::MAX / 2) {
        let level = rate.drained(Level { units, at: 0 }, wait);
        let left = rate.left(level);
        prop_assert!(rate.fill(level, left).is_ok());
        prop_assert!(rate.fill(level, left + 1).is_err());
    }

    #[test]
    fn no_change_of_a_rate_blocks_for_longer_than_its_burst_takes(before in rates(), after in rates(), cost in 1..100u64) {
        let full = Level { units: before.full(), at: 5 };
        let after = Rate { per: before.per, ..after };
        if let Err(Excess::Until(nanos)) = after.fill(after.drained(full, 5), cost.min(after.burst)) {
            prop_assert!(u128::from(nanos) <= (after.full()).div_ceil(u128::from(after.amount)));
        }
    }
}

#[test]
fn a_clock_that_is_behind_drains_nothing_and_blocks_nothing() {
    let rate = Rate {
        per: Per::Second,
        amount: 10,
        burst: 10,
    };
    let level = rate.fill(Level { units: 0, at: 1000 }, 10).unwrap();
    let behind = rate.drained(level, 0);
    assert_eq!(behind, level);
    assert_eq!(rate.fill(behind, 1), Err(Excess::Until(100_000_000)));
}

#[test]
fn a_rate_of_zero_refuses_all_but_nothing() {
    let rate = Rate {
        per: Per::Day,
        amount: 0,
        burst: 1,
    };
    assert_eq!(rate.fill(Level::default(), 1), Err(Excess::Never));
    assert_eq!(rate.fill(Level::default(), 0), Ok(Level::default()));
    assert_eq!(rate.left(Level::default()), 0);
}

#[test]
fn a_lowered_burst_counts_what_was_taken_up_to_it() {
    let (wide, narrow) = (rate(100), rate(10));
    let level = wide.fill(Level::default(), 60).unwrap();
    let level = narrow.drained(level, 0);
    assert_eq!(narrow.used(level), 10);
    // A raised one keeps it too.
    assert_eq!(
        rate(1000).left(wide.fill(Level::default(), 60).unwrap()),
        940
    );
}

fn rate(burst: u64) -> Rate {
    Rate {
        per: Per::Second,
        amount: 1,
        burst,
    }
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let rate = Rate {
        per: Per::Day,
        amount: 1,
        burst: u64::MAX,
    };
    let full = rate.fill(Level::default(), u64::MAX).unwrap();
    assert_eq!(rate.left(full), 0);
    assert_eq!(rate.fill(full, u64::MAX), Err(Excess::Until(u64::MAX)));
    let fast = Rate {
        amount: u64::MAX,
        ..rate
    };
    assert_eq!(fast.drained(full, u64::MAX).units, 0);
}
