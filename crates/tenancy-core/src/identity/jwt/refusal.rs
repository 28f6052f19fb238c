//! Why a token is refused. Its bearer gets one error for all of these, so that a forger learns nothing; who runs the provider
//! reads the reason in `identity_refusals`.

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Refusal {
    /// No JSON Web Token.
    Malformed = 1,
    /// A header that no token for access has.
    Header,
    /// No provider has its issuer and audience.
    NoProvider,
    /// More providers claim its issuer and audiences than are tried.
    TooManyProviders,
    /// The keys of several providers verify it.
    Ambiguous,
    /// No key of the provider is meant.
    NoKey,
    /// The key did not make the signature.
    Signature,
    /// It is over.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// A claim that every token may have is invalid.
    Claims,
    /// It names no user.
    NoUser,
    /// It names no tenant, and the provider's tokens must.
    NoTenant,
    /// Its groups are no texts.
    Groups,
    /// There is no such tenant below the provider's scope.
    UnknownTenant,
    /// There is no such user, and the provider creates none.
    UnknownUser,
    /// The user belongs to another provider.
    OtherProvider,
    /// It was used before, and each is valid for one login.
    Used,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 17] = [
        Self::Malformed,
        Self::Header,
        Self::NoProvider,
        Self::TooManyProviders,
        Self::Ambiguous,
        Self::NoKey,
        Self::Signature,
        Self::Expired,
        Self::NotYetValid,
        Self::Claims,
        Self::NoUser,
        Self::NoTenant,
        Self::Groups,
        Self::UnknownTenant,
        Self::UnknownUser,
        Self::OtherProvider,
        Self::Used,
    ];

    /// Returns the reason with this number.
    #[must_use]
    pub fn of(number: u8) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|reason| *reason as u8 == number)
    }

    /// Returns whether the provider's key made the token, which is refused for what it says.
    #[must_use]
    pub fn verified(self) -> bool {
        self > Self::Signature
    }

    /// Returns the word that the audit log has for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Header => "header",
            Self::NoProvider => "no_provider",
            Self::TooManyProviders => "too_many_providers",
            Self::Ambiguous => "ambiguous",
            Self::NoKey => "no_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Claims => "claims",
            Self::NoUser => "no_user",
            Self::NoTenant => "no_tenant",
            Self::Groups => "groups",
            Self::UnknownTenant => "unknown_tenant",
            Self::UnknownUser => "unknown_user",
            Self::OtherProvider => "other_provider",
            Self::Used => "used",
        }
    }

    /// Returns what it means, for the view.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Malformed => "not a JSON Web Token of 16 kB at most",
            Self::Header => {
                "its header has another typ than that of an access token, or asks for an extension (crit)"
            }
            Self::NoProvider => {
                "no enabled provider has its issuer (iss) and one of its audiences (aud)"
            }
            Self::TooManyProviders => "too many providers have its issuer and audiences",
            Self::Ambiguous => {
                "the keys of several providers verify it, and azp names the audience of none or of several"
            }
            Self::NoKey => {
                "its kid names no key of the provider, or its alg is not that key's: pass the provider's new keys to set_identity_keys()"
            }
            Self::Signature => "the provider's key did not make its signature",
            Self::Expired => {
                "it has no exp, or expired longer ago than the leeway: compare the clocks"
            }
            Self::NotYetValid => {
                "its nbf or iat is later than now and the leeway: compare the clocks"
            }
            Self::Claims => "exp, nbf, iat or jti is invalid",
            Self::NoUser => {
                "it has no user_claim that could be an external id, or an email without email_verified"
            }
            Self::NoTenant => "it has no tenant_claim that could be an external id",
            Self::Groups => "its groups_claim is neither a text nor an array of texts",
            Self::UnknownTenant => {
                "no tenant below the provider's scope has the external id or the slug in its tenant_claim"
            }
            Self::UnknownUser => "there is no such user, and create_users is false",
            Self::OtherProvider => "the user belongs to another provider",
            Self::Used => "single_use: its jti was used before, or it has none",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal;

    #[test]
    fn each_has_a_number_and_a_word() {
        for (n, reason) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, n + 1);
            assert_eq!(Refusal::of(reason as u8), Some(reason));
            let of = |word| Refusal::ALL.iter().filter(|r| r.as_str() == word).count();
            assert_eq!(of(reason.as_str()), 1);
        }
        assert_eq!(Refusal::of(0), None);
    }
}
