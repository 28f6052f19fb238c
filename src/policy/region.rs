//! Residency: whether a statement that names a table could write a row of the context's tenant into another region. Asked once for a
//! tenant and a table, until a definition or a region changes.

use pgrx::pg_sys;
use uuid::Uuid;

use super::registry;
use crate::context::Context;
use crate::error::Error;
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::pg_uuid;

/// Returns whether any table or tablespace states a region.
pub fn any_stated() -> Result<bool, Error> {
    spi::read(
        "SELECT EXISTS (SELECT FROM tenancy_internal.table_regions) OR EXISTS (SELECT FROM tenancy_internal.tablespace_regions)",
        &[],
        |rows| rows.first().not_null(1),
    )
}

/// Raises an error if the statement could.
pub fn check(table: pg_sys::Oid, context: &Context) -> Result<(), Error> {
    let Some(tenant) = &context.tenant else {
        let stated = spi::read(
            "SELECT tenancy_internal.states_region($1)",
            &[table.into()],
            |rows| rows.first().not_null::<bool>(1),
        )?;
        return match stated {
            true => Err(Error::RegionOfSeveral(registry::name(table)?)),
            false => Ok(()),
        };
    };
    match conflict(table, tenant.id)? {
        None => Ok(()),
        Some(Conflict { home, part, region }) => Err(Error::RegionDiffers {
            home,
            table: part,
            region,
        }),
    }
}

/// A table of another region than the tenant's.
pub struct Conflict {
    /// The tenant's region.
    pub home: String,
    /// The table, or the part of one.
    pub part: String,
    /// Its region.
    pub region: String,
}

/// Returns a table of another region than the tenant's into which a statement that names a table could write a row of it.
pub fn conflict(table: pg_sys::Oid, tenant: Uuid) -> Result<Option<Conflict>, Error> {
    spi::read(
        "SELECT c.home, c.part, c.region FROM tenancy_internal.region_conflict($1, $2) c",
        &[table.into(), pg_uuid(tenant).into()],
        |rows| {
            let row = rows.first();
            let Some(part) = row.get(2)? else {
                return Ok(None);
            };
            Ok(Some(Conflict {
                home: row.not_null(1)?,
                part,
                region: row.not_null(3)?,
            }))
        },
    )
}
