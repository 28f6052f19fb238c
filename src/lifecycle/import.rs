//! `import_tenant()`: restores an export from a table of lines, all of it or nothing.

use std::ffi::CStr;

use pgrx::prelude::*;
use serde_json::{Map, Value, json};
use tenancy_core::id::new_id;
use tenancy_core::lifecycle::{
    Changes, Damage, Target, TenantKey, Verified, Verify, insert, insert_all, targets,
};
use tenancy_core::policy::{Relation, quote_ident, quote_literal};
use tenancy_core::tree::Level;
use uuid::Uuid;

use super::plan::Plan;
use super::sources::{self, OWN};
use crate::error::{Error, ErrorReport};
use crate::pg::role;
use crate::pg::rows::Rows;
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::{context, policy, tree};

/// How many lines are read at once.
const LINES: u32 = 1000;

#[pg_extern(sql = false)]
fn lifecycle_import_tenant(
    lines: Option<pg_sys::Oid>,
    ids: Option<&str>,
    partner: Option<pgrx::Uuid>,
    slug: Option<String>,
    external_id: Option<String>,
) -> Result<pgrx::Uuid, ErrorReport> {
    let lines = lines.ok_or(Error::Null("lines"))?;
    let partner = from_pg(partner.ok_or(Error::Null("partner"))?);
    let remap = match ids.ok_or(Error::Null("ids"))? {
        "keep" => false,
        "remap" => true,
        _ => {
            return Err(Error::bad(
                "ids must be keep or remap",
                "keep restores the tenant with its ids; remap makes a copy of it.",
            ))?;
        }
    };
    let above = tree::scope(partner)?.filter(|scope| scope.level == Level::Partner);
    let above = above.ok_or_else(|| Error::NoSuchScope(partner.to_string()))?;
    let staged = spi::pinned(|| Staged::read(lines))?;
    let new = New {
        partner: above.id,
        slug,
        external_id,
        remap,
    };
    Ok(pg_uuid(new.restore(&staged)?))
}

/// A table of lines that were verified.
struct Staged {
    /// The table.
    oid: pg_sys::Oid,
    /// Its name.
    table: String,
    verified: Verified,
    /// The number of the first and the last line of each table, as the column `n` has them.
    spans: Vec<(i64, i64)>,
    /// The lines of tenancy's own tables.
    own: Vec<Vec<String>>,
}

impl Staged {
    fn read(oid: pg_sys::Oid) -> Result<Self, Error> {
        let table = spi::read_as_caller(
            "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
            &[oid.into()],
            |rows| match rows.into_iter().next() {
                Some(row) => Ok(Relation {
                    schema: row.not_null(1)?,
                    name: row.not_null(2)?,
                }
                .to_string()),
                None => Err(Error::NoSuch("the table")),
            },
        )?;
        let rows = Rows::open(&format!("SELECT n, line FROM {table} ORDER BY n"))?;
        let mut verify = Verify::default();
        let (mut spans, mut own) = (Vec::new(), Vec::<Vec<String>>::new());
        let mut is_own = false;
        let mut damage = None;
        let mut place = 0_u64;
        while damage.is_none() {
            pgrx::check_for_interrupts!();
            let count = rows.read(LINES, |values| {
                place += 1;
                let text = |n: usize| {
                    values
                        .get(n)
                        .copied()
                        .flatten()
                        .and_then(|text: &CStr| text.to_str().ok())
                };
                let (Some(n), Some(line)) = (text(0).and_then(|n| n.parse::<i64>().ok()), text(1))
                else {
                    damage.get_or_insert(Damage::Line(place));
                    return;
                };
                if damage.is_some() {
                    return;
                }
                match verify.line(line) {
                    Err(found) => damage = Some(found),
                    Ok(Some(table)) => {
                        is_own = self::is_own(&table);
                        spans.push((n, n));
                        own.push(Vec::new());
                    }
                    Ok(None) if line.starts_with('[') => {
                        if let Some(span) = spans.last_mut() {
                            span.1 = n;
                        }
                        if let Some(lines) = own.last_mut().filter(|_| is_own) {
                            lines.push(line.to_owned());
                        }
                    }
                    Ok(None) => {}
                }
            })?;
            if count == 0 {
                break;
            }
        }
        let verified = match damage {
            Some(damage) => Err(damage),
            None => verify.finish(),
        };
        Ok(Self {
            oid,
            table,
            verified: verified.map_err(|damage| Error::ExportDamaged(damage.to_string()))?,
            spans,
            own,
        })
    }
}

