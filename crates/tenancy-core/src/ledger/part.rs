//! Parts of a scope's usage, which have budgets of their own: usage with certain values of dimensions, with an API key, or of
//! each member of the scope.
//!
//! A part's account is named by a hash in place of the scope. Its first two bytes are the last two of the scope's id, so that
//! what [changes](super::changes) about the scope's budgets concerns the accounts of all its parts.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// What has an amount of its own, each of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Per {
    /// Each partner.
    Partner,
    /// Each tenant.
    Tenant,
    /// Each project.
    Project,
    /// Each user.
    User,
    /// Each API key.
    ApiKey,
    /// Each value of a dimension.
    Dimension(String),
}

impl Per {
    /// Returns what a name stands for; a name of no level is that of a dimension.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            "partner" => Self::Partner,
            "tenant" => Self::Tenant,
            "project" => Self::Project,
            "user" => Self::User,
            "api_key" => Self::ApiKey,
            dimension => Self::Dimension(dimension.to_owned()),
        }
    }

    /// Returns its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Partner => "partner",
            Self::Tenant => "tenant",
            Self::Project => "project",
            Self::User => "user",
            Self::ApiKey => "api_key",
            Self::Dimension(name) => name,
        }
    }
}

/// Whose usage it is, and with which values of dimensions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traits<'a> {
    /// The partner.
    pub partner: Option<Uuid>,
    /// The tenant.
    pub tenant: Option<Uuid>,
    /// The project.
    pub project: Option<Uuid>,
    /// The user.
    pub user: Option<Uuid>,
    /// The API key that proved the context.
    pub api_key: Option<Uuid>,
    /// The values of the metric's dimensions.
    pub dimensions: &'a [(String, String)],
}

impl<'a> Traits<'a> {
    fn dimension(&self, name: &str) -> Option<&'a str> {
        let found = self.dimensions.iter().find(|(of, _)| of == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What usage counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member<'a> {
    /// All that is in the part.
    All,
    /// A scope or an API key.
    Id(Uuid),
    /// A value of a dimension.
    Value(&'a str),
}

/// Which of a scope's usage counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    per: Option<Per>,
    dimensions: BTreeMap<String, String>,
    api_key: Option<Uuid>,
    seed: [u8; 16],
}

impl Part {
    /// Creates the part of a scope's usage with these values of dimensions and this API key, or each such part. `None` if all
    /// usage counts together.
    #[must_use]
    pub fn new(
        scope: Uuid,
        per: Option<Per>,
        dimensions: BTreeMap<String, String>,
        api_key: Option<Uuid>,
    ) -> Option<Self> {
        if per.is_none() && dimensions.is_empty() && api_key.is_none() {
            return None;
        }
        // Each piece with its length: no two parts have the same pieces.
        let mut digest = Sha256::new();
        let mut add = |piece: &[u8]| {
            digest.update((piece.len() as u64).to_be_bytes());
            digest.update(piece);
        };
        add(scope.as_bytes());
        match &per {
            Some(Per::Dimension(name)) => {
                add(b"dimension");
                add(name.as_bytes());
            }
            Some(level) => {
                add(b"level");
                add(level.as_str().as_bytes());
            }
            None => add(b"all"),
        }
        add(api_key.as_ref().map_or(&[], |key| key.as_bytes()));
        for (name, value) in &dimensions {
            add(name.as_bytes());
            add(value.as_bytes());
        }
        let seed = placed(
            scope.as_bytes()[14..].try_into().unwrap_or_default(),
            digest,
        );
        Some(Self {
            per,
            dimensions,
            api_key,
            seed,
        })
    }

    /// Returns what each part is of, if there are several.
    #[must_use]
    pub fn per(&self) -> Option<&Per> {
        self.per.as_ref()
    }

    /// Returns the values of dimensions that usage must have.
    #[must_use]
    pub fn dimensions(&self) -> &BTreeMap<String, String> {
        &self.dimensions
    }

    /// Returns the API key that usage must have.
    #[must_use]
    pub fn api_key(&self) -> Option<Uuid> {
        self.api_key
    }

