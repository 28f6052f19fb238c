//! Tables that only grow, with one partition a month in UTC: the audit log and usage events.

use std::ffi::{CStr, CString};

use pgrx::pg_sys::Oid;
use tenancy_core::partitions::Monthly;
use tenancy_core::time::Instant;

use crate::error::Error;
use crate::pg::heap_insert::{look_again, partition};
use crate::pg::spi;
use crate::requests::{self, Request};

/// Returns the partition that takes a row of this instant. Makes it if need be.
pub fn of(table: Monthly, at: Instant) -> Result<Oid, Error> {
    let name =
        CString::new(table.partition(at)).map_err(|_| Error::Internal("a partition's name"))?;
    match partition(&name) {
        Some(partition) => Ok(partition),
        None => make_now(table, at, &name),
    }
}

/// Creates the partition for the first row of a month, unless the worker did before. The worker creates it in
/// its own transaction; otherwise every other first writer would wait for the end of this one.
#[cold]
fn make_now(table: Monthly, at: Instant, name: &CStr) -> Result<Oid, Error> {
    if requests::call(&Request::Partition(table, at)).is_err() {
        make(table, at)?;
    }
    look_again();
    partition(name).ok_or(Error::Internal("a month has no partition"))
}

/// Creates the partition of an instant's month, unless it exists.
pub fn make(table: Monthly, at: Instant) -> Result<(), Error> {
    let make = match table {
        Monthly::AuditLog => {
            "SELECT tenancy_internal.make_audit_partition((to_timestamp($1::double precision / 1000000) AT TIME ZONE 'UTC')::date)"
        }
        Monthly::UsageEvents => {
            "SELECT tenancy_internal.make_usage_partition((to_timestamp($1::double precision / 1000000) AT TIME ZONE 'UTC')::date)"
        }
    };
    spi::write(make, &[at.unix_micros().into()]).map(drop)
}
