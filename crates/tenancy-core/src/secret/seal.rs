//! Sealing: XChaCha20-Poly1305, bound to where the sealed bytes belong.

use std::fmt;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use uuid::Uuid;
use zeroize::Zeroizing;

/// The size of a key in bytes.
pub const KEY_BYTES: usize = 32;
/// The size of a nonce in bytes: large enough to be random.
pub const NONCE_BYTES: usize = 24;
/// The first byte of what is sealed this way.
const FORMAT: u8 = 1;

/// A key that seals. It never prints its content.
pub struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl Key {
    /// Creates a key with this content, which must come from a strong random source.
    #[must_use]
    pub fn new(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        Self(bytes)
    }

    /// Returns the key of these bytes, if they are as many as a key has.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        if bytes.len() != KEY_BYTES {
            return None;
        }
        key.copy_from_slice(bytes);
        Some(Self(key))
    }

    /// Returns its content.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &*self.0
    }

    /// Seals bytes so that they open only with the same `bound`. The nonce must be random. `None` if they are too many for the
    /// cipher.
    #[must_use]
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], bound: &[u8], open: &[u8]) -> Option<Vec<u8>> {
        let payload = Payload {
            msg: open,
            aad: bound,
        };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload).ok()?;
        Some([&[FORMAT], nonce.as_slice(), &sealed].concat())
    }

    /// Opens what was sealed with this key and the same `bound`; `None` for anything else.
    #[must_use]
    pub fn open(&self, sealed: &[u8], bound: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (format, rest) = sealed.split_first()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload {
            msg: sealed,
            aad: bound,
        };
        let opened =
            (*format == FORMAT).then(|| self.cipher().decrypt(&XNonce::from(*nonce), payload));
        opened?.ok().map(Zeroizing::new)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(*self.0).into())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A key of the keyring: the partner, the tenant or the platform that it seals for, and its own id. A new key has a new id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyName {
    /// The scope.
    pub scope: Uuid,
    /// The key.
    pub id: Uuid,
}

/// The row that a sealed value belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The scope that has the secret.
    pub scope: Uuid,
    /// The secret's name.
    pub name: &'a str,
    /// How often it was set.
    pub version: i32,
    /// Whether scopes below inherit it.
    pub inherit: bool,
    /// The key that seals it.
    pub key: KeyName,
}

impl Place<'_> {
    /// Returns what its value is bound to. The only part without a fixed length is the last.
    #[must_use]
    pub fn bound(&self) -> Vec<u8> {
        [
            b"tenancy secret 1\0".as_slice(),
            self.scope.as_bytes(),
            self.key.scope.as_bytes(),
            self.key.id.as_bytes(),
            &self.version.to_be_bytes(),
            &[u8::from(self.inherit)],
            self.name.as_bytes(),
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests;
