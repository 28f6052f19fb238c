//! The budgets of scopes. Each backend caches those that it has used until they change.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use pgrx::spi::SpiHeapTupleData;
use tenancy_core::ledger::{Account, Counted, Member, Part, Per, Span};
use tenancy_core::period::{Period, TOTAL_END, anchored};
use tenancy_core::quantity::attos;
use tenancy_core::subject::Subject;
use tenancy_core::time::Instant;
use tenancy_core::tree::Level;
use uuid::Uuid;

use crate::error::Error;
use crate::pg::heap_insert::look_again;
use crate::pg::sources::{Reading, Sources};
use crate::pg::spi::NotNull;
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::pg::zone::ServerZone;
use crate::pg::{ledger, queue, spi, xact};

/// A budget.
#[derive(Debug)]
pub struct Budget {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub scope: Uuid,
    /// The level of that scope.
    pub level: &'static str,
    /// Of what: cost, or a metric.
    pub counted: Counted,
    /// The amount, in attos.
    pub amount: i128,
    /// Whether usage above the amount is refused.
    pub hard: bool,
    /// In which period.
    pub period: Period,
    /// An instant at which such a period begins; `None`: the calendar's.
    anchor: Option<Instant>,
    /// Which of the scope's usage counts; `None`: all.
    pub part: Option<Part>,
    /// Whether it is the first budget of its scope for its part: several budgets share the part's accounts.
    pub names_part: bool,
    /// The account of the scope.
    pub account: Account,
    /// The last member, and the name of its account.
    last: Cell<Option<(Uuid, [u8; 16])>>,
    /// Its credits, in the order in which they are drawn; `None` if it never had any.
    pub credits: Option<Vec<Credit>>,
    zone: ServerZone,
    span: Cell<Option<Span>>,
}

impl Budget {
    /// Returns the name of a member's account.
    pub fn member_name(&self, part: &Part, member: Uuid) -> [u8; 16] {
        if let Some((_, name)) = self.last.get().filter(|(last, _)| *last == member) {
            return name;
        }
        let name = part.name(&Member::Id(member));
        self.last.set(Some((member, name)));
        name
    }

    /// Returns the period that contains an instant.
    pub fn span(&self, at: Instant) -> Result<Span, Error> {
        if let Some(known) = self.known(at) {
            return Ok(known);
        }
        // Never another period: an event outside its period would be counted in none.
        let span = anchored(self.period, self.anchor, &self.zone, at).ok_or(Error::NoPeriod)?;
        self.span.set(Some(span));
        Ok(span)
    }

    /// Returns the period, if it is cached.
    pub fn known(&self, at: Instant) -> Option<Span> {
        self.span.get().filter(|span| span.has(at))
    }
}

/// Returns when a period ends; `None` if it never ends.
pub fn end(span: &Span) -> Option<Instant> {
    (span.end < TOTAL_END).then_some(span.end)
}

/// A credit that may have something left. Amounts are in attos.
#[derive(Debug)]
pub struct Credit {
    /// Its id.
    pub id: Uuid,
    /// Its amount.
    pub amount: i128,
    effective_at: Instant,
    expires_at: Option<Instant>,
    /// The end of the period in which it became effective, and how much may be drawn afterwards.
    rolls: Option<(Instant, i128)>,
}

impl Credit {
    /// Returns what may be drawn at an instant: the total, and the time since which a lower limit applies, with that limit.
    pub fn at(&self, at: Instant) -> Option<(i128, Option<(Instant, i128)>)> {
        if at < self.effective_at || self.expires_at.is_some_and(|end| end <= at) {
            return None;
        }
        match self.rolls.filter(|(end, _)| *end <= at) {
            Some((_, 0)) => None,
            since => Some((self.amount, since)),
        }
    }
}

/// The number of scopes that a backend caches at most.
const MOST: usize = 20_000;

/// Budgets of scopes.
pub type Budgets = Rc<[Rc<Budget>]>;

/// A scope's budgets, and the rows that they depend on.
#[derive(Clone)]
struct ScopeBudgets {
    budgets: Budgets,
    sources: Rc<Sources>,
    /// When another plan of the tenant begins or ends.
    until: Option<Instant>,
}

impl ScopeBudgets {
    fn holds(&self) -> bool {
        self.sources.hold() && is_before(self.until)
    }
}

/// Returns whether the client's statement began before an instant, if there is one.
fn is_before(until: Option<Instant>) -> bool {
    until.is_none_or(|until| xact::statement_started() < until)
}

