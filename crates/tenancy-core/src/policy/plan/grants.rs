//! The steps for grants: the option `grants`, and privileges that no role may have.

use super::super::facts::{Grant, Grantee, Sequence};
use super::super::quote::{quote_ident, quote_idents};
use super::super::undo::{GRANTED, UndoItem, escape};
use super::super::{Actor, Step, StepKind, statements};
use super::Builder;

impl<'a> Builder<'a> {
    /// Grants that the table's owner needs on the extension's own objects.
    pub(super) fn extension_grants(&mut self) {
        if self.facts.owner_superuser {
            return;
        }
        let owner = quote_ident(&self.facts.owner);
        let used = statements::functions(self.protection, self.key);
        let signatures: Vec<&str> = self
            .facts
            .lacking_execute
            .iter()
            .filter(|f| f.leakproof || used.contains(&f.name))
            .map(|f| f.signature.as_str())
            .collect();
        if !signatures.is_empty() {
            self.steps.push(Step {
                kind: StepKind::Do,
                statement: format!(
                    "GRANT EXECUTE ON FUNCTION {} TO {owner}",
                    signatures.join(", ")
                ),
                note: "the policies apply to the owner too".to_owned(),
                actor: Actor::Extension,
            });
        }
    }

    /// Grants of the option `grants`, once for each role: what is revoked later stays revoked.
    pub(super) fn grants(&mut self, roles: &[String]) {
        let facts = self.facts;
        for grantee in &facts.grantees {
            if !roles.contains(&grantee.name) {
                continue;
            }
            let before = facts
                .registered
                .as_ref()
                .is_some_and(|r| r.granted.contains(&grantee.name));
            self.grant_table(grantee, before);
            self.grant_schema(grantee, before);
            for sequence in &facts.sequences {
                self.grant_sequence(grantee, sequence, before);
            }
        }
    }

    fn grant_table(&mut self, grantee: &Grantee, before: bool) {
        let root = self.root();
        let role = quote_ident(&grantee.name);
        let missing: Vec<&str> = ["SELECT", "INSERT", "UPDATE", "DELETE"]
            .into_iter()
            .filter(|p| !grantee.privileges.iter().any(|a| a == p))
            .collect();
        let missing = missing.join(", ");
        // Recorded even if nothing was missing.
        let back = if missing.is_empty() {
            String::new()
        } else {
            format!("REVOKE {missing} ON TABLE %1$s FROM {}", escape(&role))
        };
        self.undo(
            0,
            UndoItem::new(format!("{GRANTED}{}", grantee.name), back)
                .needing("role", &grantee.name),
        );
        if missing.is_empty() {
            self.push(
                StepKind::Skip,
                format!("GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE {root} TO {role}"),
                "so already",
            );
        } else {
            self.grant(
                before,
                format!("GRANT {missing} ON TABLE {root} TO {role}"),
                "by the option grants; row security filters the rows",
            );
        }
    }

    fn grant_schema(&mut self, grantee: &Grantee, before: bool) {
        let role = quote_ident(&grantee.name);
        let schema = quote_ident(&self.root().schema);
        let usage = format!("GRANT USAGE ON SCHEMA {schema} TO {role}");
        if grantee.schema_usage {
            self.push(StepKind::Skip, usage, "so already");
        } else if !self.facts.schema_grantable {
            self.push(
                StepKind::Advice,
                usage,
                "to be run by the owner of the schema",
            );
        } else {
            if !before {
                self.undo(
                    0,
                    UndoItem::new(
                        format!("schema:{}", grantee.name),
                        format!(
                            "REVOKE USAGE ON SCHEMA {} FROM {}",
                            escape(&schema),
                            escape(&role)
                        ),
                    )
                    .needing("schema", &schema)
                    .needing("role", &grantee.name),
                );
            }
            self.grant(before, usage, "needed to reach the table");
        }
    }

