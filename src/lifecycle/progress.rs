//! The record of a purge, which is kept in the transactions that it records. Written as tenancy's owner.

use pgrx::JsonB;
use serde_json::Value;
use tenancy_core::lifecycle::{Change, TenantKey};
use uuid::Uuid;

use super::run::Record;
use crate::error::Error;
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::{from_pg, pg_uuid};

/// A purge that is under way.
pub struct Purge {
    /// Its id.
    pub id: Uuid,
    /// The tenant, with the external id that its rows carry.
    pub tenant: TenantKey,
    /// The tenant's slug.
    pub slug: String,
}

impl Purge {
    /// Begins a purge, or goes on with one that was interrupted. An error unless the tenant may be purged.
    pub fn begin(tenant: Uuid, reason: &str, lock_key: u32, dry_run: bool) -> Result<Self, Error> {
        spi::write_returning(
            "SELECT p.id, p.external_id, p.slug FROM tenancy_internal.begin_purge($1, $2, $3, $4) p",
            &[
                pg_uuid(tenant).into(),
                reason.to_owned().into(),
                i64::from(lock_key).into(),
                dry_run.into(),
            ],
            |rows| {
                let row = rows.first();
                Ok(Self {
                    id: from_pg(row.not_null(1)?),
                    tenant: TenantKey {
                        id: tenant,
                        external_id: row.get(2)?,
                    },
                    slug: row.not_null(3)?,
                })
            },
        )
    }

    /// Records the tables, in their order, with the numbers of rows that are estimated.
    pub fn keep_tables(&self, tables: &[(String, i64)]) -> Result<(), Error> {
        let names: Vec<String> = tables.iter().map(|(name, _)| name.clone()).collect();
        let rows: Vec<i64> = tables.iter().map(|(_, rows)| *rows).collect();
        spi::write(
            "SELECT tenancy_internal.keep_purged_tables($1, $2, $3)",
            &[pg_uuid(self.id).into(), names.into(), rows.into()],
        )
        .map(drop)
    }

    /// Deletes some of tenancy's own rows of the tenant. Returns whether any were left.
    pub fn delete_own(&self, most: u32) -> Result<bool, Error> {
        spi::write_returning(
            "SELECT tenancy_internal.purge_own_rows($1, $2)",
            &[
                pg_uuid(self.id).into(),
                i32::try_from(most).unwrap_or(i32::MAX).into(),
            ],
            |rows| rows.first().not_null(1),
        )
    }

    /// Deletes the tenant itself, and writes the certificate.
    pub fn finish(&self, remarks: Value) -> Result<(), Error> {
        spi::write(
            "SELECT tenancy_internal.finish_purge($1, $2)",
            &[pg_uuid(self.id).into(), JsonB(remarks).into()],
        )
        .map(drop)
    }
}

impl Record for Purge {
    fn check(&self) -> Result<(), Error> {
        spi::execute_prepared(
            "SELECT tenancy_internal.check_purge($1)",
            &[pg_uuid(self.id).into()],
        )
        .map(drop)
    }

    fn note(&self, table: &str, _: &Change, rows: u64, done: bool) -> Result<(), Error> {
        spi::execute_prepared(
            "SELECT tenancy_internal.note_purged($1, $2, $3, $4)",
            &[
                pg_uuid(self.id).into(),
                table.to_owned().into(),
                i64::try_from(rows).unwrap_or(i64::MAX).into(),
                done.into(),
            ],
        )
        .map(drop)
    }

    fn note_failure(&self, error: &str) -> Result<(), Error> {
        spi::write(
            "SELECT tenancy_internal.note_purge_failure($1, $2)",
            &[pg_uuid(self.id).into(), error.to_owned().into()],
        )
        .map(drop)
    }
}

/// Keeps tables from being protected, and waits for those who are just doing so.
pub fn lock_registry() -> Result<(), Error> {
    spi::write(
        "LOCK TABLE tenancy_internal.protected_table_registry IN SHARE MODE",
        &[],
    )
    .map(drop)
}
