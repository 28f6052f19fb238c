//! What an event means for the ledger: whether it is admitted, and what it adds when it commits.

use std::ops::Deref;

use tenancy_core::id::PLATFORM_ID;
use tenancy_core::ledger::{Account, Blocked, Cover, Demand, Recorded, Span, slot};
use uuid::Uuid;

use super::book::{self, Budget};
use super::credits::{self, Draw};
use super::load::load;
use super::{reservations, settings};
use crate::error::{Error, Exhausted};
use crate::pg::append::look_again;
use crate::pg::{ledger, queue, time, worker as process};
use crate::worker::{self, Reply, Request};

/// Whether an event is asked for, or has happened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// It is recorded if every budget has room for it.
    First,
    /// The same for a reservation, of which so many may be open.
    Reserve,
    /// It is recorded.
    Not,
    /// It is recorded, and in flight already.
    Already,
}

/// What is counted of an event, and where.
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
    /// Of what, unless its events do not add up.
    pub metric: Option<i32>,
    /// How much, in millionths.
    pub quantity: i64,
    /// What it costs, in millionths.
    pub cost: i64,
    /// When, in microseconds of the Unix epoch.
    pub at: i64,
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
    /// The scopes that it belongs to, from the platform down.
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

    /// How much of what a budget is for.
    pub fn share(&self, budget: &Budget) -> Option<i64> {
        self.share_of(budget.metric)
    }

    /// How much of a metric; 0 is cost.
    pub fn share_of(&self, metric: i32) -> Option<i64> {
        match metric {
            0 => Some(self.cost),
            metric if Some(metric) == self.metric => Some(self.quantity),
            _ => None,
        }
    }
}

/// An event's part in the ledger. In the transaction that writes it, before it is written.
pub fn recorded(event: &Event, asked: Asked) -> Result<(), Error> {
    let scopes = event.scopes();
    if asked != Asked::Already {
        let draws = admit(event, &scopes, asked)?;
        credits::write(&draws, event.at, None)?;
    }
    note(event, &scopes, |quantity| (quantity, 0));
    Ok(())
}

/// Notes what of an event is used, and what is reserved, when this transaction commits.
pub fn note(event: &Event, scopes: &[Uuid], part: impl Fn(i128) -> (i128, i128)) {
    let database = queue::database();
    for scope in scopes {
        let parts = [
            event.metric.map(|metric| (metric, event.quantity)),
            Some((0, event.cost)),
        ];
        for (metric, quantity) in parts.into_iter().flatten().filter(|(_, q)| *q != 0) {
            let (used, reserved) = part(quantity.into());
            ledger::note(&Recorded {
                account: Account {
                    database,
                    metric,
                    scope: *scope.as_bytes(),
                },
                slot: slot(event.at),
                used,
                reserved,
            });
        }
    }
}

/// Notes that so many reservations more are open, or fewer, when this transaction commits.
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

/// How many reservations may be open where one is made.
fn caps(event: &Event) -> impl Iterator<Item = Cap> {
    let cap = |level, scope: Option<Uuid>, most: Option<i64>| {
        let (scope, most) = scope.zip(most)?;
        Some(Cap { level, scope, most })
    };
    let user = cap("user", event.user, settings::reservations_per_user());
    let tenant = cap("tenant", event.tenant, settings::reservations_per_tenant());
    user.into_iter().chain(tenant)
}

/// What is asked of the ledger at once.
#[derive(Default)]
struct Wish<'a> {
    demands: Vec<Demand>,
    /// For each demand, whose limit it has.
    of: Vec<&'a Budget>,
    covers: Vec<Cover>,
    covered: Vec<&'a Budget>,
    /// The demands behind those of budgets.
    caps: Vec<Cap>,
}

/// How many reservations may be open.
#[derive(Clone, Copy)]
struct Cap {
    level: &'static str,
    scope: Uuid,
    most: i64,
}

impl<'a> Wish<'a> {
    fn add(&mut self, event: &Event, budget: &'a Budget, asked_for: Asked) -> Result<(), Error> {
        // Nothing always fits.
        let Some(quantity) = event.share(budget).filter(|share| *share != 0) else {
            return Ok(());
        };
        let demand = Demand {
            account: account(budget),
            span: budget.span(event.at)?,
            quantity,
            limit: None,
        };
        let same = |d: &Demand| d.account == demand.account && d.span == demand.span;
        let n = match self.demands.iter().position(same) {
            Some(n) => n,
            None => {
                self.demands.push(demand);
                self.of.push(budget);
                self.demands.len() - 1
            }
        };
        let must = budget.hard && matches!(asked_for, Asked::First | Asked::Reserve);
        if let Some(cover) = credits::cover(budget, n, must, event.at) {
            self.covers.push(cover);
            self.covered.push(budget);
        } else if must
            && let (Some(known), Some(of)) = (self.demands.get_mut(n), self.of.get_mut(n))
            // Two budgets for one thing: the lower one says.
            && known.limit.is_none_or(|limit| budget.amount < limit)
        {
            (known.limit, *of) = (Some(budget.amount), budget);
        }
        Ok(())
    }

