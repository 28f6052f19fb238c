//! Ids: the server's form of a uuid and the crate's.

use uuid::Uuid;

use crate::error::Error;

/// The server's form of a uuid.
pub fn pg_uuid(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}

/// The crate's form of a uuid.
pub fn from_pg(id: pgrx::Uuid) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

/// Returns the id of a scope that a query found; an error if it is NULL.
pub fn not_null(id: Option<pgrx::Uuid>) -> Result<Uuid, Error> {
    id.map(from_pg)
        .ok_or(Error::Internal("a scope without an id"))
}
