//! What a scope asks of the logins of its users: how they proved who they are, and how long ago.
//!
//! `amr` and `acr` are those of OpenID Connect, with the values of RFC 8176 (`mfa`, `otp`, `hwk`) or the provider's own. `auth_time` is
//! when the user last proved it; `iat` is not, since a provider issues tokens for as long as it keeps the user's session.

use crate::jwt::Claims;
use crate::time::{Instant, Length};

/// What one scope asks. Each scope on a user's path asks for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginPolicy {
    /// One of these must be among the token's authentication methods (`amr`), or
    pub amr: Vec<String>,
    /// one of these must be the token's authentication context (`acr`). If both are empty, any token will do.
    pub acr: Vec<String>,
    /// How long after the login (`auth_time`) a session may last.
    pub longest_session: Option<Length>,
}

/// Why a token does not meet a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// By its methods and its context.
    Method,
    /// It does not say when the user logged in.
    NoTime,
    /// The user logged in too long ago.
    Age,
}

impl LoginPolicy {
    /// Returns when a session that a token opens must end; `None`: with the token.
    ///
    /// ```
    /// # use tenancy_core::identity::login_policy::{LoginPolicy, Unmet};
    /// # use tenancy_core::jwt::Claims;
    /// # use tenancy_core::time::{Instant, Length};
    /// let at = Instant::from_unix_seconds;
    /// let mut claims = Claims {
    ///     user: "alice".to_owned(), tenant: None, groups: tenancy_core::jwt::Groups::Untold, name: None, id: None, issued_at: Some(at(5_000)), expires_at: at(9_000),
    ///     methods: vec!["pwd".to_owned()], context: None, authenticated_at: None,
    /// };
    /// let policy = LoginPolicy { amr: vec!["mfa".to_owned()], longest_session: Some(Length::from_seconds(3_600)), ..Default::default() };
    /// assert_eq!(policy.session_end(&claims, at(5_000)), Err(Unmet::Method));
    /// claims.methods.push("mfa".to_owned());
    /// assert_eq!(policy.session_end(&claims, at(5_000)), Err(Unmet::NoTime));
    /// claims.authenticated_at = Some(at(2_000));
    /// assert_eq!(policy.session_end(&claims, at(5_000)), Ok(Some(at(5_600))));
    /// assert_eq!(policy.session_end(&claims, at(5_600)), Err(Unmet::Age));
    /// ```
    pub fn session_end(&self, claims: &Claims, now: Instant) -> Result<Option<Instant>, Unmet> {
        let by_amr = || {
            claims
                .methods
                .iter()
                .any(|method| self.amr.contains(method))
        };
        let by_acr = || {
            claims
                .context
                .as_ref()
                .is_some_and(|context| self.acr.contains(context))
        };
        if !(self.amr.is_empty() && self.acr.is_empty() || by_amr() || by_acr()) {
            return Err(Unmet::Method);
        }
        let Some(longest) = self.longest_session else {
            return Ok(None);
        };
        let end = claims.authenticated_at.ok_or(Unmet::NoTime)? + longest;
        if now < end {
            Ok(Some(end))
        } else {
            Err(Unmet::Age)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(methods: &[&str], context: Option<&str>) -> Claims {
        Claims {
            user: "alice".to_owned(),
            tenant: None,
            groups: crate::jwt::Groups::Untold,
            name: None,
            id: None,
            issued_at: None,
            expires_at: Instant::from_unix_seconds(9_000),
            methods: methods.iter().map(|&method| method.to_owned()).collect(),
            context: context.map(str::to_owned),
            authenticated_at: None,
        }
    }

    #[test]
    fn one_method_or_the_context_is_enough() {
        let texts = |all: &[&str]| all.iter().map(|&text| text.to_owned()).collect();
        let now = Instant::from_unix_seconds(1_000);
        for (amr, acr, methods, context, met) in [
            (&[][..], &[][..], &[][..], None, true),
            (&["mfa"], &[], &[], None, false),
            (&["mfa"], &[], &["pwd"], Some("mfa"), false),
            (&["mfa", "hwk"], &[], &["pwd", "hwk"], None, true),
            (&[], &["2"], &["2"], None, false),
            (&[], &["2"], &[], Some("2"), true),
            (&["mfa"], &["2"], &["pwd"], Some("2"), true),
            (&["mfa"], &["2"], &["mfa"], Some("1"), true),
            (&["mfa"], &["2"], &["pwd"], Some("1"), false),
            (&["mfa"], &[], &["MFA"], None, false),
        ] {
            let policy = LoginPolicy {
                amr: texts(amr),
                acr: texts(acr),
                longest_session: None,
            };
            let found = policy.session_end(&claims(methods, context), now);
            assert_eq!(found.is_ok(), met, "{policy:?} {methods:?} {context:?}");
        }
    }
}
