//! The steps for the tenant, owner and project columns.

use super::super::facts::{ColumnState, Member};
use super::super::quote::{quote_ident, quote_literal};
use super::super::undo::{UndoItem, escape};
use super::super::{Actor, Key, KeyType, Options, Refusal, StepKind, is_whole, statements};
use super::Builder;

impl<'a> Builder<'a> {
    pub(super) fn tenant_column(&mut self, options: &Options) -> Result<(), Refusal> {
        let facts = self.facts;
        let root = self.root();
        let name = &self.protection.tenant_column;
        let column = quote_ident(name);
        let state = facts.root().and_then(|m| m.tenant.clone());
        let value = match (&options.backfill, &facts.backfill) {
            (Some(_), Some(b)) => Some(self.backfill_value(b)?),
            _ => None,
        };
        self.remember_column(name, |m| m.tenant.as_ref(), true);
        match (&state, &value) {
            (None, Some(value)) => {
                self.undo(
                    0,
                    UndoItem::new(
                        "column",
                        format!("ALTER TABLE %1$s DROP COLUMN {}", escape(&column)),
                    )
                    .needing("column", name),
                );
                self.push(
                    StepKind::Do,
                    format!("ALTER TABLE {root} ADD COLUMN {column} uuid NOT NULL DEFAULT {value}"),
                    "the tenant of each row; existing rows get the backfill tenant",
                );
            }
            (None, None) => {
                self.undo(
                    0,
                    UndoItem::new(
                        "column",
                        format!("ALTER TABLE %1$s DROP COLUMN {}", escape(&column)),
                    )
                    .needing("column", name),
                );
                self.push(
                    StepKind::Do,
                    format!("ALTER TABLE {root} ADD COLUMN {column} uuid NOT NULL"),
                    "the tenant of each row",
                );
            }
            (Some(state), value) => {
                if options.add_column {
                    self.push(
                        StepKind::Skip,
                        format!("ALTER TABLE {root} ADD COLUMN {column} uuid"),
                        "so already",
                    );
                }
                if let Some(value) = value {
                    let update =
                        format!("UPDATE {root} SET {column} = {value} WHERE {column} IS NULL");
                    if state.not_null || facts.null_rows == Some(0) {
                        self.push(StepKind::Skip, update, "no row is without a tenant");
                    } else {
                        self.lift_force();
                        let note = match facts.null_rows {
                            Some(n) => {
                                format!("rows without a tenant, which get the backfill tenant: {n}")
                            }
                            None => {
                                "assigns rows without a tenant to the backfill tenant".to_owned()
                            }
                        };
                        self.push(StepKind::Do, update, note);
                        self.act_as(Actor::Owner);
                    }
                }
                // Rows without a tenant may come later.
                if !self.protection.shared_null && !options.hidden_null {
                    self.ensure(
                        state.not_null,
                        format!("ALTER TABLE {root} ALTER COLUMN {column} SET NOT NULL"),
                        "every row has a tenant",
                    );
                }
            }
        }
        let default = statements::tenant_default(self.key);
        let statement = format!("ALTER TABLE {root} ALTER COLUMN {column} SET DEFAULT {default}");
        if self.numbers(name) {
            let note = "keeps its identity: rows without a key get the next number, and not the context's tenant";
            self.push(StepKind::Skip, statement, note);
            return Ok(());
        }
        match state.as_ref().and_then(|state| state.default.as_deref()) {
            // The application's own: its table of tenants makes their keys by it.
            Some(own) if own != default => {
                let note = format!(
                    "keeps its default, {own}: rows without a key get that, and not the context's tenant"
                );
                self.push(StepKind::Skip, statement, note);
            }
            own => self.ensure(
                own.is_some(),
                statement,
                "new rows get the context's tenant",
            ),
        }
        Ok(())
    }

    /// Returns whether the server numbers the tenant column: it has no default to set.
    fn numbers(&self, name: &str) -> bool {
        let tenant = self.facts.tenant.as_ref();
        tenant.is_some_and(|column| column.identity && column.name == name)
    }

