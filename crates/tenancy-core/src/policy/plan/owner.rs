//! Advice for a table whose owner is a role that tenants share, or has such a role as a member.

use super::super::quote::{quote_ident, quote_literal};
use super::super::{Actor, Step, StepKind};
use super::Builder;

/// The suffix of the new owner's name.
const OWNER: &str = "_owner";

impl<'a> Builder<'a> {
    /// Advises, before all other advice, how to separate the owner from the application.
    pub(super) fn shared_owner(&mut self) {
        let facts = self.facts;
        let Some(first) = facts.owner_shared.first() else {
            return;
        };
        let (statement, reach) = if *first == facts.owner {
            (self.another_owner(), "owns the table")
        } else {
            (self.no_member(), "is a member of the table's owner")
        };
        let more = match facts.owner_shared.len() {
            1 => String::new(),
            n => format!(" and {} more", n - 1),
        };
        let note = format!(
            "WARNING: role {}{more}, which tenants share, {reach} and so could take its protection off. It may run no DDL on the table any more. \
             Let one role own the table and run migrations, and another serve tenants; REASSIGN OWNED does so for all tables of a role",
            quote_ident(first)
        );
        self.steps.insert(
            0,
            Step {
                kind: StepKind::Advice,
                statement,
                note,
                actor: Actor::Invoker,
            },
        );
    }

    /// Returns statements for an owner that tenants share: the table gets another owner.
    fn another_owner(&self) -> String {
        let facts = self.facts;
        let name = format!("{}{OWNER}", facts.owner);
        let new = quote_ident(&name);
        let mut out = Vec::new();
        if !facts.new_owner_exists {
            out.push(format!(
                "CREATE ROLE {new} NOLOGIN -- and run migrations as a role that is granted it and tenancy_admin"
            ));
        }
        let usage = quote_ident(&facts.relation.schema);
        out.push(format!("GRANT USAGE, CREATE ON SCHEMA {usage} TO {new}"));
        out.push(format!("ALTER TABLE {} OWNER TO {new}", facts.relation));
        out.extend(self.rights(&facts.owner));
        // Grants the new owner the functions that policies call.
        out.push(format!(
            "SELECT * FROM tenancy.protect({}, {})",
            quote_literal(&facts.relation.to_string()),
            self.protection.describe()
        ));
        script(&out)
    }

    /// Returns statements for members of the owner that tenants share: they keep their privileges, but not the membership.
    fn no_member(&self) -> String {
        let owner = quote_ident(&self.facts.owner);
        let mut out = Vec::new();
        for member in &self.facts.owner_shared {
            out.extend(self.rights(member));
            out.push(format!("REVOKE {owner} FROM {}", quote_ident(member)));
        }
        script(&out)
    }

    /// Returns grants of the owner's privileges on rows to a role.
    fn rights(&self, role: &str) -> Vec<String> {
        let facts = self.facts;
        let role = quote_ident(role);
        let mut out = Vec::new();
        if !facts.owner_privileges.is_empty() {
            out.push(format!(
                "GRANT {} ON TABLE {} TO {role}",
                facts.owner_privileges.join(", "),
                facts.relation
            ));
        }
        for sequence in &facts.sequences {
            out.push(format!(
                "GRANT USAGE ON SEQUENCE {} TO {role}",
                sequence.relation
            ));
        }
        out
    }
}

fn script(statements: &[String]) -> String {
    let mut out = String::new();
    for statement in statements {
        // A comment follows the end of its statement.
        match statement.split_once(" -- ") {
            Some((sql, comment)) => out.push_str(&format!("{sql}; -- {comment}\n")),
            None => out.push_str(&format!("{statement};\n")),
        }
    }
    out.truncate(out.trim_end().len());
    out
}
