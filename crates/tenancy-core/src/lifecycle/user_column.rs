//! The condition by which a table has a user's rows, as `owns()` has it, and what is done to them when the user is forgotten.

use uuid::Uuid;

use super::statements::Change;
use super::tenant_key::TenantKey;
use crate::policy::{KeyType, quote_ident, quote_literal};

/// What columns hold for one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserKey {
    /// The user's own id and external id.
    pub user: TenantKey,
    /// The tenant that it belongs to, if it belongs to one: its external id is unique only there.
    pub tenant: Option<TenantKey>,
}

/// What becomes of rows that name a user who is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// They are deleted.
    Delete,
    /// They stay, and name the user by its id or a pseudonym.
    Keep,
    /// They stay, and name no user.
    Null,
}

impl Rule {
    /// Returns the rule with a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "delete" => Some(Self::Delete),
            "keep" => Some(Self::Keep),
            "null" => Some(Self::Null),
            _ => None,
        }
    }
}

/// A column that names users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserColumn {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub key: KeyType,
    /// The tenant column of its table and what that holds, if the table is protected.
    pub tenant: Option<(String, KeyType)>,
    /// What becomes of rows with a user who is forgotten; `None`: undecided.
    pub rule: Option<Rule>,
    /// Further columns that become NULL in rows that stay.
    pub clear: Vec<String>,
}

/// Returns what replaces the names of a forgotten user. The id tells nothing of a person.
#[must_use]
pub fn pseudonym(user: Uuid) -> String {
    format!("forgotten-{}", user.simple())
}

impl UserColumn {
    /// Returns the condition for rows of a user; `None` if no row can be the user's.
    #[must_use]
    pub fn condition(&self, key: &UserKey) -> Option<String> {
        let own = key.user.condition(&self.name, self.key)?;
        if self.key == KeyType::Uuid {
            return Some(own);
        }
        let (column, kind) = self.tenant.as_ref()?;
        let tenant = key.tenant.as_ref()?.condition(column, *kind)?;
        Some(format!("({tenant} AND {own})"))
    }

    /// Returns the column of an index that finds a user's rows.
    #[must_use]
    pub fn searched(&self) -> (&str, KeyType) {
        match (&self.tenant, self.key) {
            (Some((column, kind)), own) if own != KeyType::Uuid => (column, *kind),
            _ => (&self.name, self.key),
        }
    }

    /// Returns what is done to rows of a forgotten user, and the condition for those that are left to do; `None` if there is nothing to do,
    /// or no row can be the user's.
    #[must_use]
    pub fn change(&self, key: &UserKey) -> Option<(Change, String)> {
        let found = self.condition(key)?;
        let replaced = match (self.rule?, self.key) {
            (Rule::Delete, _) => return Some((Change::Delete, found)),
            (Rule::Null, _) => Some("NULL".to_owned()),
            // The id names nobody any more.
            (Rule::Keep, KeyType::Uuid) => None,
            (Rule::Keep, _) => Some(quote_literal(&pseudonym(key.user.id))),
        };
        let clear: Vec<String> = self.clear.iter().map(|name| quote_ident(name)).collect();
        let assignments = (replaced.iter())
            .map(|value| format!("{} = {value}", quote_ident(&self.name)))
            .chain(clear.iter().map(|name| format!("{name} = NULL")))
            .collect::<Vec<_>>()
            .join(", ");
        if assignments.is_empty() {
            return None;
        }
        let left = match replaced {
            Some(_) => found,
            // Else these rows would be found again and again.
            None => {
                let some = clear
                    .iter()
                    .map(|name| format!("{name} IS NOT NULL"))
                    .collect::<Vec<_>>();
                format!("({found} AND ({}))", some.join(" OR "))
            }
        };
        Some((Change::Set(assignments), left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> UserKey {
        UserKey {
            user: TenantKey {
                id: Uuid::from_u128(5),
                external_id: Some("ann@x".to_owned()),
            },
            tenant: Some(TenantKey {
                id: Uuid::from_u128(7),
                external_id: None,
            }),
        }
    }

    fn column(key: KeyType, rule: Rule, clear: &[&str]) -> UserColumn {
        UserColumn {
            name: "author".to_owned(),
            key,
            tenant: Some(("tenant_id".to_owned(), KeyType::Uuid)),
            rule: Some(rule),
            clear: clear.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    const BY_ID: &str =
        "author OPERATOR(pg_catalog.=) '00000000-0000-0000-0000-000000000005'::pg_catalog.uuid";
    const BY_NAME: &str = "(tenant_id OPERATOR(pg_catalog.=) '00000000-0000-0000-0000-000000000007'::pg_catalog.uuid \
                           AND author OPERATOR(pg_catalog.=) 'ann@x'::pg_catalog.text)";

    #[test]
    fn an_id_is_the_users_everywhere_and_an_external_id_only_in_its_tenant() {
        let by = |key| column(key, Rule::Delete, &[]).condition(&ann());
        assert_eq!(by(KeyType::Uuid).as_deref(), Some(BY_ID));
        assert_eq!(by(KeyType::Text).as_deref(), Some(BY_NAME));
        assert_eq!(by(KeyType::BigInt), None);
        let nowhere = UserKey {
            tenant: None,
            ..ann()
        };
        let mut text = column(KeyType::Text, Rule::Delete, &[]);
        assert_eq!(text.condition(&nowhere), None);
        text.tenant = None;
        assert_eq!(text.condition(&ann()), None);
    }

    #[test]
    fn rows_that_stay_lose_the_name_and_what_is_cleared() {
        let change = |key, rule, clear: &[&str]| column(key, rule, clear).change(&ann());
        let set = |text: &str| Change::Set(text.to_owned());
        assert_eq!(
            change(KeyType::Uuid, Rule::Delete, &[]),
            Some((Change::Delete, BY_ID.to_owned()))
        );
        assert_eq!(
            change(KeyType::Uuid, Rule::Null, &["mail"]),
            Some((set("author = NULL, mail = NULL"), BY_ID.to_owned()))
        );
        assert_eq!(change(KeyType::Uuid, Rule::Keep, &[]), None);
        assert_eq!(
            change(KeyType::Uuid, Rule::Keep, &["mail", "Name"]),
            Some((
                set("mail = NULL, \"Name\" = NULL"),
                format!("({BY_ID} AND (mail IS NOT NULL OR \"Name\" IS NOT NULL))")
            ))
        );
        assert_eq!(
            change(KeyType::Text, Rule::Keep, &[]),
            Some((
                set("author = 'forgotten-00000000000000000000000000000005'"),
                BY_NAME.to_owned()
            ))
        );
    }

    #[test]
    fn what_is_undecided_changes_nothing() {
        let undecided = UserColumn {
            rule: None,
            ..column(KeyType::Uuid, Rule::Delete, &[])
        };
        assert_eq!(undecided.change(&ann()), None);
        assert_eq!(
            ["delete", "keep", "null", "drop"].map(Rule::parse),
            [Some(Rule::Delete), Some(Rule::Keep), Some(Rule::Null), None]
        );
    }
}
