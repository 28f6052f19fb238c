//! The budgets of scopes: each backend keeps those that it has met, until one changes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use tenancy_core::ledger::Span;
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
    pub level: String,
    /// Of what; 0 is cost.
    pub metric: i32,
    /// How much, in millionths.
    pub amount: i64,
    /// Whether more is refused.
    pub hard: bool,
    /// hour, day, week, month, year or total.
    pub period: String,
    zone: String,
    span: Cell<Option<Span>>,
}

impl Budget {
    /// The period that an instant, in microseconds of the Unix epoch, is in.
    pub fn span(&self, at: i64) -> Result<Span, Error> {
        if let Some(known) = self.span.get().filter(|span| span.has(at)) {
            return Ok(known);
        }
        let span = spi::read(
            "SELECT lo, hi FROM tenancy._period($1, $2, $3)",
            &[
                self.period.as_str().into(),
                self.zone.as_str().into(),
                at.into(),
            ],
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
}

/// How many scopes a backend remembers.
const MOST: usize = 20_000;

type Book = HashMap<Uuid, Rc<[Budget]>>;

thread_local! {
    static BOOK: RefCell<Book> = RefCell::default();
}

/// The budgets of these scopes.
pub fn of(scopes: &[Uuid]) -> Result<Vec<Rc<[Budget]>>, Error> {
    if inval::take_budgets() {
        BOOK.with_borrow_mut(HashMap::clear);
        inval::watch_budgets(spi::table(c"budget_definitions")?);
    }
    let known = |book: &Book| {
        scopes
            .iter()
            .map(|scope| book.get(scope).cloned())
            .collect::<Option<Vec<_>>>()
    };
    if let Some(known) = BOOK.with_borrow(known) {
        return Ok(known);
    }
    let mut found = read(scopes)?;
    let mut all = Vec::with_capacity(scopes.len());
    BOOK.with_borrow_mut(|book| {
        if book.len() > MOST {
            book.clear();
        }
        for scope in scopes {
            let budgets: Rc<[Budget]> = found.remove(scope).unwrap_or_default().into();
            book.insert(*scope, budgets.clone());
            all.push(budgets);
        }
    });
    Ok(all)
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
                found.entry(scope).or_default().push(Budget {
                    scope,
                    level: row.get(2)?.unwrap_or_default(),
                    metric: row.get(3)?.unwrap_or_default(),
                    amount: row.get(4)?.unwrap_or_default(),
                    hard: row.get(5)?.unwrap_or(true),
                    period: row.get(6)?.unwrap_or_default(),
                    zone: row.get(7)?.unwrap_or_default(),
                    span: Cell::new(None),
                });
            }
            Ok(found)
        },
    )
}
