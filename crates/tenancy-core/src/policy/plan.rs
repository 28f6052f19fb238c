//! Planning a protection.

use super::facts::{Column, ColumnState, Grant, Member, Relation, TableFacts};
use super::quote::{object_name, quote_ident, quote_idents, quote_literal};
use super::statements::{self, Wanted};
use super::undo::{MemberUndo, UndoItem, escape};
use super::{Actor, KeyType, Options, Plan, Protection, Refusal, Step, StepKind, foreign_keys};

/// Refuses what cannot be isolated whatever the options.
///
/// # Errors
/// The reason.
pub fn check_kind(facts: &TableFacts) -> Result<(), Refusal> {
    let table = facts.relation.to_string();
    if facts.catalog {
        return Err(Refusal::Catalog { table });
    }
    if facts.own {
        return Err(Refusal::Own { table });
    }
    match facts.kind.as_str() {
        "r" | "p" => {}
        "v" => return Err(Refusal::View { table }),
        "m" => return Err(Refusal::MaterializedView { table }),
        "f" => return Err(Refusal::ForeignTable { table }),
        kind => {
            let what = match kind {
                "S" => "a sequence",
                "i" | "I" => "an index",
                "c" => "a composite type",
                _ => "something else",
            };
            return Err(Refusal::NotATable { table, what });
        }
    }
    if facts.persistence == "t" {
        return Err(Refusal::Temporary { table });
    }
    if !facts.invoker_owns {
        return Err(Refusal::NotOwner { table });
    }
    foreign_members(facts)
}

/// What to do so that a table is isolated, or why it cannot be.
///
/// # Errors
/// The reason.
pub fn plan(facts: &TableFacts, options: &Options) -> Result<Plan, Refusal> {
    let key = check(facts, options)?;
    let protection = options.protection();
    let mut b = Builder::new(facts, &protection, key);
    b.tenant_column(options)?;
    b.other_defaults();
    b.extension_grants();
    b.scope_keys();
    b.indexes(options);
    for i in 0..facts.members.len() {
        b.isolate(i, true);
    }
    b.grants();
    b.excess(true);
    b.advice();
    Ok(b.finish())
}

/// Whether the policies of a table are there: its access, and the guard that nothing widens it.
#[must_use]
pub fn is_isolated(facts: &TableFacts) -> bool {
    let has = |member: &Member, name: &str, permissive: bool| {
        member
            .policies
            .iter()
            .any(|p| p.name == name && p.permissive == permissive && p.command == "*")
    };
    facts
        .root()
        .is_some_and(|m| has(m, "tenancy_access", true) && has(m, "tenancy_guard", false))
}

/// What to do about parts of a protected table that are not isolated yet.
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

fn foreign_members(facts: &TableFacts) -> Result<(), Refusal> {
    match facts.members.iter().find(|m| m.kind == "f") {
        Some(m) => Err(Refusal::ForeignMember {
            table: facts.relation.to_string(),
            member: m.relation.to_string(),
        }),
        None => Ok(()),
    }
}

fn key_type(facts: &TableFacts, column: &Column) -> Result<KeyType, Refusal> {
    let table = facts.relation.to_string();
    let name = quote_ident(&column.name);
    let key = KeyType::from_type(&column.type_name).ok_or_else(|| Refusal::ColumnType {
        table: table.clone(),
        column: name.clone(),
        type_name: column.type_name.clone(),
    })?;
    if column.generated {
        return Err(Refusal::Generated {
            table,
            column: name,
        });
    }
    if !column.deterministic {
        return Err(Refusal::Collation {
            table,
            column: name,
        });
    }
    Ok(key)
}

