//! The expressions and policies that isolate a table, as written and as deparsed by the server.

use super::facts::{Policy, Relation};
use super::key::Named;
use super::quote::quote_ident;
use super::{Key, KeyType, Protection};

/// An expression in SQL, and its form in `pg_get_expr`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expr {
    pub sql: String,
    pub deparsed: String,
}

/// A policy that a protected table has.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub name: &'static str,
    pub permissive: bool,
    command: &'static str,
    using: Expr,
    check: Option<Expr>,
    /// The owner, for a policy only for the owner.
    owner: Option<String>,
}

/// The permissive policy for all roles.
pub(super) const TO_ALL: &str = "tenancy_access";

/// The permissive policy for the owner, if the table's own policies apply to all others.
pub(super) const TO_OWNER: &str = "tenancy_owner";

/// Names of the policies, in the order in which they are created.
pub(super) const POLICIES: [&str; 5] = [
    TO_ALL,
    TO_OWNER,
    "tenancy_guard",
    "tenancy_guard_update",
    "tenancy_guard_delete",
];

impl Wanted {
    /// Returns whether a policy is this one, unchanged.
    pub fn is(&self, policy: &Policy) -> bool {
        policy.name == self.name
            && policy.permissive == self.permissive
            && (match self.owner {
                Some(_) => policy.for_owner,
                None => policy.public,
            })
            && policy.command
                == match self.command {
                    "UPDATE" => "w",
                    "DELETE" => "d",
                    _ => "*",
                }
            && policy.using.as_deref() == Some(self.using.deparsed.as_str())
            && policy.check.as_deref() == self.check.as_ref().map(|c| c.deparsed.as_str())
    }

    /// Returns the statement that creates it.
    pub fn create(&self, relation: &Relation) -> String {
        let check = self
            .check
            .as_ref()
            .map(|c| format!(" WITH CHECK ({})", c.sql))
            .unwrap_or_default();
        format!(
            "CREATE POLICY {} ON {relation} AS {} FOR {} TO {} USING ({}){check}",
            self.name,
            if self.permissive {
                "PERMISSIVE"
            } else {
                "RESTRICTIVE"
            },
            self.command,
            self.owner
                .as_ref()
                .map_or_else(|| "PUBLIC".to_owned(), |o| quote_ident(o)),
            self.using.sql
        )
    }

    /// Returns its purpose.
    pub fn note(&self) -> &'static str {
        match self.name {
            TO_ALL => "shows the rows that the guards allow",
            TO_OWNER => "the owner was exempt from the table's own policies",
            "tenancy_guard" => "only rows of the context's tenants, with any other policies",
            "tenancy_guard_update" => "rows that may only be read cannot be updated",
            _ => "rows that may only be read cannot be deleted",
        }
    }
}

/// The suffix of a permission that is also checked in projects.
const IN_PROJECTS: &str = "/project";

fn conjunction(terms: &[Expr]) -> Expr {
    let join = |f: fn(&Expr) -> &str| terms.iter().map(f).collect::<Vec<_>>().join(" AND ");
    let sql = join(|t| &t.sql);
    let deparsed = join(|t| &t.deparsed);
    Expr {
        sql,
        deparsed: if terms.len() > 1 {
            format!("({deparsed})")
        } else {
            deparsed
        },
    }
}

