//! Does what backends ask of the worker. Many requests share one transaction, and one flush to disk.

use super::Shift;
use crate::audit::{self, maintenance};
use crate::error::Error;
use crate::pg::bgworker;
use crate::pg::extension;
use crate::pg::queue::{self, Outcome, Taken};
use crate::requests::Request;
use crate::{identity, ledger, partitions};

/// Serves waiting requests; returns false if there were none.
pub fn serve(shift: Shift) -> bool {
    let taken = queue::take();
    if taken.is_empty() {
        return false;
    }
    let together = bgworker::transaction(c"requests", || {
        installed()?;
        taken.iter().map(execute).collect::<Result<Vec<_>, Error>>()
    });
    match together {
        Ok(outcomes) => {
            for (taken, outcome) in taken.iter().zip(outcomes) {
                queue::answer(taken, outcome, "");
            }
        }
        // One request failed: each runs in its own transaction, so that only that one fails.
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
    let done = bgworker::transaction(c"a request", || {
        installed()?;
        execute(taken)
    });
    match done {
        Ok(outcome) => queue::answer(taken, outcome, ""),
        Err(text) => queue::answer(taken, Outcome::Failed, &text),
    }
}

fn installed() -> Result<(), Error> {
    extension::schema().map(drop).ok_or(Error::NotInstalled)
}

fn execute(taken: &Taken) -> Result<Outcome, Error> {
    let request = serde_json::from_slice(&taken.request)
        .map_err(|_| Error::Internal("a request cannot be read"))?;
    match request {
        Request::Audit(row) => audit::write_row(&row)?,
        Request::Maintenance(call) => maintenance::write_row(&call)?,
        Request::ExpireReservations => {
            if !ledger::expire()? {
                return Ok(Outcome::Duplicate);
            }
        }
        Request::Partition(table, at) => partitions::make(table, at)?,
        Request::ClaimJti {
            provider,
            jti_hash,
            expires_at,
        } => {
            if !identity::claim(provider, &jti_hash, expires_at)? {
                return Ok(Outcome::Duplicate);
            }
        }
    }
    Ok(Outcome::Done)
}