fn check(facts: &TableFacts, options: &Options) -> Result<KeyType, Refusal> {
    let table = facts.relation.to_string();
    contradictions(options)?;
    check_kind(facts)?;
    if let Some(top) = facts.ancestors.last() {
        let root = facts.ancestors.iter().find(|a| a.registered).unwrap_or(top);
        return Err(Refusal::Part {
            table,
            root: root.relation.to_string(),
        });
    }
    if let Some(m) = facts.members.iter().find(|m| !m.invoker_owns) {
        return Err(Refusal::NotOwner {
            table: m.relation.to_string(),
        });
    }
    if let Some(registered) = &facts.registered
        && registered.options != options.protection()
    {
        return Err(Refusal::Different {
            table,
            is: registered.options.describe(),
        });
    }
    let column = quote_ident(&options.tenant_column);
    let key = match &facts.tenant {
        Some(tenant) => key_type(facts, tenant)?,
        None if !options.add_column => return Err(Refusal::NoColumn { table, column }),
        None => {
            if facts.has_rows != Some(false) && options.backfill.is_none() {
                return Err(Refusal::NeedsBackfill { table, column });
            }
            KeyType::Uuid
        }
    };
    for (option, name, found) in [
        ("owner_column", &options.owner_column, &facts.owner_column),
        (
            "project_column",
            &options.project_column,
            &facts.project_column,
        ),
    ] {
        let Some(name) = name else { continue };
        let found = found.as_ref().ok_or_else(|| Refusal::NoSuchColumn {
            table: table.clone(),
            option,
            column: quote_ident(name),
        })?;
        if found.type_name != "uuid" {
            return Err(Refusal::NotUuid {
                table,
                option,
                column: quote_ident(name),
                type_name: found.type_name.clone(),
            });
        }
    }
    if options.backfill.is_some() {
        let level = facts.backfill.as_ref().map_or("", |b| b.level.as_str());
        let fits = level == "tenant" || options.shared && matches!(level, "platform" | "partner");
        if !fits {
            return Err(Refusal::BackfillLevel {
                level: level.to_owned(),
                shared: options.shared,
            });
        }
    } else if let Some(rows @ 1..) = facts.null_rows {
        return Err(Refusal::Nulls {
            table,
            column,
            rows,
        });
    }
    Ok(key)
}

fn contradictions(options: &Options) -> Result<(), Refusal> {
    let refuse = |message: &str, hint: &str| {
        Err(Refusal::Contradiction {
            message: message.to_owned(),
            hint: hint.to_owned(),
        })
    };
    let named: Vec<&String> = std::iter::once(&options.tenant_column)
        .chain(&options.owner_column)
        .chain(&options.project_column)
        .collect();
    if named.iter().any(|n| n.is_empty()) {
        return refuse(
            "a column needs a name",
            "Leave out owner_column or project_column where there is none.",
        );
    }
    for (i, a) in named.iter().enumerate() {
        if named.iter().skip(i + 1).any(|b| a == b) {
            return refuse(
                &format!("column {} is named for two things", quote_ident(a)),
                "The tenant, the owner and the project are three columns.",
            );
        }
    }
    if options.shared && options.owner_column.is_some() {
        return refuse(
            "shared and owner_column contradict each other",
            "A row that its owner alone may see cannot be read by all below.",
        );
    }
    Ok(())
}

struct Builder<'a> {
    facts: &'a TableFacts,
    protection: &'a Protection,
    key: KeyType,
    policies: Vec<Wanted>,
    /// FORCE of each member as the steps so far leave it.
    force: Vec<bool>,
    steps: Vec<Step>,
    undo: Vec<Vec<UndoItem>>,
}

