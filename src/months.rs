//! Tables that only grow, a partition for each month in UTC: the audit log and the events of use.

use std::ffi::CString;

use pgrx::pg_sys::Oid;
use serde::{Deserialize, Serialize};
use tenancy_core::audit::month_of;

use crate::error::Error;
use crate::pg::append::{look_again, partition};
use crate::pg::spi;
use crate::worker::{self, Request};

/// Such a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Monthly {
    /// `audit_log`.
    AuditLog,
    /// `usage_events`.
    UsageEvents,
}

impl Monthly {
    fn name(self, at: i64) -> Result<CString, Error> {
        let table = match self {
            Self::AuditLog => "audit_log",
            Self::UsageEvents => "usage_events",
        };
        let (year, month) = month_of(at);
        CString::new(format!("{table}_{year:04}_{month:02}"))
            .map_err(|_| Error::Internal("a partition's name"))
    }

    /// Where a row of this instant goes, in microseconds of the Unix epoch.
    pub fn partition(self, at: i64) -> Result<Oid, Error> {
        let name = self.name(at)?;
        match partition(&name) {
            Some(table) => Ok(table),
            None => self.make_now(at, &name),
        }
    }

    /// The first row of a month, unless the worker came before it. The worker makes the partition in a
    /// transaction of its own, or else every other first writer would wait for this one's end.
    #[cold]
    fn make_now(self, at: i64, name: &CString) -> Result<Oid, Error> {
        if worker::call(&Request::Partition(self, at)).is_err() {
            self.make(at)?;
        }
        look_again();
        partition(name).ok_or(Error::Internal("a month has no partition"))
    }

    /// Makes the partition of an instant's month, unless it is there.
    pub fn make(self, at: i64) -> Result<(), Error> {
        let make = match self {
            Self::AuditLog => {
                "SELECT tenancy._make_audit_partition((to_timestamp($1::double precision / 1000000) AT TIME ZONE 'UTC')::date)"
            }
            Self::UsageEvents => {
                "SELECT tenancy._make_usage_partition((to_timestamp($1::double precision / 1000000) AT TIME ZONE 'UTC')::date)"
            }
        };
        spi::write(make, &[at.into()]).map(drop)
    }
}
