//! The names of limits. A name keeps its id and its kind, and is never removed. So each backend caches those that it has used
//! until the extension itself is dropped.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use foldhash::fast::RandomState;
use tenancy_core::limit::Kind;

use crate::error::Error;
use crate::pg::sources::{Reading, Sources};
use crate::pg::spi::{self, NotNull};
use crate::pg::xact;

/// The number of names that a backend caches at most.
const MOST: usize = 10_000;

/// The definition of a limit.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its id.
    pub id: i32,
    /// Its name.
    pub name: Rc<str>,
    /// Its kind.
    pub kind: Kind,
    /// What is counted.
    pub unit: Rc<str>,
    sources: Rc<Sources>,
}

impl Definition {
    /// Raises an error unless it is of this kind.
    pub fn require(&self, kind: Kind) -> Result<(), Error> {
        if self.kind == kind {
            return Ok(());
        }
        Err(Error::LimitOfOtherKind {
            limit: self.name.to_string(),
            kind: self.kind.as_str(),
            function: self.kind.function(),
        })
    }
}

thread_local! {
    static KNOWN: RefCell<HashMap<Rc<str>, Definition, RandomState>> = RefCell::default();
}

/// Calls `f` with a limit, by its name. An error if no limit has it.
#[inline]
pub fn with<R>(name: &str, f: impl FnOnce(&Definition) -> R) -> Result<R, Error> {
    let mut f = Some(f);
    let known = KNOWN.with_borrow(|known| {
        let known = known.get(name).filter(|known| known.sources.hold())?;
        f.take().map(|f| f(known))
    });
    match (known, f) {
        (Some(known), _) => Ok(known),
        (None, Some(f)) => Ok(f(&load(name)?)),
        (None, None) => Err(Error::Internal("a limit was asked for twice")),
    }
}

/// Returns a limit by its name. An error if no limit has it.
pub fn find(name: &str) -> Result<Definition, Error> {
    with(name, Definition::clone)
}

fn load(name: &str) -> Result<Definition, Error> {
    let reading = Reading::begin();
    let (found, by) = spi::read(
        "SELECT d.id, d.name, d.kind, d.unit, d.xmin::text::bigint FROM tenancy_internal.limit_definitions d WHERE d.name = $1",
        &[name.into()],
        |rows| {
            let Some(row) = rows.into_iter().next() else {
                return Err(Error::NoSuchLimit(name.chars().take(80).collect()));
            };
            let text = |n: usize| row.not_null::<String>(n);
            let by: i64 = row.not_null(5)?;
            let found = Definition {
                id: row.not_null(1)?,
                name: text(2)?.into(),
                kind: Kind::named(&text(3)?).ok_or(Error::Internal("a limit of no known kind"))?,
                unit: text(4)?.into(),
                sources: Rc::new(reading.done()),
            };
            Ok((found, by))
        },
    )?;
    // A definition that this transaction added may still be rolled back.
    if !u32::try_from(by).is_ok_and(xact::is_own) {
        KNOWN.with_borrow_mut(|known| {
            if known.len() >= MOST {
                known.clear();
            }
            known.insert(found.name.clone(), found.clone());
        });
    }
    Ok(found)
}
