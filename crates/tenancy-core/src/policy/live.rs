//! Whether a protected table is isolated now: compares its row security and tenancy's policies with its options.

use super::facts::{Policy, Relation};
use super::key::Named;
use super::{Key, Protection, statements};
use serde::Deserialize;
use std::fmt;

/// Facts of the catalogs about the isolation of one protected table, or of a part of one.
#[derive(Debug, Clone, Deserialize)]
pub struct Live {
    /// The table.
    pub relation: Relation,
    /// Its options.
    pub protection: Protection,
    /// The registered type of its tenant column; `None` if only the root's is registered.
    #[serde(default)]
    pub key_type: Option<String>,
    /// The columns that the protection names and the table has.
    pub columns: Vec<LiveColumn>,
    /// Row security enabled.
    pub rls: bool,
    /// Row security forced on the owner.
    pub force: bool,
    /// All policies on it.
    pub policies: Vec<Policy>,
}

/// A column that a protection names.
#[derive(Debug, Clone, Deserialize)]
pub struct LiveColumn {
    /// Its name.
    pub name: String,
    /// Its name as the server deparses it.
    pub quoted: String,
    /// What it may hold as a tenant column.
    #[serde(deserialize_with = "Key::of_facts")]
    pub key: Option<Key>,
}

/// Why a protected table is not isolated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A column that the protection names is missing.
    NoColumn(String),
    /// The tenant column has another type than when it was protected.
    Retyped(String),
    /// Row security is off.
    Disabled,
    /// The owner is exempt from row security.
    NotForced,
    /// A policy is missing.
    NoPolicy(&'static str),
    /// A policy differs from the one that `protect()` created.
    Altered(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoColumn(name) => write!(f, "Its column \"{name}\" is missing."),
            Self::Retyped(name) => write!(f, "Its column \"{name}\" has another type."),
            Self::Disabled => f.write_str("Row security is disabled on it."),
            Self::NotForced => f.write_str("Row security is not forced on its owner."),
            Self::NoPolicy(name) => write!(f, "Its policy \"{name}\" is missing."),
            Self::Altered(name) => write!(f, "Its policy \"{name}\" was altered."),
        }
    }
}

/// Returns the first reason why a table is not isolated, or `None` if it is.
#[must_use]
pub fn fault(live: &Live) -> Option<Fault> {
    let protection = &live.protection;
    let named = [
        Some(&protection.tenant_column),
        protection.owner_column.as_ref(),
        protection.project_column.as_ref(),
    ];
    for name in named.into_iter().flatten() {
        if !live.columns.iter().any(|c| c.name == *name) {
            return Some(Fault::NoColumn(name.clone()));
        }
    }
    let tenant = &protection.tenant_column;
    let retyped = || Some(Fault::Retyped(tenant.clone()));
    let column = live.columns.iter().find(|c| c.name == *tenant)?;
    let Some(key) = column.key else {
        return retyped();
    };
    if live
        .key_type
        .as_deref()
        .is_some_and(|k| k != key.kind.as_str())
    {
        return retyped();
    }
    if !live.rls {
        return Some(Fault::Disabled);
    }
    if !live.force {
        return Some(Fault::NotForced);
    }
    let names: Vec<Named<'_>> = (live.columns.iter())
        .map(|c| Named {
            name: &c.name,
            quoted: &c.quoted,
            key: c.key,
        })
        .collect();
    for wanted in statements::policies(&names, protection, key) {
        let Some(there) = live.policies.iter().find(|p| p.name == wanted.name) else {
            return Some(Fault::NoPolicy(wanted.name));
        };
        if !wanted.is(there) {
            return Some(Fault::Altered(wanted.name));
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn isolated() -> Value {
        let policy = |name: &str,
                      permissive: bool,
                      command: &str,
                      using: &str,
                      check: Option<&str>| {
            json!({ "name": name, "permissive": permissive, "command": command, "public": true, "for_owner": false, "using": using, "check": check })
        };
        let read = "tenancy.can('data:read'::text, tenant_id)";
        let write = "tenancy.can_write('data:write'::text, tenant_id)";
        json!({
            "relation": { "schema": "app", "name": "notes" },
            "protection": { "tenant_column": "tenant_id" },
            "key_type": "uuid",
            "columns": [{ "name": "tenant_id", "quoted": "tenant_id", "key": "uuid" }],
            "rls": true,
            "force": true,
            "policies": [
                policy("tenancy_access", true, "*", "true", None),
                policy("tenancy_guard", false, "*", read, Some(write)),
                policy("tenancy_guard_update", false, "w", write, None),
                policy("tenancy_guard_delete", false, "d", write, None),
                policy("narrower", false, "*", "body <> ''", None),
            ],
        })
    }

    fn fault_of(change: impl FnOnce(&mut Value)) -> Option<Fault> {
        let mut value = isolated();
        change(&mut value);
        fault(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn an_isolated_table_has_no_fault() {
        assert_eq!(fault_of(|_| {}), None);
        assert_eq!(fault_of(|v| v["key_type"] = Value::Null), None);
    }

    #[test]
    fn each_thing_that_isolates_is_missed() {
        assert_eq!(fault_of(|v| v["rls"] = json!(false)), Some(Fault::Disabled));
        assert_eq!(
            fault_of(|v| v["force"] = json!(false)),
            Some(Fault::NotForced)
        );
        assert_eq!(
            fault_of(|v| v["columns"] = json!([])),
            Some(Fault::NoColumn("tenant_id".into()))
        );
        for other in ["bigint", "jsonb"] {
            assert_eq!(
                fault_of(|v| v["columns"][0]["key"] = json!(other)),
                Some(Fault::Retyped("tenant_id".into()))
            );
        }
        for n in 1..4 {
            let name = statements::POLICIES[n + 1];
            let gone = fault_of(|v| {
                v["policies"].as_array_mut().unwrap().remove(n);
            });
            assert_eq!(gone, Some(Fault::NoPolicy(name)));
            for (key, value) in [
                ("using", json!("true")),
                ("using", Value::Null),
                ("check", json!("true")),
                ("public", json!(false)),
                ("command", json!("r")),
            ] {
                let altered = fault_of(|v| v["policies"][n][key] = value.clone());
                assert_eq!(altered, Some(Fault::Altered(name)), "{key}");
            }
            let turned = fault_of(|v| v["policies"][n]["permissive"] = json!(true));
            assert_eq!(turned, Some(Fault::Altered(name)));
        }
    }

    #[test]
    fn permissive_policies_are_the_applications() {
        assert_eq!(
            fault_of(|v| v["policies"][0]["using"] = json!("other")),
            None
        );
        let gone = fault_of(|v| {
            v["policies"].as_array_mut().unwrap().remove(0);
        });
        assert_eq!(gone, None);
    }
}
