//! What is counted of an event, and where; and the notes of it that count when the transaction commits.

use std::ops::Deref;

use tenancy_core::id::PLATFORM_ID;
use tenancy_core::ledger::{Account, Counted, Member, Recorded, Traits, slot};
use tenancy_core::quantity::{Cost, Quantity};
use tenancy_core::time::Instant;
use uuid::Uuid;

use super::budget_cache::{Budget, Budgets};
use super::load::PartRows;
use crate::pg::{ledger, queue};

/// The counted amounts of an event, its scopes, and what parts of usage differ by.
#[derive(Clone)]
pub struct Event {
    /// The partner.
    pub partner: Option<Uuid>,
    /// The tenant.
    pub tenant: Option<Uuid>,
    /// The project.
    pub project: Option<Uuid>,
    /// The user.
    pub user: Option<Uuid>,
    /// The API key that proved the context.
    pub api_key: Option<Uuid>,
    /// The values of the metric's dimensions.
    pub dimensions: Vec<(String, String)>,
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

    /// How much of what a budget is for, in attos, and the account that counts it; `None` if the budget does not.
    pub fn share(&self, budget: &Budget) -> Option<(Account, i128)> {
        let share = self.share_of(budget.counted)?;
        Some((self.account(budget)?, share))
    }

    /// The same of what an event has beyond another one that is counted already.
    pub fn share_beyond(&self, counted: Option<&Self>, budget: &Budget) -> Option<(Account, i128)> {
        let (account, share) = self.share(budget)?;
        let before = counted.and_then(|event| event.share(budget));
        let before = before.filter(|(of, _)| *of == account);
        let beyond = share.saturating_sub(before.map_or(0, |(_, share)| share));
        Some((account, beyond.max(0)))
    }

    /// Returns the account of a budget that counts the event; `None` if it is not in the budget's part of usage.
    pub fn account(&self, budget: &Budget) -> Option<Account> {
        match &budget.part {
            None => Some(budget.account),
            Some(part) => {
                let name = match part.counts(&self.traits())? {
                    Member::Id(id) => budget.member_name(part, id),
                    member => part.name(&member),
                };
                Some(Account::part(queue::database(), budget.counted, name))
            }
        }
    }

    /// Returns which rows the account of a budget for a part counts; `None` for a budget of all usage.
    pub fn part_rows(&self, budget: &Budget) -> Option<PartRows> {
        let part = budget.part.as_ref()?;
        Some(PartRows::new(
            budget.scope,
            budget.counted,
            part,
            &self.traits(),
        ))
    }

    /// Returns the member or the value that a budget counts the event for.
    pub fn member(&self, budget: &Budget) -> Option<String> {
        budget.part.as_ref()?.value_of(&self.traits())
    }

    fn traits(&self) -> Traits<'_> {
        Traits {
            partner: self.partner,
            tenant: self.tenant,
            project: self.project,
            user: self.user,
            api_key: self.api_key,
            dimensions: &self.dimensions,
        }
    }

    /// How much of what an account counts, in attos.
    pub fn share_of(&self, counted: Counted) -> Option<i128> {
        match counted {
            Counted::Cost => Some(self.cost.attos()),
            Counted::Metric(metric) => {
                (self.metric == Some(metric)).then_some(self.quantity.attos())
            }
            Counted::Covered
            | Counted::Drawn
            | Counted::Open
            | Counted::PartOfCost
            | Counted::Part(_) => None,
        }
    }
}

/// Notes the used and the reserved amount that an event adds when this transaction commits. The budgets are those of the
/// scopes, as far as they are for parts.
pub fn note(
    event: &Event,
    scopes: &[Uuid],
    budgets: &Budgets,
    part: impl Fn(i128) -> (i128, i128),
) {
    let database = queue::database();
    for budget in budgets.iter().filter(|budget| budget.names_part) {
        if let Some((account, share)) = event.share(budget).filter(|(_, share)| *share != 0) {
            let (used, reserved) = part(share);
            ledger::note(&Recorded {
                account,
                slot: slot(event.at),
                used,
                reserved,
            });
        }
    }
    for scope in scopes {
        let parts = [
            (event.metric).map(|metric| (Counted::Metric(metric), event.quantity.attos())),
            Some((Counted::Cost, event.cost.attos())),
        ];
        for (counted, quantity) in parts.into_iter().flatten().filter(|(_, q)| *q != 0) {
            let (used, reserved) = part(quantity);
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
