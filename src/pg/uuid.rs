//! Ids: the server's form of a uuid and the crate's.

use uuid::Uuid;

/// Converts a uuid to the server's form.
pub fn pg_uuid(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}

/// Converts a uuid from the server's form.
pub fn from_pg(id: pgrx::Uuid) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}