    /// Returns what usage counts for; `None` if it does not count. Usage without the value that the parts differ by counts in
    /// none of them.
    #[must_use]
    pub fn counts<'a>(&self, usage: &Traits<'a>) -> Option<Member<'a>> {
        if self.api_key.is_some() && usage.api_key != self.api_key {
            return None;
        }
        let has = |(name, value): (&String, &String)| usage.dimension(name) == Some(value.as_str());
        if !self.dimensions.iter().all(has) {
            return None;
        }
        match &self.per {
            None => Some(Member::All),
            Some(Per::Dimension(name)) => Some(Member::Value(usage.dimension(name)?)),
            Some(level) => Some(Member::Id(member(level, usage)?)),
        }
    }

    /// Returns the name of the account of a member. It takes a hash: callers keep the last one.
    #[must_use]
    pub fn name(&self, member: &Member<'_>) -> [u8; 16] {
        let value = match member {
            Member::All => return self.seed,
            Member::Id(id) => id.as_bytes().as_slice(),
            Member::Value(value) => value.as_bytes(),
        };
        let digest = Sha256::new().chain_update(self.seed).chain_update(value);
        placed([self.seed[0], self.seed[1]], digest)
    }

    /// Returns the member or the value that usage counts for, as a text; `None` if there is only one part.
    #[must_use]
    pub fn value_of(&self, usage: &Traits<'_>) -> Option<String> {
        match self.per.as_ref()? {
            Per::Dimension(name) => usage.dimension(name).map(str::to_owned),
            level => member(level, usage).map(|id| id.to_string()),
        }
    }
}

fn member(level: &Per, usage: &Traits<'_>) -> Option<Uuid> {
    match level {
        Per::Partner => usage.partner,
        Per::Tenant => usage.tenant,
        Per::Project => usage.project,
        Per::User => usage.user,
        Per::ApiKey => usage.api_key,
        Per::Dimension(_) => None,
    }
}

fn placed(place: [u8; 2], digest: Sha256) -> [u8; 16] {
    let digest = digest.finalize();
    let mut name = [0; 16];
    name.copy_from_slice(&digest[..16]);
    name[..2].copy_from_slice(&place);
    name
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs.map(|(n, v)| ((*n).into(), (*v).into())).collect()
    }

    fn dimensions(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        map(pairs).into_iter().collect()
    }

    /// The name of the account of usage; `None` if it does not count.
    fn account_of(part: &Part, usage: &Traits<'_>) -> Option<[u8; 16]> {
        part.counts(usage).map(|member| part.name(&member))
    }

    #[test]
    fn usage_counts_with_all_values_and_the_key() {
        let part = Part::new(
            id(1),
            None,
            map(&[("model", "large"), ("region", "eu")]),
            Some(id(9)),
        );
        let part = part.unwrap();
        let both = dimensions(&[("model", "large"), ("region", "eu"), ("zone", "a")]);
        let one = dimensions(&[("model", "large")]);
        let of = |dimensions, api_key| {
            account_of(
                &part,
                &Traits {
                    dimensions,
                    api_key,
                    ..Traits::default()
                },
            )
        };
        assert!(of(&both, Some(id(9))).is_some());
        assert_eq!(of(&both, Some(id(8))), None);
        assert_eq!(of(&both, None), None);
        assert_eq!(of(&one, Some(id(9))), None);
    }

    #[test]
    fn each_member_has_an_account_and_no_member_none() {
        let part = Part::new(id(1), Some(Per::User), BTreeMap::new(), None).unwrap();
        let of = |user| {
            account_of(
                &part,
                &Traits {
                    user,
                    ..Traits::default()
                },
            )
        };
        assert_eq!(of(Some(id(2))), of(Some(id(2))));
        assert_ne!(of(Some(id(2))), of(Some(id(3))));
        assert_eq!(of(None), None);
    }

    #[test]
    fn all_usage_is_no_part() {
        assert_eq!(Part::new(id(1), None, BTreeMap::new(), None), None);
    }

    proptest! {
        /// No two parts, scopes or values share an account; all of a scope have its place.
        #[test]
        fn accounts_differ(seen in prop::collection::hash_set(
            (0..3_u128, prop::option::of("[ab]{1,2}"), prop::collection::btree_map("[ab]{0,2}", "[ab]{0,2}", 0..3), prop::option::of(1..3_u128), "[ab]{0,2}"),
            1..30,
        )) {
            let mut all = HashMap::new();
            for (scope, per, only, key, value) in seen {
                // What the parts differ by is not fixed as well.
                let per = per.filter(|per| !only.contains_key(per));
                let scope = id(scope);
                let Some(part) = Part::new(scope, per.clone().map(Per::Dimension), only.clone(), key.map(id)) else { continue };
                let mut dimensions: Vec<(String, String)> = only.clone().into_iter().collect();
                let value = per.clone().map(|per| (per, value));
                dimensions.extend(value.clone());
                let traits = Traits { api_key: key.map(id), dimensions: &dimensions, ..Traits::default() };
                let account = account_of(&part, &traits).unwrap();
                prop_assert_eq!(&account[..2], &scope.as_bytes()[14..]);
                let what = (scope, value, only, key);
                prop_assert_eq!(all.entry(account).or_insert_with(|| what.clone()), &what);
            }
        }
    }
}
