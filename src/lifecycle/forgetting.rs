//! The record of a user that is being forgotten, which is kept in the transactions that it records. Written as tenancy's owner.

use pgrx::JsonB;
use serde_json::Value;
use tenancy_core::lifecycle::{Change, TenantKey, UserKey};
use uuid::Uuid;

use super::run::Record;
use crate::error::Error;
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::{from_pg, pg_uuid};

/// A user that is being forgotten.
pub struct Forgetting {
    /// The id of the record.
    pub id: Uuid,
    /// What rows hold for the user.
    pub key: UserKey,
}

impl Forgetting {
    /// Begins to forget a user, or goes on. An error if it may not be forgotten.
    pub fn begin(user: Uuid, reason: &str, lock_key: u32, dry_run: bool) -> Result<Self, Error> {
        spi::write_returning(
            "SELECT f.id, f.external_id, f.tenant_id, f.tenant_external_id FROM tenancy_internal.begin_forgetting($1, $2, $3, $4) f",
            &[
                pg_uuid(user).into(),
                reason.to_owned().into(),
                i64::from(lock_key).into(),
                dry_run.into(),
            ],
            |rows| {
                let row = rows.first();
                let tenant: Option<pgrx::Uuid> = row.get(3)?;
                let tenant_external_id = row.get(4)?;
                Ok(Self {
                    id: from_pg(row.not_null(1)?),
                    key: UserKey {
                        user: TenantKey {
                            id: user,
                            external_id: row.get(2)?,
                        },
                        tenant: tenant.map(|tenant| TenantKey {
                            id: from_pg(tenant),
                            external_id: tenant_external_id,
                        }),
                    },
                })
            },
        )
    }

    /// Ends the user's access.
    pub fn end_access(&self) -> Result<(), Error> {
        spi::write(
            "SELECT tenancy_internal.end_access($1)",
            &[pg_uuid(self.id).into()],
        )
        .map(drop)
    }

    /// Replaces the user's names, and writes the certificate.
    pub fn finish(&self, kept: Value) -> Result<(), Error> {
        spi::write(
            "SELECT tenancy_internal.finish_forgetting($1, $2)",
            &[pg_uuid(self.id).into(), JsonB(kept).into()],
        )
        .map(drop)
    }
}

impl Record for Forgetting {
    fn check(&self) -> Result<(), Error> {
        spi::execute_prepared(
            "SELECT tenancy_internal.check_forgetting($1)",
            &[pg_uuid(self.id).into()],
        )
        .map(drop)
    }

    fn note(&self, table: &str, change: &Change, rows: u64, done: bool) -> Result<(), Error> {
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        let (deleted, changed) = match change {
            Change::Delete => (rows, 0),
            Change::Set(_) => (0, rows),
        };
        spi::execute_prepared(
            "SELECT tenancy_internal.note_forgotten($1, $2, $3, $4, $5)",
            &[
                pg_uuid(self.id).into(),
                table.to_owned().into(),
                deleted.into(),
                changed.into(),
                done.into(),
            ],
        )
        .map(drop)
    }

    fn note_failure(&self, error: &str) -> Result<(), Error> {
        spi::write(
            "SELECT tenancy_internal.note_forgetting_failure($1, $2)",
            &[pg_uuid(self.id).into(), error.to_owned().into()],
        )
        .map(drop)
    }
}

/// Keeps tables from being protected and decisions from being changed, and waits for those who are just doing so.
pub fn lock_decisions() -> Result<(), Error> {
    spi::write(
        "LOCK TABLE tenancy_internal.protected_table_registry, tenancy_internal.forgetting_registry IN SHARE MODE",
        &[],
    )
    .map(drop)
}
