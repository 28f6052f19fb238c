//! Rows that follow the row that they have their tenant from to another tenant: the trigger `tenancy.pass_tenant`.
//!
//! Two transactions do not miss each other. Who adds a row that refers to another one locks that FOR KEY SHARE until it ends, before it
//! reads its tenant (`children`). Who moves the other row locks it FOR UPDATE here, and so waits for all of these; only then it looks
//! for the rows that follow. Who comes later waits in turn, and reads the new tenant.

use std::cell::{OnceCell, RefCell};
use std::ffi::CString;
use std::rc::Rc;

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use tenancy_core::adoption::Filled;
use tenancy_core::policy::quote_ident;

use super::links::{self, Known, Link};
use crate::error::Error;
use crate::pg::spi::{self, NotNull, Prepared};
use crate::pg::trigger::Change;
use crate::pg::{inheritance, relation, role, xact};
use crate::{policy, triggers};

triggers! {
    tenancy_pass_tenant => change pass;
}

fn pass(change: &Change) -> Result<(), Error> {
    let arguments = change.arguments();
    let [column] = arguments.as_slice() else {
        return Err(Error::Internal("the argument of pass_tenant() is missing"));
    };
    if !change.is_update() || change.keeps(column) {
        return Ok(());
    }
    // A renamed column has its new name in the registry.
    let renamed = match change.has(column) {
        true => None,
        false => policy::tenant_column(change.table())?.and_then(|name| CString::new(name).ok()),
    };
    let column = renamed.as_deref().unwrap_or(column);
    let Some([old, new]) = change.texts(column) else {
        return Err(Error::NoTenantKey {
            column: column.to_string_lossy().into_owned(),
            table: policy::relation_name(change.table())?,
        });
    };
    // What becomes everybody's, or nobody's, leaves the rows below where they are.
    let Some(new) = new.filter(|new| old.as_ref() != Some(new)) else {
        return Ok(());
    };
    let followers = followers(change.table())?;
    let mut locked: Vec<&[String]> = Vec::new();
    for follower in followers.iter() {
        let keys = follower.link.ref_columns.as_slice();
        if !locked.contains(&keys) {
            follower.lock(change)?;
            locked.push(keys);
        }
    }
    for follower in followers.iter() {
        follower.follow(change, old.as_deref(), &new)?;
    }
    Ok(())
}

/// A table whose rows follow.
struct Follower {
    name: String,
    owner: pg_sys::Oid,
    /// Its tenant column, that one's type, and whether the values of both tables' are compared as they are.
    column: String,
    column_type: String,
    same_type: bool,
    is_protected: bool,
    link: Link,
    /// The owner of the table whose rows move.
    owner_above: pg_sys::Oid,
    /// The tables that its rows have their tenant from rather.
    first: Vec<Link>,
    lock: OnceCell<Prepared>,
    /// For rows of a former tenant, and for those without one.
    update: [OnceCell<Prepared>; 2],
    left: [OnceCell<Prepared>; 2],
}

thread_local! {
    /// By the table whose rows move, and whether policies apply to who moves them: plans contain them.
    static FOLLOWERS: RefCell<Known<(pg_sys::Oid, bool), Vec<Follower>>> = RefCell::default();
}

/// Returns the tables whose rows have their tenant from a table, or from one that it is a part of.
fn followers(table: pg_sys::Oid) -> Result<Rc<Vec<Follower>>, Error> {
    let key = (table, role::bypasses_row_security());
    if let Some(known) = FOLLOWERS.with_borrow_mut(|known| known.get(&key)) {
        return Ok(known);
    }
    let whole = inheritance::oids(&inheritance::up(table));
    let mut found = Vec::new();
    spi::pinned(|| {
        for (child, filled) in filled()? {
            let protected_by = policy::tenant_column(child)?;
            let is_protected = protected_by.is_some();
            let column = protected_by.unwrap_or_else(|| filled.column().to_owned());
            let mut first = Vec::new();
            for source in filled.sources() {
                // One that is gone gives no tenant.
                let Ok(Some(link)) = links::find(child, &column, &source) else {
                    continue;
                };
                match whole.contains(&link.of) {
                    true => {
                        found.extend(Follower::new(child, &column, is_protected, link, &first)?);
                    }
                    false => first.push(link),
                }
            }
        }
        Ok(())
    })?;
    let found = Rc::new(found);
    FOLLOWERS.with_borrow_mut(|known| known.keep(key, found.clone()));
    Ok(found)
}

