//! Regions of tenants, tables and tablespaces, and the rows that lie elsewhere. The check of statements is the room `policy`'s.

use std::collections::HashSet;

use pgrx::prelude::*;
use tenancy_core::lifecycle::TenantKey;
use tenancy_core::policy::{Key, Refusal};
use tenancy_core::tree::Level;

use crate::context;
use crate::error::{Error, ErrorReport};
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::{from_pg, pg_uuid};
use crate::pg::{inheritance, relation, role};
use crate::{authority, policy, tree};

/// A table in which rows of a tenant would lie elsewhere.
struct Place {
    relation: pg_sys::Oid,
    table: String,
    /// The condition for the tenant's rows; `None` if it can have none.
    condition: Option<String>,
    tenant: pgrx::Uuid,
    slug: String,
}

impl Place {
    fn read(row: &pgrx::spi::SpiHeapTupleData<'_>) -> Result<Self, Error> {
        let (column, key): (String, String) = (row.not_null(3)?, row.not_null(4)?);
        let tenant: pgrx::Uuid = row.not_null(5)?;
        let of = TenantKey {
            id: from_pg(tenant),
            external_id: row.get(6)?,
        };
        Ok(Self {
            relation: row.not_null(1)?,
            table: row.not_null(2)?,
            condition: Key::parse(&key).and_then(|key| of.condition(&column, key.kind)),
            tenant,
            slug: row.not_null(7)?,
        })
    }

    /// Returns how many rows there are, as the table's owner; in maintenance.
    fn count(&self) -> Result<i64, Error> {
        let Some(condition) = &self.condition else {
            return Ok(0);
        };
        let query = format!(
            "SELECT pg_catalog.count(*) FROM ONLY {} WHERE {condition}",
            self.table
        );
        policy::as_table_owner_unfiltered(self.relation, || {
            Spi::connect_mut(|client| client.update(&query, Some(1), &[])?.first().not_null(1))
        })
    }
}

#[pg_extern(sql = false)]
fn residency_set_region(
    scope: Option<pgrx::Uuid>,
    region: Option<String>,
) -> Result<(), ErrorReport> {
    let id = from_pg(scope.ok_or(Error::Null("scope"))?);
    let found = tree::scope(id)?.ok_or_else(|| Error::NoSuchScope(id.to_string()))?;
    if let Some(above) = found.parent() {
        authority::require_permission("plans:manage", above)?;
    } else {
        authority::require_administrator()?;
    }
    if !matches!(found.level, Level::Partner | Level::Tenant) {
        Err(Error::NoRegionAt(found.level.as_str()))?;
    }
    spi::write(
        "SELECT tenancy_internal.check_region($1)",
        &[region.clone().into()],
    )?;
    let places = spi::read(
        "SELECT m.relation, m.table_name, m.tenant_column, m.key_type, m.tenant, m.external_id, m.slug FROM tenancy_internal.region_moves($1, $2) m",
        &[pg_uuid(id).into(), region.clone().into()],
        |rows| {
            rows.into_iter()
                .map(|row| Place::read(&row))
                .collect::<Result<Vec<_>, _>>()
        },
    )?;
    if !places.is_empty() {
        policy::pinned(|| require_empty(&found.slug, &places))?;
    }
    spi::write(
        "SELECT tenancy_internal.put_region($1, $2)",
        &[pg_uuid(id).into(), region.into()],
    )?;
    Ok(())
}

/// Raises an error if there are rows in these places, and keeps others from writing some until the transaction ends.
fn require_empty(scope: &str, places: &[Place]) -> Result<(), Error> {
    context::maintain("set_region(): rows that would lie elsewhere")?;
    let mut locked = HashSet::new();
    let mut reasons = Vec::new();
    for place in places {
        // First the tables above: a statement that names one of these is checked before it locks the part that takes the row.
        let mut above = inheritance::oids(&inheritance::up(place.relation));
        above.retain(|table| locked.insert(*table));
        above.reverse();
        for table in above {
            let name = policy::relation_name(table)?;
            policy::as_table_owner_unfiltered(table, || {
                policy::run(&format!("LOCK TABLE ONLY {name} IN SHARE MODE"))
            })?;
        }
        if locked.insert(place.relation) {
            policy::as_table_owner_unfiltered(place.relation, || {
                policy::run(&format!("LOCK TABLE ONLY {} IN SHARE MODE", place.table))
            })?;
        }
        let rows = place.count()?;
        if rows > 0 {
            reasons.push(format!("{}: {rows} rows of {}", place.table, place.slug));
        }
    }
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(Error::RegionRowsStay {
            scope: scope.to_owned(),
            reasons: reasons.join("\n"),
        }),
    }
}

#[pg_extern(sql = false)]
fn residency_set_table_region(
    target: Option<pg_sys::Oid>,
    region: Option<String>,
) -> Result<(), ErrorReport> {
    authority::require_administrator()?;
    let target = target.ok_or(Error::Null("target"))?;
    let owner = relation::read(target, |class| class.relowner).ok_or(Error::NoSuch("the table"))?;
    if !role::may_act_as(owner) {
        let table = policy::relation_name(target)?;
        Err(Error::Refused(Refusal::NotOwner { table }))?;
    }
    spi::write(
        "SELECT tenancy_internal.put_table_region($1, $2)",
        &[target.into(), region.into()],
    )?;
    Ok(())
}

#[pg_extern(sql = false)]
fn residency_set_tablespace_region(
    tablespace: Option<String>,
    region: Option<String>,
) -> Result<(), ErrorReport> {
    authority::require_administrator()?;
    spi::write(
        "SELECT tenancy_internal.put_tablespace_region($1, $2)",
        &[
            tablespace.ok_or(Error::Null("tablespace"))?.into(),
            region.into(),
        ],
    )?;
    Ok(())
}

type Violations = TableIterator<
    'static,
    (
        name!(table_name, String),
        name!(region, String),
        name!(tenant_id, pgrx::Uuid),
        name!(tenant, String),
        name!(tenant_region, String),
        name!(rows, i64),
    ),
>;

#[pg_extern(sql = false)]
fn residency_violations() -> Result<Violations, ErrorReport> {
    context::maintain("residency_violations()")?;
    let places = spi::read(
        "SELECT t.relation, t.table_name, t.tenant_column::text, t.key_type, s.id, s.external_id, s.slug, \
                CASE WHEN t.region <> h.region THEN t.region ELSE t.tablespace_region END, h.region \
         FROM tenancy_internal.stated_regions t JOIN tenancy.scopes s ON s.level = 'tenant' \
         CROSS JOIN LATERAL (SELECT tenancy_internal.region_on(s.path) AS region) h \
         WHERE t.relkind IN ('r', 'f') AND (t.region <> h.region OR t.tablespace_region <> h.region) ORDER BY t.table_name, s.slug",
        &[],
        |rows| {
            let place = |row: pgrx::spi::SpiHeapTupleData<'_>| {
                Ok::<_, Error>((
                    Place::read(&row)?,
                    row.not_null::<String>(8)?,
                    row.not_null::<String>(9)?,
                ))
            };
            rows.into_iter().map(place).collect::<Result<Vec<_>, _>>()
        },
    )?;
    let mut found = Vec::new();
    for (place, region, home) in places {
        let rows = policy::pinned(|| place.count())?;
        if rows > 0 {
            found.push((place.table, region, place.tenant, place.slug, home, rows));
        }
    }
    Ok(TableIterator::new(found))
}
