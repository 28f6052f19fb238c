//! Keys to sign with, and tokens to refuse. The keys were made for these tests and sign nothing else.

use super::super::*;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::json;

/// Some second in 2027.
pub const NOW: i64 = 1_800_000_000;
pub const ISSUER: &str = "https://login.example.com/";
pub const SECRET: &[u8] = b"an example secret of enough bytes";

/// An RSA key of 2048 bits, PKCS #1.
const RSA: &str = "\
    MIIEowIBAAKCAQEAr9WCudyj+7bvNSUwreJSZbp+l4fmHfmBIJtslPFqStl4hynA9lD7qF5tq6sGteU/l8QCGHKTRY\
    1/qrKtVNVwIh7CVNlY1hEIhSNCnMSsvRfpCVbZXnEgl2T3wJrXRA5T86etZYOJY/iW5zAmxMR3owYEA6xH0pQ2HoJa\
    2eRfg7D97xf/U2nUrqS5iwOVNGb1r6R8kx0sayuS/Fvp9oleGuSvusMtiIKc+QipS7qO867syAH0xBwXjrX0ZgQQOv\
    oquglQu3iBrC0B18diS6/k0SCbdFdCIJ0YqtbBfRxP2hvyWGDE5WlEAuwD6E5+8W5psIejggDXvPa5pTjF/rWPcwID\
    AQABAoIBABPevu0d//H8FEAfOccMol8YmiGpm9mbTnpO1hBmz6oxtSshDstHD4lRUndp1lJL28ncvpfgqr/bY6f4lR\
    nXHNreOvu3rBBU0G+rMmXg29xqjU0e4WWIxzQUluLPHLB2JgqM0k18ddQ0TWlGybrGsPZdQarglyU21n7QIFArPJf3\
    AhW47dyY2Tm9IPVLbA/y5vX2yAszkxG5NZ3ZAQKULrlMAv+qcPSPa6CGCZ6nxnEG86bCEzft/ysU/CshzXgVRFlvrJ\
    52T6TCdtzWDBX5/t6bZB4c0XsktgbFQaIqPMXEORlbYTavThR/D71qjuzmCKXkwry2xyPcYjGmGQ3TyWECgYEA7h3N\
    KcTI5244M0bNXE/jscGWIjCoE4NFv2B0nhOc2UwALW6hmc/eiYgMBvBac9HIyGHDwj6oLDblGhDj8+KJQeQe70/C5m\
    2db6Mj0mAvsWIgdewcxmopglpG+lCnoE5wkcsmH7aukQSAKp42RNzQ3eDPAYA18OcyPLNCz2XV1AkCgYEAvQo5FNSR\
    GfXi2zdoti8BQ3wz5F/7WC/bEIxCCeDya1DoF/tVeXw0oHmSKgqUZt/l15o9k3IfZpHzlWcZ3jLgVlF0pRjsxWDqkD\
    mVxdfLhttBCZ6YYU4fexgaynFi0STnN26WKGUegEHJYLRpPTXV1hAax7PldDCxrpTlwwbEPpsCgYB1MFmOmvi9XbNv\
    GQNs0SygiUPYY9X0dIDZJSF/wutIzmyv72i9CF7flQNGTvhVVAPbCrKLYMbnq8SpRXLKzsz6jsjiwoCLY5s+HC4/FX\
    Oje0W6g4/N3uW6769K9nLpJHGmbzK+HOxhFrP1RZQz4/Evobp/ZJgnjcFdumPBKr9H8QKBgFYz3DW4fPZmnu0yBijV\
    pHDeqVchwZ7EK9QO8WpJzqHLQhr1fFOqpODsrw9GxcdnoArCBgQ/jTwboATn/+7IKm6SNGu4wvd6q1vbNoYCUogLYU\
    v+qyPsGQTryAO60sHmXx1y6zw+aDs6RJc5jafg7cLwkxWv3hkuv0eKFH/rjP+zAoGBALoelEPoC/OIzuQqU1Ex7eMM\
    PDhKjBO8OXfnQeuLsg7a5Kkwxd9wNVJ/g8eMpSKUTtAUCX41knUiyW8kSeFPBaBSJ9Os2/BLe7ubXkFonmOIEa/J7v\
    X9uQzop+8YPaliOu6xo8AapGBAJKbLQNzNDM8iktV0Rb1DsozIII58TZaA\
";

/// An RSA key of 1024 bits, PKCS #1.
const RSA_1024: &str = "\
    MIICXQIBAAKBgQDxU5IHyh6tIZzQqDY2NS4LcNSBhLTDRrChyHIcoHCyJoCFTP1wsQhv+lHqflq8rwvUuPNZJ3QV0a\
    IFbcUZNUWeGlcp5Ky5i4+Kdh9FjKR9hVWCybsOVcF/9KkRJTGTXaBb5gnpfrt2Q/ep47JYSisASiYeKwwp6PTuT1bT\
    lwNNIwIDAQABAoGBALJpKUXO/LzcY7WzFlkfGcplgQW72XOg2EbTDOHzDz31zwA9ugTNLMK0Wkk1Xtmtw95hWa8oxt\
    62m8TNsXCAfNUFejtVv9ZOjMqNV9Vw9YIDyjkoQfsjsqm76taWMVOCUDlSb5IGNUZOYxW2x4x0l8gAxfcBps4l78JX\
    /WUObzkBAkEA+PB1htu/TaTv+9mcnt4MqeYCclVF2E1SW3p+A6Ik5UQBE0tbTgmOAC6Lj4m9UGrSXA3xQw2ZutcfHC\
    tWrkqIowJBAPgr1a4jVt+aIITQ+d2N8/x2bw5QGMhd8+BUPU7XiiMwaYpDZpnH2QSRytzvoqmgqhKa2k7v/0QJ+RG0\
    UcIR8YECQQClrGKLPfQzWHHeyxTRJjaHW+yE6vtw2QTWnM8A3AhyDLAqhxxc8z7uIAwBm0nDG1SkryLB3WtSTZkGxl\
    EJ7dDBAkBh+GwSosDY5O+Rfy4k2LVJJTgSXmxqLSzpklfhmBVgbuw7OQB4FP0HYMbFEZUVgeeiEJ++KeCL66P36Ued\
    ZZgBAkB0k9BsUlsTHdTsLjO0bHgkzAAQzgyPhUzGqZNv9zK1rcQtAuu2dwenFFc6Q7hgT+o2OSTKSzr9MewO2hHqyc\
    dH\
";