    fn grant_sequence(&mut self, grantee: &Grantee, sequence: &Sequence, before: bool) {
        let role = quote_ident(&grantee.name);
        let name = sequence.relation.to_string();
        let usage = format!("GRANT USAGE ON SEQUENCE {name} TO {role}");
        if sequence.users.contains(&grantee.name) {
            self.push(StepKind::Skip, usage, "so already");
        } else if !sequence.invoker_owns {
            self.push(
                StepKind::Advice,
                usage,
                "to be run by the owner of the sequence",
            );
        } else {
            if !before {
                self.undo(
                    0,
                    UndoItem::new(
                        format!("sequence:{name}:{}", grantee.name),
                        format!(
                            "REVOKE USAGE ON SEQUENCE {} FROM {}",
                            escape(&name),
                            escape(&role)
                        ),
                    )
                    .needing("sequence", &name)
                    .needing("role", &grantee.name),
                );
            }
            self.grant(before, usage, "needed for a column's default");
        }
    }

    fn grant(&mut self, before: bool, statement: String, note: &str) {
        if before {
            self.push(
                StepKind::Skip,
                statement,
                "protect() grants once: what was revoked since stays revoked",
            );
        } else {
            self.push(StepKind::Do, statement, note);
        }
    }

    /// Revokes privileges that would bypass the policies.
    pub(super) fn excess(&mut self, tell: bool) {
        const WHAT: &str = "TRUNCATE, REFERENCES, TRIGGER";
        let mut any = false;
        for (i, member) in self.facts.members.iter().enumerate() {
            if member.excess.is_empty() {
                continue;
            }
            any = true;
            let mut holders: Vec<&Option<String>> = Vec::new();
            for grant in &member.excess {
                if !holders.contains(&&grant.grantee) {
                    holders.push(&grant.grantee);
                }
            }
            for holder in &holders {
                for item in regrants(&member.excess, holder, i == 0) {
                    self.undo(i, item);
                }
            }
            let from = holders
                .iter()
                .map(|h| role(h))
                .collect::<Vec<_>>()
                .join(", ");
            // Servers before 17 do not know this one.
            let maintain = if member.excess.iter().any(|g| g.privilege == "MAINTAIN") {
                ", MAINTAIN"
            } else {
                ""
            };
            self.push(
                StepKind::Do,
                format!(
                    "REVOKE {WHAT}{maintain} ON TABLE {} FROM {from} CASCADE",
                    member.relation
                ),
                "these rights reach every tenant's rows",
            );
        }
        if tell && !any {
            self.push(StepKind::Skip, "", format!("only the owner has {WHAT}"));
        }
    }
}

pub(super) fn role(name: &Option<String>) -> String {
    name.as_ref()
        .map_or_else(|| "PUBLIC".to_owned(), |n| quote_ident(n))
}

/// Returns the grants that restore a role's revoked privileges. A role that had other privileges on the table, and has lost them
/// by then, gets nothing back.
pub(super) fn regrants(excess: &[Grant], holder: &Option<String>, root: bool) -> Vec<UndoItem> {
    let mut out = Vec::new();
    for grant in excess.iter().filter(|g| g.grantee == *holder) {
        let columns = grant
            .columns
            .as_ref()
            .map(|c| format!(" ({})", quote_idents(c)))
            .unwrap_or_default();
        let option = if grant.grantable {
            " WITH GRANT OPTION"
        } else {
            ""
        };
        let sql = format!(
            "GRANT {}{} ON TABLE %1$s TO {}{option}",
            grant.privilege,
            escape(&columns),
            escape(&role(holder))
        );
        let mut item = UndoItem::new(format!("regrant:{sql}"), sql);
        if let Some(name) = holder {
            item = item.needing("role", name);
        }
        if root && grant.others {
            item = item.needing("holder", holder.as_deref().unwrap_or_default());
        }
        out.push(item);
    }
    out
}
