//! JSON Web Tokens: signed claims of an identity provider about a user.
//!
//! A provider's keys determine the algorithm; a token's header only names the key, and must agree. Keys in a
//! header (`jwk`, `jku`, `x5u`, `x5c`) are ignored. Anything unknown is refused: a critical extension, another
//! type of token, a repeated JSON key.
//!
//! These rules are our own since libraries leave them to the caller; `jsonwebtoken` checks the signatures.
//!
//! | file | what |
//! | --- | --- |
//! | `keys` | RFC 7517 key sets and shared secrets, and their algorithms |
//! | `claims` | which claims name the user, its tenant, its groups |
//! | `json` | JSON without repeated keys |
//! | `refusal` | why a token is refused: for an operator, never for its bearer |

mod claims;
mod json;
mod keys;
mod refusal;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::fmt;

use crate::time::{Instant, Length};

pub use claims::{BadClaimName, ClaimName, Groups, Mapping, NoGroups};
pub use keys::{KeyFault, KeySet};
pub use refusal::Refusal;

/// The longest token. Tokens of large directories, with all their groups, have a few kilobytes.
pub const MOST_BYTES: usize = 16 * 1024;

/// The largest leeway, because clocks differ.
pub const MOST_LEEWAY: Length = Length::from_seconds(600);

/// The types that a header may have: access tokens and plain tokens. Other types (logout, security event, proof of
/// possession) do not authenticate a caller.
const TYPES: [&str; 4] = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"];

/// Returns the stored hash of a token's id: SHA-256.
#[must_use]
pub fn fingerprint(id: &str) -> [u8; 32] {
    Sha256::digest(id).into()
}

/// The maximum number of audiences of a token.
pub const MOST_AUDIENCES: usize = 32;

/// Returns the hash of an issuer and an audience: SHA-256.
#[must_use]
pub fn tokens_of(issuer: &str, audience: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    // With its length, so that no other pair has the same input.
    hash.update((issuer.len() as u64).to_be_bytes());
    hash.update(issuer);
    hash.update(audience);
    hash.finalize().into()
}

/// The claims that may name the application in a token without `aud`: those of Amazon Cognito and RFC 9068, of Okta, of
/// Entra ID, and of OpenID Connect.
pub const AUDIENCE_CLAIMS: [&str; 4] = ["client_id", "cid", "appid", "azp"];

/// The issuer of tokens, their audiences, and how they are verified and read.
#[derive(Debug)]
pub struct Provider {
    /// The required `iss`.
    pub issuer: String,
    /// Other names of the issuer, such as its former one.
    pub aliases: Vec<String>,
    /// One of these must be in `aud`.
    pub audiences: Vec<String>,
    /// The claim that has the audience in tokens without `aud`, one of [`AUDIENCE_CLAIMS`].
    pub audience_claim: Option<String>,
    /// How much its clock may differ from the server's.
    pub leeway: Length,
    /// The keys that verify its tokens.
    pub keys: KeySet,
    /// The meaning of its claims.
    pub mapping: Mapping,
}

/// The claims of a verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The provider's name for the user.
    pub user: String,
    /// Its name for the tenant, if the mapping has one.
    pub tenant: Option<String>,
    /// The user's groups.
    pub groups: Groups,
    /// The user's display name.
    pub name: Option<String>,
    /// When the token expires, including leeway.
    pub expires_at: Instant,
    /// When it was issued, if it has that claim.
    pub issued_at: Option<Instant>,
    /// The token's own id.
    pub id: Option<String>,
    /// How the user proved who it is: `amr`.
    pub methods: Vec<String>,
    /// The class of that proof: `acr`.
    pub context: Option<String>,
    /// When the user proved it: `auth_time`.
    pub authenticated_at: Option<Instant>,
}

/// Returns whether a text has the form of a token: three parts of base64url.
pub fn has_shape(text: &str) -> bool {
    text.len() <= MOST_BYTES && text.split('.').count() == 3 && text.split('.').all(is_base64url)
}

