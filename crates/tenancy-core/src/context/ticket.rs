//! The ticket: a portable credential. It is signed with a key from a table, expires, and is not bound to a
//! backend.
//!
//! The text is `tnt1.<payload>.<mac>`, both base64url without padding. The payload is the key's id, the user's id,
//! flags, the ids of the tenant and the elevation if there are any, and the expiry (big-endian). A ticket has
//! one encoding, so the MAC covers the claims.

use crate::mac::{Key, MAC_BYTES};
use crate::time::Instant;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use uuid::Uuid;

const DOMAIN: &str = "tenancy/ticket/1";

/// The prefix of a ticket's text.
pub(crate) const PREFIX: &str = "tnt1.";

/// The longest payload.
const MAX_PAYLOAD: usize = 73;
/// The longest text: the prefix, the payload, a dot and the MAC.
const MAX_TEXT: usize = PREFIX.len() + (MAX_PAYLOAD * 4).div_ceil(3) + 1 + 22;

const TENANT: u8 = 1;
const FLEET: u8 = 1 << 1;
const ELEVATED: u8 = 1 << 2;

/// The claims of a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The key that signs it.
    pub key_id: Uuid,
    /// The user that it authenticates.
    pub user: Uuid,
    /// The tenant that it is limited to.
    pub tenant: Option<Uuid>,
    /// The elevation under which it was issued, and with which it ends.
    pub elevation: Option<Uuid>,
    /// A hint for planning only: whether the principal spans several tenants.
    pub fleet: bool,
    /// The first second at which it is expired. The payload has it in whole seconds of the Unix epoch.
    pub expires_at: Instant,
}

/// A parsed ticket that is not verified: its claims may be used only to find the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Unverified {
    claims: Ticket,
    mac: [u8; MAC_BYTES],
}

/// A text that is no ticket. The error does not repeat it, because it may be a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a ticket")]
pub struct Malformed;

/// Why a ticket is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It was not signed with this key, or was changed since.
    #[error("the ticket's signature is not valid")]
    BadSignature,
    /// It has expired.
    #[error("the ticket is expired")]
    Expired,
}

impl Ticket {
    /// Signs the ticket with the key that `key_id` names.
    pub fn sign(&self, key: &Key) -> String {
        let payload = self.payload();
        let mac = key.sign(DOMAIN, &payload);
        format!(
            "{PREFIX}{}.{}",
            URL_SAFE_NO_PAD.encode(payload),
            URL_SAFE_NO_PAD.encode(mac)
        )
    }

    /// Parses a ticket's text without verifying it.
    pub fn parse(text: &str) -> Result<Unverified, Malformed> {
        if text.len() > MAX_TEXT {
            return Err(Malformed);
        }
        let body = text.strip_prefix(PREFIX).ok_or(Malformed)?;
        let (payload, mac) = body.split_once('.').ok_or(Malformed)?;
        let payload = decode(payload)?;
        let mac = decode(mac)?.try_into().map_err(|_| Malformed)?;
        let claims = Ticket::read(&payload).ok_or(Malformed)?;
        Ok(Unverified { claims, mac })
    }

    fn payload(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAX_PAYLOAD);
        bytes.extend(self.key_id.as_bytes());
        bytes.extend(self.user.as_bytes());
        let tenant = if self.tenant.is_some() { TENANT } else { 0 };
        let fleet = if self.fleet { FLEET } else { 0 };
        let elevated = if self.elevation.is_some() {
            ELEVATED
        } else {
            0
        };
        bytes.push(tenant | fleet | elevated);
        for id in [self.tenant, self.elevation].iter().flatten() {
            bytes.extend(id.as_bytes());
        }
        bytes.extend(self.expires_at.unix_seconds().to_be_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Ticket> {
        let (key_id, rest) = bytes.split_first_chunk::<16>()?;
        let (user, rest) = rest.split_first_chunk::<16>()?;
        let (&flags, mut rest) = rest.split_first()?;
        if flags & !(TENANT | FLEET | ELEVATED) != 0 {
            return None;
        }
        let mut id = |flag: u8| {
            if flags & flag == 0 {
                return Some(None);
            }
            let (id, left) = rest.split_first_chunk::<16>()?;
            rest = left;
            Some(Some(Uuid::from_bytes(*id)))
        };
        let (tenant, elevation) = (id(TENANT)?, id(ELEVATED)?);
        Some(Ticket {
            key_id: Uuid::from_bytes(*key_id),
            user: Uuid::from_bytes(*user),
            tenant,
            elevation,
            fleet: flags & FLEET != 0,
            expires_at: read_expiry(rest)?,
        })
    }
}

/// Reads an expiry; `None` if no [`Instant`] is that second.
fn read_expiry(bytes: &[u8]) -> Option<Instant> {
    let seconds = i64::from_be_bytes(bytes.try_into().ok()?);
    let expiry = Instant::from_unix_seconds(seconds);
    (expiry.unix_seconds() == seconds).then_some(expiry)
}

impl Unverified {
    /// Returns the claims of the ticket, unverified.
    pub fn claims(&self) -> &Ticket {
        &self.claims
    }

    /// Checks the signature with `key` and then the expiry at `now`. A ticket is expired from the second of its
    /// expiry on.
    pub fn verify(self, key: &Key, now: Instant) -> Result<Ticket, TicketError> {
        if !key.verify(DOMAIN, &self.claims.payload(), &self.mac) {
            return Err(TicketError::BadSignature);
        }
        if now >= self.claims.expires_at {
            return Err(TicketError::Expired);
        }
        Ok(self.claims)
    }
}

impl fmt::Debug for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unverified")
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}

fn decode(text: &str) -> Result<Vec<u8>, Malformed> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests;
