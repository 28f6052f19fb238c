//! Undoing a protection.

use super::access::is_own_permissive;
use super::facts::{Column, ColumnState, Member, Relation, TableFacts};
use super::statements::POLICIES;
use super::{Actor, Before, KeyType, Plan, Protection, Refusal, Step, StepKind, quote_ident};
use serde::{Deserialize, Serialize};

/// How to restore the previous state of one table of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberUndo {
    /// The table's current name.
    pub relation: Relation,
    /// The statements to run.
    pub items: Vec<UndoItem>,
}

/// One part of the state to restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoItem {
    /// What it restores. The first record counts: it is from before any protection.
    pub key: String,
    /// The statement, as a template of `format()`: `%1$s` is the table, `%%` a percent sign.
    pub sql: String,
    /// Objects that must still exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Needs>,
}

/// An object that a statement refers to and that may no longer exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// `schema`, `sequence`, `role`, `column`, or `holder`: a role with any privilege on the table, empty for PUBLIC.
    pub kind: String,
    /// Its name: quoted for schemas and sequences, plain for roles and columns.
    pub name: String,
}

impl UndoItem {
    pub(super) fn new(key: impl Into<String>, sql: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            sql: sql.into(),
            needs: Vec::new(),
        }
    }

    pub(super) fn needing(mut self, kind: &str, name: &str) -> Self {
        self.needs.push(Needs {
            kind: kind.to_owned(),
            name: name.to_owned(),
        });
        self
    }

    /// Gives a column of the table its new name. Returns whether it names the column.
    fn rename_column(&mut self, old: &str, new: &str) -> bool {
        let (was, is) = (escape(&quote_ident(old)), escape(&quote_ident(new)));
        let mut needs = self.needs.iter_mut();
        if let Some(need) = needs.find(|need| need.kind == "column" && need.name == old) {
            new.clone_into(&mut need.name);
            if self.key == format!("default:{old}") {
                self.key = format!("default:{new}");
            }
            self.sql = self
                .sql
                .replacen(&format!(" COLUMN {was}"), &format!(" COLUMN {is}"), 1);
            return true;
        }
        // The columns of a privilege.
        let Some((verb, (columns, rest))) = (self.key.starts_with("regrant:"))
            .then(|| self.sql.split_once(" ("))
            .flatten()
            .and_then(|(verb, rest)| Some((verb, rest.split_once(") ON TABLE %1$s ")?)))
        else {
            return false;
        };
        let named: Vec<&str> = columns.split(", ").collect();
        if !named.contains(&was.as_str()) {
            return false;
        }
        let renamed: Vec<&str> = (named.into_iter())
            .map(|column| if column == was { is.as_str() } else { column })
            .collect();
        self.sql = format!("{verb} ({}) ON TABLE %1$s {rest}", renamed.join(", "));
        self.key = format!("regrant:{}", self.sql);
        true
    }

    fn rank(&self) -> u8 {
        match self.key.split(':').next().unwrap_or_default() {
            "rls" => 0,
            "force" => 1,
            "granted" | "sequence" | "schema" => 2,
            "regrant" => 3,
            "index" => 4,
            "default" => 5,
            "notnull" => 6,
            _ => 7,
        }
    }
}

/// The prefix of records of roles of the option `grants`.
pub(super) const GRANTED: &str = "granted:";

/// The record of a table that had permissive policies of its own while row security was off.
pub(super) const DORMANT: &str = "dormant";

/// Returns the roles of the option `grants`, by a table's record.
#[must_use]
pub fn granted(items: &[UndoItem]) -> Vec<String> {
    items
        .iter()
        .filter_map(|item| item.key.strip_prefix(GRANTED))
        .map(str::to_owned)
        .collect()
}

/// Returns the previous state of row security, by a table's record; `None` if it is not recorded.
#[must_use]
pub fn before(items: &[UndoItem]) -> Option<Before> {
    let find = |key: &str| items.iter().find(|item| item.key == key);
    Some(Before {
        rls: find("rls")?.sql.contains(" ENABLE "),
        force: !find("force")?.sql.contains(" NO FORCE "),
    })
}

/// Escapes SQL for a template.
pub(super) fn escape(sql: &str) -> String {
    sql.replace('%', "%%")
}

/// Returns the statement of a template for a table.
///
/// # Errors
/// If it is not a template.
pub fn render(template: &str, relation: &Relation) -> Result<String, Refusal> {
    let mut out = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        rest = if let Some(after) = after.strip_prefix('%') {
            out.push('%');
            after
        } else if let Some(after) = after.strip_prefix("1$s") {
            out.push_str(&relation.to_string());
            after
        } else {
            return Err(Refusal::BadRecord {
                table: relation.to_string(),
                reason: format!("not a template: {template}"),
            });
        };
    }
    out.push_str(rest);
    Ok(out)
}

/// Gives a column its new name in a table's record. Returns whether the record names it.
#[must_use]
pub fn rename_column(items: &mut [UndoItem], old: &str, new: &str) -> bool {
    let mut any = false;
    for item in items {
        any |= item.rename_column(old, new);
    }
    any
}

