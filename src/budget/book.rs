//! The budgets of scopes: each backend keeps those that it has met, until one changes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use tenancy_core::ledger::Span;
use tenancy_core::tree::Level;
use uuid::Uuid;

use crate::access::{from_pg, pg_uuid};
use crate::error::Error;
use crate::pg::{inval, spi};

/// A budget.
#[derive(Debug)]
pub struct Budget {
    /// Whose it is.
    pub scope: Uuid,
    /// The level of that scope.
    pub level: &'static str,
    /// Of what; 0 is cost.
    pub metric: i32,
    /// How much, in millionths.
    pub amount: i64,
    /// Whether more is refused.
    pub hard: bool,
    /// hour, day, week, month, year or total.
    pub period: &'static str,
    zone: String,
    span: Cell<Option<Span>>,
}

impl Budget {
    /// The period that an instant, in microseconds of the Unix epoch, is in.
    pub fn span(&self, at: i64) -> Result<Span, Error> {
        if let Some(known) = self.known(at) {
            return Ok(known);
        }
        let span = spi::read(
            "SELECT lo, hi FROM tenancy._period($1, $2, $3)",
            &[self.period.into(), self.zone.as_str().into(), at.into()],
            |rows| {
                let row = rows.first();
                match (row.get::<i64>(1)?, row.get::<i64>(2)?) {
                    (Some(start), Some(end)) => Ok(Span { start, end }),
                    _ => Err(Error::Internal("a period without an end")),
                }
            },
        )?;
        self.span.set(Some(span));
        Ok(span)
    }

    /// The same, if it is known without a query.
    pub fn known(&self, at: i64) -> Option<Span> {
        self.span.get().filter(|span| span.has(at))
    }
}

const PERIODS: [&str; 6] = ["hour", "day", "week", "month", "year", "total"];

/// How many scopes a backend remembers.
const MOST: usize = 20_000;

type Budgets = Rc<[Rc<Budget>]>;

#[derive(Default)]
struct Book {
    of: HashMap<Uuid, Budgets>,
    /// The scopes that were asked for last, and the budgets of all of them.
    last: Option<(Vec<Uuid>, Budgets)>,
}

thread_local! {
    static BOOK: RefCell<Book> = RefCell::default();
}

/// The budgets of these scopes, in their order.
pub fn of(scopes: &[Uuid]) -> Result<Budgets, Error> {
    if inval::take_budgets() {
        BOOK.take();
        inval::watch_budgets(spi::table(c"budget_definitions")?);
    }
    let last = BOOK.with_borrow(|book| {
        let last = book.last.as_ref().filter(|(of, _)| of == scopes);
        last.map(|(_, budgets)| budgets.clone())
    });
    if let Some(last) = last {
        return Ok(last);
    }
    let all = |book: &Book| -> Option<Budgets> {
        let each = scopes.iter().map(|scope| book.of.get(scope));
        let each = each.collect::<Option<Vec<_>>>()?;
        Some(each.into_iter().flat_map(|of| of.iter().cloned()).collect())
    };
    let known = match BOOK.with_borrow(all) {
        Some(known) => known,
        None => {
            let mut found = read(scopes)?;
            BOOK.with_borrow_mut(|book| {
                if book.of.len() > MOST {
                    book.of.clear();
                }
                for scope in scopes {
                    let of = found.remove(scope).unwrap_or_default();
                    book.of
                        .insert(*scope, of.into_iter().map(Rc::new).collect());
                }
                all(book)
            })
            .unwrap_or_default()
        }
    };
    BOOK.with_borrow_mut(|book| book.last = Some((scopes.to_vec(), known.clone())));
    Ok(known)
}

fn read(scopes: &[Uuid]) -> Result<HashMap<Uuid, Vec<Budget>>, Error> {
    let ids: Vec<pgrx::Uuid> = scopes.iter().copied().map(pg_uuid).collect();
    spi::read(
        "SELECT b.scope_id, s.level, coalesce(b.metric_id, 0), b.amount, b.hard, b.period, tenancy._time_zone(b.scope_id) \
         FROM tenancy.budget_definitions b JOIN tenancy.scopes s ON s.id = b.scope_id WHERE b.scope_id = ANY ($1) \
         ORDER BY b.id",
        &[ids.into()],
        |rows| {
            let mut found: HashMap<Uuid, Vec<Budget>> = HashMap::new();
            for row in rows {
                let scope: Option<pgrx::Uuid> = row.get(1)?;
                let scope = from_pg(scope.ok_or(Error::Internal("a budget without a scope"))?);
                let (level, period): (String, String) = (
                    row.get(2)?.unwrap_or_default(),
                    row.get(6)?.unwrap_or_default(),
                );
                found.entry(scope).or_default().push(Budget {
                    scope,
                    level: level.parse().map(Level::as_str).unwrap_or_default(),
                    metric: row.get(3)?.unwrap_or_default(),
                    amount: row.get(4)?.unwrap_or_default(),
                    hard: row.get(5)?.unwrap_or(true),
                    period: PERIODS
                        .into_iter()
                        .find(|known| *known == period)
                        .unwrap_or_default(),
                    zone: row.get(7)?.unwrap_or_default(),
                    span: Cell::new(None),
                });
            }
            Ok(found)
        },
    )
}
