//! What was made with the power of an elevation ends with it.

use std::rc::Rc;

use uuid::Uuid;

use super::resolve;
use crate::error::Error;
use crate::pg::sources::Sources;
use crate::pg::spi;
use crate::pg::uuid::{from_pg, pg_uuid};

/// Returns the sources of the user who began an elevation, if any; `None` if the elevation has ended.
pub fn still_elevated(elevation: Option<Uuid>) -> Result<Option<Option<Rc<Sources>>>, Error> {
    let Some(elevation) = elevation else {
        return Ok(Some(None));
    };
    let user = spi::read(
        "SELECT user_id FROM tenancy.elevations WHERE id = $1 AND ended_at IS NULL AND expires_at > pg_catalog.now()",
        &[pg_uuid(elevation).into()],
        |rows| match rows.into_iter().next() {
            Some(row) => Ok(row.get::<pgrx::Uuid>(1)?.map(from_pg)),
            None => Ok(None),
        },
    )?;
    let Some(user) = user else {
        return Ok(None);
    };
    match resolve(user) {
        Ok(access) if access.elevation.is_some() => Ok(Some(Some(access.sources.clone()))),
        Ok(_) | Err(Error::Inactive | Error::NoSuch(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
