//! An identity provider: it signs valid and invalid tokens.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};

use crate::{Failure, Session};

/// The application's name at its providers: the audience.
pub const AUDIENCE: &str = "notes";

/// An RSA key of 2048 bits, PKCS #1, made for these tests.
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

/// A key to sign with.
pub struct Signer {
    algorithm: Algorithm,
    key: EncodingKey,
    /// Returns its name.
    pub kid: String,
}

impl Signer {
    /// A key on Ed25519 that follows from one byte.
    pub fn ed(kid: &str, seed: u8) -> Self {
        let head = [
            0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
        ];
        Self {
            algorithm: Algorithm::EdDSA,
            key: EncodingKey::from_ed_der(&[head.as_slice(), &[seed; 32]].concat()),
            kid: kid.to_owned(),
        }
    }

    /// An RSA key.
    pub fn rsa(kid: &str) -> Self {
        Self {
            algorithm: Algorithm::RS256,
            key: EncodingKey::from_rsa_der(&STANDARD.decode(RSA).unwrap()),
            kid: kid.to_owned(),
        }
    }

    /// A shared secret.
    pub fn hs(kid: &str, secret: &[u8]) -> Self {
        Self {
            algorithm: Algorithm::HS256,
            key: EncodingKey::from_secret(secret),
            kid: kid.to_owned(),
        }
    }

    /// The public key, as a key set shows it.
    pub fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = self.kid.clone().into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// A token with an ordinary header.
    pub fn token(&self, claims: &Value) -> String {
        let alg = match self.algorithm {
            Algorithm::RS256 => "RS256",
            Algorithm::EdDSA => "EdDSA",
            _ => "HS256",
        };
        self.sign(&json!({"typ": "JWT", "alg": alg, "kid": self.kid}), claims)
    }

    /// A token with any header.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = unsigned(header, claims);
        let signature = crypto::sign(signed.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{signed}.{signature}")
    }
}

/// The first two parts of a token.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// A key set of these.
pub fn key_set(signers: &[&Signer]) -> String {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// Seconds of the Unix epoch.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs().try_into().unwrap()
}

/// A provider with one key.
pub struct Idp {
    /// Its own name: the issuer.
    pub issuer: String,
    /// Its key.
    pub signer: Signer,
}

impl Idp {
    /// Returns a provider with this name.
    pub fn new(name: &str) -> Self {
        Self {
            issuer: format!("https://{name}.example.com/"),
            signer: Signer::ed("1", 1),
        }
    }

    /// The call that has a scope believe it; `more` are further arguments.
    pub fn adding(&self, scope: &str, more: &str) -> String {
        format!(
            "SELECT tenancy.add_identity_provider('{scope}', '{}', '{{{AUDIENCE}}}', keys => '{}'{}{more})",
            self.issuer,
            key_set(&[&self.signer]),
            if more.is_empty() { "" } else { ", " },
        )
    }

    /// Adds the provider to a scope.
    #[track_caller]
    pub fn add(self, session: &mut Session, scope: &str, more: &str) -> Self {
        session.run(&self.adding(scope, more));
        self
    }

    /// The claims of a token for a user, good for five minutes.
    pub fn claims(&self, user: &str) -> Value {
        json!({"iss": self.issuer, "aud": AUDIENCE, "sub": user, "iat": now(), "exp": now() + 300})
    }

    /// The same with some replaced.
    pub fn claims_with(&self, user: &str, changes: Value) -> Value {
        let mut claims = self.claims(user);
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    /// A token for a user.
    pub fn token(&self, user: &str) -> String {
        self.signer.token(&self.claims(user))
    }

    /// A token with some claims replaced.
    pub fn token_with(&self, user: &str, changes: Value) -> String {
        self.signer.token(&self.claims_with(user, changes))
    }

    /// A token for a user in groups.
    pub fn token_in(&self, user: &str, groups: &[&str]) -> String {
        self.token_with(user, json!({ "groups": groups }))
    }
}

/// Asserts that a token is refused like every invalid credential, and that the error does not repeat it.
#[track_caller]
pub fn refused(session: &mut Session, token: &str) {
    let failure: Failure = session.try_login(token).unwrap_err();
    let failure = failure.code("42501");
    assert_eq!(failure.message, "invalid credential");
    // A short one may be a part of any word.
    if token.len() > 20 {
        failure.hides(token);
    }
}
