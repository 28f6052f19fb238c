//! The procedure `tenancy.forget_user()`. References to the user are taken out of rows that stay, before rows are deleted.

use std::collections::BTreeMap;

use pgrx::prelude::*;
use serde_json::{Value, json};
use tenancy_core::lifecycle::{Change, Facts, Link, Rule, Table, UserColumn, UserKey, crossing};
use uuid::Uuid;

use super::forgetting::{self, Forgetting};
use super::plan::{Plan, is_true};
use super::run::{Call, PASSES_MAX, Run, lock_key, locked};
use super::users::{self, Named};
use super::{batch, facts, writers};
use crate::error::{Error, ErrorReport};
use crate::pg::extension;
use crate::pg::procedure::Procedure;
use crate::pg::uuid::from_pg;
use crate::{adoption, authority, policy};

#[pg_extern(sql = false)]
fn lifecycle_forget_user(
    user_id: Option<pgrx::Uuid>,
    reason: Option<&str>,
    batch_rows: Option<i32>,
    dry_run: Option<bool>,
    lock_timeout: Option<String>,
    procedure: Procedure,
) -> Result<(), ErrorReport> {
    let user = from_pg(user_id.ok_or(Error::Null("user_id"))?);
    let call = Call::new("forget_user()", reason, batch_rows, dry_run, lock_timeout)?;
    authority::require_permission("users:manage", user)?;
    authority::require_over(user)?;
    let lock_key = lock_key(user);
    let forgettings = extension::internal_table(c"user_forgettings")?;
    let _alone = adoption::alone_with(forgettings, lock_key, "forget_user() of this user")?;
    let begin = || Forgetting::begin(user, &call.reason, lock_key, call.dry_run);
    if call.dry_run {
        let forgetting = begin()?;
        call.maintain()?;
        policy::pinned(|| announce(&Steps::read(&forgetting.key)?))?;
        return Ok(());
    }
    Ok(all(&call.run(&procedure, begin)?)?)
}

/// A change of rows that stay.
struct Step {
    /// As the catalogs have the table.
    facts: Facts,
    change: Change,
    condition: String,
    /// The column that becomes NULL, if one does.
    nulled: Option<String>,
}

impl Step {
    fn table(&self) -> Option<&Table> {
        self.facts.tables.first()
    }
}

/// What is to be done.
struct Steps {
    /// Changes of rows that stay.
    changes: Vec<Step>,
    /// What is deleted, in which order.
    deletes: Plan,
    /// Columns in which the user's id stays.
    kept: Vec<String>,
}

impl Steps {
    /// Reads the decisions and the catalogs as they are now, or raises an error with all that is undecided or stands in the way.
    fn read(key: &UserKey) -> Result<Self, Error> {
        let named = users::read()?;
        decided(&named, key.user.id)?;
        let mut steps = Self {
            changes: Vec::new(),
            deletes: deletes(&named, key)?,
            kept: Vec::new(),
        };
        for (named, column) in columns(&named) {
            match column.change(key) {
                Some((Change::Delete, _)) => {}
                Some((change, condition)) => steps.changes.push(Step {
                    facts: facts::read_of(searched([(named.table, column)]))?,
                    change,
                    condition,
                    nulled: (column.rule == Some(Rule::Null)).then(|| column.name.clone()),
                }),
                None if column.rule == Some(Rule::Keep) => steps.kept.push(named.place.clone()),
                None => {}
            }
        }
        let reasons = steps.blocked()?;
        match reasons.is_empty() {
            true => Ok(steps),
            false => Err(Error::ForgettingBlocked {
                user: key.user.id.to_string(),
                reasons: reasons.join("\n"),
            }),
        }
    }

    /// Returns what stands in the way, a line for each reason.
    fn blocked(&self) -> Result<Vec<String>, Error> {
        let mut reasons = self.deletes.not_owned();
        reasons.extend(
            (self.changes.iter())
                .filter_map(Step::table)
                .flat_map(Table::not_owned),
        );
        // The rest reads rows, as the tables' owners.
        if reasons.is_empty() {
            for link in &self.deletes.facts.links {
                reasons.extend(self.crosses(link)?);
            }
        }
        Ok(reasons)
    }

    /// Returns why a foreign key stands in the way: rows that stay refer to rows that are deleted.
    fn crosses(&self, link: &Link) -> Result<Option<String>, Error> {
        let place = |oid| self.deletes.facts.place(oid);
        let Some((to, referenced)) =
            place(link.to_root).and_then(|place| self.deletes.table(place))
        else {
            return Ok(None);
        };
        if link.cascades() || link.gives_way() {
            return Ok(None);
        }
        if link.from_owner != to.owner {
            return Ok(Some(format!(
                "{}: its foreign key {} refers to {}, which belongs to another role. Nobody can see whether rows that stay refer to the \
                 user's: give both tables one owner.",
                link.from, link.name, link.to
            )));
        }
        let deleted = (link.from_root.and_then(place)).and_then(|place| self.deletes.table(place));
        let nulled = self.changes.iter().filter(|step| {
            (step.nulled.as_ref()).is_some_and(|column| link.columns.contains(column))
                && step
                    .table()
                    .is_some_and(|table| table.relation == link.from)
        });
        let gone: Vec<&str> = (deleted.iter().map(|(_, condition)| *condition))
            .chain(nulled.map(|step| step.condition.as_str()))
            .collect();
        let gone = (!gone.is_empty()).then(|| gone.join(" OR "));
        let query = crossing(link, gone.as_deref(), referenced);
        let found =
            policy::as_table_owner_unfiltered(pg_sys::Oid::from_u32(to.oid), || is_true(&query))?;
        Ok(found.then(|| {
            format!(
                "{}: rows that stay refer to the user's rows in {} by the foreign key {}. Decide on the column, or let the key say \
                 ON DELETE CASCADE or SET NULL.",
                link.from, link.to, link.name
            )
        }))
    }