/// A key on P-256, PKCS #8.
const EC: &str = "\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgR5QeTc68TUxtNs7HLRin6owPGtsobku5FoLAW5Ns4O\
    mhRANCAASmvEtjdOh0qJotxER7bfINRdcb0JDQEGbAStpPOGHmqB1hJ2IF7q1H8aWFirifnl2ZgIYd/Ie+tCEkIa4/\
    vqp/\
";

/// Signs as a provider would.
pub struct Signer {
    pub algorithm: Algorithm,
    pub key: EncodingKey,
}

fn der(text: &str) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}

impl Signer {
    pub fn rsa() -> Self {
        Self {
            algorithm: Algorithm::RS256,
            key: EncodingKey::from_rsa_der(&der(RSA)),
        }
    }

    pub fn weak_rsa() -> Self {
        Self {
            algorithm: Algorithm::RS256,
            key: EncodingKey::from_rsa_der(&der(RSA_1024)),
        }
    }

    pub fn ec() -> Self {
        Self {
            algorithm: Algorithm::ES256,
            key: EncodingKey::from_ec_der(&der(EC)),
        }
    }

    /// A key on Ed25519 that follows from one byte.
    pub fn ed(seed: u8) -> Self {
        let head = [
            0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
        ];
        Self {
            algorithm: Algorithm::EdDSA,
            key: EncodingKey::from_ed_der(&[head.as_slice(), &[seed; 32]].concat()),
        }
    }

    pub fn hs(secret: &[u8]) -> Self {
        Self {
            algorithm: Algorithm::HS256,
            key: EncodingKey::from_secret(secret),
        }
    }

    /// The public key, as a key set shows it.
    pub fn jwk(&self, kid: &str) -> Value {
        let mut jwk =
            serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap())
                .unwrap();
        jwk["kid"] = kid.into();
        jwk["use"] = "sig".into();
        jwk
    }

    pub fn name(&self) -> &'static str {
        match self.algorithm {
            Algorithm::RS256 => "RS256",
            Algorithm::ES256 => "ES256",
            Algorithm::EdDSA => "EdDSA",
            _ => "HS256",
        }
    }

    /// A token with an ordinary header.
    pub fn token(&self, kid: &str, claims: &Value) -> String {
        self.sign(
            &json!({"typ": "JWT", "alg": self.name(), "kid": kid}),
            claims,
        )
    }

    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// Signs any two texts.
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = crypto::sign(signed.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{signed}.{signature}")
    }
}

pub fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "aud": "api",
        "sub": "auth0|4711",
        "iat": NOW - 10,
        "nbf": NOW - 10,
        "exp": NOW + 300,
        "name": "Alice",
        "groups": ["staff", "admins", "staff"],
    })
}

/// Returns the claims with some replaced; null removes one.
pub fn claims_with(changes: Value) -> Value {
    let mut all = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => {
                all.as_object_mut().unwrap().remove(name);
            }
            value => all[name] = value.clone(),
        }
    }
    all
}

pub fn name(text: &str) -> ClaimName {
    ClaimName::parse(text).unwrap()
}

pub fn provider(keys: KeySet) -> Provider {
    Provider {
        issuer: ISSUER.to_owned(),
        aliases: vec![],
        audiences: vec!["api".to_owned(), "web".to_owned()],
        audience_claim: None,
        leeway: Length::from_seconds(30),
        keys,
        mapping: Mapping {
            user: name("sub"),
            tenant: None,
            groups: Some(name("groups")),
            without_groups: NoGroups::Empty,
            name: Some(name("name")),
        },
    }
}

/// A provider with a key of each kind.
pub fn all_kinds() -> Provider {
    provider(set(&[
        Signer::rsa().jwk("rsa"),
        Signer::ec().jwk("ec"),
        Signer::ed(1).jwk("ed"),
    ]))
}

pub fn set(keys: &[Value]) -> KeySet {
    KeySet::from_jwks(&json!({ "keys": keys })).unwrap()
}

/// That a token is refused, for whatever reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

pub fn verify(token: &str, provider: &Provider) -> Result<Claims, Refused> {
    verify_at(token, provider, Instant::from_unix_seconds(NOW))
}

pub fn verify_at(token: &str, provider: &Provider, now: Instant) -> Result<Claims, Refused> {
    why_at(token, provider, now).map_err(|_| Refused)
}

pub fn why(token: &str, provider: &Provider) -> Result<Claims, Refusal> {
    why_at(token, provider, Instant::from_unix_seconds(NOW))
}

fn why_at(token: &str, provider: &Provider, now: Instant) -> Result<Claims, Refusal> {
    Unverified::parse(token)?.verify(provider, now)
}
