//! The record of a tenant's move, and what of it the catalogs have. Written as tenancy's owner.

use pgrx::prelude::*;
use uuid::Uuid;

use crate::error::Error;
use crate::pg::spi::{self, NotNull};
use crate::pg::uuid::pg_uuid;

/// A move that has begun.
pub struct Move {
    /// Its state.
    pub state: String,
    /// The name of publication, slot and subscription.
    pub name: String,
    /// Whether the tenant has another external id than its rows were published with.
    pub changed: bool,
    /// Whether there is a replication slot.
    pub slot: bool,
    /// Whether a subscriber is connected to it.
    pub subscribed: bool,
}

/// Returns the move of a tenant; an error if there is none.
pub fn find(tenant: Uuid) -> Result<Move, Error> {
    spi::write_returning(
        "SELECT m.state, m.name, m.changed, m.slot, m.subscribed FROM tenancy_internal.find_move($1) m",
        &[pg_uuid(tenant).into()],
        |rows| {
            let row = rows.first();
            Ok(Move {
                state: row.not_null(1)?,
                name: row.not_null(2)?,
                changed: row.not_null(3)?,
                slot: row.not_null(4)?,
                subscribed: row.not_null(5)?,
            })
        },
    )
}

/// Begins a move, or goes on with one that is not switched over.
pub fn begin(tenant: Uuid, name: &str, lock_key: u32) -> Result<(), Error> {
    spi::write(
        "SELECT tenancy_internal.begin_move($1, $2, $3)",
        &[
            pg_uuid(tenant).into(),
            name.to_owned().into(),
            i64::from(lock_key).into(),
        ],
    )
    .map(drop)
}

/// Records that the rows are published.
pub fn note_published(tenant: Uuid) -> Result<(), Error> {
    of(tenant, "SELECT tenancy_internal.note_published($1)")
}

/// Suspends the tenant.
pub fn suspend(tenant: Uuid, lock_key: u32) -> Result<(), Error> {
    spi::write(
        "SELECT tenancy_internal.suspend_moving($1, $2)",
        &[pg_uuid(tenant).into(), i64::from(lock_key).into()],
    )
    .map(drop)
}

/// Records how far the subscriber must come. It waits for what is on disk when this is committed.
pub fn mark_position(tenant: Uuid) -> Result<(), Error> {
    of(tenant, "SELECT tenancy_internal.mark_position($1)")
}

/// Returns whether the subscriber has come that far.
pub fn has_arrived(tenant: Uuid) -> Result<bool, Error> {
    spi::read(
        "SELECT tenancy_internal.has_arrived($1)",
        &[pg_uuid(tenant).into()],
        |rows| rows.first().not_null(1),
    )
}

/// Gives the tenant its former status: its rows are published as before.
pub fn take_up_again(tenant: Uuid) -> Result<(), Error> {
    of(
        tenant,
        "SELECT tenancy_internal.take_up_again($1, 'copying')",
    )
}

/// Records that the subscriber has all rows.
pub fn note_switched(tenant: Uuid, destination: &str) -> Result<(), Error> {
    spi::write(
        "SELECT tenancy_internal.note_switched($1, $2)",
        &[pg_uuid(tenant).into(), destination.to_owned().into()],
    )
    .map(drop)
}

/// Begins to finish a move, or to cancel it.
pub fn begin_end(tenant: Uuid, finish: bool, lock_key: u32) -> Result<(), Error> {
    spi::write(
        "SELECT tenancy_internal.begin_end_of_move($1, $2, $3)",
        &[
            pg_uuid(tenant).into(),
            finish.into(),
            i64::from(lock_key).into(),
        ],
    )
    .map(drop)
}

/// Records that it is finished, or forgets it.
pub fn note_end(tenant: Uuid, finish: bool) -> Result<(), Error> {
    spi::write(
        "SELECT tenancy_internal.note_end_of_move($1, $2)",
        &[pg_uuid(tenant).into(), finish.into()],
    )
    .map(drop)
}

fn of(tenant: Uuid, statement: &'static str) -> Result<(), Error> {
    spi::write(statement, &[pg_uuid(tenant).into()]).map(drop)
}

/// A protected table or a part of one, which a move publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The table.
    pub oid: pg_sys::Oid,
    /// Its name.
    pub name: String,
    /// Whether its replica identity lacks the tenant column.
    pub lacks: bool,
    /// The index that would do; `None`: only all columns.
    pub index: Option<String>,
    /// Why it cannot be published.
    pub fault: Option<String>,
}

/// Reads these protected tables and their parts.
pub fn parts(roots: &[pg_sys::Oid]) -> Result<Vec<Part>, Error> {
    spi::read(
        "SELECT p.part, p.table_name, p.lacks, p.index_name, p.fault FROM tenancy_internal.move_parts p WHERE p.root = ANY ($1) ORDER BY p.table_name",
        &[roots.to_vec().into()],
        |rows| {
            rows.into_iter()
                .map(|row| {
                    Ok(Part {
                        oid: row.not_null(1)?,
                        name: row.not_null(2)?,
                        lacks: row.not_null(3)?,
                        index: row.get(4)?,
                        fault: row.get(5)?,
                    })
                })
                .collect()
        },
    )
}

/// Returns the tables in a publication; `None` if it is missing, or others have changed it.
pub fn published(name: &str) -> Result<Option<Vec<pg_sys::Oid>>, Error> {
    spi::read(
        "SELECT tenancy_internal.published_tables($1)",
        &[name.to_owned().into()],
        |rows| Ok(rows.first().get(1)?),
    )
}

/// Returns whether there is such a publication.
pub fn is_published(name: &str) -> Result<bool, Error> {
    spi::read(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_publication p WHERE p.pubname = $1)",
        &[name.to_owned().into()],
        |rows| rows.first().not_null(1),
    )
}

/// Keeps other moves from changing replica identities until the transaction ends.
pub fn lock_identities() -> Result<(), Error> {
    spi::write(
        "LOCK TABLE tenancy_internal.move_identities IN EXCLUSIVE MODE",
        &[],
    )
    .map(drop)
}

/// Records the replica identity of a table before it is changed.
pub fn keep_identity(table: pg_sys::Oid) -> Result<(), Error> {
    spi::write("SELECT tenancy_internal.keep_identity($1)", &[table.into()]).map(drop)
}

/// A table whose replica identity was changed.
pub struct Former {
    /// The table, or what is left of its record.
    pub oid: pg_sys::Oid,
    /// Its name; `None` if it was dropped.
    pub table: Option<String>,
    /// The identity that it had, as ALTER TABLE has it; `None` if somebody else has changed it since.
    pub identity: Option<String>,
}

/// Returns the tables whose replica identity no other move needs.
pub fn former_identities(tenant: Uuid) -> Result<Vec<Former>, Error> {
    spi::read(
        "SELECT f.relation, f.table_name, f.statement FROM tenancy_internal.former_identities($1) f",
        &[pg_uuid(tenant).into()],
        |rows| {
            rows.into_iter()
                .map(|row| {
                    Ok(Former {
                        oid: row.not_null(1)?,
                        table: row.get(2)?,
                        identity: row.get(3)?,
                    })
                })
                .collect()
        },
    )
}

/// Forgets the former replica identity of a table.
pub fn forget_identity(table: pg_sys::Oid) -> Result<(), Error> {
    spi::write(
        "SELECT tenancy_internal.forget_identity($1)",
        &[table.into()],
    )
    .map(drop)
}
