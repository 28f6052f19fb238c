//! The rows of the application's tables of an import. Statements run as the tables' owners, parents before children.

use std::collections::BTreeMap;

use pgrx::JsonB;
use pgrx::prelude::*;
use serde::Deserialize;
use tenancy_core::lifecycle::{
    Column, Damage, Insert, Member, Remap, Row, Shape, TableLine, TenantKey, changes, insert_all,
    matching, read_row, source_name, straying,
};
use tenancy_core::policy::{KeyType, Relation, quote_ident, quote_literal};

use super::batch;
use super::plan::{Plan, is_true};
use super::restore_own::Span;
use super::staged::{Staged, damaged};
use crate::error::Error;
use crate::pg::row_source::{self, RowSource};
use crate::pg::spi::{self, NotNull};
use crate::policy;

/// How many rows a statement inserts, where it need not insert all of a table at once.
const ROWS: u64 = 5000;
/// The most bytes of rows that such a statement inserts, if a row has not more by itself.
const BYTES: usize = 8 << 20;
/// How far a sequence is set behind the rows: nextval() of others goes on meanwhile.
const AHEAD: i64 = 100;

/// What becomes of the ids in the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// Others are in their place.
    Remap,
    /// They stay.
    Keep,
    /// They stay, and the rows that have them are here already, by replication: see `moving`.
    Moved,
}

impl Ids {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Remap => "remap",
            Self::Keep => "keep",
            Self::Moved => "moved",
        }
    }
}

/// Rows that can be imported: their tables and columns are known, and all code that runs is that of roles with whose rights the caller
/// may act.
pub struct Tables {
    plan: Plan,
    members: Vec<Member>,
    oids: Vec<pg_sys::Oid>,
    sequences: Vec<Vec<Sequence>>,
    inserts: Vec<Insert>,
    /// Where the rows of each insert are.
    spans: Vec<Span>,
}

/// A sequence of a column, of the same owner.
#[derive(Debug, Clone, Deserialize)]
struct Sequence {
    column: String,
    name: String,
    top: i64,
}

impl Tables {
    /// Finds the tables, and locks them.
    pub fn find(
        tenant: &TenantKey,
        lines: &[(&TableLine, Span)],
        ids: Ids,
    ) -> Result<Result<Self, Vec<String>>, Error> {
        let plan = Plan::read(tenant)?;
        let mut members = Vec::new();
        let (mut oids, mut sequences) = (Vec::new(), Vec::new());
        let mut shapes = vec![Shape::default(); plan.facts.tables.len()];
        for found in read(&plan)? {
            let Some(place) = plan.facts.place(found.root) else {
                continue;
            };
            if let Some(shape) = shapes.get_mut(place) {
                add(shape, &found.shape);
            }
            let Some(table) = plan.facts.tables.get(place) else {
                continue;
            };
            members.push(Member {
                place,
                table: found.relation.to_string(),
                columns: found.shape.columns,
                tenant_column: table.tenant_column.clone(),
                condition: plan.table(place).map(|(_, condition)| condition.to_owned()),
            });
            oids.push(found.oid);
            sequences.push(found.sequences);
        }
        let changes = changes(&plan.facts, &shapes, ids != Ids::Remap);
        let counted: Vec<(&TableLine, u64)> = lines
            .iter()
            .map(|(line, (_, rows))| (*line, *rows))
            .collect();
        let inserts = match matching(&counted, &members, &changes) {
            Ok(inserts) => inserts,
            Err(reasons) => return Ok(Err(reasons)),
        };
        let tables = Self {
            plan,
            members,
            oids,
            sequences,
            inserts,
            spans: lines.iter().map(|(_, span)| *span).collect(),
        };
        let reasons = tables.blocked(tenant, ids)?;
        Ok(match reasons.is_empty() {
            true => Ok(tables),
            false => Err(reasons),
        })
    }

