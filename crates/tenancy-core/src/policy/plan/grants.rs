//! The steps for grants: what the application needs, and what nobody may hold.

use super::super::facts::Grant;
use super::super::quote::{quote_ident, quote_idents};
use super::super::undo::{UndoItem, escape};
use super::super::{Actor, Step, StepKind, statements};
use super::Builder;

impl<'a> Builder<'a> {
    /// What the table's owner needs of the extension's own objects.
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
            .filter(|f| f.leakproof || used.contains(&f.name.as_str()))
            .map(|f| f.signature.as_str())
            .collect();
        if !signatures.is_empty() {
            self.steps.push(Step {
                kind: StepKind::Do,
                statement: format!(
                    "GRANT EXECUTE ON FUNCTION {} TO {owner}",
                    signatures.join(", ")
                ),
                note: "the owner is under the policies too".to_owned(),
                actor: Actor::Extension,
            });
        }
    }

    pub(super) fn grants(&mut self) {
        let facts = self.facts;
        let root = self.root();
        let missing: Vec<&str> = ["SELECT", "INSERT", "UPDATE", "DELETE"]
            .into_iter()
            .filter(|p| !facts.app_privileges.iter().any(|a| a == p))
            .collect();
        if missing.is_empty() {
            self.push(
                StepKind::Skip,
                format!("GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE {root} TO tenancy_app"),
                "so already",
            );
        } else {
            let missing = missing.join(", ");
            self.undo(
                0,
                UndoItem::new(
                    format!("app:{missing}"),
                    format!("REVOKE {missing} ON TABLE %1$s FROM tenancy_app"),
                ),
            );
            self.push(
                StepKind::Do,
                format!("GRANT {missing} ON TABLE {root} TO tenancy_app"),
                "applications work as tenancy_app",
            );
        }
        let schema = quote_ident(&root.schema);
        let usage = format!("GRANT USAGE ON SCHEMA {schema} TO tenancy_app");
        if facts.app_schema_usage {
            self.push(StepKind::Skip, usage, "so already");
        } else if facts.schema_grantable {
            self.undo(
                0,
                UndoItem::new(
                    "schema",
                    format!(
                        "REVOKE USAGE ON SCHEMA {} FROM tenancy_app",
                        escape(&schema)
                    ),
                )
                .needing("schema", &schema),
            );
            self.push(StepKind::Do, usage, "the way to the table");
        } else {
            self.push(
                StepKind::Advice,
                usage,
                "to be run by the owner of the schema",
            );
        }
        for sequence in &facts.sequences {
            let name = sequence.relation.to_string();
            let usage = format!("GRANT USAGE ON SEQUENCE {name} TO tenancy_app");
            if sequence.app_usage {
                self.push(StepKind::Skip, usage, "so already");
            } else if sequence.invoker_owns {
                self.undo(
                    0,
                    UndoItem::new(
                        format!("sequence:{name}"),
                        format!(
                            "REVOKE USAGE ON SEQUENCE {} FROM tenancy_app",
                            escape(&name)
                        ),
                    )
                    .needing("sequence", &name),
                );
                self.push(StepKind::Do, usage, "the default of a column");
            } else {
                self.push(
                    StepKind::Advice,
                    usage,
                    "to be run by the owner of the sequence",
                );
            }
        }
    }

    /// Takes away what would bypass the policies.
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
                for item in regrants(&member.excess, holder) {
                    self.undo(i, item);
                }
            }
            let from = holders
                .iter()
                .map(|h| role(h))
                .collect::<Vec<_>>()
                .join(", ");
            self.push(
                StepKind::Do,
                format!(
                    "REVOKE {WHAT} ON TABLE {} FROM {from} CASCADE",
                    member.relation
                ),
                "these rights reach every tenant's rows",
            );
        }
        if tell && !any {
            self.push(
                StepKind::Skip,
                "",
                format!("nobody but the owner holds {WHAT}"),
            );
        }
    }
}

pub(super) fn role(name: &Option<String>) -> String {
    name.as_ref()
        .map_or_else(|| "PUBLIC".to_owned(), |n| quote_ident(n))
}

/// The grants that give a role back what is taken from it.
pub(super) fn regrants(excess: &[Grant], holder: &Option<String>) -> Vec<UndoItem> {
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
        let item = UndoItem::new(format!("regrant:{sql}"), sql);
        out.push(match holder {
            Some(name) => item.needing("role", name),
            None => item,
        });
    }
    out
}