#[derive(Default)]
struct BudgetCache {
    of: HashMap<Uuid, ScopeBudgets>,
    last: Option<Last>,
    /// Whether any plan has budgets. A plan that gets some makes backends drop everything.
    planned: Option<(bool, Sources)>,
    /// Whether any budget is for a part of usage.
    parts: Option<(bool, Sources)>,
}

/// The scopes of the last call, and their budgets.
struct Last {
    scopes: Vec<Uuid>,
    budgets: Budgets,
    sources: Vec<Rc<Sources>>,
    until: Option<Instant>,
}

impl Last {
    fn holds(&self, scopes: &[Uuid]) -> bool {
        self.scopes == scopes
            && self.sources.iter().all(|sources| sources.hold())
            && is_before(self.until)
    }
}

impl BudgetCache {
    /// Returns a scope's budgets, if they are cached and nothing has changed.
    fn known(&self, scope: &Uuid) -> Option<&ScopeBudgets> {
        self.of.get(scope).filter(|known| known.holds())
    }
}

thread_local! {
    static CACHE: RefCell<BudgetCache> = RefCell::default();
}

/// Returns the budgets of these scopes, in their order.
pub fn of(scopes: &[Uuid]) -> Result<Budgets, Error> {
    let last = CACHE.with_borrow(|cache| {
        let last = cache.last.as_ref().filter(|last| last.holds(scopes));
        last.map(|last| last.budgets.clone())
    });
    if let Some(last) = last {
        return Ok(last);
    }
    let known = CACHE.with_borrow(|cache| -> Vec<Option<ScopeBudgets>> {
        let each = scopes.iter().map(|scope| cache.known(scope).cloned());
        each.collect()
    });
    let pairs = scopes.iter().zip(&known);
    let missing: Vec<Uuid> = pairs
        .filter(|(_, known)| known.is_none())
        .map(|(scope, _)| *scope)
        .collect();
    let mut found = if missing.is_empty() {
        HashMap::new()
    } else {
        read(&missing)?
    };
    let all = scopes.iter().zip(known);
    let all = all.map(|(scope, known)| known.or_else(|| found.remove(scope)));
    let all = all
        .collect::<Option<Vec<ScopeBudgets>>>()
        .ok_or(Error::Internal("a scope is asked for its budgets twice"))?;
    let budgets: Budgets = all
        .iter()
        .flat_map(|of| of.budgets.iter().cloned())
        .collect();
    CACHE.with_borrow_mut(|cache| {
        if cache.of.len() > MOST {
            cache.of.clear();
        }
        cache.last = Some(Last {
            scopes: scopes.to_vec(),
            budgets: budgets.clone(),
            sources: all.iter().map(|of| of.sources.clone()).collect(),
            until: all.iter().filter_map(|of| of.until).min(),
        });
        cache.of.extend(scopes.iter().copied().zip(all));
    });
    Ok(budgets)
}

/// Returns the same if any are for parts of usage, for amounts that are not admitted; else none.
pub fn parts_of(scopes: &[Uuid]) -> Result<Budgets, Error> {
    ledger::look();
    look_again();
    match any_parts()? {
        true => of(scopes),
        false => Ok(Rc::new([])),
    }
}

/// Returns whether any budget is for a part of usage.
fn any_parts() -> Result<bool, Error> {
    let known = CACHE.with_borrow(|cache| {
        let (any, sources) = cache.parts.as_ref()?;
        sources.hold().then_some(*any)
    });
    if let Some(any) = known {
        return Ok(any);
    }
    let mut reading = Reading::begin();
    reading.of(Subject::Parts);
    let any = spi::read(
        "SELECT EXISTS (SELECT FROM tenancy_internal.budget_definitions b WHERE tenancy_internal.is_part(b))",
        &[],
        |rows| rows.first().not_null(1),
    )?;
    CACHE.with_borrow_mut(|cache| cache.parts = Some((any, reading.done())));
    Ok(any)
}

