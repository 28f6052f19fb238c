//! Advice of protect(): decisions that it leaves to the owner, with the statements.

use super::super::facts::Member;
use super::super::quote::{quote_ident, quote_literal};
use super::super::{StepKind, foreign_keys, is_own_permissive};
use super::Builder;
use super::grants::role;

impl<'a> Builder<'a> {
    pub(super) fn advice(&mut self) {
        let facts = self.facts;
        if let Some((keys @ 1.., rows)) = facts.unknown {
            self.push(
                StepKind::Advice,
                format!(
                    "SELECT * FROM tenancy.unknown_keys({})",
                    quote_literal(&facts.relation.to_string())
                ),
                format!(
                    "rows whose key no tenant has: {rows}, with {keys} different keys. From now on only maintenance() sees them"
                ),
            );
        }
        if let Some(bad @ 1..) = facts.bad_indexes {
            let mut arguments = quote_literal(&facts.relation.to_string());
            if facts.registered.is_none() && self.protection.tenant_column != "tenant_id" {
                arguments.push_str(", ");
                arguments.push_str(&quote_literal(&self.protection.tenant_column));
            }
            self.push(
                StepKind::Advice,
                format!("SELECT * FROM tenancy.index_advice({arguments})"),
                format!("indexes that a tenant's queries do not use, or use slowly: {bad}"),
            );
        }
        for stranger in &facts.strangers {
            self.push(
                StepKind::Advice,
                format!("GRANT tenancy_app TO {}", quote_ident(stranger)),
                "the role has rights on the table, but may not execute what its policies call",
            );
        }
        for function in &facts.unpinned {
            self.push(
                StepKind::Advice,
                format!(
                    "ALTER FUNCTION {} SET search_path = pg_catalog, {}, pg_temp",
                    function.signature,
                    quote_ident(&function.schema)
                ),
                "an index calls it, also on other tenants' rows, and it resolves names without a schema in the caller's search_path; in maintenance()",
            );
        }
        for member in &facts.members {
            self.advise_on_policies(member);
        }
        for (member, key) in facts
            .members
            .iter()
            .flat_map(|m| m.scope_keys.iter().map(move |k| (m, k)))
        {
            self.push(
                StepKind::Advice,
                format!(
                    "ALTER TABLE {} DROP CONSTRAINT {}",
                    member.relation,
                    quote_ident(key)
                ),
                "rows go to tenants of the context, which exist: the foreign key locks tenancy.scopes, costs each insert, and stops schema tools",
            );
        }
        for view in &facts.views {
            let name = &view.relation;
            if view.kind == "m" {
                let readers: Vec<String> = view.readers.iter().map(role).collect();
                self.push(
                    StepKind::Advice,
                    if readers.is_empty() {
                        String::new()
                    } else {
                        format!("REVOKE ALL ON TABLE {name} FROM {}", readers.join(", "))
                    },
                    format!("materialized view {name} holds the rows of every tenant: row security does not apply to it"),
                );
            } else if !view.security_invoker {
                self.push(
                    StepKind::Advice,
                    format!("ALTER VIEW {name} SET (security_invoker = true)"),
                    if view.owner_bypasses {
                        "the view's owner bypasses row security: it shows every tenant's rows to all its readers"
                    } else {
                        "the view reads with its owner's rights"
                    },
                );
            }
        }
        self.steps.extend(foreign_keys::advice(&facts.foreign_keys));
    }

    /// Advises on the effect of a table's own policies, or of their absence.
    fn advise_on_policies(&mut self, member: &Member) {
        let own: Vec<String> = member
            .policies
            .iter()
            .filter(|p| is_own_permissive(p))
            .map(|p| quote_ident(&p.name))
            .collect();
        let before = member.before();
        if before.rls && own.is_empty() {
            let seen = if before.force {
                "no role saw a row"
            } else {
                "only the owner saw rows"
            };
            self.push(
                StepKind::Advice,
                format!("CREATE POLICY tenant_rows ON {} USING (true)", member.relation),
                format!("row security was on without a permissive policy, so {seen}, and that stays; this policy shows each tenant its rows"),
            );
        } else if !before.rls && !own.is_empty() && self.facts.registered.is_none() {
            self.push(
                StepKind::Advice,
                "",
                format!(
                    "row security of {} was off: from now on its own policies say which of a tenant's rows are seen ({})",
                    member.relation,
                    own.join(", ")
                ),
            );
        }
    }
}