fn is_base64url(part: &str) -> bool {
    !part.is_empty()
        && part
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// A parsed token that is not verified.
pub struct Unverified<'a> {
    signed: &'a str,
    signature: &'a str,
    header: Map<String, Value>,
    claims: Value,
}

impl<'a> Unverified<'a> {
    /// Parses a token. Each has one encoding: no padding, no unused bits, no repeated key.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        if !has_shape(text) {
            return Err(Refusal::Malformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Refusal::Malformed)?;
        decode(signature)?;
        let Value::Object(header) = json::parse(&decode(header)?).ok_or(Refusal::Malformed)? else {
            return Err(Refusal::Malformed);
        };
        let claims = json::parse(&decode(claims)?).ok_or(Refusal::Malformed)?;
        if !claims.is_object() {
            return Err(Refusal::Malformed);
        }
        Ok(Self {
            signed,
            signature,
            header,
            claims,
        })
    }

    /// Returns its claimed issuer, to find the provider.
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// Returns its claimed audiences, to find the providers; `None` if it has none, or more than the limit. Without `aud` those
    /// are what the [claims](AUDIENCE_CLAIMS) say that some provider may read in its place.
    pub fn audiences(&self) -> Option<Vec<&str>> {
        let found = match self.claims.get("aud") {
            Some(Value::Array(all)) if all.len() <= MOST_AUDIENCES => {
                all.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?
            }
            Some(one) => vec![one.as_str()?],
            None => AUDIENCE_CLAIMS
                .iter()
                .filter_map(|claim| self.claims.get(claim)?.as_str())
                .collect(),
        };
        (!found.is_empty()).then_some(found)
    }

    /// Returns the audience that it was issued to (OpenID Connect's `azp`), if it has several.
    pub fn party(&self) -> Option<&str> {
        self.claims.get("azp")?.as_str()
    }

    /// Returns its claims, if it was issued by this provider and is valid at `now`.
    ///
    /// ```
    /// use jsonwebtoken::{EncodingKey, Header, encode};
    /// use serde_json::json;
    /// use tenancy_core::jwt::{ClaimName, KeySet, Mapping, NoGroups, Provider, Refusal, Unverified};
    /// use tenancy_core::time::{Instant, Length};
    ///
    /// let secret = b"an example secret of enough bytes";
    /// let mut provider = Provider {
    ///     issuer: "https://login.example.com/".to_owned(),
    ///     aliases: vec![],
    ///     audiences: vec!["api".to_owned()],
    ///     audience_claim: None,
    ///     leeway: Length::from_seconds(30),
    ///     keys: KeySet::from_secret(secret).unwrap(),
    ///     mapping: Mapping { user: ClaimName::parse("sub").unwrap(), tenant: None, groups: None, without_groups: NoGroups::Empty, name: None },
    /// };
    /// let claims = json!({"iss": "https://login.example.com/", "aud": "api", "sub": "alice", "exp": 1_800_000_060});
    /// let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(secret)).unwrap();
    /// let token = Unverified::parse(&token).unwrap();
    ///
    /// let at = Instant::from_unix_seconds;
    /// assert_eq!(token.verify(&provider, at(1_800_000_000)).unwrap().user, "alice");
    /// // Its last second is that of `exp` and the leeway.
    /// assert!(token.verify(&provider, at(1_800_000_089)).is_ok());
    /// assert_eq!(token.verify(&provider, at(1_800_000_090)), Err(Refusal::Expired));
    /// // A token for another application opens nothing.
    /// provider.audiences = vec!["backoffice".to_owned()];
    /// assert_eq!(token.verify(&provider, at(1_800_000_000)), Err(Refusal::NoProvider));
    /// ```
    pub fn verify(&self, provider: &Provider, now: Instant) -> Result<Claims, Refusal> {
        self.check_header()?;
        let algorithm = text(&self.header, "alg").ok_or(Refusal::Header)?;
        let kid = match self.header.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str().ok_or(Refusal::Header)?),
        };
        (provider.keys).verify(algorithm, kid, self.signed, self.signature)?;
        if !self.is_of(provider) || !self.is_for(provider) {
            return Err(Refusal::NoProvider);
        }
        let leeway = provider.leeway.clamp(Length::ZERO, MOST_LEEWAY);
        let expires_at = self.expiry(now, leeway)?;
        // Only a login policy asks for it: a time that is none, or is to come, says nothing.
        let authenticated_at = self.instant("auth_time", f64::floor).ok().flatten();
        let authenticated_at = authenticated_at.filter(|at| *at <= now + leeway);
        let read = provider.mapping.read(&self.claims)?;
        let id = match self.claims.get("jti") {
            None => None,
            Some(Value::String(id)) if !id.is_empty() => Some(id.clone()),
            Some(_) => return Err(Refusal::Claims),
        };
        Ok(Claims {
            user: read.user,
            tenant: read.tenant,
            groups: read.groups,
            name: read.name,
            expires_at,
            issued_at: self.instant("iat", f64::floor)?,
            id,
            methods: claims::texts(self.claims.get("amr")),
            context: self
                .claims
                .get("acr")
                .and_then(Value::as_str)
                .map(str::to_owned),
            authenticated_at,
        })
    }

    fn check_header(&self) -> Result<(), Refusal> {
        // Extensions that must be understood; none is.
        if ["crit", "b64", "enc", "zip"]
            .iter()
            .any(|name| self.header.contains_key(*name))
        {
            return Err(Refusal::Header);
        }
        match self.header.get("typ") {
            None => Ok(()),
            Some(Value::String(kind))
                if TYPES.iter().any(|known| kind.eq_ignore_ascii_case(known)) =>
            {
                Ok(())
            }
            Some(_) => Err(Refusal::Header),
        }
    }

    fn is_for(&self, provider: &Provider) -> bool {
        let ours = |aud: &Value| {
            let mut audiences = provider.audiences.iter();
            aud.as_str()
                .is_some_and(|aud| audiences.any(|ours| ours == aud))
        };
        match self.claims.get("aud") {
            Some(Value::Array(all)) => all.iter().all(Value::is_string) && all.iter().any(ours),
            Some(one) => ours(one),
            None => {
                let instead = provider.audience_claim.as_ref();
                let instead = instead.and_then(|claim| self.claims.get(claim));
                instead.is_some_and(ours)
            }
        }
    }

    fn is_of(&self, provider: &Provider) -> bool {
        let mut names = std::iter::once(&provider.issuer).chain(&provider.aliases);
        self.issuer()
            .is_some_and(|issuer| names.any(|name| name == issuer))
    }

    /// Returns its expiry, if it is valid now.
    fn expiry(&self, now: Instant, leeway: Length) -> Result<Instant, Refusal> {
        let expires_at = self.instant("exp", f64::floor)?.ok_or(Refusal::Expired)?;
        let expires_at = expires_at + leeway;
        if now >= expires_at {
            return Err(Refusal::Expired);
        }
        for begins in ["nbf", "iat"] {
            if let Some(at) = self.instant(begins, f64::ceil)?
                && at > now + leeway
            {
                return Err(Refusal::NotYetValid);
            }
        }
        Ok(expires_at)
    }

    /// Returns a claim of time. Fractions are rounded so that the token is valid for less time.
    fn instant(&self, name: &str, round: fn(f64) -> f64) -> Result<Option<Instant>, Refusal> {
        /// Seconds that an [`Instant`] can hold.
        const FARTHEST: f64 = 9.0e12;
        match self.claims.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => {
                let seconds = number.as_f64().map(round).ok_or(Refusal::Claims)?;
                if !(0.0..=FARTHEST).contains(&seconds) {
                    return Err(Refusal::Claims);
                }
                Ok(Some(Instant::from_unix_seconds(seconds as i64)))
            }
            Some(_) => Err(Refusal::Claims),
        }
    }
}

impl fmt::Debug for Unverified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unverified").finish_non_exhaustive()
    }
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str()
}

fn decode(part: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Malformed)
}

#[cfg(test)]
mod tests;
