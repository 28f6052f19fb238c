//! The tenant of a row that belongs to one through another table: the trigger `tenancy.fill_tenant`. It reads the parent with the
//! writer's rights: a row that the writer may not see gives no tenant.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::rc::Rc;

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use tenancy_core::adoption::{self, Source};
use tenancy_core::policy::quote_ident;

use super::links::{self, Known};
use crate::error::Error;
use crate::pg::spi::{self, Prepared};
use crate::pg::trigger::{Change, NewValue};
use crate::pg::{relation, xact};
use crate::{policy, triggers};

triggers! {
    tenancy_fill_tenant => before fill;
}

fn fill(change: &Change) -> Result<Option<NewValue>, Error> {
    let arguments = change.arguments();
    let [column, origin, sources @ ..] = arguments.as_slice() else {
        return Err(Error::Internal("arguments of fill_tenant() are missing"));
    };
    let sources = || adoption::sources(sources, |argument| argument.is_empty());
    // A renamed column has its new name in the registry.
    let renamed = match change.has(column) {
        true => None,
        false => policy::tenant_column(change.table())?.and_then(|name| CString::new(name).ok()),
    };
    let column = renamed.as_deref().unwrap_or(column);
    let is_own = origin.to_bytes() == adoption::OWN.as_bytes();
    let keeps =
        change.is_update() && sources().all(|source| source.columns().all(|c| change.keeps(c)));
    let has_tenant = change.value(column)?.is_some();
    // The application writes its own column.
    if has_tenant && (is_own || !change.is_update() || keeps) {
        return Ok(None);
    }
    let is_protected = || Ok::<_, Error>(policy::tenant_column(change.table())?.is_some());
    spi::pinned(|| {
        for (n, source) in sources().enumerate() {
            let known = parent(change, column, n, &source)?;
            let Some(parent) = &*known else {
                // Without the foreign key nothing says whose the row is.
                if source.columns().all(|column| change.has(column))
                    && !refers(change, source.columns().copied())?
                {
                    continue;
                }
                return Err(Error::NoParent(text(source.name)));
            };
            if !refers(change, parent.columns.iter().map(CString::as_c_str))? {
                continue;
            }
            match parent.tenant(change)? {
                Some(Some(tenant)) => {
                    return Ok(Some(NewValue {
                        column: column.to_owned(),
                        text: Some(CString::new(tenant).unwrap_or_default()),
                    }));
                }
                // That row has no tenant, but one that it refers to by other columns may.
                Some(None) => {}
                // It may have been without one before, or get one before the table is isolated.
                None if keeps || !is_protected()? => {}
                None => return Err(Error::NoParent(parent.name.clone())),
            }
        }
        // One that refers to nothing, any more, or to a row of everybody, stays where it was.
        Ok(None)
    })
}

/// Returns whether none of these columns is NULL.
fn refers<'c>(change: &Change, columns: impl IntoIterator<Item = &'c CStr>) -> Result<bool, Error> {
    for column in columns {
        if change.value(column)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A table that gives a row its tenant.
struct Parent {
    name: String,
    owner: pg_sys::Oid,
    /// The referencing columns, in the order of the parameters.
    columns: Vec<CString>,
    lock: Prepared,
    read: Prepared,
}

/// The table, the trigger and the place of the source among its arguments, and whether policies apply: the server's own cascades are
/// past them, and their plans are not those of others.
type Place = (pg_sys::Oid, pg_sys::Oid, usize, bool);

thread_local! {
    /// The parents of triggers' tables.
    static PARENTS: RefCell<Known<Place, Option<Parent>>> = RefCell::default();
}

/// Returns what a source of a trigger is now; `None` if it is gone.
fn parent(
    change: &Change,
    filled: &CStr,
    n: usize,
    source: &Source<'_, &CStr>,
) -> Result<Rc<Option<Parent>>, Error> {
    let cascades = xact::in_referential_check();
    let place = (change.table(), change.trigger(), n, cascades);
    if let Some(known) = PARENTS.with_borrow_mut(|known| known.get(&place)) {
        return Ok(known);
    }
    let found = Rc::new(Parent::find(change, filled, source)?);
    PARENTS.with_borrow_mut(|known| known.keep(place, found.clone()));
    Ok(found)
}

impl Parent {
    fn find(
        change: &Change,
        filled: &CStr,
        source: &Source<'_, &CStr>,
    ) -> Result<Option<Self>, Error> {
        let pairs: Vec<String> = source.pairs.iter().map(|name| text(name)).collect();
        let source = Source {
            schema: &text(source.schema),
            name: &text(source.name),
            tenant_column: &text(source.tenant_column),
            key: &text(source.key),
            pairs: &pairs,
        };
        let Some(link) = links::find(change.table(), &text(filled), &source)? else {
            return Ok(None);
        };
        let owner = relation::read(link.of, |class| class.relowner);
        let columns: Vec<CString> = (link.columns.iter())
            .map(|column| CString::new(column.as_str()).unwrap_or_default())
            .collect();
        let kinds: Result<Vec<pg_sys::Oid>, Error> =
            columns.iter().map(|column| change.kind(column)).collect();
        let (kinds, row) = (kinds?, link.is_row(|n, _| format!("${}", n + 1)));
        let (tenant, above) = (quote_ident(&link.tenant_column), &link.name);
        let owner = owner.ok_or(Error::NoSuch("the table"))?;
        let lock = format!("SELECT 1 FROM {above} p WHERE {row} FOR KEY SHARE OF p");
        Ok(Some(Self {
            owner,
            // Without the policies, which a plan contains.
            lock: spi::as_check(owner, || Prepared::new(&lock, &kinds))?,
            read: Prepared::new(
                &format!("SELECT p.{tenant}::text FROM {above} p WHERE {row}"),
                &kinds,
            )?,
            name: link.name,
            columns,
        }))
    }

    /// Returns the tenant of the row that a new row refers to, if the writer may see that row. It does not move to another tenant until
    /// the transaction ends: the lock is that of a foreign key, which who moves the row waits for. Read after it, and not with it: the
    /// server would return what the row was before it moved.
    fn tenant(&self, change: &Change) -> Result<Option<Option<String>>, Error> {
        let mut values: Vec<DatumWithOid<'_>> = Vec::new();
        for column in &self.columns {
            values.extend(change.value(column)?);
        }
        spi::as_check(self.owner, || self.lock.run(&values))?;
        self.read
            .read(&values, |rows| match rows.into_iter().next() {
                Some(row) => Ok(Some(row.get::<String>(1)?)),
                None => Ok(None),
            })
    }
}

fn text(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}
