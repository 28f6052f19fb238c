//! The context token: the sealed value of the setting `tenancy.context`.
//!
//! It names the principal, and the backend and transaction in which it is valid. One server creates and reads it,
//! with a key that exists only in its memory. The layout is:
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | version |
//! | 1 | key id |
//! | 2 | flags: kind, lifetime, the kind of proof, and which of the optional fields follow |
//! | 4 + 8 | binding: backend, start |
//! | 16 each | user, tenant, project, the credential, the elevation behind it, if present |
//! | 8 | expiry, if present |
//! | 4 or 16 | the address that a gateway named, if present |
//! | 16 | MAC over all of the above |
//!
//! Integers are big-endian; the text is base64url without padding. A token has one encoding: for every text that
//! [`Token::decode`] accepts, [`Token::encode`] returns the same text.

use crate::mac::{Key, MAC_BYTES};
use crate::time::Instant;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::net::IpAddr;
use uuid::Uuid;

const DOMAIN: &str = "tenancy/context/1";
const VERSION: u8 = 2;

/// The longest token: header, binding, five ids, an expiry, an address and the MAC.
const MAX_BYTES: usize = 4 + 12 + 5 * 16 + 8 + 16 + MAC_BYTES;
/// The same as text.
const MAX_TEXT: usize = (MAX_BYTES * 4).div_ceil(3);

const MAINTENANCE: u16 = 1;
const SESSION: u16 = 1 << 1;
const USER: u16 = 1 << 2;
const TENANT: u16 = 1 << 3;
const PROJECT: u16 = 1 << 4;
const EXPIRES: u16 = 1 << 5;
const PROVEN: u16 = 1 << 6;
/// The kind of proof, in two bits; zero for none.
const PROOF: u16 = 0b11 << 7;
const BY_TICKET: u16 = 1 << 7;
const BY_PROVIDER: u16 = 2 << 7;
const CLIENT: u16 = 1 << 9;
/// The address is of version 6.
const CLIENT_V6: u16 = 1 << 10;
/// The ticket was issued under an elevation.
const ELEVATED: u16 = 1 << 11;
/// All of the above.
const KNOWN: u16 = (1 << 12) - 1;

/// The content of a context token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Whether it is for a principal or for maintenance.
    pub kind: Kind,
    /// How long it is valid.
    pub lifetime: Lifetime,
    /// The principal.
    pub user: Option<Uuid>,
    /// The selected tenant.
    pub tenant: Option<Uuid>,
    /// The selected project.
    pub project: Option<Uuid>,
    /// The credential that proved the user, with which the context ends; `None` if a trusted caller named the user.
    pub proof: Option<Proof>,
    /// The backend and the start of its validity.
    pub binding: Binding,
    /// When it ends at the latest.
    pub expires_at: Option<Instant>,
    /// The address of the user's client, if a trusted caller named it.
    pub client: Option<IpAddr>,
}

/// The kind of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A user.
    Principal,
    /// Maintenance by the owner: every row of protected tables.
    Maintenance,
}

/// The credential that proved the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// The API key with this id.
    ApiKey(Uuid),
    /// A ticket, signed with the key with this id, and issued under this elevation, if any.
    Ticket(Uuid, Option<Uuid>),
    /// A token of the identity provider with this id.
    Provider(Uuid),
}

impl Proof {
    const fn id(self) -> Uuid {
        match self {
            Proof::ApiKey(id) | Proof::Ticket(id, _) | Proof::Provider(id) => id,
        }
    }

    const fn elevation(self) -> Option<Uuid> {
        match self {
            Proof::Ticket(_, elevation) => elevation,
            Proof::ApiKey(_) | Proof::Provider(_) => None,
        }
    }

    const fn flags(self) -> u16 {
        PROVEN
            | match self {
                Proof::ApiKey(_) => 0,
                Proof::Ticket(_, None) => BY_TICKET,
                Proof::Ticket(_, Some(_)) => BY_TICKET | ELEVATED,
                Proof::Provider(_) => BY_PROVIDER,
            }
    }

    /// Decodes the proof of these flags, if they are valid.
    fn read(flags: u16, id: Option<Uuid>, elevation: Option<Uuid>) -> Option<Option<Proof>> {
        Some(match (flags & PROOF, id, elevation) {
            (0, None, None) => None,
            (0, Some(id), None) => Some(Proof::ApiKey(id)),
            (BY_TICKET, Some(id), elevation) => Some(Proof::Ticket(id, elevation)),
            (BY_PROVIDER, Some(id), None) => Some(Proof::Provider(id)),
            _ => return None,
        })
    }
}

/// How long a context lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lifetime {
    /// Until the end of the transaction.
    Transaction,
    /// Until it is released or the session ends.
    Session,
}

/// Where a context is valid: the part of a token that another kind of installation would replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// The backend: its process id.
    pub backend: i32,
    /// The start of the transaction, or of the session for a context that lasts as long.
    pub started: Instant,
}

