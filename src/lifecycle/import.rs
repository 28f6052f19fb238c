//! `import_tenant()`: makes a tenant of an export, all of it or nothing.
//!
//! The lines come from a file, whose author may be anyone. What they say is data, never a name or an id that is believed: one tenant is
//! made, by the functions that make tenants, and rows of it.

use pgrx::prelude::*;
use serde_json::{Map, Value, json};
use tenancy_core::id::PLATFORM_ID;
use tenancy_core::lifecycle::{NewIds, OWN, OwnTable, Row, TableLine, TenantKey};
use tenancy_core::tree::Level;
use uuid::Uuid;

use super::restore_own::{self, Span, Taken, Tenant};
use super::restore_rows::{Ids, Tables};
use super::staged::{Contents, Staged};
use crate::error::{Error, ErrorReport};
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::{context, policy, tree};

/// How many tables the audit log names.
const TABLES_NAMED_MAX: usize = 500;

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments)] // as SQL has them
fn lifecycle_import_tenant(
    lines: Option<pg_sys::Oid>,
    partner: Option<pgrx::Uuid>,
    slug: Option<String>,
    external_id: Option<String>,
    ids: Option<&str>,
    granted: Option<&str>,
    status: Option<&str>,
) -> Result<pgrx::Uuid, ErrorReport> {
    let lines = lines.ok_or(Error::Null("lines"))?;
    let partner = from_pg(partner.ok_or(Error::Null("partner"))?);
    let ids = match ids.ok_or(Error::Null("ids"))? {
        "keep" => Ids::Keep,
        "remap" => Ids::Remap,
        "moved" => Ids::Moved,
        _ => Err(Error::bad(
            "ids must be remap, keep or moved",
            "remap gives new ids; keep takes those in the file, which you must trust for that; moved likewise, for a tenant whose rows are here already.",
        ))?,
    };
    let granted = granted.ok_or(Error::Null("granted"))?;
    if !["refuse", "leave_out", "restore"].contains(&granted) {
        Err(Error::bad(
            "granted must be refuse, leave_out or restore",
            "It is for what only the partner or the platform can give a tenant. Restore it only from a file that you trust.",
        ))?;
    }
    let wanted = Wanted {
        ids,
        tenant: Tenant {
            partner,
            slug,
            external_id,
            status: status.ok_or(Error::Null("status"))?,
            granted,
        },
    };
    Ok(pg_uuid(wanted.make(lines)?))
}

/// What is asked for.
struct Wanted<'a> {
    ids: Ids,
    tenant: Tenant<'a>,
}

impl Wanted<'_> {
    fn make(mut self, lines: pg_sys::Oid) -> Result<Uuid, Error> {
        let partner = self.tenant.partner;
        let above = tree::scope(partner)?
            .filter(|scope| scope.level == Level::Partner)
            .ok_or_else(|| Error::NoSuchScope(partner.to_string()))?;
        let (staged, contents) = spi::pinned(|| {
            let staged = Staged::open(lines)?;
            let contents = staged.verify()?;
            Ok((staged, contents))
        })?;
        let header = &contents.verified.header;
        let former = TenantKey {
            id: (header.tenant.parse())
                .map_err(|_| Error::ExportDamaged("its tenant is not a uuid".to_owned()))?,
            external_id: header.external_id.clone(),
        };
        let keep = self.ids != Ids::Remap;
        if keep && self.tenant.external_id.is_none() {
            self.tenant.external_id.clone_from(&header.external_id);
        }
        let (own, rows) = split(&contents)?;
        context::maintain(&format!("import_tenant() into {}", above.slug))?;
        let mut ids = match keep {
            true => NewIds::kept(),
            false => NewIds::new(salt()?),
        };
        let taken = restore_own::restore(&staged, &own, &self.tenant, former.id, &mut ids)?;
        let tenant = TenantKey {
            id: (ids.scope(former.id)).ok_or(Error::Internal("an import without a tenant"))?,
            external_id: self.tenant.external_id.clone(),
        };
        let mut reasons = taken.faults.clone();
        if self.tenant.granted == "refuse" {
            reasons.extend(taken.granted.iter().cloned());
        }
        let filled = policy::pinned(|| {
            let tables = match Tables::find(&tenant, &rows, self.ids)? {
                Ok(tables) if reasons.is_empty() => tables,
                Ok(_) => return Err(Error::ImportRefused(reasons.join("\n"))),
                Err(more) => {
                    reasons.extend(more);
                    return Err(Error::ImportRefused(reasons.join("\n")));
                }
            };
            for text in &taken.granted {
                warning!("tenancy: left out. {text}");
            }
            let row = Row {
                former: &former,
                tenant: &tenant,
                ids: &ids,
            };
            tables.fill(&staged, &row, &shared(partner)?)
        })?;
        let made = tree::scope(tenant.id)?.map(|scope| scope.slug);
        context::record(
            "tenant.imported",
            Some(tenant.id),
            made.as_deref(),
            json!({
                "tenant": former.id.to_string(), "exported_at": header.exported_at, "sha256": contents.verified.sha256,
                "ids": self.ids.as_str(), "granted": self.tenant.granted, "left_out": taken.granted.len(),
                "rows": counts(&taken, &filled),
            }),
        )?;
        Ok(tenant.id)
    }
}

