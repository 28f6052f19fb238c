//! The keys that verify a provider's tokens: a key set (RFC 7517), or one shared secret.
//!
//! Each key verifies with one algorithm, which depends only on the key. A set has only public keys, and a secret
//! is separate, so that a public key is never used as a secret.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::fmt;

use super::refusal::Refusal;

/// The shortest shared secret in bytes: the size of SHA-256.
const SECRET_BYTES: usize = 32;
/// The bits of an RSA modulus.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// The maximum number of keys of a set.
const MOST_KEYS: usize = 64;

/// Why keys are refused. The error repeats key ids, never keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Not a key set of RFC 7517.
    #[error("keys must be a JSON object with an array \"keys\" of objects")]
    NotASet,
    /// It has no key that verifies.
    #[error("the key set has no key that verifies RS256, ES256 or EdDSA signatures")]
    NoKey,
    /// Too many keys.
    #[error("the key set has more than {MOST_KEYS} keys")]
    TooMany,
    /// It contains a private key.
    #[error("the key set has a private or secret key ({0}): give it public keys only")]
    Private(String),
    /// Several keys, one of them without an id.
    #[error("one of several keys has no \"kid\"")]
    Nameless,
    /// Two keys with one id.
    #[error("two keys have the \"kid\" {0:?}")]
    Twice(String),
    /// A key that can be broken.
    #[error("the RSA key {kid} has {bits} bits; 2048 to 4096 are allowed")]
    Weak {
        /// Its id.
        kid: String,
        /// Its length.
        bits: usize,
    },
    /// An invalid key.
    #[error("the key {0} is malformed")]
    Malformed(String),
    /// A secret that can be guessed.
    #[error("the secret has {0} bytes; at least {SECRET_BYTES} are needed")]
    ShortSecret(usize),
}

/// The keys of a provider.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<VerifyingKey>,
    skipped: Vec<KeyFault>,
}

struct VerifyingKey {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
    fingerprint: [u8; 32],
}

impl KeySet {
    /// Parses a key set. Keys for other uses and algorithms are ignored. Weak and malformed keys verify nothing and are
    /// [named](Self::skipped), if another key verifies. Keys that are not public, and ambiguous ids, are refused.
    pub fn from_jwks(set: &Value) -> Result<Self, KeyFault> {
        let all = set
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(KeyFault::NotASet)?;
        if all.len() > MOST_KEYS {
            return Err(KeyFault::TooMany);
        }
        let (mut keys, mut skipped): (Vec<VerifyingKey>, Vec<KeyFault>) = Default::default();
        for jwk in all {
            let key = match VerifyingKey::read(jwk.as_object().ok_or(KeyFault::NotASet)?) {
                Ok(Some(key)) => key,
                Ok(None) => continue,
                Err(fault @ (KeyFault::Weak { .. } | KeyFault::Malformed(_))) => {
                    skipped.push(fault);
                    continue;
                }
                Err(fault) => return Err(fault),
            };
            if let Some(twin) = keys.iter().find(|other| other.kid == key.kid) {
                return Err(match &twin.kid {
                    Some(kid) => KeyFault::Twice(kid.clone()),
                    None => KeyFault::Nameless,
                });
            }
            keys.push(key);
        }
        match keys.as_slice() {
            [] => Err(skipped.into_iter().next().unwrap_or(KeyFault::NoKey)),
            [_, _, ..] if keys.iter().any(|key| key.kid.is_none()) => Err(KeyFault::Nameless),
            [..] => Ok(Self { keys, skipped }),
        }
    }

    /// Returns the keys that verify nothing, with the reasons.
    pub fn skipped(&self) -> &[KeyFault] {
        &self.skipped
    }

    /// Creates a key set of one shared secret, for HS256.
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyFault> {
        if secret.len() < SECRET_BYTES {
            return Err(KeyFault::ShortSecret(secret.len()));
        }
        Ok(Self {
            keys: vec![VerifyingKey {
                kid: None,
                algorithm: Algorithm::HS256,
                key: DecodingKey::from_secret(secret),
                fingerprint: fingerprint(b"oct", &[secret]),
            }],
            skipped: Vec::new(),
        })
    }

    /// Returns a fingerprint for each key: keys that verify the same signatures have the same, independent of their notation.
    pub fn fingerprints(&self) -> impl Iterator<Item = [u8; 32]> {
        self.keys.iter().map(|key| key.fingerprint)
    }

    /// Checks that the key that the header names made the signature over `signed`, with that key's algorithm.
    pub fn verify(
        &self,
        algorithm: &str,
        kid: Option<&str>,
        signed: &str,
        signature: &str,
    ) -> Result<(), Refusal> {
        let key = self.find(kid).filter(|key| key.is_called(algorithm));
        let key = key.ok_or(Refusal::NoKey)?;
        match crypto::verify(signature, signed.as_bytes(), &key.key, key.algorithm) {
            Ok(true) => Ok(()),
            _ => Err(Refusal::Signature),
        }
    }

