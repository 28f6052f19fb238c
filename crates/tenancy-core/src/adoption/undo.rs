//! The statements that undo the adoption of a table.

use super::facts::{FILL, FOLLOW, KNOWN, Table};
use super::filled::Filled;
use super::found::Found;
use super::steps::Steps;
use super::{Phase, StepKind, TablePlan, moves};
use crate::policy::{Relation, quote_ident, quote_idents, quote_literal};

pub(super) fn undo_plan(table: &Table, mut found: Found) -> TablePlan {
    // Nothing that blocks adopting a table blocks undoing it.
    found.blocked.clear();
    if let Some(filled) = table
        .filled
        .as_ref()
        .filter(|filled| filled.is_added() && !filled.part_of.is_empty())
    {
        found.block(format!(
            "its column {} is part of {}: replace or drop these first",
            quote_ident(filled.column()),
            filled.part_of.join(", ")
        ));
    }
    let mut steps = Steps::new(table);
    steps.undone();
    steps.plan(found)
}

impl Steps<'_> {
    /// The table as it was.
    fn undone(&mut self) {
        let name = self.name();
        if self.table.protected_by.is_some() {
            let call = format!("SELECT tenancy.unprotect({})", quote_literal(&name));
            self.add(StepKind::Unprotect, Phase::Isolate, vec![call]);
        }
        if !self.table.granted.is_empty() && self.table.caller_owns {
            let roles = quote_idents(&self.table.granted);
            let statement = format!("REVOKE SELECT ON TABLE {name} FROM {roles}");
            self.add(StepKind::Revoke, Phase::Isolate, vec![statement]);
        }
        if self.table.followed {
            let drop = format!("DROP TRIGGER {FOLLOW} ON {name}");
            self.push(Phase::Isolate, drop);
        }
        if self.table.moves {
            let drop = format!("DROP TRIGGER {} ON {name}", quote_ident(moves::MOVE));
            self.push(Phase::Isolate, drop);
        }
        if let Some(filled) = &self.table.filled {
            // A renamed column has its new name there.
            let column = self
                .table
                .protected_by
                .as_deref()
                .unwrap_or(filled.column());
            let column = quote_ident(column);
            let mut all = vec![format!("DROP TRIGGER {FILL} ON {name}")];
            if filled.is_added() {
                all.push(format!("ALTER TABLE {name} DROP COLUMN {column}"));
            }
            self.add(StepKind::Statement, Phase::Isolate, all);
        }
        let keeps = !self.table.filled.as_ref().is_some_and(Filled::is_added);
        if keeps && self.table.known.is_some() {
            self.push(
                Phase::Isolate,
                format!("ALTER TABLE {name} DROP CONSTRAINT {KNOWN}"),
            );
        }
        // unprotect() has dropped that of protect() by then, and a column its own.
        if keeps {
            for index in &self.table.own_indexes {
                let index = Relation {
                    schema: self.table.relation.schema.clone(),
                    name: index.clone(),
                };
                self.push(Phase::Isolate, format!("DROP INDEX IF EXISTS {index}"));
            }
        }
    }
}