    pub(super) fn backfill_value(
        &self,
        backfill: &super::super::Backfill,
    ) -> Result<String, Refusal> {
        let refusal = || Refusal::BackfillKey {
            type_name: self.key.kind.as_str().to_owned(),
        };
        let external = || backfill.external_id.as_deref().ok_or_else(refusal);
        Ok(match self.key.kind {
            KeyType::Uuid => quote_literal(&backfill.id),
            KeyType::BigInt => external()?
                .parse::<i64>()
                .map_err(|_| refusal())?
                .to_string(),
            KeyType::Integer => external()?
                .parse::<i32>()
                .map_err(|_| refusal())?
                .to_string(),
            KeyType::SmallInt => external()?
                .parse::<i16>()
                .map_err(|_| refusal())?
                .to_string(),
            // A literal of an unknown type: the server reads it as the column's.
            KeyType::Numeric if !is_whole(external()?) => return Err(refusal()),
            KeyType::Numeric
            | KeyType::Text
            | KeyType::Varchar
            | KeyType::Char
            | KeyType::Citext => quote_literal(external()?),
        })
    }

    /// Records a column's default, and NOT NULL, in every member.
    pub(super) fn remember_column(
        &mut self,
        name: &str,
        state: impl Fn(&'a Member) -> Option<&'a ColumnState>,
        not_null: bool,
    ) {
        let column = escape(&quote_ident(name));
        let absent = ColumnState::default();
        let before = self.facts.root().and_then(&state).unwrap_or(&absent);
        for (i, member) in self.facts.members.iter().enumerate() {
            let here = state(member).unwrap_or(&absent);
            // Statements on the table also change its parts: equal state there needs no separate record.
            let only = if i == 0 { "" } else { "ONLY " };
            if !self.numbers(name) && (i == 0 || here.default != before.default) {
                let action = here.default.as_ref().map_or_else(
                    || "DROP DEFAULT".to_owned(),
                    |d| format!("SET DEFAULT {}", escape(d)),
                );
                self.undo(
                    i,
                    UndoItem::new(
                        format!("default:{name}"),
                        format!("ALTER TABLE {only}%1$s ALTER COLUMN {column} {action}"),
                    )
                    .needing("column", name),
                );
            }
            if not_null && (i == 0 || here.not_null != before.not_null) {
                let verb = if here.not_null { "SET" } else { "DROP" };
                self.undo(
                    i,
                    UndoItem::new(
                        "notnull",
                        format!("ALTER TABLE {only}%1$s ALTER COLUMN {column} {verb} NOT NULL"),
                    )
                    .needing("column", name),
                );
            }
        }
    }

    pub(super) fn other_defaults(&mut self) {
        let root = self.root();
        let member = self.facts.root();
        let columns = [
            (
                self.protection.owner_column.clone(),
                member.and_then(|m| m.owner_column.clone()),
                self.facts.owner_column.as_ref(),
                "user",
                "new rows get the context's user",
            ),
            (
                self.protection.project_column.clone(),
                member.and_then(|m| m.project_column.clone()),
                self.facts.project_column.as_ref(),
                "project",
                "new rows get the context's project",
            ),
        ];
        for (name, state, column, what, note) in columns {
            let Some(name) = name else { continue };
            let key = column.and_then(|column| column.key).unwrap_or(Key::UUID);
            let default = key.other_default(what);
            let column = quote_ident(&name);
            let statement =
                format!("ALTER TABLE {root} ALTER COLUMN {column} SET DEFAULT {default}");
            match state.and_then(|s| s.default) {
                Some(d) if d == default => self.push(StepKind::Skip, statement, "so already"),
                Some(_) => self.push(StepKind::Skip, statement, "keeps its default"),
                None => {
                    if what == "user" {
                        self.remember_column(&name, |m| m.owner_column.as_ref(), false);
                    } else {
                        self.remember_column(&name, |m| m.project_column.as_ref(), false);
                    }
                    self.push(StepKind::Do, statement, note);
                }
            }
        }
    }
}
