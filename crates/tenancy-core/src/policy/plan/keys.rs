//! The steps for indexes.

use super::super::facts::{Member, Relation};
use super::super::quote::{object_name, quote_ident};
use super::super::undo::{UndoItem, escape};
use super::super::{Options, StepKind};
use super::Builder;

impl<'a> Builder<'a> {
    pub(super) fn indexes(&mut self, options: &Options) {
        let column = quote_ident(&self.protection.tenant_column);
        let mut taken: Vec<Relation> = self.facts.taken.clone();
        for (i, member) in self.standing() {
            if let Some(led) = member.indexes.first() {
                self.push(
                    StepKind::Skip,
                    format!("CREATE INDEX ON {} ({column})", member.relation),
                    format!("{} is led by {column}", quote_ident(led)),
                );
                continue;
            }
            let name = self.index_name(&member.relation, &mut taken);
            let qualified = Relation {
                schema: member.relation.schema.clone(),
                name: name.clone(),
            }
            .to_string();
            self.undo(
                i,
                UndoItem::new(
                    format!("index:{qualified}"),
                    format!("DROP INDEX IF EXISTS {}", escape(&qualified)),
                ),
            );
            if !options.concurrently {
                self.push(
                    StepKind::Do,
                    create_index(&name, "", "", &member.relation, &column),
                    "finds a tenant's rows by index",
                );
            } else if member.kind == "p" {
                self.partitioned_recipe(member, name, &column, &mut taken);
            } else {
                self.push(
                    StepKind::Run,
                    create_index(&name, "CONCURRENTLY ", "", &member.relation, &column),
                    "run it outside a transaction",
                );
            }
        }
    }

    /// Adds the steps for a partitioned table, which has no CREATE INDEX CONCURRENTLY: an index on the table only, one on each
    /// partition, and attaching them from the bottom up.
    pub(super) fn partitioned_recipe(
        &mut self,
        root: &Member,
        root_name: String,
        column: &str,
        taken: &mut Vec<Relation>,
    ) {
        let mut named: Vec<(&Member, String)> = Vec::new();
        for member in self.facts.members.iter().filter(|m| m.partition) {
            let name = self.index_name(&member.relation, taken);
            named.push((member, name));
        }
        let index = |relation: &Relation, name: &str| Relation {
            schema: relation.schema.clone(),
            name: name.to_owned(),
        };
        let mut steps = vec![(
            create_index(&root_name, "", "ONLY ", &root.relation, column),
            "1. on the partitioned table alone",
        )];
        for (member, name) in &named {
            steps.push(if member.kind == "p" {
                (
                    create_index(name, "", "ONLY ", &member.relation, column),
                    "1. on the partitioned table alone",
                )
            } else {
                (
                    create_index(name, "CONCURRENTLY ", "", &member.relation, column),
                    "2. on each partition, outside of a transaction",
                )
            });
        }
        for (member, name) in named.iter().rev() {
            let parent = named
                .iter()
                .find(|(m, _)| Some(&m.relation) == member.parent.as_ref())
                .map_or_else(
                    || index(&root.relation, &root_name),
                    |(m, n)| index(&m.relation, n),
                );
            steps.push((
                format!(
                    "ALTER INDEX {parent} ATTACH PARTITION {}",
                    index(&member.relation, name)
                ),
                "3. together; the index is valid after the last",
            ));
        }
        for (statement, note) in steps {
            self.push(StepKind::Run, statement, note);
        }
    }

    pub(super) fn index_name(&self, table: &Relation, taken: &mut Vec<Relation>) -> String {
        let mut label = "tenancy_idx".to_owned();
        let mut n = 0_u32;
        loop {
            let candidate = Relation {
                schema: table.schema.clone(),
                name: object_name(&table.name, &self.protection.tenant_column, &label),
            };
            if !taken.contains(&candidate) {
                taken.push(candidate.clone());
                return candidate.name;
            }
            n += 1;
            label = format!("tenancy_idx{n}");
        }
    }
}

pub(super) fn create_index(
    name: &str,
    how: &str,
    only: &str,
    on: &Relation,
    column: &str,
) -> String {
    format!(
        "CREATE INDEX {how}{} ON {only}{on} ({column})",
        quote_ident(name)
    )
}
