//! Signing: HMAC-SHA-256, truncated to 16 bytes, with a domain that keeps one use of a key from
//! being taken for another.

use hmac::digest::{CtOutput, generic_array::GenericArray};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use subtle::ConstantTimeEq;

/// The bytes of a MAC. Half of HMAC-SHA-256 is as strong as its 128 bits, and keeps tokens short.
pub const MAC_BYTES: usize = 16;

/// The block of SHA-256, to which HMAC pads its key.
const BLOCK: usize = 64;

/// A secret key of 256 bits. It never prints its content.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// A key with this content, which ought to come from a strong random source.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Key(bytes)
    }

    /// The MAC of `message` in `domain`. A domain is a constant text without a NUL; two domains
    /// never share a MAC, because a NUL stands between the domain and the message.
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

    /// Whether `mac` is the MAC of `message` in `domain`. Takes the same time wherever they
    /// differ; a wrong length is simply false.
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