/// Returns all tables with a trigger that fills their tenant column, with its arguments.
fn filled() -> Result<Vec<(pg_sys::Oid, Filled)>, Error> {
    spi::read_as_caller(
        "SELECT t.tgrelid, ARRAY(SELECT convert_from(decode(replace(a.hex, ' ', ''), 'hex'), 'UTF8') \
                FROM string_to_table(regexp_replace(regexp_replace(encode(t.tgargs, 'hex'), '(..)', '\\1 ', 'g'), '00 $', ''), '00 ') \
                     WITH ORDINALITY AS a(hex, n) ORDER BY a.n) \
         FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid \
         WHERE p.proname = 'fill_tenant' AND p.pronamespace = 'tenancy'::regnamespace AND NOT t.tgisinternal AND t.tgparentid = 0 ORDER BY 1",
        &[],
        |rows| {
            rows.into_iter()
                .map(|row| {
                    let (table, arguments) = (row.not_null(1)?, row.not_null(2)?);
                    let part_of = Vec::new();
                    Ok((table, Filled { arguments, part_of }))
                })
                .collect()
        },
    )
}

impl Follower {
    fn new(
        table: pg_sys::Oid,
        column: &str,
        is_protected: bool,
        link: Link,
        first: &[Link],
    ) -> Result<Option<Self>, Error> {
        let owner = |table| relation::read(table, |class| class.relowner);
        let (Some(own), Some(owner_above), Some((column_type, same_type))) = (
            owner(table),
            owner(link.of),
            column_type(table, column, &link)?,
        ) else {
            return Ok(None);
        };
        Ok(Some(Self {
            name: policy::relation_name(table)?,
            owner: own,
            column: column.to_owned(),
            column_type,
            same_type,
            is_protected,
            link,
            owner_above,
            first: first.to_vec(),
            lock: OnceCell::new(),
            update: Default::default(),
            left: Default::default(),
        }))
    }

    /// Waits for who adds rows that refer to the row that moves, and keeps others from it until the transaction ends.
    fn lock(&self, change: &Change) -> Result<(), Error> {
        let query = || {
            let (above, row) = (
                &self.link.name,
                self.link.is_row(|n, _| format!("${}", n + 1)),
            );
            format!("SELECT 1 FROM {above} p WHERE {row} FOR UPDATE OF p")
        };
        let values = self.values(change, [])?;
        spi::as_check(self.owner_above, || {
            self.prepared(&self.lock, change, query)?.run(&values)
        })?;
        Ok(())
    }

    fn follow(&self, change: &Change, old: Option<&str>, new: &str) -> Result<(), Error> {
        let Some(which) = self.which(old.is_some()) else {
            return Ok(());
        };
        let place = usize::from(old.is_none());
        let (Some(update), Some(left)) = (self.update.get(place), self.left.get(place)) else {
            return Ok(());
        };
        let (name, column) = (&self.name, quote_ident(&self.column));
        let query = || {
            let (new, kind) = (self.parameter(1), &self.column_type);
            format!("UPDATE {name} AS c SET {column} = {new}::{kind} WHERE {which}")
        };
        let values = self.values(change, [old, Some(new)])?;
        // As the server does it for ON UPDATE CASCADE. No one lends the rights of a superuser to its tables' triggers.
        let runs_as = match role::is_superuser_role(self.owner) {
            true => role::current(),
            false => self.owner,
        };
        spi::as_cascade(runs_as, || {
            self.prepared(update, change, query)?.run(&values)
        })?;
        let serializable = xact::is_serializable();
        if !self.is_protected && !serializable {
            return Ok(());
        }
        // What a policy hides from the caller stays behind, or what was added since the transaction began.
        let query = || format!("SELECT 1 FROM {name} AS c WHERE {which} LIMIT 1");
        let stays = spi::as_check(self.owner, || {
            let left = self.prepared(left, change, query)?;
            left.read(&values, |rows| Ok(!rows.is_empty()))
        })?;
        match stays {
            true => Err(Error::MovesAlone {
                table: policy::relation_name(change.table())?,
                child: name.clone(),
                serializable,
            }),
            false => Ok(()),
        }
    }