fn read(scopes: &[Uuid]) -> Result<HashMap<Uuid, ScopeBudgets>, Error> {
    let mut readings: HashMap<Uuid, Reading> = HashMap::new();
    for scope in scopes {
        let mut reading = Reading::begin();
        reading.of(Subject::Budgets(*scope));
        readings.insert(*scope, reading);
    }
    let ids: Vec<pgrx::Uuid> = scopes.iter().copied().map(pg_uuid).collect();
    let planned = match any_planned()? {
        true => read_planned(ids.clone(), &mut readings)?,
        false => Planned::default(),
    };
    let mut with_credits = Vec::new();
    let mut found = spi::read(
        "SELECT b.scope_id, s.level, b.metric_id, b.amount, b.hard, b.period, tenancy_internal.time_zone(b.scope_id), \
                b.id, EXISTS (SELECT FROM tenancy_internal.credit_grants g WHERE g.budget_id = b.id), s.path, \
                (extract(epoch FROM b.anchor) * 1000000)::bigint, b.per, b.api_key_id, \
                ARRAY(SELECT d.key FROM jsonb_each_text(b.dimensions) d ORDER BY d.key), \
                ARRAY(SELECT d.value FROM jsonb_each_text(b.dimensions) d ORDER BY d.key) \
         FROM tenancy_internal.budget_definitions b LEFT JOIN tenancy.scopes s ON s.id = b.scope_id WHERE b.scope_id = ANY ($1) \
         ORDER BY b.id",
        &[ids.into()],
        |rows| {
            let mut found: HashMap<Uuid, Vec<Budget>> = HashMap::new();
            for row in rows {
                let scope = row.not_null_id(1)?;
                let id: pgrx::Uuid = row.not_null(8)?;
                let path: Option<Vec<pgrx::Uuid>> = row.get(10)?;
                if let Some(reading) = readings.get_mut(&scope) {
                    reading.of(Subject::Scope(scope));
                    reading.of(Subject::Credits(from_pg(id)));
                    let path = path.iter().flatten().copied().map(from_pg);
                    path.for_each(|id| reading.of(Subject::TimeZone(id)));
                }
                if path.is_none() {
                    continue;
                }
                let credited = row.not_null(9)?;
                if credited {
                    with_credits.push(id);
                }
                let text = |n: usize| row.not_null::<String>(n);
                let counted = row.get(3)?.map_or(Counted::Cost, Counted::Metric);
                let part = part(scope, &row)?;
                let of_scope = found.entry(scope).or_default();
                let same = |b: &Budget| b.counted == counted && b.part == part;
                let names_part = part.is_some() && !of_scope.iter().any(same);
                of_scope.push(Budget {
                    id: from_pg(id),
                    scope,
                    level: text(2)?.parse().map(Level::as_str).unwrap_or_default(),
                    counted,
                    anchor: spi::instant(&row, 11)?,
                    part,
                    names_part,
                    account: account(counted, scope),
                    last: Cell::new(None),
                    amount: attos(row.not_null(4)?),
                    hard: row.not_null(5)?,
                    credits: credited.then(Vec::new),
                    period: text(6)?.parse().map_err(|_| Error::NoPeriod)?,
                    zone: ServerZone::named(&text(7)?).ok_or(Error::NoPeriod)?,
                    span: Cell::new(None),
                });
            }
            Ok(found)
        },
    )?;
    if !with_credits.is_empty() {
        let mut credits = read_credits(with_credits)?;
        for budget in found.values_mut().flatten() {
            budget.credits =
                (budget.credits.take()).map(|none| credits.remove(&budget.id).unwrap_or(none));
        }
    }
    for (scope, budgets) in planned.budgets {
        found.entry(scope).or_default().extend(budgets);
    }
    let known = readings.into_iter().map(|(scope, reading)| {
        let budgets = found.remove(&scope).unwrap_or_default();
        let known = ScopeBudgets {
            budgets: budgets.into_iter().map(Rc::new).collect(),
            sources: Rc::new(reading.done()),
            until: planned.until.get(&scope).copied(),
        };
        (scope, known)
    });
    Ok(known.collect())
}

fn account(counted: Counted, scope: Uuid) -> Account {
    Account::new(queue::database(), counted, *scope.as_bytes())
}

/// Reads the part of usage that a budget is for.
fn part(scope: Uuid, row: &SpiHeapTupleData<'_>) -> Result<Option<Part>, Error> {
    let per: Option<String> = row.get(12)?;
    let key: Option<pgrx::Uuid> = row.get(13)?;
    let (names, values): (Vec<String>, Vec<String>) = (row.not_null(14)?, row.not_null(15)?);
    let dimensions: BTreeMap<String, String> = names.into_iter().zip(values).collect();
    Ok(Part::new(
        scope,
        per.as_deref().map(Per::named),
        dimensions,
        key.map(from_pg),
    ))
}

/// Returns whether any plan has budgets.
fn any_planned() -> Result<bool, Error> {
    let known = CACHE.with_borrow(|cache| {
        let (any, sources) = cache.planned.as_ref()?;
        sources.hold().then_some(*any)
    });
    if let Some(any) = known {
        return Ok(any);
    }
    let reading = Reading::begin();
    let any = spi::read(
        "SELECT EXISTS (SELECT FROM tenancy_internal.plan_definitions WHERE budgets <> '[]')",
        &[],
        |rows| rows.first().not_null(1),
    )?;
    CACHE.with_borrow_mut(|cache| cache.planned = Some((any, reading.done())));
    Ok(any)
}