impl Staged {
    /// Runs `f` while the owner of tables may read the lines, too: statements that insert run with its rights. The caller grants this, and
    /// takes it back in the same transaction.
    fn lent_to<R>(&self, owner: u32, f: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
        let owner = pg_sys::Oid::from_u32(owner);
        let may = spi::read_as_caller(
            "SELECT pg_catalog.has_table_privilege($1, $2::pg_catalog.regclass, 'SELECT')",
            &[owner.into(), self.oid.into()],
            |rows| rows.first().not_null::<bool>(1),
        )?;
        if may {
            return f();
        }
        let name = quote_ident(&role::name(owner));
        policy::run(&format!("GRANT SELECT ON {} TO {name}", self.table))?;
        let result = f()?;
        policy::run(&format!("REVOKE SELECT ON {} FROM {name}", self.table))?;
        Ok(result)
    }
}

/// What is made of an export.
struct New {
    partner: Uuid,
    slug: Option<String>,
    external_id: Option<String>,
    remap: bool,
}

impl New {
    fn restore(&self, staged: &Staged) -> Result<Uuid, Error> {
        let header = &staged.verified.header;
        let old: Uuid = (header.tenant.parse())
            .map_err(|_| Error::ExportDamaged(Damage::Line(1).to_string()))?;
        if header.user.is_some() {
            return Err(Error::ExportDamaged(
                "it is the export of a user".to_owned(),
            ));
        }
        let map = self.map(staged, old)?;
        let new = map
            .get(&old.to_string())
            .and_then(Value::as_str)
            .and_then(|id| id.parse().ok())
            .unwrap_or(old);
        context::maintain(&format!("import_tenant() of {}", header.slug))?;
        let external_id = self.external_id.clone().or_else(|| match self.remap {
            // Two tenants never have the same.
            true => None,
            false => header.external_id.clone(),
        });
        let key = TenantKey {
            id: new,
            external_id,
        };
        let slug = self.slug.clone().unwrap_or_else(|| header.slug.clone());
        spi::write(
            "SELECT tenancy_internal.check_names_free($1, $2, $3, $4)",
            &[
                pg_uuid(new).into(),
                pg_uuid(self.partner).into(),
                slug.into(),
                key.external_id.clone().into(),
            ],
        )?;
        self.own(staged, old, &key, &map)?;
        let changes = Changes {
            ids: match self.remap {
                true => Value::Object(map).to_string(),
                false => String::new(),
            },
            external_id: key
                .external_id
                .clone()
                .filter(|_| key.external_id != header.external_id),
        };
        let rows = policy::pinned(|| rows(staged, &key, &changes))?;
        context::record(
            "tenant.imported",
            Some(new),
            Some(&header.slug),
            json!({
                "tenant": header.tenant, "exported_at": header.exported_at, "rows": rows,
            }),
        )?;
        Ok(new)
    }

    /// Returns the new id of each scope, role, budget and credit that gets one, by the former.
    fn map(&self, staged: &Staged, old: Uuid) -> Result<Map<String, Value>, Error> {
        let mut map = Map::new();
        for ((line, _, _), rows) in staged.verified.tables.iter().zip(&staged.own) {
            let place = |name: &str| line.columns.iter().position(|column| column == name);
            for row in rows {
                let values: Vec<Option<String>> = serde_json::from_str(row)
                    .map_err(|_| Error::ExportDamaged(format!("a row of {}", line.table)))?;
                let value = |name: &str| values.get(place(name)?)?.clone();
                if let (true, Some(id)) = (self.remap, value("id")) {
                    map.insert(id, new_id().to_string().into());
                }
                // The partner above.
                if let (Some(id), Some(parent)) = (value("id"), value("parent_id"))
                    && id == old.to_string()
                {
                    map.insert(parent, self.partner.to_string().into());
                }
            }
        }
        Ok(map)
    }

    /// Inserts tenancy's own rows.
    fn own(
        &self,
        staged: &Staged,
        old: Uuid,
        key: &TenantKey,
        map: &Map<String, Value>,
    ) -> Result<(), Error> {
        for ((line, _, _), rows) in staged.verified.tables.iter().zip(&staged.own) {
            let Some((_, condition)) = OWN.iter().find(|(name, _)| *name == line.table) else {
                continue;
            };
            let condition = condition.split(" ORDER BY").next().unwrap_or_default();
            spi::write(
                "SELECT tenancy_internal.import_own_rows($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                &[
                    line.table.clone().into(),
                    line.columns.clone().into(),
                    line.types.clone().into(),
                    rows.clone().into(),
                    pgrx::JsonB(Value::Object(map.clone())).into(),
                    pg_uuid(old).into(),
                    self.slug.clone().into(),
                    key.external_id.clone().into(),
                    condition
                        .replace("%t", &format!("'{}'::pg_catalog.uuid", key.id))
                        .into(),
                ],
            )?;
        }
        spi::write(
            "SELECT tenancy_internal.check_import($1)",
            &[pg_uuid(key.id).into()],
        )?;
        Ok(())
    }
}