    /// One reservation more, after the budgets' demands.
    fn add_open(&mut self, event: &Event) {
        for cap in caps(event) {
            self.demands.push(Demand {
                account: Account::open(queue::database(), *cap.scope.as_bytes()),
                span: Span::ALL,
                quantity: 1,
                limit: Some(cap.most),
            });
            self.caps.push(cap);
        }
    }

    /// The cap that is reached.
    fn capped(&self, blocked: &Blocked) -> Option<Cap> {
        match blocked {
            Blocked::Over(n, _) => self.caps.get(n.checked_sub(self.of.len())?).copied(),
            _ => None,
        }
    }

    /// The budget that has no room.
    fn refuses(&self, blocked: &Blocked) -> Option<&'a Budget> {
        match blocked {
            Blocked::Over(n, _) => self.of.get(*n).copied(),
            Blocked::Short(n, _) => self.covered.get(*n).copied(),
            Blocked::Missing(..) | Blocked::Loading(..) => None,
        }
    }

    /// Whose budget or cap refuses.
    fn scope(&self, blocked: &Blocked) -> Option<Uuid> {
        let budget = self.refuses(blocked).map(|budget| budget.scope);
        budget.or_else(|| Some(self.capped(blocked)?.scope))
    }

    fn draws(&self) -> Vec<Draw> {
        self.covers.iter().flat_map(credits::drawn).collect()
    }
}

/// Has what is asked for in flight, in every budget or in none. Returns what credits are to cover of it.
pub fn admit(event: &Event, scopes: &[Uuid], asked_for: Asked) -> Result<Vec<Draw>, Error> {
    if process::recovering() {
        return Err(Error::OnStandby);
    }
    let mut tidy = false;
    loop {
        // What was set before this call began holds in it.
        look_again();
        let book = book::of(scopes)?;
        let mut wish = Wish::default();
        for budget in book.iter() {
            wish.add(event, budget, asked_for)?;
        }
        if asked_for == Asked::Reserve {
            wish.add_open(event);
        }
        if wish.demands.is_empty() {
            return Ok(Vec::new());
        }
        let blocked = match ledger::admit(&wish.demands, &mut wish.covers) {
            Ok(()) => return Ok(wish.draws()),
            Err(blocked) => blocked,
        };
        if let Blocked::Missing(account, span) | Blocked::Loading(account, span) = blocked {
            match load(&account, &span) {
                // What has happened is recorded also where it cannot be followed.
                Err(Error::LedgerFull) if asked_for == Asked::Not => return Ok(Vec::new()),
                loaded => loaded?,
            }
            continue;
        }
        // What has expired is in nobody's way.
        let reserved = !matches!(blocked, Blocked::Over(_, entry) if entry.reserved <= 0);
        if !tidy
            && reserved
            && let Some(scope) = wish.scope(&blocked)
            && reservations::any_expired(scope)?
        {
            tidy = worker::call(&Request::ExpireReservations)? != Reply::Done;
            continue;
        }
        return Err(refused(&wish, &blocked));
    }
}

fn refused(wish: &Wish<'_>, blocked: &Blocked) -> Error {
    if let Some(cap) = wish.capped(blocked) {
        return Error::TooManyReservations {
            level: cap.level,
            most: cap.most,
        };
    }
    let found = match blocked {
        Blocked::Over(n, entry) => wish
            .of
            .get(*n)
            .zip(wish.demands.get(*n))
            .map(|(of, demand)| (of, demand, entry, 0, 0)),
        Blocked::Short(n, weighed) => wish.covered.get(*n).and_then(|of| {
            let demand = wish.demands.get(wish.covers.get(*n)?.demand)?;
            let drawn = weighed.drawn.total();
            Some((of, demand, &weighed.entry, drawn, weighed.taken))
        }),
        Blocked::Missing(..) | Blocked::Loading(..) => None,
    };
    let Some((budget, demand, entry, drawn, left)) = found else {
        return Error::Internal("a refusal without a demand");
    };
    Error::Exhausted(Box::new(Exhausted {
        level: budget.level,
        period: budget.period.as_str(),
        cost: budget.metric == 0,
        limit: budget.amount.into(),
        used: entry.used,
        in_flight: entry.in_flight + entry.reserved,
        drawn,
        credits: left,
        asked: demand.quantity.into(),
        resets: end(&demand.span).and_then(time::iso_from_unix_micros),
    }))
}

/// The account of a budget.
pub fn account(budget: &Budget) -> Account {
    Account {
        database: queue::database(),
        metric: budget.metric,
        scope: *budget.scope.as_bytes(),
    }
}

/// When a period ends, in microseconds of the Unix epoch; nothing for one that does not.
pub fn end(span: &Span) -> Option<i64> {
    /// The end of all: the year 9999.
    const NEVER: i64 = 253_370_764_800_000_000;
    (span.end < NEVER).then_some(span.end)
}