impl<'a> Builder<'a> {
    fn new(facts: &'a TableFacts, protection: &'a Protection, key: KeyType) -> Self {
        Self {
            facts,
            protection,
            key,
            policies: statements::policies(facts, protection, key),
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
            key_type: self.key,
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

    /// A step that is done, or skipped because it is so already.
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

    /// Lets the owner see all rows while they are changed or checked: under FORCE he would see none.
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

    fn tenant_column(&mut self, options: &Options) -> Result<(), Refusal> {
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
                    "the tenant of each row; those there are go to the backfill's",
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
                            Some(n) => format!("gives {n} rows without a tenant to the backfill's"),
                            None => "gives rows without a tenant to the backfill's".to_owned(),
                        };
                        self.push(StepKind::Do, update, note);
                    }
                }
                self.ensure(
                    state.not_null,
                    format!("ALTER TABLE {root} ALTER COLUMN {column} SET NOT NULL"),
                    "every row has a tenant",
                );
            }
        }
        let default = statements::tenant_default(self.key);
        self.ensure(
            state.is_some_and(|s| s.default.as_deref() == Some(default)),
            format!("ALTER TABLE {root} ALTER COLUMN {column} SET DEFAULT {default}"),
            "a row goes to the tenant of the context",
        );
        Ok(())
    }

    fn backfill_value(&self, backfill: &super::Backfill) -> Result<String, Refusal> {
        let refusal = || Refusal::BackfillKey {
            type_name: self.key.as_str().to_owned(),
        };
        let external = || backfill.external_id.as_deref().ok_or_else(refusal);
        Ok(match self.key {
            KeyType::Uuid => quote_literal(&backfill.id),
            KeyType::BigInt => external()?
                .parse::<i64>()
                .map_err(|_| refusal())?
                .to_string(),
            KeyType::Integer => external()?
                .parse::<i32>()
                .map_err(|_| refusal())?
                .to_string(),
            KeyType::Text | KeyType::Varchar => quote_literal(external()?),
        })
    }

    /// Records a column's default, and NOT NULL, in every member.
    fn remember_column(
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
            // Statements on the table reach its parts: what is the same there needs no record of its own.
            let only = if i == 0 { "" } else { "ONLY " };
            if i == 0 || here.default != before.default {
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

    fn other_defaults(&mut self) {
        let root = self.root();
        let member = self.facts.root();
        let columns = [
            (
                self.protection.owner_column.clone(),
                member.and_then(|m| m.owner_column.clone()),
                "tenancy.user_id()",
                "a row goes to the user of the context",
            ),
            (
                self.protection.project_column.clone(),
                member.and_then(|m| m.project_column.clone()),
                "tenancy.project_id()",
                "a row goes to the project of the context",
            ),
        ];
        for (name, state, default, note) in columns {
            let Some(name) = name else { continue };
            let column = quote_ident(&name);
            let statement =
                format!("ALTER TABLE {root} ALTER COLUMN {column} SET DEFAULT {default}");
            match state.and_then(|s| s.default) {
                Some(d) if d == default => self.push(StepKind::Skip, statement, "so already"),
                Some(_) => self.push(StepKind::Skip, statement, "it keeps the default it has"),
                None => {
                    if default == "tenancy.user_id()" {
                        self.remember_column(&name, |m| m.owner_column.as_ref(), false);
                    } else {
                        self.remember_column(&name, |m| m.project_column.as_ref(), false);
                    }
                    self.push(StepKind::Do, statement, note);
                }
            }
        }
    }

    /// What the table's owner needs of the extension's own objects.
    fn extension_grants(&mut self) {
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
        let mut grant = |statement, note: &str| {
            self.steps.push(Step {
                kind: StepKind::Do,
                statement,
                note: note.to_owned(),
                actor: Actor::Extension,
            });
        };
        if !signatures.is_empty() {
            grant(
                format!(
                    "GRANT EXECUTE ON FUNCTION {} TO {owner}",
                    signatures.join(", ")
                ),
                "the owner is under the policies too",
            );
        }
        if self.key == KeyType::Uuid && !self.facts.references_scopes {
            grant(
                format!("GRANT REFERENCES (id) ON tenancy.scopes TO {owner}"),
                "for the foreign key",
            );
        }
    }

    /// Tables that need foreign keys and indexes of their own: all but partitions, which have their root's.
    fn standing(&self) -> Vec<(usize, &'a Member)> {
        self.facts
            .members
            .iter()
            .enumerate()
            .filter(|(_, m)| !m.partition)
            .collect()
    }

    fn scope_keys(&mut self) {
        let column = quote_ident(&self.protection.tenant_column);
        if self.key != KeyType::Uuid {
            self.push(
                StepKind::Skip,
                "",
                format!("no foreign key: {column} holds the application's own key, not the id of a scope"),
            );
            return;
        }
        let standing = self.standing();
        if standing.iter().any(|(_, m)| m.scope_key.is_none()) {
            self.lift_force();
        }
        for (i, member) in standing {
            let name = quote_ident(member.scope_key.as_deref().unwrap_or(&object_name(
                &member.relation.name,
                &self.protection.tenant_column,
                "tenancy_fkey",
            )));
            if member.scope_key.is_none() {
                self.undo(
                    i,
                    UndoItem::new(
                        format!("fk:{name}"),
                        format!(
                            "ALTER TABLE %1$s DROP CONSTRAINT IF EXISTS {}",
                            escape(&name)
                        ),
                    ),
                );
            }
            self.ensure(
                member.scope_key.is_some(),
                format!(
                    "ALTER TABLE {} ADD CONSTRAINT {name} FOREIGN KEY ({column}) REFERENCES tenancy.scopes (id)",
                    member.relation
                ),
                "a tenant that exists",
            );
        }
    }

    fn indexes(&mut self, options: &Options) {
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
                    "the rows of a tenant are found by index",
                );
            } else if member.kind == "p" {
                self.partitioned_recipe(member, name, &column, &mut taken);
            } else {
                self.push(
                    StepKind::Run,
                    create_index(&name, "CONCURRENTLY ", "", &member.relation, &column),
                    "run it yourself, outside of a transaction",
                );
            }
        }
    }

    /// A partitioned table has no CREATE INDEX CONCURRENTLY: an index on it alone, one on each partition, and these attached
    /// from below.
    fn partitioned_recipe(
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

    fn index_name(&self, table: &Relation, taken: &mut Vec<Relation>) -> String {
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

    fn remember_flags(&mut self, i: usize, member: &Member) {
        let rls = if member.rls { "ENABLE" } else { "DISABLE" };
        let force = if member.force { "FORCE" } else { "NO FORCE" };
        self.undo(
            i,
            UndoItem::new("rls", format!("ALTER TABLE %1$s {rls} ROW LEVEL SECURITY")),
        );
        self.undo(
            i,
            UndoItem::new(
                "force",
                format!("ALTER TABLE %1$s {force} ROW LEVEL SECURITY"),
            ),
        );
    }

    /// ENABLE, FORCE and the policies for one member.
    fn isolate(&mut self, i: usize, tell: bool) {
        let Some(member) = self.facts.members.get(i) else {
            return;
        };
        let force = self.force.get(i).copied().unwrap_or_default();
        let table = &member.relation;
        self.remember_flags(i, member);
        for (so, verb, note) in [
            (member.rls, "ENABLE", "policies apply"),
            (force, "FORCE", "to the owner too"),
        ] {
            if tell || !so {
                self.ensure(
                    so,
                    format!("ALTER TABLE {table} {verb} ROW LEVEL SECURITY"),
                    note,
                );
            }
        }
        for wanted in self.policies.clone() {
            let there = member.policies.iter().find(|p| p.name == wanted.name);
            let so = there.is_some_and(|p| wanted.is(p));
            if there.is_some() && !so {
                self.push(
                    StepKind::Do,
                    format!("DROP POLICY {} ON {table}", wanted.name),
                    "it was altered",
                );
            }
            if tell || !so {
                self.ensure(so, wanted.create(table), wanted.note());
            }
        }
    }

    fn grants(&mut self) {
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
    fn excess(&mut self, tell: bool) {
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

    fn advice(&mut self) {
        let facts = self.facts;
        for stranger in &facts.strangers {
            self.push(
                StepKind::Advice,
                format!("GRANT tenancy_app TO {}", quote_ident(stranger)),
                "the role has rights on the table, but may not execute what its policies call",
            );
        }
        for (member, policy) in facts
            .members
            .iter()
            .flat_map(|m| m.policies.iter().map(move |p| (m, p)))
        {
            if policy.permissive && !statements::POLICIES.contains(&policy.name.as_str()) {
                self.push(
                    StepKind::Advice,
                    format!(
                        "DROP POLICY {} ON {}",
                        quote_ident(&policy.name),
                        member.relation
                    ),
                    "it cannot widen access any more, and costs time for every row",
                );
            }
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
                        "the view's owner bypasses row security: it shows every tenant's rows to whoever may read it"
                    } else {
                        "the view reads with its owner's rights"
                    },
                );
            }
        }
        self.steps.extend(foreign_keys::advice(&facts.foreign_keys));
    }
}

fn create_index(name: &str, how: &str, only: &str, on: &Relation, column: &str) -> String {
    format!(
        "CREATE INDEX {how}{} ON {only}{on} ({column})",
        quote_ident(name)
    )
}

fn role(name: &Option<String>) -> String {
    name.as_ref()
        .map_or_else(|| "PUBLIC".to_owned(), |n| quote_ident(n))
}

/// The grants that give a role back what is taken from it.
fn regrants(excess: &[Grant], holder: &Option<String>) -> Vec<UndoItem> {
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
