//! What is counted of an event, and where; and the notes of it that count when the transaction commits.

use std::ops::Deref;

use tenancy_core::id::PLATFORM_ID;
use tenancy_core::ledger::{Account, Counted, Recorded, slot};
use tenancy_core::quantity::{Cost, Quantity};
use tenancy_core::time::Instant;
use uuid::Uuid;

use super::budget_cache::Budget;
use crate::pg::{ledger, queue};

/// The counted amounts of an event, and its scopes.
#[derive(Clone, Copy)]
pub struct Event {
    /// The partner.
    pub partner: Option<Uuid>,
    /// The tenant.
    pub tenant: Option<Uuid>,
    /// The project.
    pub project: Option<Uuid>,
    /// The user.
    pub user: Option<Uuid>,
    /// The metric, if its events add up.
    pub metric: Option<i32>,
    /// How much.
    pub quantity: Quantity,
    /// The cost of the usage.
    pub cost: Cost,
    /// The time.
    pub at: Instant,
}

/// The scopes that an event belongs to, from the platform down.
#[derive(Clone, Copy)]
pub struct Scopes {
    ids: [Uuid; 5],
    count: usize,
}

impl Deref for Scopes {
    type Target = [Uuid];

    fn deref(&self) -> &[Uuid] {
        self.ids.get(..self.count).unwrap_or_default()
    }
}

impl Event {
    /// Returns the scopes that it belongs to, from the platform down.
    pub fn scopes(&self) -> Scopes {
        let below = [self.partner, self.tenant, self.project, self.user];
        let mut scopes = Scopes {
            ids: [PLATFORM_ID; 5],
            count: 1,
        };
        for id in below.into_iter().flatten() {
            if let Some(place) = scopes.ids.get_mut(scopes.count) {
                *place = id;
                scopes.count += 1;
            }
        }
        scopes
    }

    /// How much of what a budget is for, in millionths.
    pub fn share(&self, budget: &Budget) -> Option<i64> {
        self.share_of(budget.counted)
    }

    /// How much of what an account counts, in millionths.
    pub fn share_of(&self, counted: Counted) -> Option<i64> {
        match counted {
            Counted::Cost => Some(self.cost.millionths()),
            Counted::Metric(metric) => {
                (self.metric == Some(metric)).then_some(self.quantity.millionths())
            }
            Counted::Covered | Counted::Drawn | Counted::Open => None,
        }
    }
}

/// Notes the used and the reserved amount that an event adds when this transaction commits.
pub fn note(event: &Event, scopes: &[Uuid], part: impl Fn(i128) -> (i128, i128)) {
    let database = queue::database();
    for scope in scopes {
        let parts = [
            (event.metric).map(|metric| (Counted::Metric(metric), event.quantity.millionths())),
            Some((Counted::Cost, event.cost.millionths())),
        ];
        for (counted, quantity) in parts.into_iter().flatten().filter(|(_, q)| *q != 0) {
            let (used, reserved) = part(quantity.into());
            ledger::note(&Recorded {
                account: Account::new(database, counted, *scope.as_bytes()),
                slot: slot(event.at),
                used,
                reserved,
            });
        }
    }
}

/// Notes that `more` reservations are open when this transaction commits; negative for fewer.
pub fn note_open(event: &Event, more: i128) {
    for scope in [event.user, event.tenant].into_iter().flatten() {
        ledger::note(&Recorded {
            account: Account::open(queue::database(), *scope.as_bytes()),
            slot: slot(event.at),
            used: 0,
            reserved: more,
        });
    }
}
