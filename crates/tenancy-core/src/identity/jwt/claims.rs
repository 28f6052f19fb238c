//! The claims that name the user, its tenant and its groups.

use crate::slug::{check_external_id, check_name};
use serde_json::Value;
use std::fmt;

use super::refusal::Refusal;

/// The longest claim name, in bytes.
const NAME_LIMIT: usize = 255;

/// The name of a claim: the exact name of a top-level claim (`sub`, `https://example.com/tenant`) or, if it starts
/// with a slash, a JSON pointer (`/realm_access/roles`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimName(String);

/// A text that names no claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a claim's name has 1 to 255 bytes")]
pub struct BadClaimName;

impl ClaimName {
    /// Parses a claim's name.
    pub fn parse(text: &str) -> Result<Self, BadClaimName> {
        if text.is_empty() || text.len() > NAME_LIMIT {
            return Err(BadClaimName);
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the claim, if it is present; null counts as absent.
    pub fn find<'a>(&self, claims: &'a Value) -> Option<&'a Value> {
        let found = if self.0.starts_with('/') {
            claims.pointer(&self.0)
        } else {
            claims.get(&self.0)
        };
        found.filter(|value| !value.is_null())
    }

    /// Returns whether the claims say that this one is to be asked for elsewhere: distributed claims of OpenID Connect Core 5.6.2,
    /// and Entra ID's group overage, which tokens of the implicit flow only hint at.
    fn is_elsewhere(&self, claims: &Value) -> bool {
        let name = self.0.trim_start_matches('/');
        let named = claims
            .get("_claim_names")
            .is_some_and(|names| names.get(name).is_some());
        let hinted = || {
            name == "groups" && matches!(claims.get("hasgroups"), Some(Value::Bool(true)))
                || matches!(claims.get("hasgroups"), Some(Value::String(text)) if name == "groups" && text == "true")
        };
        named || hinted()
    }

    /// Returns whether it is an e-mail address, which any user can enter in an account unless it was verified.
    fn is_email(&self) -> bool {
        matches!(self.0.as_str(), "email" | "/email")
    }
}

impl fmt::Display for ClaimName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The meaning of a provider's claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The user. An `email` counts only if `email_verified` is true.
    pub user: ClaimName,
    /// The user's tenant, if the provider serves several.
    pub tenant: Option<ClaimName>,
    /// The user's groups: an array of texts, or one text.
    pub groups: Option<ClaimName>,
    /// What a token without that claim says.
    pub without_groups: NoGroups,
    /// The user's display name.
    pub name: Option<ClaimName>,
}

/// What a token without the claim of groups says. Some providers leave it out for a user without groups, others for tokens
/// that are not about groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoGroups {
    /// The user is in no group.
    Empty,
    /// Nothing: the user's groups stay as they are.
    Keep,
}

impl NoGroups {
    /// Reads its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "empty" => Some(Self::Empty),
            "keep" => Some(Self::Keep),
            _ => None,
        }
    }
}

/// What a token says of its user's groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Groups {
    /// These, sorted, each once.
    Told(Vec<String>),
    /// Nothing.
    Untold,
    /// That they are too many for a token, and to be asked for at the provider.
    Elsewhere,
}

/// What the claims say.
pub struct Read {
    pub user: String,
    pub tenant: Option<String>,
    pub groups: Groups,
    pub name: Option<String>,
}

impl Mapping {
    /// Reads the claims, or returns which of them cannot be.
    pub fn read(&self, claims: &Value) -> Result<Read, Refusal> {
        if self.user.is_email() && !verified(claims) {
            return Err(Refusal::NoUser);
        }
        let user = self.user.find(claims).and_then(identifier);
        let user = user.ok_or(Refusal::NoUser)?;
        let tenant = match &self.tenant {
            None => None,
            Some(name) => {
                let tenant = name.find(claims).and_then(identifier);
                Some(tenant.ok_or(Refusal::NoTenant)?)
            }
        };
        let groups = self.groups(claims)?;
        // A display name that cannot be displayed is ignored.
        let name = self.name.as_ref().and_then(|name| name.find(claims));
        let name = name.and_then(Value::as_str).map(str::trim);
        let name = name.filter(|name| check_name(name).is_ok());
        Ok(Read {
            user,
            tenant,
            groups,
            name: name.map(str::to_owned),
        })
    }

    fn groups(&self, claims: &Value) -> Result<Groups, Refusal> {
        let Some(name) = &self.groups else {
            return Ok(Groups::Told(Vec::new()));
        };
        match (name.find(claims), self.without_groups) {
            (Some(found), _) => groups(found).map(Groups::Told).ok_or(Refusal::Groups),
            (None, _) if name.is_elsewhere(claims) => Ok(Groups::Elsewhere),
            (None, NoGroups::Keep) => Ok(Groups::Untold),
            (None, NoGroups::Empty) => Ok(Groups::Told(Vec::new())),
        }
    }
}

/// Some providers write the boolean as a text.
fn verified(claims: &Value) -> bool {
    match claims.get("email_verified") {
        Some(Value::Bool(verified)) => *verified,
        Some(Value::String(verified)) => verified == "true",
        _ => false,
    }
}

/// Returns a text that may be an external id; also an integer, which has one spelling.
fn identifier(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        _ => return None,
    };
    check_external_id(&text).ok().map(|()| text)
}

fn groups(value: &Value) -> Option<Vec<String>> {
    let mut groups = match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(all) => all
            .iter()
            .map(|group| group.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()?,
        _ => return None,
    };
    // PostgreSQL's text has no NUL, so such a group cannot have a mapping.
    groups.retain(|group| !group.is_empty() && !group.contains('\0'));
    groups.sort_unstable();
    groups.dedup();
    Some(groups)
}

/// Returns the texts of a claim that is one text or an array; whatever else it has is nothing that anybody asks for.
pub fn texts(claim: Option<&Value>) -> Vec<String> {
    let all = match claim {
        Some(Value::Array(all)) => all.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    let texts = all.iter().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}