    /// The places of the tables with rows in the file.
    fn places(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (self.inserts.iter().zip(&self.spans))
            .filter(|(_, (_, rows))| *rows > 0)
            .filter_map(|(insert, _)| Some(self.members.get(insert.member)?.place))
            .collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    fn blocked(&self, tenant: &TenantKey, ids: Ids) -> Result<Vec<String>, Error> {
        let tables = || {
            self.places()
                .into_iter()
                .filter_map(|place| self.plan.table(place))
        };
        let mut reasons = self.plan.owners(tables().map(|(table, _)| table));
        if ids == Ids::Moved {
            reasons.extend(tables().map(|(table, _)| {
                format!(
                    "{}: its rows are in the file, and those of a tenant that was moved are here already: export it with rows => false.",
                    table.relation
                )
            }));
        }
        for (table, _) in tables() {
            let elsewhere = policy::region_conflict(pg_sys::Oid::from_u32(table.oid), tenant.id)?;
            reasons.extend(elsewhere.map(|other| {
                format!(
                    "{}: it is of region {}, and the tenant of {}.",
                    other.part, other.region, other.home
                )
            }));
        }
        if !reasons.is_empty() {
            return Ok(reasons);
        }
        batch::immediate()?;
        for (table, _) in tables() {
            policy::as_table_owner_unfiltered(pg_sys::Oid::from_u32(table.oid), || {
                batch::hold(&table.relation, table.oid, table.owner)?;
                for part in &table.parts {
                    batch::hold(&part.relation, part.oid, table.owner)?;
                }
                Ok(())
            })?;
        }
        // Also in tables that the file does not name: the tenant would get these rows.
        for (table, condition) in self.plan.tables() {
            if !table.caller_owns {
                reasons.push(format!(
                    "{}: the caller is neither its owner nor a member of that role.",
                    table.relation
                ));
                continue;
            }
            // An id that was just made is in no row; those of a tenant that was moved are in its rows.
            if ids == Ids::Moved || ids == Ids::Remap && table.key() == Some(KeyType::Uuid) {
                continue;
            }
            for part in &table.parts {
                if batch::has_rows(table, part, condition)? {
                    reasons.push(format!(
                        "{}: it has rows with the tenant's key already.",
                        part.relation
                    ));
                }
            }
        }
        for link in self
            .plan
            .facts
            .links
            .iter()
            .filter(|link| !self.plan.facts.carries_tenant(link))
        {
            let from = link.from_root.and_then(|root| self.plan.facts.place(root));
            let Some(to) = self
                .plan
                .facts
                .place(link.to_root)
                .and_then(|place| self.plan.facts.tables.get(place))
            else {
                continue;
            };
            if from.is_some_and(|from| self.places().contains(&from)) && link.from_owner != to.owner
            {
                reasons.push(format!(
                    "{}: its foreign key {} refers to {}, which belongs to another role. Nobody can see whether rows refer to those of other \
                     tenants: give both tables one owner, or the key the tenant column.",
                    link.from, link.name, link.to
                ));
            }
        }
        Ok(reasons)
    }

    /// Inserts all rows. Returns how many, by their tables. `above` are the keys of rows that are shared.
    pub fn fill(
        &self,
        staged: &Staged,
        row: &Row<'_>,
        above: &[TenantKey],
    ) -> Result<Vec<(String, u64)>, Error> {
        let mut filled = Vec::new();
        for stage in self.plan.restoring() {
            let of_stage: Vec<usize> = (0..self.inserts.len())
                .filter(|n| {
                    self.member(*n)
                        .is_some_and(|member| stage.tables.contains(&member.place))
                        && self.spans.get(*n).is_some_and(|(_, rows)| *rows > 0)
                })
                .collect();
            // Rows that refer to each other go together, others a few at a time.
            match stage.circular {
                true if !of_stage.is_empty() => self.together(staged, row, &of_stage)?,
                _ => {
                    for n in &of_stage {
                        self.in_batches(staged, row, *n)?;
                    }
                }
            }
            for n in of_stage {
                let Some((member, (_, rows))) = self.member(n).zip(self.spans.get(n)) else {
                    continue;
                };
                filled.push((member.table.clone(), *rows));
                notice!("tenancy: {}. {}: {rows} rows", filled.len(), member.table);
            }
        }
        self.astray(above)?;
        for n in 0..self.inserts.len() {
            self.advance(n)?;
        }
        Ok(filled)
    }

    fn member(&self, insert: usize) -> Option<&Member> {
        self.members.get(self.inserts.get(insert)?.member)
    }

    fn together(&self, staged: &Staged, row: &Row<'_>, inserts: &[usize]) -> Result<(), Error> {
        let mut sources = Vec::new();
        for (place, n) in inserts.iter().enumerate() {
            let Some((insert, ((first, last), _))) = self.inserts.get(*n).zip(self.spans.get(*n))
            else {
                continue;
            };
            let mut source = source(place, insert)?;
            let mut lines = staged.lines(*first, *last)?;
            while let Some((_, line)) = lines.next()? {
                source.add(&self.values(row, insert, &line)?);
            }
            sources.push(source);
        }
        self.insert(inserts, &sources)
    }

    fn in_batches(&self, staged: &Staged, row: &Row<'_>, n: usize) -> Result<(), Error> {
        let Some((insert, ((first, last), _))) = self.inserts.get(n).zip(self.spans.get(n)) else {
            return Ok(());
        };
        let mut lines = staged.lines(*first, *last)?;
        let mut more = true;
        while more {
            let mut source = source(0, insert)?;
            while source.rows() < ROWS && source.bytes() < BYTES {
                match lines.next()? {
                    Some((_, line)) => source.add(&self.values(row, insert, &line)?),
                    None => {
                        more = false;
                        break;
                    }
                }
            }
            if source.rows() > 0 {
                self.insert(&[n], &[source])?;
            }
        }
        Ok(())
    }

    fn values(
        &self,
        row: &Row<'_>,
        insert: &Insert,
        line: &str,
    ) -> Result<Vec<Option<String>>, Error> {
        let table = || {
            self.members
                .get(insert.member)
                .map_or_else(String::new, |member| member.table.clone())
        };
        let values =
            read_row(line, insert.columns.len()).ok_or_else(|| damaged(Damage::Row(table())))?;
        row.change(insert, values)
            .map_err(|fault| Error::ImportRefused(format!("{}: {fault}.", table())))
    }

    /// Runs the statement for these, and makes sure that each row is there and the tenant's.
    fn insert(&self, inserts: &[usize], sources: &[RowSource]) -> Result<(), Error> {
        let Some(member) = inserts.first().and_then(|n| self.member(*n)) else {
            return Ok(());
        };
        let Some(table) = self.plan.facts.tables.get(member.place) else {
            return Ok(());
        };
        let of: Vec<&Insert> = inserts
            .iter()
            .filter_map(|n| self.inserts.get(*n))
            .collect();
        let statement = insert_all(&of, &self.members);
        let found = policy::as_table_owner_unfiltered(pg_sys::Oid::from_u32(table.oid), || {
            spi::exact_texts(|| {
                row_source::run(&statement, sources, |rows| {
                    let row = rows.first();
                    Ok((row.not_null::<Vec<i64>>(1)?, row.not_null::<bool>(2)?))
                })
            })
        })?;
        let expected: Vec<i64> = sources
            .iter()
            .map(|source| source.rows().cast_signed())
            .collect();
        match found == (expected, true) {
            true => Ok(()),
            false => Err(Error::ImportRefused(format!(
                "{}: a row is not the tenant's, or a trigger or a rule keeps rows from being inserted.",
                member.table
            ))),
        }
    }

    /// Makes sure that the rows refer to rows of the tenant, or to shared ones.
    fn astray(&self, above: &[TenantKey]) -> Result<(), Error> {
        let mut reasons = Vec::new();
        for link in self
            .plan
            .facts
            .links
            .iter()
            .filter(|link| !self.plan.facts.carries_tenant(link))
        {
            let place = |root: u32| self.plan.facts.place(root);
            let Some(from) = link
                .from_root
                .and_then(place)
                .filter(|from| self.places().contains(from))
            else {
                continue;
            };
            let Some((table, own)) = self.plan.table(from) else {
                continue;
            };
            let mut allowed = Vec::new();
            if let Some(to) = place(link.to_root) {
                allowed.extend(
                    self.plan
                        .table(to)
                        .map(|(_, condition)| condition.to_owned()),
                );
                if let Some((table, key)) = self
                    .plan
                    .facts
                    .tables
                    .get(to)
                    .and_then(|table| Some((table, table.key()?)))
                {
                    allowed.extend(
                        above
                            .iter()
                            .filter_map(|scope| scope.condition(&table.tenant_column, key)),
                    );
                }
            }
            let query = straying(link, own, &allowed);
            if policy::as_table_owner_unfiltered(pg_sys::Oid::from_u32(table.oid), || {
                is_true(&query)
            })? {
                reasons.push(format!(
                    "{}: rows refer by the foreign key {} to rows of {} that are not the tenant's.",
                    link.from, link.name, link.to
                ));
            }
        }
        match reasons.is_empty() {
            true => Ok(()),
            false => Err(Error::ImportRefused(reasons.join("\n"))),
        }
    }

    /// Sets the sequences of a table's columns behind the rows. They are all tenants': no row may use one up.
    fn advance(&self, n: usize) -> Result<(), Error> {
        let Some((insert, member)) = self.inserts.get(n).zip(self.member(n)) else {
            return Ok(());
        };
        let (Some(condition), Some(oid), Some(sequences)) = (
            &member.condition,
            self.oids.get(insert.member),
            self.sequences.get(insert.member),
        ) else {
            return Ok(());
        };
        let taken = |sequence: &&Sequence| {
            (insert.columns.iter())
                .any(|(name, _, change)| *name == sequence.column && *change != Remap::Number)
        };
        for Sequence { column, name, top } in sequences.iter().filter(taken) {
            let column_name = quote_ident(column);
            let highest = format!(
                "SELECT pg_catalog.max({column_name})::pg_catalog.int8 FROM {} WHERE {condition}",
                member.table
            );
            let last = format!("SELECT last_value FROM {name}");
            let fits = policy::as_table_owner_unfiltered(*oid, || {
                let (Some(highest), Some(last)) = (number(&highest)?, number(&last)?) else {
                    return Ok(true);
                };
                if highest <= last {
                    return Ok(true);
                }
                if highest > top / 2 {
                    return Ok(false);
                }
                policy::run(&format!(
                    "SELECT pg_catalog.setval({}, {})",
                    quote_literal(name),
                    highest.saturating_add(AHEAD).min(*top)
                ))?;
                Ok(true)
            })?;
            if !fits {
                return Err(Error::ImportRefused(format!(
                    "{}: a value of its column {column} would use up most of the sequence {name}.",
                    member.table
                )));
            }
        }
        Ok(())
    }
}

fn source(place: usize, insert: &Insert) -> Result<RowSource, Error> {
    let columns = insert
        .columns
        .iter()
        .filter(|(_, _, change)| *change != Remap::Number);
    RowSource::new(&source_name(place), columns.count())
}

fn number(query: &str) -> Result<Option<i64>, Error> {
    Spi::connect_mut(|client| {
        Ok(client
            .update(query, Some(1), &[])?
            .first()
            .get_one::<i64>()?)
    })
}

/// Adds what one of its parts has to the shape of a table.
fn add(shape: &mut Shape, part: &Shape) {
    let known: BTreeMap<&str, ()> = shape
        .columns
        .iter()
        .map(|column| (column.name.as_str(), ()))
        .collect();
    let new: Vec<Column> = (part.columns.iter())
        .filter(|column| !known.contains_key(column.name.as_str()))
        .cloned()
        .collect();
    shape.columns.extend(new);
    shape.keys.extend(part.keys.iter().cloned());
    shape.outward.extend(part.outward.iter().cloned());
}

/// A table that the catalogs have.
struct Found {
    root: u32,
    oid: pg_sys::Oid,
    relation: Relation,
    shape: Shape,
    sequences: Vec<Sequence>,
}

fn read(plan: &Plan) -> Result<Vec<Found>, Error> {
    const UNREADABLE: Error = Error::Internal("the catalogs' answer cannot be read");
    let roots: Vec<pg_sys::Oid> = (plan.facts.tables.iter())
        .map(|table| pg_sys::Oid::from_u32(table.oid))
        .collect();
    spi::pinned(|| {
        spi::read_as_caller(include_str!("restore.sql"), &[roots.into()], |rows| {
            let mut found = Vec::new();
            for row in rows {
                found.push(Found {
                    root: row.not_null::<pg_sys::Oid>(1)?.to_u32(),
                    oid: row.not_null(2)?,
                    relation: Relation {
                        schema: row.not_null(3)?,
                        name: row.not_null(4)?,
                    },
                    shape: serde_json::from_value(row.not_null::<JsonB>(5)?.0)
                        .map_err(|_| UNREADABLE)?,
                    sequences: serde_json::from_value(row.not_null::<JsonB>(6)?.0)
                        .map_err(|_| UNREADABLE)?,
                });
            }
            Ok(found)
        })
    })
}
