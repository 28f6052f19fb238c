//! Creates tenants from the application's own table of them: the SQL function `tenancy.import_tenants`.

use pgrx::prelude::*;
use tenancy_core::policy::{quote_ident, quote_literal};

use crate::error::{Error, ErrorReport};
use crate::pg::spi::{self, NotNull};
use crate::pg::types;
use crate::pg::uuid::from_pg;
use crate::policy;

/// Runs a call of `tenancy.import_tenants`, and returns how many tenants it has created.
pub fn run(call: &str) -> Result<i32, Error> {
    Spi::connect_mut(|client| {
        let row = client.update(call, Some(1), &[])?.first();
        Ok(row.get_one::<i32>()?.unwrap_or(0))
    })
}

#[pg_extern(sql = false)]
fn import_tenants(
    tenant_table: Option<pg_sys::Oid>,
    key_column: Option<String>,
    slug_column: Option<String>,
    name_column: Option<String>,
    partner: Option<pgrx::Uuid>,
    max_rows: Option<i32>,
) -> Result<i32, ErrorReport> {
    let table = tenant_table.ok_or(Error::Null("tenant_table"))?;
    let key = key_column.ok_or(Error::Null("key_column"))?;
    let partner = from_pg(partner.ok_or(Error::Null("partner"))?).to_string();
    let max_rows = max_rows.ok_or(Error::Null("max_rows"))?;
    let made = policy::pinned(|| {
        let missing = missing(
            table,
            &key,
            slug_column.as_deref(),
            name_column.as_deref(),
            max_rows,
        )?;
        for row in &missing {
            create(row, &partner)?;
        }
        Ok(i32::try_from(missing.len()).unwrap_or(i32::MAX))
    })?;
    Ok(made)
}

/// A row that has no tenant yet.
pub struct Missing {
    key: String,
    slug: Option<String>,
    name: Option<String>,
    by_id: bool,
}

/// Returns rows that have no tenant yet.
pub fn missing(
    table: pg_sys::Oid,
    key: &str,
    slug: Option<&str>,
    name: Option<&str>,
    max_rows: i32,
) -> Result<Vec<Missing>, Error> {
    let Named {
        relation,
        key,
        by_id,
        has,
    } = named(table, key)?;
    let text = |column: Option<&str>| match column {
        None | Some("") => "NULL".to_owned(),
        Some(column) => format!("t.{}::text", quote_ident(column)),
    };
    let (slug, name) = (text(slug), text(name));
    let query = format!(
        "SELECT t.{key}::text, {slug}, {name} FROM {relation} t \
         WHERE NOT EXISTS (SELECT FROM tenancy.scopes s WHERE {has}) ORDER BY t.{key} LIMIT $1"
    );
    policy::as_table_owner(table, || {
        Spi::connect_mut(|client| {
            let rows = client.update(&query, None, &[max_rows.into()])?;
            rows.into_iter()
                .map(|row| {
                    Ok(Missing {
                        key: row.not_null(1)?,
                        slug: row.get(2)?,
                        name: row.get(3)?,
                        by_id,
                    })
                })
                .collect()
        })
    })
}

/// Returns how many rows have the key of a scope of another level or, as two tables may number their rows alike, the external id
/// of a tenant of another partner, and one of these keys.
pub fn taken(table: pg_sys::Oid, key: &str, partner: &str) -> Result<(i64, Option<String>), Error> {
    let Named {
        relation,
        has,
        by_id,
        key,
    } = named(table, key)?;
    let query = format!(
        "SELECT pg_catalog.count(*), pg_catalog.min({} || t.{key}::text) FROM {relation} t JOIN tenancy.scopes s ON {has} \
         WHERE s.level <> 'tenant' OR NOT {by_id} AND s.parent_id <> $1::uuid",
        quote_literal(&format!("{key} = "))
    );
    policy::as_table_owner(table, || {
        Spi::connect_mut(|client| {
            let row = client
                .update(&query, Some(1), &[partner.to_owned().into()])?
                .first();
            Ok((row.get::<i64>(1)?.unwrap_or(0), row.get::<String>(2)?))
        })
    })
}

fn named(table: pg_sys::Oid, key: &str) -> Result<Named, Error> {
    let (relation, kind) = spi::read_as_caller(
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), a.atttypid \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = $2::name AND NOT a.attisdropped WHERE c.oid = $1",
        &[table.into(), key.to_owned().into()],
        |rows| match rows.into_iter().next() {
            Some(row) => Ok((row.not_null::<String>(1)?, row.not_null::<pg_sys::Oid>(2)?)),
            None => Err(Error::bad(
                format!("the table has no column {}", quote_literal(key)),
                "Name the column that holds the tenant's key in the table of tenants.",
            )),
        },
    )?;
    let key = quote_ident(key);
    let by_id = types::base(kind) == pg_sys::UUIDOID;
    let has = match by_id {
        true => format!("s.id = t.{key}"),
        false => format!("s.external_id = t.{key}::text AND (s.level = 'tenant' OR s.keys_rows)"),
    };
    Ok(Named {
        relation,
        key,
        by_id,
        has,
    })
}

/// The table of tenants, and its key.
struct Named {
    relation: String,
    key: String,
    by_id: bool,
    /// The condition by which a row `t` has the scope `s`.
    has: String,
}

/// Creates a tenant with the caller's rights.
fn create(row: &Missing, partner: &str) -> Result<(), Error> {
    let own = row.slug.clone().or_else(|| row.name.clone());
    let (slug, name) = spi::read(
        "SELECT tenancy_internal.free_slug($1, $2, $3::uuid), coalesce(tenancy_internal.clean_name($4), tenancy_internal.clean_name($1), tenancy_internal.clean_name($2), $2)",
        &[
            own.into(),
            row.key.clone().into(),
            partner.to_owned().into(),
            row.name.clone().into(),
        ],
        |rows| match rows.into_iter().next() {
            Some(found) => Ok((found.not_null::<String>(1)?, found.not_null::<String>(2)?)),
            None => Err(Error::Internal("there is no slug")),
        },
    )?;
    let (external_id, id) = match row.by_id {
        true => (None, Some(row.key.clone())),
        false => (Some(row.key.clone()), None),
    };
    Spi::connect_mut(|client| {
        client.update(
            "SELECT tenancy.create_tenant($1, $2, $3::uuid, external_id => $4, id => $5::uuid)",
            None,
            &[
                slug.into(),
                name.into(),
                partner.to_owned().into(),
                external_id.into(),
                id.into(),
            ],
        )?;
        Ok(())
    })
}