/// A value that is no token of this key. The error has no reason, so that a forger learns nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid context")]
pub struct Refused;

impl Token {
    /// Seals the token with `key`, whose id is `key_id`.
    pub fn encode(&self, key: &Key, key_id: u8) -> String {
        let mut bytes = Vec::with_capacity(MAX_BYTES);
        bytes.extend([VERSION, key_id]);
        bytes.extend(self.flags().to_be_bytes());
        bytes.extend(self.binding.backend.to_be_bytes());
        bytes.extend(self.binding.started.unix_micros().to_be_bytes());
        let proof = self.proof.map(Proof::id);
        let elevation = self.proof.and_then(Proof::elevation);
        for id in [self.user, self.tenant, self.project, proof, elevation]
            .iter()
            .flatten()
        {
            bytes.extend(id.as_bytes());
        }
        if let Some(at) = self.expires_at {
            bytes.extend(at.unix_micros().to_be_bytes());
        }
        match self.client {
            None => {}
            Some(IpAddr::V4(address)) => bytes.extend(address.octets()),
            Some(IpAddr::V6(address)) => bytes.extend(address.octets()),
        }
        let mac = key.sign(DOMAIN, &bytes);
        bytes.extend(mac);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Opens a token that was sealed with `key` under `key_id`. Anything else is refused.
    pub fn decode(text: &str, key: &Key, key_id: u8) -> Result<Token, Refused> {
        if text.len() > MAX_TEXT {
            return Err(Refused);
        }
        // The decoder needs room for whole groups of four characters.
        let mut buffer = [0u8; MAX_TEXT.div_ceil(4) * 3];
        let length = URL_SAFE_NO_PAD
            .decode_slice(text, &mut buffer)
            .map_err(|_| Refused)?;
        let bytes = buffer.get(..length).ok_or(Refused)?;
        let (signed, mac) = bytes.split_last_chunk::<MAC_BYTES>().ok_or(Refused)?;
        if !key.verify(DOMAIN, signed, mac) {
            return Err(Refused);
        }
        Token::read(signed, key_id).ok_or(Refused)
    }

    fn flags(&self) -> u16 {
        let flag = |on: bool, bit: u16| if on { bit } else { 0 };
        flag(self.kind == Kind::Maintenance, MAINTENANCE)
            | flag(self.lifetime == Lifetime::Session, SESSION)
            | flag(self.user.is_some(), USER)
            | flag(self.tenant.is_some(), TENANT)
            | flag(self.project.is_some(), PROJECT)
            | flag(self.expires_at.is_some(), EXPIRES)
            | self.proof.map_or(0, Proof::flags)
            | flag(self.client.is_some(), CLIENT)
            | flag(
                self.client.is_some_and(|client| client.is_ipv6()),
                CLIENT_V6,
            )
    }

    /// Reads what [`Token::encode`] wrote, to the last byte.
    fn read(mut rest: &[u8], wanted_key: u8) -> Option<Token> {
        let [version, key_id] = take(&mut rest)?;
        let flags = u16::from_be_bytes(take(&mut rest)?);
        if version != VERSION || key_id != wanted_key || flags & !KNOWN != 0 {
            return None;
        }
        let binding = Binding {
            backend: i32::from_be_bytes(take(&mut rest)?),
            started: instant(&mut rest)?,
        };
        let mut id = |bit: u16| match flags & bit {
            0 => Some(None),
            _ => take(&mut rest).map(|bytes| Some(Uuid::from_bytes(bytes))),
        };
        let (user, tenant, project) = (id(USER)?, id(TENANT)?, id(PROJECT)?);
        let proof = Proof::read(flags, id(PROVEN)?, id(ELEVATED)?)?;
        let expires_at = match flags & EXPIRES {
            0 => None,
            _ => Some(instant(&mut rest)?),
        };
        let client = match flags & (CLIENT | CLIENT_V6) {
            0 => None,
            CLIENT => Some(IpAddr::from(take::<4>(&mut rest)?)),
            CLIENT_V6 => return None,
            _ => Some(IpAddr::from(take::<16>(&mut rest)?)),
        };
        rest.is_empty().then_some(Token {
            kind: match flags & MAINTENANCE {
                0 => Kind::Principal,
                _ => Kind::Maintenance,
            },
            lifetime: match flags & SESSION {
                0 => Lifetime::Transaction,
                _ => Lifetime::Session,
            },
            user,
            tenant,
            project,
            proof,
            binding,
            expires_at,
            client,
        })
    }
}

/// Takes an instant off the front: microseconds of the Unix epoch.
fn instant(rest: &mut &[u8]) -> Option<Instant> {
    let micros = i64::from_be_bytes(take(rest)?);
    Some(Instant::from_unix_micros(micros))
}

/// Takes the next `N` bytes off the front.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests;
