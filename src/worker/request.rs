//! What backends ask of the worker. Many requests share one transaction, and one flush to disk.

use pgrx::prelude::*;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Shift;
use crate::access::{from_pg, pg_uuid};
use crate::audit::{self, maintenance, maintenance::Maintenance};
use crate::budget;
use crate::error::{Error, ErrorReport};
use crate::months::Monthly;
use crate::pg::queue::{self, Outcome, Taken};
use crate::pg::worker as process;
use crate::pg::{spi, time};

/// A request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Writes an entry of the audit log, as `audit::row` makes it.
    Audit(serde_json::Value),
    /// Writes both rows of a call of `maintenance()`.
    Maintenance(Box<Maintenance>),
    /// Notes that a token was used, unless it was.
    ClaimJti {
        /// Whose token.
        provider: Uuid,
        /// SHA-256 of its id.
        jti_hash: [u8; 32],
        /// When it ends, in seconds of the Unix epoch.
        expires_at: i64,
    },
    /// Has the next reservations whose time is over count no more; done before: there is none.
    ExpireReservations,
    /// Makes a table's partition for an instant in microseconds of the Unix epoch.
    Partition(Monthly, i64),
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done and committed.
    Done,
    /// It was done before.
    Duplicate,
}

/// `Request::ClaimJti`, for SQL.
#[pg_extern(sql = false)]
fn _claim_token(
    provider: pgrx::Uuid,
    jti_hash: &[u8],
    expires_at: TimestampWithTimeZone,
) -> Result<bool, ErrorReport> {
    let jti_hash = jti_hash
        .try_into()
        .map_err(|_| Error::bad("jti_hash must have 32 bytes", "It is a SHA-256."))?;
    let request = Request::ClaimJti {
        provider: from_pg(provider),
        jti_hash,
        expires_at: time::to_unix_micros(expires_at.into()).div_euclid(1_000_000),
    };
    Ok(super::call(&request)? == Reply::Done)
}

/// What the caller makes of the worker's answer.
pub fn reply(outcome: Outcome, text: String) -> Result<Reply, Error> {
    match outcome {
        Outcome::Done => Ok(Reply::Done),
        Outcome::Duplicate => Ok(Reply::Duplicate),
        Outcome::Failed => Err(Error::WorkerFailed(text)),
    }
}

/// Serves what waits; false when nothing did.
pub fn serve(shift: Shift) -> bool {
    let taken = queue::take();
    if taken.is_empty() {
        return false;
    }
    let together = process::transaction(c"requests", || {
        installed()?;
        taken.iter().map(execute).collect::<Result<Vec<_>, Error>>()
    });
    match together {
        Ok(outcomes) => {
            for (taken, outcome) in taken.iter().zip(outcomes) {
                queue::answer(taken, outcome, "");
            }
        }
        // One failed: each for itself, so that it fails alone.
        Err(_) if taken.len() > 1 => taken.iter().for_each(|taken| match shift.is_over() {
            true => queue::put_back(taken),
            false => alone(taken),
        }),
        Err(text) => taken
            .iter()
            .for_each(|taken| queue::answer(taken, Outcome::Failed, &text)),
    }
    true
}

fn alone(taken: &Taken) {
    let done = process::transaction(c"a request", || {
        installed()?;
        execute(taken)
    });
    match done {
        Ok(outcome) => queue::answer(taken, outcome, ""),
        Err(text) => queue::answer(taken, Outcome::Failed, &text),
    }
}

fn installed() -> Result<(), Error> {
    spi::schema().map(drop).ok_or(Error::NotInstalled)
}

fn execute(taken: &Taken) -> Result<Outcome, Error> {
    let request = serde_json::from_slice(&taken.request)
        .map_err(|_| Error::Internal("a request cannot be read"))?;
    match request {
        Request::Audit(row) => audit::write_row(&row)?,
        Request::Maintenance(call) => maintenance::write(&call)?,
        Request::ExpireReservations => {
            if !budget::expire()? {
                return Ok(Outcome::Duplicate);
            }
        }
        Request::Partition(table, at) => table.make(at)?,
        Request::ClaimJti {
            provider,
            jti_hash,
            expires_at,
        } => {
            let new = spi::write(
                "INSERT INTO tenancy.claimed_tokens (provider, jti_hash, expires_at) \
                 VALUES ($1, $2, to_timestamp($3)) ON CONFLICT DO NOTHING RETURNING 1",
                &[
                    pg_uuid(provider).into(),
                    jti_hash.to_vec().into(),
                    (expires_at.min(time::LAST_SECOND) as f64).into(),
                ],
            )?;
            if new == 0 {
                return Ok(Outcome::Duplicate);
            }
        }
    }
    Ok(Outcome::Done)
}
