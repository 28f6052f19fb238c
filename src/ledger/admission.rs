//! Admits events to the ledger, and notes the amounts that they add at commit.

use tenancy_core::ledger::{Account, Blocked, Counted, CreditCoverage, Demand, Per, Span};
use tenancy_core::quantity::ATTOS;
use uuid::Uuid;

use super::budget_cache::{self, Budget, Budgets, end};
use super::credits::{self, CreditDraw};
use super::event::{Event, note};
use super::load::{PartRows, load};
use super::{expiry, settings};
use crate::error::{Error, Exhausted};
use crate::pg::heap_insert::look_again;
use crate::pg::{bgworker, ledger, queue, refusals, time};
use crate::requests::{self, Reply, Request};

/// How an event is admitted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Recorded if every budget has room for it.
    Required,
    /// The same for a reservation, whose number is limited.
    Reserve,
    /// Recorded without a check.
    Skip,
    /// Recorded without a check; its amount is in flight already.
    AlreadyHeld,
}

/// Admits an event and notes its amounts. Called in the transaction that writes the event, before it is written.
pub fn recorded(event: &Event, admission: Admission) -> Result<(), Error> {
    let scopes = event.scopes();
    let budgets = if admission == Admission::AlreadyHeld {
        budget_cache::parts_of(&scopes)?
    } else {
        let admitted = admit(event, None, &scopes, admission)?;
        credits::write(&admitted.draws, event.at, None)?;
        admitted.budgets
    };
    note(event, &scopes, &budgets, |quantity| (quantity, 0));
    Ok(())
}

/// Returns the limits of open reservations that apply to a new one.
fn caps(event: &Event) -> impl Iterator<Item = Cap> {
    let cap = |level, scope: Option<Uuid>, most: Option<i64>| {
        let (scope, most) = scope.zip(most)?;
        Some(Cap { level, scope, most })
    };
    let user = cap("user", event.user, settings::reservations_per_user());
    let tenant = cap("tenant", event.tenant, settings::reservations_per_tenant());
    user.into_iter().chain(tenant)
}

/// A request to the ledger, for all levels at once.
#[derive(Default)]
struct AdmissionRequest<'a> {
    demands: Vec<Demand>,
    /// The budget of each demand.
    of: Vec<&'a Budget>,
    covers: Vec<CreditCoverage>,
    covered: Vec<&'a Budget>,
    /// The demands that follow those of budgets.
    caps: Vec<Cap>,
}

/// A limit of open reservations.
#[derive(Clone, Copy)]
struct Cap {
    level: &'static str,
    scope: Uuid,
    most: i64,
}

impl<'a> AdmissionRequest<'a> {
    fn add(
        &mut self,
        event: &Event,
        counted: Option<&Event>,
        budget: &'a Budget,
        admission: Admission,
    ) -> Result<(), Error> {
        // An amount of 0 always fits.
        let share = event.share_beyond(counted, budget);
        let Some((account, quantity)) = share.filter(|(_, share)| *share != 0) else {
            return Ok(());
        };
        let demand = Demand {
            account,
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
        let must = budget.hard && matches!(admission, Admission::Required | Admission::Reserve);
        if let Some(cover) = credits::cover(budget, n, must, event.at) {
            self.covers.push(cover);
            self.covered.push(budget);
        } else if must
            && let (Some(known), Some(of)) = (self.demands.get_mut(n), self.of.get_mut(n))
            // Of two budgets for the same account the lower one limits.
            && known.limit.is_none_or(|limit| budget.amount < limit)
        {
            (known.limit, *of) = (Some(budget.amount), budget);
        }
        Ok(())
    }

    /// Adds one open reservation to the request, after the budgets' demands.
    fn add_open(&mut self, event: &Event) {
        for cap in caps(event) {
            self.demands.push(Demand {
                account: Account::open(queue::database(), *cap.scope.as_bytes()),
                span: Span::ALL,
                quantity: 1,
                limit: Some(cap.most.into()),
            });
            self.caps.push(cap);
        }
    }

    /// Returns the limit of open reservations that was reached.
    fn capped(&self, blocked: &Blocked) -> Option<Cap> {
        match blocked {
            Blocked::Over(n, _) => self.caps.get(n.checked_sub(self.of.len())?).copied(),
            _ => None,
        }
    }

    /// Returns the budget that has no room.
    fn refuses(&self, blocked: &Blocked) -> Option<&'a Budget> {
        match blocked {
            Blocked::Over(n, _) => self.of.get(*n).copied(),
            Blocked::Short(n, _) => self.covered.get(*n).copied(),
            Blocked::Missing(..) | Blocked::Loading(..) => None,
        }
    }

    /// Returns the scope whose budget or limit refuses.
    fn scope(&self, blocked: &Blocked) -> Option<Uuid> {
        let budget = self.refuses(blocked).map(|budget| budget.scope);
        budget.or_else(|| Some(self.capped(blocked)?.scope))
    }

    fn draws(&self) -> Vec<CreditDraw> {
        self.covers.iter().flat_map(credits::drawn).collect()
    }