    /// Finds the key with this id. A key without an id, and a header without one, are unambiguous only in a set of
    /// one key.
    fn find(&self, kid: Option<&str>) -> Option<&VerifyingKey> {
        match (self.keys.as_slice(), kid) {
            ([only], None) => Some(only),
            ([only], Some(_)) if only.kid.is_none() => Some(only),
            (_, None) => None,
            (keys, Some(kid)) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)),
        }
    }
}

impl VerifyingKey {
    /// Parses a key; `None` if it is for another use.
    fn read(jwk: &Map<String, Value>) -> Result<Option<Self>, KeyFault> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let kid = match jwk.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(KeyFault::NotASet),
        };
        let shown = kid
            .as_deref()
            .map_or("without a kid".to_owned(), |kid| format!("{kid:?}"));
        if text("kty") == Some("oct") || jwk.contains_key("d") || jwk.contains_key("k") {
            return Err(KeyFault::Private(shown));
        }
        let malformed = || KeyFault::Malformed(shown.clone());
        let bytes = |name: &str| {
            text(name)
                .and_then(|value| URL_SAFE_NO_PAD.decode(value).ok())
                .ok_or_else(malformed)
        };
        let (algorithm, names): (_, &[&str]) = match (text("kty"), text("crv")) {
            (Some("RSA"), _) => (Algorithm::RS256, &["RS256"]),
            (Some("EC"), Some("P-256")) => (Algorithm::ES256, &["ES256"]),
            (Some("OKP"), Some("Ed25519")) => (Algorithm::EdDSA, &["EdDSA", "Ed25519"]),
            _ => return Ok(None),
        };
        if !is_for_verifying(jwk, names) {
            return Ok(None);
        }
        let (key, fingerprint) = match algorithm {
            Algorithm::RS256 => {
                let (n, e) = (bytes("n")?, bytes("e")?);
                check_rsa(&n, &e, &shown)?;
                (
                    DecodingKey::from_rsa_raw_components(&n, &e),
                    fingerprint(b"RSA", &[significant(&n), significant(&e)]),
                )
            }
            Algorithm::ES256 => {
                let point = (bytes("x")?, bytes("y")?);
                if point.0.len() != 32 || point.1.len() != 32 {
                    return Err(malformed());
                }
                let (x, y) = (text("x").unwrap_or_default(), text("y").unwrap_or_default());
                (
                    DecodingKey::from_ec_components(x, y).map_err(|_| malformed())?,
                    fingerprint(b"EC", &[&point.0, &point.1]),
                )
            }
            _ => {
                let point = bytes("x")?;
                if point.len() != 32 {
                    return Err(malformed());
                }
                (
                    DecodingKey::from_ed_components(text("x").unwrap_or_default())
                        .map_err(|_| malformed())?,
                    fingerprint(b"OKP", &[&point]),
                )
            }
        };
        // Fails if the point is not on the curve.
        crypto::verify("AAAA", b"", &key, algorithm).map_err(|_| malformed())?;
        Ok(Some(Self {
            kid,
            algorithm,
            key,
            fingerprint,
        }))
    }

    fn is_called(&self, algorithm: &str) -> bool {
        match self.algorithm {
            Algorithm::HS256 => algorithm == "HS256",
            Algorithm::RS256 => algorithm == "RS256",
            Algorithm::ES256 => algorithm == "ES256",
            // RFC 9864 gives the same signature a second name.
            Algorithm::EdDSA => algorithm == "EdDSA" || algorithm == "Ed25519",
            _ => false,
        }
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// Returns whether a key's `use`, `key_ops` and `alg` allow verifying with this algorithm.
fn is_for_verifying(jwk: &Map<String, Value>, algorithms: &[&str]) -> bool {
    let says = |name: &str, wanted: &[&str]| match jwk.get(name) {
        None => true,
        Some(value) => value.as_str().is_some_and(|text| wanted.contains(&text)),
    };
    let operations = match jwk.get("key_ops") {
        None => true,
        Some(Value::Array(all)) => all.iter().any(|operation| operation == "verify"),
        Some(_) => false,
    };
    says("use", &["sig"]) && says("alg", algorithms) && operations
}

/// Returns a number's bytes without leading zeros.
fn significant(number: &[u8]) -> &[u8] {
    let first = number.iter().position(|byte| *byte != 0);
    number
        .get(first.unwrap_or(number.len())..)
        .unwrap_or_default()
}

/// Returns SHA-256 of the kind and the numbers of a key, each with its length.
fn fingerprint(kind: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [kind].iter().chain(parts) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn check_rsa(n: &[u8], e: &[u8], kid: &str) -> Result<(), KeyFault> {
    let modulus = significant(n);
    let bits = modulus
        .first()
        .map_or(0, |top| modulus.len() * 8 - top.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(KeyFault::Weak {
            kid: kid.to_owned(),
            bits,
        });
    }
    // An odd modulus, and an odd exponent of at least 3 that fits into 32 bits.
    let odd = |bytes: &[u8]| bytes.last().is_some_and(|last| last % 2 == 1);
    let small = e.iter().skip_while(|byte| **byte == 0).count() <= 4;
    let one = e.iter().rev().skip(1).all(|byte| *byte == 0) && e.last() == Some(&1);
    if !odd(n) || !odd(e) || !small || one {
        return Err(KeyFault::Malformed(kid.to_owned()));
    }
    Ok(())
}