/// The budgets that tenants have by their plans, and until when.
#[derive(Default)]
struct Planned {
    budgets: HashMap<Uuid, Vec<Budget>>,
    until: HashMap<Uuid, Instant>,
}

/// Reads the budgets of plans. An imposed budget of the tenant, of the same metric and period, replaces that of the plan.
fn read_planned(
    scopes: Vec<pgrx::Uuid>,
    readings: &mut HashMap<Uuid, Reading>,
) -> Result<Planned, Error> {
    spi::read(
        "SELECT s.id, s.path, p.plan_id, (extract(epoch FROM p.until) * 1000000)::bigint, b.metric_id, b.amount, b.hard, b.period, \
                tenancy_internal.time_zone(s.id), md5(concat_ws(' ', s.id, b.metric_id, b.period))::uuid \
         FROM tenancy.scopes s CROSS JOIN LATERAL tenancy_internal.plan_at(s.id, statement_timestamp()) p \
         LEFT JOIN tenancy_internal.plan_definitions d ON d.id = p.plan_id \
         LEFT JOIN LATERAL jsonb_to_recordset(d.budgets) AS b (metric_id integer, amount bigint, hard boolean, period text) \
                ON NOT EXISTS (SELECT FROM tenancy_internal.budget_definitions o WHERE o.scope_id = s.id AND o.imposed \
                                  AND o.metric_id IS NOT DISTINCT FROM b.metric_id AND o.period = b.period AND NOT tenancy_internal.is_part(o)) \
         WHERE s.id = ANY ($1) AND s.level = 'tenant'",
        &[scopes.into()],
        |rows| {
            let mut planned = Planned::default();
            for row in rows {
                let scope = row.not_null_id(1)?;
                if let Some(reading) = readings.get_mut(&scope) {
                    reading.of(Subject::Scope(scope));
                    reading.of(Subject::Limits(scope));
                    let plan = row.get::<pgrx::Uuid>(3)?.map(from_pg);
                    plan.into_iter()
                        .for_each(|plan| reading.of(Subject::Options(plan)));
                    let path: Vec<pgrx::Uuid> = row.not_null(2)?;
                    let path = path.into_iter().map(from_pg);
                    path.for_each(|id| reading.of(Subject::TimeZone(id)));
                }
                if let Some(until) = spi::instant(&row, 4)? {
                    planned.until.insert(scope, until);
                }
                let Some(period) = row.get::<String>(8)? else {
                    continue;
                };
                let counted = row.get(5)?.map_or(Counted::Cost, Counted::Metric);
                planned.budgets.entry(scope).or_default().push(Budget {
                    id: row.not_null_id(10)?,
                    scope,
                    level: Level::Tenant.as_str(),
                    counted,
                    anchor: None,
                    part: None,
                    names_part: false,
                    account: account(counted, scope),
                    last: Cell::new(None),
                    amount: attos(row.not_null(6)?),
                    hard: row.not_null(7)?,
                    credits: None,
                    period: period.parse().map_err(|_| Error::NoPeriod)?,
                    zone: ServerZone::named(&row.not_null::<String>(9)?).ok_or(Error::NoPeriod)?,
                    span: Cell::new(None),
                });
            }
            Ok(planned)
        },
    )
}

/// Reads the credits that are not closed, by budget, in the order in which they are drawn.
fn read_credits(budgets: Vec<pgrx::Uuid>) -> Result<HashMap<Uuid, Vec<Credit>>, Error> {
    spi::read(
        "SELECT g.budget_id, g.id, g.amount, (extract(epoch FROM g.effective_at) * 1000000)::bigint, \
                (extract(epoch FROM g.expires_at) * 1000000)::bigint, (extract(epoch FROM g.rolls_at) * 1000000)::bigint, g.rollover \
         FROM tenancy_internal.credit_grants g WHERE g.budget_id = ANY ($1) AND g.closed_at IS NULL \
         ORDER BY g.priority, g.expires_at NULLS LAST, g.id",
        &[budgets.into()],
        |rows| {
            let mut found: HashMap<Uuid, Vec<Credit>> = HashMap::new();
            for row in rows {
                let rolls_at = spi::instant(&row, 6)?;
                found.entry(row.not_null_id(1)?).or_default().push(Credit {
                    id: row.not_null_id(2)?,
                    amount: attos(row.not_null(3)?),
                    effective_at: row.not_null_instant(4)?,
                    expires_at: spi::instant(&row, 5)?,
                    rolls: rolls_at.zip(row.get(7)?.map(attos)),
                });
            }
            Ok(found)
        },
    )
}
