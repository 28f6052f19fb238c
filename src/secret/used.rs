//! The record of use. It is written at once by the worker, so that a rollback does not undo it and reading needs no write.

use std::cell::RefCell;

use serde_json::json;
use tenancy_core::time::{Instant, Length};
use uuid::Uuid;

use super::rows::Sealed;
use super::settings;
use crate::context::{self, Context};
use crate::error::Error;
use crate::pg::{bgworker, cluster, xact};

/// How long a use stands for further uses of the same secret by the same user in this connection.
const STANDS_FOR: Length = Length::from_seconds(3600);
/// How many uses are remembered.
const KNOWN_MAX: usize = 256;

/// A use that was recorded.
struct Use {
    user: Uuid,
    place: Uuid,
    scope: Uuid,
    name: String,
    version: i32,
    at: Instant,
}

thread_local! {
    static KNOWN: RefCell<Vec<Use>> = const { RefCell::new(Vec::new()) };
}

/// Records that the context uses a secret in the scope at the end of the path, unless it was recorded within the last hour.
pub fn record(context: &Context, path: &[Uuid], name: &str, found: &Sealed) -> Result<(), Error> {
    // A standby writes nothing.
    if !settings::audit() || bgworker::recovering() {
        return Ok(());
    }
    let user = context.access.as_ref().map(|access| access.user);
    let user = user.unwrap_or_default();
    let place = path.last().copied().unwrap_or_default();
    let at = xact::statement_started();
    let is = |known: &Use| {
        (known.user, known.place, known.scope, known.version)
            == (user, place, found.scope, found.version)
            && known.name == name
    };
    let known = KNOWN.with_borrow_mut(|all| {
        all.retain(|known| known.at + STANDS_FOR > at);
        all.iter().any(is)
    });
    if known {
        return Ok(());
    }
    let details = || json!({"version": found.version, "scope": found.scope.to_string()});
    match context::record_now("secret.used", Some(place), Some(name), details()) {
        // Then it is written if this transaction commits.
        Err(Error::NoWorker) if !cluster::read_only() => {
            context::record("secret.used", Some(place), Some(name), details())?;
        }
        recorded => recorded?,
    }
    KNOWN.with_borrow_mut(|all| {
        if all.len() >= KNOWN_MAX {
            all.remove(0);
        }
        all.push(Use {
            user,
            place,
            scope: found.scope,
            name: name.to_owned(),
            version: found.version,
            at,
        });
    });
    Ok(())
}