/// Returns the column with a name as an argument of this type, as written and as deparsed.
fn argument(name: &str, names: &[Named<'_>], key: Key, kind: &str) -> Expr {
    let known = names.iter().find(|column| column.name == name);
    let deparsed = known.map_or_else(|| quote_ident(name), |column| column.quoted.to_owned());
    let column = quote_ident(name);
    let is_cast = key.domain || key.kind.as_str() != kind;
    Expr {
        // A varchar is cast by itself.
        sql: match is_cast && (key.domain || key.kind != KeyType::Varchar) {
            true => format!("{column}::{kind}"),
            false => column,
        },
        deparsed: match is_cast {
            true => format!("({deparsed})::{kind}"),
            false => deparsed,
        },
    }
}

fn predicate(function: &str, permission: &str, arguments: &[&Expr]) -> Expr {
    let join = |f: fn(&Expr) -> &str| {
        arguments
            .iter()
            .map(|a| f(a))
            .collect::<Vec<_>>()
            .join(", ")
    };
    Expr {
        sql: format!("tenancy.{function}('{permission}', {})", join(|a| &a.sql)),
        deparsed: format!(
            "tenancy.{function}('{permission}'::text, {})",
            join(|a| &a.deparsed)
        ),
    }
}

impl Protection {
    /// Returns the functions that decide whether a row may be read and written.
    fn predicates(&self) -> [&'static str; 2] {
        match (self.shared_null, self.shared) {
            (true, _) => ["can_see_null", "can_write_null"],
            (false, true) => ["can_see", "can_write_shared"],
            (false, false) => ["can", "can_write"],
        }
    }
}

/// Returns the permissive policy with this name. It does not check tenants: the guards do.
pub(super) fn permissive(name: &'static str, owner: &str) -> Wanted {
    Wanted {
        name,
        permissive: true,
        command: "ALL",
        using: Expr {
            sql: "true".to_owned(),
            deparsed: "true".to_owned(),
        },
        check: None,
        owner: (name == TO_OWNER).then(|| owner.to_owned()),
    }
}

/// Returns the guards of a table: restrictive policies, which no other policy widens.
pub(super) fn policies(names: &[Named<'_>], protection: &Protection, key: Key) -> Vec<Wanted> {
    let column = argument(&protection.tenant_column, names, key, key.kind.argument());
    let other = |name: &String| {
        let known = names.iter().find(|column| column.name == name);
        let key = known.and_then(|column| column.key).unwrap_or(Key::UUID);
        argument(name, names, key, key.kind.other_argument())
    };
    // With a project column also if the permission is held only in some of a tenant's projects.
    let ending = protection
        .project_column
        .as_ref()
        .map_or("", |_| IN_PROJECTS);
    let [reading, writing] = [&protection.read_permission, &protection.write_permission];
    let tenant = |function: &str, permission: &str| {
        predicate(function, &format!("{permission}{ending}"), &[&column])
    };
    let [seen, written] = protection.predicates();
    let mut read = vec![tenant(seen, reading)];
    let mut write = vec![tenant(written, writing)];
    if let Some(owner) = &protection.owner_column {
        let owner = other(owner);
        let term = Expr {
            sql: format!("tenancy.owns({})", owner.sql),
            deparsed: format!("tenancy.owns({})", owner.deparsed),
        };
        read.push(term.clone());
        write.push(term);
    }
    if let Some(project) = &protection.project_column {
        let project = other(project);
        let seen = if protection.shared {
            "see_in_project"
        } else {
            "in_project"
        };
        read.push(predicate(seen, reading, &[&column, &project]));
        write.push(predicate("write_in_project", writing, &[&column, &project]));
    }
    let (read, write) = (conjunction(&read), conjunction(&write));
    let [_, _, guard, update, delete] = POLICIES;
    let writing = |name, command| Wanted {
        name,
        permissive: false,
        command,
        using: write.clone(),
        check: None,
        owner: None,
    };
    vec![
        Wanted {
            name: guard,
            permissive: false,
            command: "ALL",
            using: read,
            check: Some(write.clone()),
            owner: None,
        },
        writing(update, "UPDATE"),
        writing(delete, "DELETE"),
    ]
}

/// Returns the default of a tenant column.
pub(super) fn tenant_default(key: Key) -> String {
    format!("tenancy.{}()", own_keys(key)[0])
}

/// Returns the functions with the key of the only tenant, of the tenants, and of the scopes that are visible.
fn own_keys(key: Key) -> [String; 3] {
    if key.kind == KeyType::Uuid {
        return ["tenant_id", "tenant_ids", "visible_ids"].map(str::to_owned);
    }
    ["tenant_key", "tenant_keys", "visible_keys"]
        .map(|name| format!("{name}_{}", key.kind.ending()))
}

/// Returns the functions that the policies and defaults of a table call, or that the planner may call in their place.
pub(super) fn functions(protection: &Protection, key: Key) -> Vec<String> {
    let mut out: Vec<&str> = Vec::new();
    let own = own_keys(key);
    let [one, several, visible] = own.each_ref().map(String::as_str);
    out.extend([one, several]);
    out.extend(protection.predicates());
    if protection.shared {
        out.push(visible);
    }
    if protection.owner_column.is_some() {
        out.extend(["user_id", "user_key_bigint", "user_key_text"]);
    }
    if protection.project_column.is_some() {
        out.extend(["project_id", "project_key_bigint", "project_key_text"]);
        out.extend(["in_project", "write_in_project"]);
        if protection.shared {
            out.push("see_in_project");
        }
    }
    out.into_iter().map(str::to_owned).collect()
}
