//! What verifies a provider's tokens: a key set (RFC 7517), or one shared secret.
//!
//! Each key verifies with one algorithm, which follows from the key alone. A set has public keys only
//! and a secret stands alone, so that no public key can ever be taken for a secret.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::fmt;

/// The fewest bytes of a shared secret: those of SHA-256.
const SECRET_BYTES: usize = 32;
/// The bits of an RSA modulus.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// The most keys of a set.
const MOST_KEYS: usize = 64;

/// Why keys cannot be taken. It repeats key ids, never keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Not what RFC 7517 describes.
    #[error("keys must be a JSON object with an array \"keys\" of objects")]
    NotASet,
    /// Nothing in it verifies.
    #[error("the key set has no key that verifies RS256, ES256 or EdDSA signatures")]
    NoKey,
    /// Too much of it.
    #[error("the key set has more than {MOST_KEYS} keys")]
    TooMany,
    /// It was given a private key.
    #[error("the key set has a private or secret key ({0}): give it public keys only")]
    Private(String),
    /// Several keys, one of them without a name.
    #[error("one of several keys has no \"kid\"")]
    Nameless,
    /// Two keys of one name.
    #[error("two keys have the \"kid\" {0:?}")]
    Twice(String),
    /// A key that can be broken.
    #[error("the RSA key {kid} has {bits} bits; 2048 to 4096 are allowed")]
    Weak {
        /// Which.
        kid: String,
        /// How long it is.
        bits: usize,
    },
    /// A key that is none.
    #[error("the key {0} is malformed")]
    Malformed(String),
    /// A secret that can be guessed.
    #[error("the secret has {0} bytes; at least {SECRET_BYTES} are needed")]
    ShortSecret(usize),
}

/// The keys of a provider.
#[derive(Debug)]
pub struct KeySet(Vec<VerifyingKey>);

struct VerifyingKey {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
    fingerprint: [u8; 32],
}

impl KeySet {
    /// Reads a key set. Keys for other uses and algorithms than ours are left out; public keys that
    /// are broken, and keys that are not public, are refused.
    pub fn from_jwks(set: &Value) -> Result<Self, KeyFault> {
        let all = set
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(KeyFault::NotASet)?;
        if all.len() > MOST_KEYS {
            return Err(KeyFault::TooMany);
        }
        let mut keys: Vec<VerifyingKey> = Vec::new();
        for jwk in all {
            let Some(key) = VerifyingKey::read(jwk.as_object().ok_or(KeyFault::NotASet)?)? else {
                continue;
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
            [] => Err(KeyFault::NoKey),
            [_] => Ok(Self(keys)),
            [..] if keys.iter().any(|key| key.kid.is_none()) => Err(KeyFault::Nameless),
            [..] => Ok(Self(keys)),
        }
    }

    /// A secret that the provider shares, for HS256.
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyFault> {
        if secret.len() < SECRET_BYTES {
            return Err(KeyFault::ShortSecret(secret.len()));
        }
        Ok(Self(vec![VerifyingKey {
            kid: None,
            algorithm: Algorithm::HS256,
            key: DecodingKey::from_secret(secret),
            fingerprint: fingerprint(b"oct", &[secret]),
        }]))
    }

    /// One for each key: two that verify the same signatures have the same, however they are written.
    pub fn fingerprints(&self) -> impl Iterator<Item = [u8; 32]> {
        self.0.iter().map(|key| key.fingerprint)
    }

    /// Whether the signature over `signed` is of the key that the header names, and of that key's
    /// algorithm.
    pub fn verify(
        &self,
        algorithm: &str,
        kid: Option<&str>,
        signed: &str,
        signature: &str,
    ) -> bool {
        self.find(kid).is_some_and(|key| {
            key.is_called(algorithm)
                && crypto::verify(signature, signed.as_bytes(), &key.key, key.algorithm)
                    .unwrap_or(false)
        })
    }

    /// The key of this name. A key without a name stands alone, and so does the key that a header
    /// without a name can only mean.
    fn find(&self, kid: Option<&str>) -> Option<&VerifyingKey> {
        match (self.0.as_slice(), kid) {
            ([only], None) => Some(only),
            ([only], Some(_)) if only.kid.is_none() => Some(only),
            (_, None) => None,
            (keys, Some(kid)) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)),
        }
    }
}

impl VerifyingKey {
    /// Reads a key; `None` when it is not for us.
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
        // Says so when the point is not on the curve.
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

/// Whether a key says that it is for verifying with this algorithm, as far as it says anything.
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

/// A number's bytes without the zeros in front, which change nothing.
fn significant(number: &[u8]) -> &[u8] {
    let first = number.iter().position(|byte| *byte != 0);
    number
        .get(first.unwrap_or(number.len())..)
        .unwrap_or_default()
}

/// SHA-256 of the kind and the numbers of a key, each with its length.
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
