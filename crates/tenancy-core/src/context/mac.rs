//! Signing: HMAC-SHA-256, truncated to 16 bytes, with a domain that separates the purposes of a key.

use hmac::digest::{CtOutput, generic_array::GenericArray};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use subtle::ConstantTimeEq;

/// The size of a MAC in bytes. Half of HMAC-SHA-256 has a strength of 128 bits, and keeps tokens short.
pub const MAC_BYTES: usize = 16;

/// The block of SHA-256, to which HMAC pads its key.
const BLOCK: usize = 64;

/// A secret key of 256 bits. It never prints its content.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// Creates a key with this content, which must come from a strong random source.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Key(bytes)
    }

    /// Returns the MAC of `message` in `domain`. A domain is a constant text without a NUL. Two domains never share
    /// a MAC, because a NUL separates the domain from the message.
    pub fn sign(&self, domain: &str, message: &[u8]) -> [u8; MAC_BYTES] {
        // HMAC pads a short key with zeros to one block; a key that already has the size of a
        // block needs no fallible constructor.
        let mut block = [0u8; BLOCK];
        block[..self.0.len()].copy_from_slice(&self.0);
        let mut hmac = <Hmac<Sha256> as Mac>::new(&GenericArray::from(block));
        hmac.update(domain.as_bytes());
        hmac.update(&[0]);
        hmac.update(message);
        let whole: CtOutput<_> = hmac.finalize();
        let mut mac = [0u8; MAC_BYTES];
        mac.copy_from_slice(&whole.into_bytes()[..MAC_BYTES]);
        mac
    }

    /// Returns whether `mac` is the MAC of `message` in `domain`, in constant time; false for a wrong length.
    pub fn verify(&self, domain: &str, message: &[u8], mac: &[u8]) -> bool {
        self.sign(domain, message).ct_eq(mac).into()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests;
