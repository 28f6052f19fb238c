//! Ids: the server's form of a uuid and the crate's.

use uuid::Uuid;

/// The server's form of a uuid.
pub fn pg_uuid(id: Uuid) -> pgrx::Uuid {
    pgrx::Uuid::from_bytes(*id.as_bytes())
}

/// The crate's form of a uuid.
pub fn from_pg(id: pgrx::Uuid) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}