    /// Returns the rows that an account counts, if it is of a part.
    fn part_rows(&self, event: &Event, account: &Account) -> Option<PartRows> {
        let mut all = self.demands.iter().zip(&self.of);
        let (_, budget) = all.find(|(demand, _)| demand.account == *account)?;
        event.part_rows(budget)
    }
}

/// What was admitted.
pub struct Admitted {
    /// What credits must cover.
    pub draws: Vec<CreditDraw>,
    /// The budgets of the scopes.
    pub budgets: Budgets,
}

/// Puts the amount of a request in flight in every budget, or in none, and counts it as refused if there is no room.
pub fn admit(
    event: &Event,
    counted: Option<&Event>,
    scopes: &[Uuid],
    admission: Admission,
) -> Result<Admitted, Error> {
    let admitted = try_admit(event, counted, scopes, admission);
    if let Err(Error::Exhausted(by)) = &admitted {
        let amount = i64::try_from(by.limit / ATTOS).unwrap_or(i64::MAX);
        let (budget, scope) = (*by.budget.as_bytes(), *by.scope.as_bytes());
        if refusals::count(budget, scope, by.metric, amount) {
            requests::nudge();
        }
    }
    admitted
}

/// Puts the amount in flight in every budget, or in none; `counted` is the part of it that is in flight already.
pub fn try_admit(
    event: &Event,
    counted: Option<&Event>,
    scopes: &[Uuid],
    admission: Admission,
) -> Result<Admitted, Error> {
    if bgworker::recovering() {
        return Err(Error::OnStandby);
    }
    let mut tidy = false;
    ledger::look();
    loop {
        // A budget that was set before this call applies to it.
        look_again();
        let book = budget_cache::of(scopes)?;
        let mut request = AdmissionRequest::default();
        for budget in book.iter() {
            request.add(event, counted, budget, admission)?;
        }
        if admission == Admission::Reserve {
            request.add_open(event);
        }
        let admitted = |draws| Admitted {
            draws,
            budgets: book.clone(),
        };
        if request.demands.is_empty() {
            return Ok(admitted(Vec::new()));
        }
        let blocked = match ledger::admit(&request.demands, &mut request.covers) {
            Ok(()) => return Ok(admitted(request.draws())),
            Err(blocked) => blocked,
        };
        if let Blocked::Missing(account, span) | Blocked::Loading(account, span) = blocked {
            match load(&account, &span, request.part_rows(event, &account).as_ref()) {
                // Usage that has happened is recorded even if the ledger is full.
                Err(Error::LedgerFull) if admission == Admission::Skip => {
                    return Ok(admitted(Vec::new()));
                }
                loaded => loaded?,
            }
            continue;
        }
        // Expired reservations do not take room.
        let reserved = !matches!(blocked, Blocked::Over(_, entry) if entry.reserved <= 0);
        if !tidy
            && reserved
            && let Some(scope) = request.scope(&blocked)
            && expiry::any_expired(scope)?
        {
            tidy = requests::call(&Request::ExpireReservations)? != Reply::Done;
            continue;
        }
        return Err(refused(event, &request, &blocked));
    }
}

fn refused(event: &Event, request: &AdmissionRequest<'_>, blocked: &Blocked) -> Error {
    if let Some(cap) = request.capped(blocked) {
        return Error::TooManyReservations {
            level: cap.level,
            most: cap.most,
        };
    }
    let found = match blocked {
        Blocked::Over(n, entry) => request
            .of
            .get(*n)
            .zip(request.demands.get(*n))
            .map(|(of, demand)| (of, demand, entry, 0, 0)),
        Blocked::Short(n, weighed) => request.covered.get(*n).and_then(|of| {
            let demand = request.demands.get(request.covers.get(*n)?.demand)?;
            let drawn = weighed.drawn.total();
            Some((of, demand, &weighed.entry, drawn, weighed.taken))
        }),
        Blocked::Missing(..) | Blocked::Loading(..) => None,
    };
    let Some((budget, demand, entry, drawn, left)) = found else {
        return Error::Internal("a refusal without a demand");
    };
    Error::Exhausted(Box::new(Exhausted {
        budget: budget.id,
        scope: budget.scope,
        metric: budget.counted.number(),
        level: budget.level,
        period: budget.period.as_str(),
        cost: budget.counted == Counted::Cost,
        part: part_text(budget, event),
        limit: budget.amount,
        used: entry.used,
        in_flight: entry.in_flight + entry.reserved,
        drawn,
        credits: left,
        requested: demand.quantity,
        resets: end(&demand.span).and_then(time::iso),
    }))
}

/// Describes the part of usage that a budget is for, as in `model large, user 018f…`.
fn part_text(budget: &Budget, event: &Event) -> Option<String> {
    let part = budget.part.as_ref()?;
    let dimensions = part.dimensions().iter();
    let dimensions = dimensions.map(|(name, value)| format!("{name} {value}"));
    let key = part.api_key().map(|key| format!("API key {key}"));
    let per = part.per().map(|per| match per {
        Per::ApiKey => "API key",
        per => per.as_str(),
    });
    let member = per.zip(event.member(budget));
    let member = member.map(|(per, value)| format!("{per} {value}"));
    Some(
        dimensions
            .chain(key)
            .chain(member)
            .collect::<Vec<_>>()
            .join(", "),
    )
}