    /// Returns all changes of rows: the table, what is done, and the condition for rows that are left to do.
    fn all(&self) -> impl Iterator<Item = (&Table, &Change, &str)> {
        let changes = (self.changes.iter()).filter_map(|step| {
            let table = step.table()?;
            Some((table, &step.change, step.condition.as_str()))
        });
        let deletes = self.deletes.tables();
        changes.chain(deletes.map(|(table, condition)| (table, &Change::Delete, condition)))
    }

    /// Returns all tables and parts that a writer may have locked.
    fn locked(&self) -> Vec<pg_sys::Oid> {
        let changed = self.changes.iter().flat_map(|step| locked(&step.facts));
        changed.chain(locked(&self.deletes.facts)).collect()
    }
}

/// Raises an error unless it is decided on every column.
fn decided(named: &[Named], user: Uuid) -> Result<(), Error> {
    let undecided: Vec<String> = (named.iter())
        .filter(|named| (named.column.as_ref()).is_none_or(|column| column.rule.is_none()))
        .map(|named| match named.column {
            Some(_) => named.place.clone(),
            None => format!(
                "{}: no such column, or of a type that names no user",
                named.place
            ),
        })
        .collect();
    match undecided.is_empty() {
        true => Ok(()),
        false => Err(Error::ForgettingUndecided {
            user: user.to_string(),
            columns: undecided.join("\n"),
        }),
    }
}

fn columns(named: &[Named]) -> impl Iterator<Item = (&Named, &UserColumn)> {
    (named.iter()).filter_map(|named| Some((named, named.column.as_ref()?)))
}

/// Returns tables with the columns by which a user's rows are found.
fn searched<'a>(
    columns: impl IntoIterator<Item = (pg_sys::Oid, &'a UserColumn)>,
) -> facts::Columns {
    let mut found = facts::Columns::default();
    for (table, column) in columns {
        let (name, key) = column.searched();
        found.0.push(table);
        found.1.push(name.to_owned());
        found.2.push(key.as_str().to_owned());
    }
    found
}

/// Plans the deletion of the user's rows. A table may name the user in several columns.
fn deletes(named: &[Named], key: &UserKey) -> Result<Plan, Error> {
    let mut conditions: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    let mut first = Vec::new();
    for (named, column) in columns(named) {
        let Some((Change::Delete, condition)) = column.change(key) else {
            continue;
        };
        let of_table = conditions.entry(named.table.to_u32()).or_default();
        if of_table.is_empty() {
            first.push((named.table, column));
        }
        of_table.push(condition);
    }
    let mut facts = facts::read_of(searched(first))?;
    let mut found = Vec::new();
    for table in &mut facts.tables {
        let of_table = conditions.remove(&table.oid).unwrap_or_default();
        if of_table.len() > 1 {
            table.parts.iter_mut().for_each(|part| part.indexed = false);
        }
        found.push((!of_table.is_empty()).then(|| format!("({})", of_table.join(" OR "))));
    }
    Ok(Plan::of(facts, found))
}

/// Says what would be done, to how many rows.
fn announce(steps: &Steps) -> Result<(), Error> {
    for (table, change, condition) in steps.all() {
        let rows = batch::count(table, condition)?;
        let statement = change.statement(&table.relation, condition);
        notice!("tenancy: {}: {rows} rows: {statement}", table.relation);
    }
    for link in (steps.deletes.facts.links.iter()).filter(|link| link.cascades()) {
        notice!(
            "tenancy: {}: rows that refer to deleted rows of {} are deleted too, by the foreign key {}",
            link.from,
            link.to,
            link.name
        );
    }
    for place in &steps.kept {
        notice!("tenancy: {place}: rows stay, with the user's id");
    }
    Ok(())
}

/// All of it. The user's access ends first, unless something stands in the way.
fn all(run: &Run<Forgetting>) -> Result<(), Error> {
    // The record of maintenance stays, whatever follows.
    run.transactions.commit();
    let mut steps = run.transaction("the tables that name users", || {
        let steps = Steps::read(&run.record.key)?;
        run.record.end_access()?;
        Ok(steps)
    })?;
    let mut idle = 0;
    for _ in 0..PASSES_MAX {
        let mut done = 0;
        for step in &steps.changes {
            if let Some(table) = step.table() {
                done += run.table(&step.change, table, &step.condition)?;
            }
        }
        done += run.pass(&steps.deletes)?;
        idle = if done == 0 { idle + 1 } else { 0 };
        writers::wait(&steps.locked(), &run.transactions)?;
        // Rows of a transaction that has just ended are none that stay.
        match finish(run, idle > 1)? {
            None => return Ok(()),
            Some(again) => steps = again,
        }
    }
    finish(run, true).map(drop)
}

/// Looks for the user in every table that may name it, while no other can become one. If it is in none, replaces its names and writes
/// the certificate. Else returns what there is to do, or with `last` an error.
fn finish(run: &Run<Forgetting>, last: bool) -> Result<Option<Steps>, Error> {
    run.transaction("the registry of protected tables", || {
        forgetting::lock_decisions()?;
        let steps = Steps::read(&run.record.key)?;
        let left = steps.all().map(|(table, _, condition)| (table, condition));
        match batch::occupied(left)? {
            None => run.record.finish(kept(&steps)).map(|()| None),
            Some(table) if last => Err(Error::ForgottenRowsStay(table.relation.to_string())),
            Some(_) => Ok(Some(steps)),
        }
    })
}

fn kept(steps: &Steps) -> Value {
    json!(steps.kept)
}