type Split<'a> = (Vec<Option<Span>>, Vec<(&'a TableLine, Span)>);

/// Returns where tenancy's own tables are, in their order, and the others.
fn split(contents: &Contents) -> Result<Split<'_>, Error> {
    let mut own = vec![None; OWN.len()];
    let mut rows = Vec::new();
    let mut reasons = Vec::new();
    for ((line, _, count), span) in contents.verified.tables.iter().zip(&contents.spans) {
        match OWN.iter().position(|table| table.name == line.table) {
            None => rows.push((line, (*span, *count))),
            Some(at)
                if OWN
                    .get(at)
                    .is_some_and(|table: &OwnTable| table.has(&line.columns)) =>
            {
                if let Some(place) = own.get_mut(at) {
                    *place = Some((*span, *count));
                }
            }
            Some(_) => reasons.push(format!(
                "{}: it has other columns than this version exports.",
                line.table
            )),
        }
    }
    if !matches!(own.first(), Some(Some((_, count))) if *count > 0) {
        reasons.push("tenancy.scopes: the tenant is not in it.".to_owned());
    }
    match reasons.is_empty() {
        true => Ok((own, rows)),
        false => Err(Error::ImportRefused(reasons.join("\n"))),
    }
}

/// Returns a random number: no file can be written for it.
fn salt() -> Result<[u8; 16], Error> {
    spi::read("SELECT gen_random_uuid()", &[], |rows| {
        Ok(*from_pg(rows.first().not_null(1)?).as_bytes())
    })
}

/// Returns the keys of rows that the partner and the platform share with tenants.
fn shared(partner: Uuid) -> Result<Vec<TenantKey>, Error> {
    spi::read(
        "SELECT id, CASE WHEN keys_rows THEN external_id END FROM tenancy.scopes WHERE id IN ($1, $2)",
        &[pg_uuid(partner).into(), pg_uuid(PLATFORM_ID).into()],
        |rows| {
            rows.into_iter()
                .map(|row| {
                    Ok(TenantKey {
                        id: row.not_null_id(1)?,
                        external_id: row.get(2)?,
                    })
                })
                .collect()
        },
    )
}

fn counts(taken: &Taken, filled: &[(String, u64)]) -> Value {
    let own = taken
        .rows
        .iter()
        .map(|(table, rows)| ((*table).to_owned(), json!(rows)));
    let filled = filled
        .iter()
        .map(|(table, rows)| (table.clone(), json!(rows)));
    let named: Map<String, Value> = own.chain(filled).take(TABLES_NAMED_MAX).collect();
    Value::Object(named)
}