/// Inserts the rows of the application's tables, parents before children. Returns how many.
fn rows(staged: &Staged, key: &TenantKey, changes: &Changes) -> Result<i64, Error> {
    let plan = Plan::read(key)?;
    let roots: Vec<pg_sys::Oid> = (plan.facts.tables.iter())
        .map(|table| pg_sys::Oid::from_u32(table.oid))
        .collect();
    let columns = sources::columns(&roots)?;
    let mut all = Vec::new();
    for (place, table) in plan.facts.tables.iter().enumerate() {
        for (_, _, line) in columns.get(&table.oid).into_iter().flatten() {
            all.push(Target {
                place,
                line: line.clone(),
                tenant_column: table.tenant_column.clone(),
                condition: plan.table(place).map(|(_, condition)| condition.to_owned()),
            });
        }
    }
    let foreign: Vec<usize> = (0..staged.own.len())
        .filter(|n| !is_own(&staged.verified.tables[*n].0.table))
        .collect();
    let lines: Vec<_> = foreign
        .iter()
        .map(|n| &staged.verified.tables[*n].0)
        .collect();
    let found =
        targets(&lines, &all).map_err(|reasons| Error::ImportRefused(reasons.join("\n")))?;
    let mut total = 0;
    for stage in plan.restoring() {
        // Several tables of one stage refer to each other.
        let mut inserts = Vec::new();
        let mut expected = Vec::new();
        let mut first = None;
        for (target, n) in found.iter().zip(&foreign) {
            if stage.tables.contains(&target.place) {
                let (line, _, rows) = &staged.verified.tables[*n];
                inserts.push(insert(
                    target,
                    line,
                    &staged.table,
                    staged.spans[*n],
                    changes,
                ));
                expected.push(*rows as i64);
                first = first.or(plan.facts.tables.get(target.place));
            }
        }
        let Some(table) = first else { continue };
        let statement = insert_all(&inserts);
        let counts = staged.lent_to(table.owner, || {
            policy::run("SET CONSTRAINTS ALL IMMEDIATE")?;
            policy::as_table_owner_unfiltered(pg_sys::Oid::from_u32(table.oid), || {
                Spi::connect_mut(|client| {
                    let found = client.update(&statement, Some(1), &[])?.first();
                    Ok((found.not_null::<Vec<i64>>(1)?, found.not_null::<bool>(2)?))
                })
            })
        })?;
        if counts != (expected, true) {
            return Err(Error::ImportRefused(format!(
                "{}: a row is not the tenant's, or a trigger or a rule keeps rows from being inserted.",
                table.relation
            )));
        }
        total += counts.0.iter().sum::<i64>();
    }
    for target in &found {
        if let (Some(table), Some(condition)) =
            (plan.facts.tables.get(target.place), &target.condition)
        {
            advance_sequences(pg_sys::Oid::from_u32(table.oid), target, condition)?;
        }
    }
    Ok(total)
}

/// Sets the sequences of a table's columns behind the rows of the tenant.
fn advance_sequences(root: pg_sys::Oid, target: &Target, condition: &str) -> Result<(), Error> {
    let sequences: Vec<(String, String)> = spi::read_as_caller(
        "SELECT a.attname::text, pg_catalog.format('%I.%I', n.nspname, s.relname) \
         FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
         WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = d.classid AND d.deptype IN ('a', 'i') \
           AND d.refobjid = pg_catalog.to_regclass($1) AND s.relowner = (SELECT c.relowner FROM pg_catalog.pg_class c WHERE c.oid = $2)",
        &[target.line.table.clone().into(), root.into()],
        |rows| {
            rows.into_iter()
                .map(|row| Ok((row.not_null(1)?, row.not_null(2)?)))
                .collect()
        },
    )?;
    for (column, sequence) in sequences {
        let statement = format!(
            "SELECT pg_catalog.setval({}, x.top) FROM (SELECT pg_catalog.max({}) AS top FROM {} WHERE {condition}) x \
             WHERE x.top > (SELECT last_value FROM {sequence})",
            quote_literal(&sequence),
            quote_ident(&column),
            target.line.table
        );
        policy::as_table_owner_unfiltered(root, || policy::run(&statement))?;
    }
    Ok(())
}

fn is_own(table: &str) -> bool {
    OWN.iter().any(|(name, _)| *name == table)
}
