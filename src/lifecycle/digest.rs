//! `move_digest()`: numbers and hashes of a tenant's rows, to compare two databases.

use pgrx::prelude::*;
use tenancy_core::lifecycle::TenantKey;
use tenancy_core::policy::quote_ident;

use super::sources::{self, Reader, Source};
use crate::error::{Error, ErrorReport};
use crate::pg::spi::NotNull;
use crate::pg::uuid::from_pg;
use crate::{context, policy, tree};

/// The sum of the first 64 bits of the hash of each row.
const HASH: &str = "pg_catalog.sum((pg_catalog.concat('x', pg_catalog.left(pg_catalog.encode(pg_catalog.sha256(\
    pg_catalog.convert_to(t::pg_catalog.text, 'UTF8')), 'hex'), 16))::pg_catalog.bit(64))::pg_catalog.int8)::pg_catalog.text";

type Digest = TableIterator<
    'static,
    (
        name!(table_name, String),
        name!(rows, i64),
        name!(hash, Option<String>),
    ),
>;

#[pg_extern(sql = false)]
fn lifecycle_move_digest(
    tenant: Option<pgrx::Uuid>,
    hashes: Option<bool>,
) -> Result<Digest, ErrorReport> {
    let tenant = from_pg(tenant.ok_or(Error::Null("tenant"))?);
    let hashes = hashes.ok_or(Error::Null("hashes"))?;
    let scope = tree::require_tenant(tenant)?;
    context::maintain(&format!("move_digest() of {}", scope.slug))?;
    let key = TenantKey {
        id: tenant,
        external_id: scope.external_id,
    };
    let mut found = Vec::new();
    for source in policy::pinned(|| sources::of_tenant(&key))? {
        if matches!(source.reader, Reader::OwnerOf(_)) {
            let (rows, hash) = digest(&source, hashes)?;
            found.push((source.line.table, rows, hash));
        }
    }
    found.sort();
    Ok(TableIterator::new(found))
}

/// Returns how many rows there are, and the sum of the hashes of all: two rows that are the same count twice. The order of rows and of
/// columns does not matter, nor does the byte order of the server.
fn digest(source: &Source, hashes: bool) -> Result<(i64, Option<String>), Error> {
    let mut columns: Vec<String> = (source.line.columns.iter())
        .map(|column| quote_ident(column))
        .collect();
    columns.sort();
    let query = format!(
        "SELECT pg_catalog.count(*), {} FROM (SELECT {} FROM ({}) r) t",
        if hashes {
            HASH
        } else {
            "NULL::pg_catalog.text"
        },
        columns.join(", "),
        source.query
    );
    source.with_its_rights(|| {
        Spi::connect_mut(|client| {
            let row = client.update(&query, Some(1), &[])?.first();
            Ok((row.not_null(1)?, row.get::<String>(2)?))
        })
    })
}
