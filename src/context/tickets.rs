//! Tickets: signed, short-lived, for one user. Its bearer acts as that user until it expires.

use std::cell::RefCell;
use std::rc::Rc;

use tenancy_core::credential::Credential;
use tenancy_core::mac::Key;
use tenancy_core::ticket::{Ticket, TicketError};
use tenancy_core::time::Instant;
use uuid::Uuid;

use super::plans::{self, PlanShape};
use crate::access;
use crate::error::Error;
use crate::pg::sources::Sources;
use crate::pg::spi::NotNull;
use crate::pg::{guc, spi, xact};

#[derive(Clone)]
struct SigningKey {
    id: Uuid,
    key: Key,
    /// The key without an end signs new tickets.
    retires_at: Option<Instant>,
}

thread_local! {
    static KEYS: RefCell<Option<Rc<[SigningKey]>>> = const { RefCell::new(None) };
    /// The last verified ticket: a connection repeats the same one.
    static VERIFIED: RefCell<Option<(String, Ticket)>> = const { RefCell::new(None) };
}

/// Drops cached signing keys, and the ticket they verified.
pub fn forget() {
    KEYS.set(None);
    VERIFIED.set(None);
}

/// Verifies a ticket: its signature, its expiry, and its elevation. Returns its claims and the sources of the elevation.
pub fn verify(text: &str) -> Result<(Ticket, Option<Rc<Sources>>), Error> {
    let ticket = verify_signed(text)?;
    let elevation = access::still_elevated(ticket.elevation)?.ok_or(Error::Expired)?;
    Ok((ticket, elevation))
}

fn verify_signed(text: &str) -> Result<Ticket, Error> {
    let now = xact::transaction_started();
    let known = VERIFIED.with_borrow(|known| {
        known
            .as_ref()
            .filter(|(verified, _)| verified == text)
            .map(|(_, ticket)| ticket.clone())
    });
    if let Some(ticket) = known {
        let live = signing_key(ticket.key_id, now)?.is_some();
        return match (live, ticket.expires_at > now) {
            (true, true) => Ok(ticket),
            (true, false) => Err(Error::Expired),
            (false, _) => Err(Error::InvalidCredential),
        };
    }
    let Ok(Credential::Ticket(unverified)) = Credential::parse(text) else {
        return Err(Error::InvalidCredential);
    };
    let key = signing_key(unverified.claims().key_id, now)?.ok_or(Error::InvalidCredential)?;
    let ticket = unverified
        .verify(&key.key, now)
        .map_err(|error| match error {
            TicketError::BadSignature => Error::InvalidCredential,
            TicketError::Expired => Error::Expired,
        })?;
    VERIFIED.set(Some((text.to_owned(), ticket.clone())));
    Ok(ticket)
}

/// Returns the sources of the elevation behind a ticket, if any. An error if the key that signed the ticket has since been
/// retired, or the elevation has ended.
pub fn still_holds(key: Uuid, elevation: Option<Uuid>) -> Result<Option<Rc<Sources>>, Error> {
    signing_key(key, xact::transaction_started())?.ok_or(Error::Expired)?;
    access::still_elevated(elevation)?.ok_or(Error::Expired)
}

/// Raises an error if a ticket claims another user than the session's context has. The claim is not verified: a
/// forged ticket only leads to this error.
pub fn require_same_user(text: &str, user: Option<Uuid>) -> Result<(), Error> {
    match Credential::parse(text) {
        Ok(Credential::Ticket(ticket)) if Some(ticket.claims().user) == user => Ok(()),
        Ok(Credential::Ticket(_)) => Err(Error::TwoIdentities),
        _ => Err(Error::InvalidCredential),
    }
}

/// Clears a ticket of another user, because `user` authenticated in the session after it was set.
pub fn give_way(user: Uuid) {
    if let Some(text) = guc::ticket()
        && require_same_user(&text, Some(user)).is_err()
    {
        guc::clear_ticket();
    }
}

/// Handles a change of the setting tenancy.ticket. The ticket is verified at its first use. Plans for the wrong
/// kind of context are discarded now, because a cached plan is chosen before tenancy runs.
pub fn changed(text: &str) {
    if let Ok(Credential::Ticket(ticket)) = Credential::parse(text) {
        let claims = ticket.claims();
        let fleet = claims.fleet && claims.tenant.is_none();
        let shape = if fleet {
            PlanShape::Fleet
        } else {
            PlanShape::Single
        };
        // The ticket may not name the only tenant, and does not tell its keys.
        plans::enter(shape, None);
    } else if text.is_empty() && guc::maintenance_reason().is_some() {
        plans::widen();
    } else if !text.is_empty() || guc::session_context_possible() {
        plans::discard_pruned();
    }
}

fn signing_key(id: Uuid, now: Instant) -> Result<Option<SigningKey>, Error> {
    let is = |key: &SigningKey| key.id == id && key.retires_at.is_none_or(|end| end > now);
    let keys = signing_keys()?;
    Ok(keys.iter().find(|key| is(key)).cloned())
}

/// Returns the key that signs new tickets, with its id; nothing if there is none.
pub fn current_signing_key() -> Result<Option<(Uuid, Key)>, Error> {
    let keys = signing_keys()?;
    let current = keys.iter().find(|key| key.retires_at.is_none());
    Ok(current.map(|current| (current.id, current.key.clone())))
}

fn signing_keys() -> Result<Rc<[SigningKey]>, Error> {
    if let Some(keys) = KEYS.with_borrow(Clone::clone) {
        return Ok(keys);
    }
    let keys = spi::read(
        "SELECT id, secret, (pg_catalog.date_part('epoch', retires_at) * 1000000)::bigint \
         FROM tenancy_internal.signing_keys ORDER BY created_at DESC",
        &[],
        |rows| {
            rows.into_iter()
                .map(|row| {
                    let secret: Vec<u8> = row.not_null(2)?;
                    let secret = secret
                        .try_into()
                        .map_err(|_| Error::Internal("a signing key of a wrong size"))?;
                    Ok(SigningKey {
                        id: row.not_null_id(1)?,
                        key: Key::new(secret),
                        retires_at: spi::instant(&row, 3)?,
                    })
                })
                .collect::<Result<Rc<[_]>, Error>>()
        },
    )?;
    KEYS.set(Some(keys.clone()));
    Ok(keys)
}
