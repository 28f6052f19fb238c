//! Credentials that a caller presents: an API key or a ticket, distinguished by their prefix, or the JWT of an
//! identity provider, recognised by its form.
//!
//! No error and no `Debug` here repeats any part of a secret.

use crate::jwt;
use crate::ticket::{self, Ticket};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;
use uuid::Uuid;

const DOMAIN: &[u8] = b"tenancy/api-key/1\0";
const PREFIX: &str = "tnk_";

/// The hex digits of an id.
const ID_DIGITS: usize = 32;
/// How many of them a label shows: the time of a version 7 id, and enough of the rest to distinguish two keys
/// of one millisecond.
const LABEL_DIGITS: usize = 24;
/// The length of an API key's text.
const KEY_TEXT: usize = PREFIX.len() + ID_DIGITS + 1 + 43;

/// A credential that was parsed but not verified.
#[derive(Clone, Debug)]
pub enum Credential {
    /// An API key.
    ApiKey(ApiKey),
    /// A ticket, whose signature is still to be verified.
    Ticket(ticket::Unverified),
    /// A JWT, of which only the form was checked.
    Jwt(Jwt),
}

/// The text of a JWT. It never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Jwt(pub String);

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jwt(..)")
    }
}

/// A text that is no credential. The error neither gives the reason nor repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a credential")]
pub struct Unrecognised;

impl Credential {
    /// Parses a credential. Every credential has one encoding; surrounding white space is refused.
    pub fn parse(text: &str) -> Result<Credential, Unrecognised> {
        if text.starts_with(PREFIX) {
            return ApiKey::parse(text)
                .map(Credential::ApiKey)
                .ok_or(Unrecognised);
        }
        if text.starts_with(ticket::PREFIX) {
            return Ticket::parse(text)
                .map(Credential::Ticket)
                .map_err(|_| Unrecognised);
        }
        if jwt::has_shape(text) {
            return Ok(Credential::Jwt(Jwt(text.to_owned())));
        }
        Err(Unrecognised)
    }
}

/// An API key: a public id, by which its row is found, and a secret, of which the row has the hash.
#[derive(Clone)]
pub struct ApiKey {
    /// The id of the key's row.
    pub id: Uuid,
    secret: [u8; 32],
}

impl ApiKey {
    /// Creates a key with this id and secret, which must come from a strong random source.
    pub const fn new(id: Uuid, secret: [u8; 32]) -> Self {
        ApiKey { id, secret }
    }

    /// Returns the text that the key's holder presents: `tnk_<id>_<secret>`.
    pub fn to_text(&self) -> String {
        let secret = URL_SAFE_NO_PAD.encode(self.secret);
        format!("{PREFIX}{}_{secret}", self.id.simple())
    }

    /// Returns the hash that is stored: SHA-256 over its id and secret. The secret has 256 random bits, so a slow
    /// hash would add nothing.
    pub fn hash(&self) -> [u8; 32] {
        let mut sha = Sha256::new();
        sha.update(DOMAIN);
        sha.update(self.id.as_bytes());
        sha.update(self.secret);
        sha.finalize().into()
    }

    /// Returns whether `stored` is this key's hash, in constant time; false for a wrong length.
    pub fn matches(&self, stored: &[u8]) -> bool {
        self.hash().ct_eq(stored).into()
    }

    /// Returns the start of the key's text, to recognise it in a list, without any part of the secret.
    pub fn label(&self) -> String {
        let id = self.id.simple().to_string();
        format!("{PREFIX}{}", id.get(..LABEL_DIGITS).unwrap_or(&id))
    }

    fn parse(text: &str) -> Option<ApiKey> {
        if text.len() != KEY_TEXT {
            return None;
        }
        // The secret may contain underscores; the id does not.
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let canonical = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
        if id.len() != ID_DIGITS || !id.bytes().all(canonical) {
            return None;
        }
        let id = Uuid::try_parse(id).ok()?;
        let secret = URL_SAFE_NO_PAD.decode(secret).ok()?.try_into().ok()?;
        Some(ApiKey { id, secret })
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