    /// Returns the condition that a row `c` follows: of the former tenant, if there was one. One that has no tenant yet does so until
    /// the table is isolated: then it is everybody's, or nobody's.
    fn which(&self, of_tenant: bool) -> Option<String> {
        let column = format!("c.{}", quote_ident(&self.column));
        let mut tenants = Vec::new();
        if of_tenant {
            let (old, equal) = (self.parameter(0), "OPERATOR(pg_catalog.=)");
            tenants.push(match self.same_type {
                true => format!("{column} {equal} {old}::{}", self.column_type),
                false => format!("{column}::pg_catalog.text {equal} {old}"),
            });
        }
        if !self.is_protected {
            tenants.push(format!("{column} IS NULL"));
        }
        if tenants.is_empty() {
            return None;
        }
        let pairs = self.link.columns.iter().zip(&self.link.operators);
        let mut conditions: Vec<String> = ((1..).zip(pairs))
            .map(|(n, (own, operator))| format!("${n} {operator} c.{}", quote_ident(own)))
            .collect();
        conditions.push(format!("({})", tenants.join(" OR ")));
        conditions.extend(self.first.iter().map(|first| {
            let row = first.is_row(|_, own| format!("c.{}", quote_ident(own)));
            let (name, tenant) = (&first.name, quote_ident(&first.tenant_column));
            format!("NOT EXISTS (SELECT FROM {name} p WHERE {row} AND p.{tenant} IS NOT NULL)")
        }));
        Some(conditions.join(" AND "))
    }

    /// Returns the parameter after the referenced columns': the former tenant, then the new one.
    fn parameter(&self, n: usize) -> String {
        format!("${}", self.link.ref_columns.len() + 1 + n)
    }

    /// Returns the query of a cell, which is parsed as the current role when it is run first.
    fn prepared<'p>(
        &self,
        cell: &'p OnceCell<Prepared>,
        change: &Change,
        query: impl FnOnce() -> String,
    ) -> Result<&'p Prepared, Error> {
        if let Some(known) = cell.get() {
            return Ok(known);
        }
        let mut kinds: Vec<pg_sys::Oid> = (self.columns())
            .map(|column| change.kind(&column))
            .collect::<Result<_, Error>>()?;
        if !std::ptr::eq(cell, &self.lock) {
            kinds.extend([pg_sys::TEXTOID; 2]);
        }
        let prepared = Prepared::new(&query(), &kinds)?;
        Ok(cell.get_or_init(|| prepared))
    }

    /// Returns the new values of the referenced columns, and more.
    fn values<'c, const N: usize>(
        &self,
        change: &'c Change,
        more: [Option<&str>; N],
    ) -> Result<Vec<DatumWithOid<'c>>, Error> {
        let mut values = Vec::new();
        for column in self.columns() {
            values.extend(change.value(&column)?);
        }
        values.extend(more.map(|text| text.map(str::to_owned).into()));
        Ok(values)
    }

    fn columns(&self) -> impl Iterator<Item = CString> {
        let columns = self.link.ref_columns.iter();
        columns.map(|column| CString::new(column.as_str()).unwrap_or_default())
    }
}

/// Returns the type of a table's tenant column with its schema and without its length, and whether it is that of the table that it has its tenants from,
/// and one whose values the server compares as their texts; `None` without the column.
fn column_type(
    table: pg_sys::Oid,
    column: &str,
    link: &Link,
) -> Result<Option<(String, bool)>, Error> {
    spi::read_as_caller(
        "SELECT format('%I.%I', n.nspname, t.typname), coalesce(a.atttypid = b.atttypid AND a.atttypid IN ('bigint'::regtype, 'integer'::regtype, \
                'smallint'::regtype, 'uuid'::regtype, 'text'::regtype, 'varchar'::regtype), false) \
         FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace n ON n.oid = t.typnamespace \
         LEFT JOIN pg_attribute b ON b.attrelid = $3 AND b.attname = $4::name \
         WHERE a.attrelid = $1 AND a.attname = $2::name AND NOT a.attisdropped",
        &[
            table.into(),
            column.to_owned().into(),
            link.of.into(),
            link.tenant_column.clone().into(),
        ],
        |rows| match rows.into_iter().next() {
            Some(row) => Ok(Some((row.not_null(1)?, row.not_null(2)?))),
            None => Ok(None),
        },
    )
}
