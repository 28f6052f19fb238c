//! Planning a protection.

mod advice;
mod checks;
mod columns;
mod grants;
mod isolation;
mod keys;
mod owner;

pub use checks::check_kind;
use checks::{check, foreign_members, key_type};

use super::facts::{Member, Relation, TableFacts};
use super::statements::Wanted;
use super::undo::{MemberUndo, UndoItem};
use super::{Actor, Key, Options, Plan, Protection, Refusal, Step, StepKind, statements};

/// Plans the isolation of a table, or returns why it cannot be isolated.
///
/// # Errors
/// The reason.
///
/// ```
/// use serde_json::json;
/// use tenancy_core::policy::plan;
///
/// // As the server's query returns them, for an ordinary table.
/// let name = json!({"schema": "app", "name": "notes"});
/// let facts = serde_json::from_value(json!({
///     "relation": name, "kind": "r", "persistence": "p", "catalog": false, "own": false, "owner": "boss", "owner_bypasses": false,
///     "owner_superuser": false, "invoker_owns": true, "filtered": false, "schema_grantable": true, "null_rows": 0,
///     "tenant": {"name": "tenant_id", "quoted": "tenant_id", "type": "uuid", "key": "uuid", "generated": false, "deterministic": true},
///     "members": [{"relation": name, "kind": "r", "partition": false, "invoker_owns": true, "owner": "boss", "rls": false,
///         "force": false, "tenant": {"not_null": true}}],
/// })).unwrap();
/// let options = serde_json::from_value(json!({"tenant_column": "tenant_id"})).unwrap();
///
/// let plan = plan(&facts, &options).unwrap();
/// let statements: Vec<&str> = plan.steps.iter().map(|step| step.statement.as_str()).collect();
/// // Without a server to say which names need quotes, all have them.
/// assert!(statements.contains(&r#"ALTER TABLE "app"."notes" FORCE ROW LEVEL SECURITY"#));
/// assert!(statements.iter().any(|s| s.starts_with(r#"CREATE POLICY tenancy_guard ON "app"."notes" AS RESTRICTIVE FOR ALL"#)));
/// ```
pub fn plan(facts: &TableFacts, options: &Options) -> Result<Plan, Refusal> {
    let key = check(facts, options)?;
    let protection = options.protection();
    let mut b = Builder::new(facts, &protection, key);
    b.tenant_column(options)?;
    b.other_defaults();
    b.extension_grants();
    b.indexes(options);
    for i in 0..facts.members.len() {
        b.isolate(i, true);
    }
    b.grants(&options.grants);
    b.excess(true);
    b.advice();
    b.shared_owner();
    Ok(b.finish())
}

/// Returns whether a table has its guard, which no other policy widens.
#[must_use]
pub fn is_isolated(facts: &TableFacts) -> bool {
    facts.root().is_some_and(|m| {
        m.policies
            .iter()
            .any(|p| p.name == "tenancy_guard" && !p.permissive && p.command == "*")
    })
}

/// A change of the application's policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyChange {
    /// A policy was created.
    Created,
    /// A policy was dropped, or the table has another owner.
    Other,
}

/// Plans changes of tenancy's permissive policies after a change of the application's own, or of the owner.
///
/// A created policy only replaces `tenancy_access`: a restored dump creates policies one by one, and must find no others
/// than its own.
#[must_use]
pub fn follow_policies(facts: &TableFacts, protection: &Protection, change: PolicyChange) -> Plan {
    let key = facts
        .tenant
        .as_ref()
        .and_then(|c| c.key)
        .unwrap_or(Key::UUID);
    let mut b = Builder::new(facts, protection, key);
    for (i, member) in facts.members.iter().enumerate() {
        let replaces = member.policies.iter().any(|p| p.name == statements::TO_ALL);
        if change != PolicyChange::Created || replaces {
            b.let_through(i, false);
        }
    }
    b.finish()
}

/// Plans the isolation of parts of a protected table that are not isolated yet.
///
/// # Errors
/// If a part cannot be isolated.
pub fn plan_children(facts: &TableFacts, protection: &Protection) -> Result<Plan, Refusal> {
    let column = facts.tenant.as_ref().ok_or_else(|| Refusal::NoColumn {
        table: facts.relation.to_string(),
        column: protection.tenant_column.clone(),
    })?;
    let key = key_type(facts, column)?;
    foreign_members(facts)?;
    let mut b = Builder::new(facts, protection, key);
    for i in 1..facts.members.len() {
        b.isolate(i, false);
    }
    b.excess(false);
    Ok(b.finish())
}

struct Builder<'a> {
    facts: &'a TableFacts,
    protection: &'a Protection,
    key: Key,
    policies: Vec<Wanted>,
    /// FORCE of each member after the steps so far.
    force: Vec<bool>,
    steps: Vec<Step>,
    undo: Vec<Vec<UndoItem>>,
}

impl<'a> Builder<'a> {
    fn new(facts: &'a TableFacts, protection: &'a Protection, key: Key) -> Self {
        Self {
            facts,
            protection,
            key,
            policies: statements::policies(&facts.names(), protection, key),
            force: facts.members.iter().map(|m| m.force).collect(),
            steps: Vec::new(),
            undo: facts.members.iter().map(|_| Vec::new()).collect(),
        }
    }

    fn finish(self) -> Plan {
        let undo = self
            .facts
            .members
            .iter()
            .zip(self.undo)
            .filter(|(_, items)| !items.is_empty())
            .map(|(m, items)| MemberUndo {
                relation: m.relation.clone(),
                items,
            })
            .collect();
        Plan {
            steps: self.steps,
            key_type: self.key.kind,
            protection: self.protection.clone(),
            undo,
        }
    }

    fn push(&mut self, kind: StepKind, statement: impl Into<String>, note: impl Into<String>) {
        self.steps.push(Step {
            kind,
            statement: statement.into(),
            note: note.into(),
            actor: Actor::Invoker,
        });
    }

    /// Sets the role that executes the last step.
    fn act_as(&mut self, actor: Actor) {
        if let Some(step) = self.steps.last_mut() {
            step.actor = actor;
        }
    }

    /// Adds a step to do, or to skip if it is so already.
    fn ensure(&mut self, so: bool, statement: impl Into<String>, note: &str) {
        if so {
            self.push(StepKind::Skip, statement, "so already");
        } else {
            self.push(StepKind::Do, statement, note);
        }
    }

    fn undo(&mut self, member: usize, item: UndoItem) {
        if let Some(items) = self.undo.get_mut(member)
            && !items.iter().any(|i| i.key == item.key)
        {
            items.push(item);
        }
    }

    fn root(&self) -> &'a Relation {
        &self.facts.relation
    }

    /// Lets the owner see all rows while they are changed or checked: under FORCE it would see none.
    fn lift_force(&mut self) {
        for (i, member) in self.facts.members.iter().enumerate() {
            if member.rls && self.force.get(i).copied().unwrap_or_default() {
                self.remember_flags(i, member);
                self.push(
                    StepKind::Do,
                    format!(
                        "ALTER TABLE {} NO FORCE ROW LEVEL SECURITY",
                        member.relation
                    ),
                    "the owner sees every row while they are checked",
                );
                if let Some(force) = self.force.get_mut(i) {
                    *force = false;
                }
            }
        }
    }

    /// Returns the members that need their own foreign keys and indexes: all but partitions, which have their root's.
    fn standing(&self) -> Vec<(usize, &'a Member)> {
        self.facts
            .members
            .iter()
            .enumerate()
            .filter(|(_, m)| !m.partition)
            .collect()
    }
}