/// Merges a new record into an old one: what was recorded first stays.
#[must_use]
pub fn merge(old: Vec<UndoItem>, new: &[UndoItem]) -> Vec<UndoItem> {
    let mut out = old;
    for item in new {
        if !out.iter().any(|o| o.key == item.key) {
            out.push(item.clone());
        }
    }
    out
}

/// The options of `unprotect()`.
#[derive(Debug, Clone, Default)]
pub struct Unprotect {
    /// Whether to drop a column that `protect()` added.
    pub drop_column: bool,
    /// Whether other protected tables in the schema need its USAGE.
    pub schema_in_use: bool,
    /// Objects of the records that no longer exist.
    pub gone: Vec<Needs>,
}

/// Plans the end of a protection: drops the policies and restores the previous state.
///
/// # Errors
/// If the invoker does not own the table, or its record cannot be read.
pub fn unplan(
    facts: &TableFacts,
    protection: &Protection,
    undo: &[MemberUndo],
    how: &Unprotect,
) -> Result<Plan, Refusal> {
    if !facts.invoker_owns {
        return Err(Refusal::NotOwner {
            table: facts.relation.to_string(),
        });
    }
    let mut steps = Vec::new();
    let mut push = |kind, statement: String, note: &str| {
        steps.push(Step {
            kind,
            statement,
            note: note.to_owned(),
            actor: Actor::Invoker,
        });
    };
    for member in &facts.members {
        for name in POLICIES {
            if member.policies.iter().any(|p| p.name == name) {
                push(
                    StepKind::Do,
                    format!("DROP POLICY {name} ON {}", member.relation),
                    "made by protect()",
                );
            }
        }
    }
    let mut items: Vec<(u8, usize, &Member, UndoItem)> = Vec::new();
    for (i, member) in facts.members.iter().enumerate() {
        let recorded = undo
            .iter()
            .find(|u| u.relation == member.relation)
            .map_or(&[][..], |u| &u.items);
        for item in recorded {
            items.push((item.rank(), i, member, item.clone()));
        }
        // A part without a record was an ordinary table.
        for (key, verb) in [("rls", "DISABLE"), ("force", "NO FORCE")] {
            if !recorded.iter().any(|r| r.key == key) {
                let item =
                    UndoItem::new(key, format!("ALTER TABLE %1$s {verb} ROW LEVEL SECURITY"));
                items.push((item.rank(), i, member, item));
            }
        }
    }
    items.sort_by_key(|(rank, i, _, _)| (*rank, *i));
    for (_, i, member, item) in &items {
        let statement = render(&item.sql, &member.relation)?;
        let kind = item.key.split(':').next().unwrap_or_default();
        if statement.is_empty() {
            continue;
        }
        if item.needs.iter().any(|n| how.gone.contains(n)) {
            push(
                StepKind::Skip,
                statement,
                "what it refers to is gone, or its rights were revoked",
            );
        } else if kind == "schema" && how.schema_in_use {
            push(
                StepKind::Skip,
                statement,
                "other protected tables are in the schema",
            );
        } else if kind == "column" && !how.drop_column {
            push(
                StepKind::Skip,
                statement,
                "protect() added the column; it stays unless drop_column => true",
            );
        } else if kind == "rls"
            && item.sql.contains(" DISABLE ")
            && has_policies_since(member, &items)
        {
            push(
                StepKind::Skip,
                statement,
                "the table has got its own policies since, which would no longer apply",
            );
        } else if so_already(facts, member, *i == 0, item) {
            push(StepKind::Skip, statement, "as it was before");
        } else {
            push(StepKind::Do, statement, "as it was before");
        }
    }
    let key_type = facts
        .tenant
        .as_ref()
        .and_then(|c: &Column| c.key)
        .map_or(KeyType::Uuid, |key| key.kind);
    Ok(Plan {
        steps,
        key_type,
        protection: protection.clone(),
        undo: Vec::new(),
    })
}

/// Returns whether a table has got permissive policies of its own since it was protected.
fn has_policies_since(member: &Member, items: &[(u8, usize, &Member, UndoItem)]) -> bool {
    member.policies.iter().any(is_own_permissive)
        && !items
            .iter()
            .any(|(_, _, of, item)| of.relation == member.relation && item.key == DORMANT)
}

/// Returns whether the state that an item restores exists already. Defaults are not compared: they are cheap to set.
fn so_already(facts: &TableFacts, member: &Member, root: bool, item: &UndoItem) -> bool {
    match item.key.as_str() {
        "rls" => member.rls != item.sql.contains(" DISABLE "),
        "force" => member.force != item.sql.contains(" NO FORCE "),
        // A statement on the table also changes its parts, and may change their current state.
        "notnull" => {
            root && facts.members.len() == 1
                && member.tenant.as_ref().is_some_and(|t: &ColumnState| {
                    t.not_null == item.sql.ends_with(" SET NOT NULL")
                })
        }
        _ => false,
    }
}
