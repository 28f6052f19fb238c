//! The statements that are left to do for a table.

use super::facts::{Choices, Column, FILL, FOLLOW, KNOWN, SchemaFacts, Table};
use super::fill::{self, Fill, FillFrom};
use super::found::{Found, Kind};
use super::links::is_loose;
use super::{Phase, Step, StepKind, TablePlan, moves};
use crate::policy::{Relation, own_name, quote_ident, quote_idents, quote_literal};

/// Columns from which the slug of a tenant is made.
const SLUGS: [&str; 5] = ["slug", "subdomain", "handle", "identifier", "code"];

/// Columns from which its name is made.
const NAMES: [&str; 5] = ["name", "title", "display_name", "company_name", "label"];

/// From this many rows on, a table's index is not built while writers wait.
const LARGE_ROWS: f64 = 200_000.0;

/// The end of the names of indexes that tenancy builds.
const OWN_INDEX: &str = "tenancy_idx";

pub(super) fn table_plan(
    facts: &SchemaFacts,
    choices: &Choices,
    table: &Table,
    found: Found,
) -> TablePlan {
    let mut steps = Steps::new(table);
    match found.kind {
        Kind::TenantTable => steps.tenants(facts, choices, &found),
        Kind::TenantColumn | Kind::Child => {
            if !found.parents.is_empty() || !found.referrers.is_empty() {
                steps.filled(&found);
            }
            if table.protected_by.is_some() {
                for (above, column) in moves::missing(facts, table) {
                    steps.push(Phase::Prepare, moves::create(above, column));
                }
            }
            steps.isolated(choices, &found);
        }
        Kind::Lookup if found.is_shared => steps.readable(),
        // Roles that may read it now still may.
        Kind::Lookup | Kind::NoLink | Kind::Skipped => {}
    }
    if found.blocked.iter().any(|b| b.phase == Phase::Prepare) {
        steps.out.clear();
    }
    if !choices.isolate {
        steps.out.retain(|step| step.phase == Phase::Prepare);
    }
    let readers = choices
        .grants
        .iter()
        .any(|role| !table.not_readable.contains(role));
    let may_be_tenants =
        found.kind == Kind::NoLink || found.kind == Kind::Lookup && !found.is_shared;
    let mut plan = steps.plan(found);
    plan.stays_open = readers && may_be_tenants;
    plan
}

/// The steps of a table, as they are found.
pub(super) struct Steps<'a> {
    pub table: &'a Table,
    out: Vec<Step>,
}

impl<'a> Steps<'a> {
    pub fn new(table: &'a Table) -> Self {
        Self {
            table,
            out: Vec::new(),
        }
    }

    pub fn plan(self, found: Found) -> TablePlan {
        TablePlan {
            relation: self.table.relation.clone(),
            kind: found.kind,
            reason: found.reason,
            tenant_column: found.column,
            shares_null: found.shares_null,
            hides_null: found.hides_null,
            stays_open: false,
            steps: self.out,
            blocked: found.blocked,
        }
    }

    pub fn push(&mut self, phase: Phase, statement: String) {
        self.add(StepKind::Statement, phase, vec![statement]);
    }

    pub fn add(&mut self, kind: StepKind, phase: Phase, statements: Vec<String>) {
        self.out.push(Step {
            kind,
            phase,
            statements,
        });
    }

    pub fn name(&self) -> String {
        self.table.relation.to_string()
    }

    /// The table of tenants: a scope for each row, now and later.
    fn tenants(&mut self, facts: &SchemaFacts, choices: &Choices, found: &Found) {
        let Some(key) = &found.column else { return };
        let arguments = self.tenant_arguments(key, choices);
        if facts.missing_tenants {
            let table = quote_literal(&facts.tenant_table.to_string());
            let call = format!("SELECT tenancy.import_tenants({table}, {arguments}, 500)");
            self.add(StepKind::Tenants, Phase::Prepare, vec![call]);
        }
        if !self.table.followed {
            let name = self.name();
            self.push(
                Phase::Prepare,
                format!(
                    "CREATE TRIGGER {FOLLOW} AFTER INSERT OR UPDATE OR DELETE ON {name} FOR EACH ROW \
                     EXECUTE FUNCTION tenancy.follow_tenant({arguments})"
                ),
            );
        }
        self.protect(choices, found);
    }

    /// Returns the columns of the table of tenants that name a tenant, and its partner, as literals.
    fn tenant_arguments(&self, key: &str, choices: &Choices) -> String {
        format!(
            "{}, {}, {}, {}",
            quote_literal(key),
            quote_literal(self.column(&SLUGS)),
            quote_literal(self.column(&NAMES)),
            quote_literal(&choices.partner)
        )
    }

    /// Returns the first of these columns that the table has, as a text; else an empty name.
    fn column(&self, names: &[&str]) -> &str {
        let is_text = |c: &&Column| {
            matches!(
                c.type_name.as_str(),
                "text" | "character varying" | "citext"
            )
        };
        (names.iter())
            .filter_map(|name| self.table.column(name))
            .find(is_text)
            .map_or("", |column| column.name.as_str())
    }

    /// A tenant column that is filled from other tables: the column, the trigger that keeps it right, and its values.
    fn filled(&mut self, found: &Found) {
        let Some(column) = &found.column else { return };
        let (name, quoted) = (self.name(), quote_ident(column));
        let is_own = found.kind == Kind::TenantColumn;
        // In one transaction: without its trigger the column would be taken for the application's.
        let mut column_and_trigger = Vec::new();
        if self.table.column(column).is_none() {
            let add = format!(
                "ALTER TABLE {name} ADD COLUMN {quoted} {}",
                found.column_type
            );
            column_and_trigger.push(add);
        }
        if self.table.filled.is_none() {
            // Without conditions on columns, so that the application may drop or change them.
            let arguments = fill::arguments(column, !is_own, &found.parents);
            let arguments: Vec<String> = arguments.iter().map(|a| quote_literal(a)).collect();
            column_and_trigger.push(format!(
                "CREATE TRIGGER {FILL} BEFORE INSERT OR UPDATE ON {name} FOR EACH ROW EXECUTE FUNCTION tenancy.fill_tenant({})",
                arguments.join(", ")
            ));
        }
        if !column_and_trigger.is_empty() {
            self.add(StepKind::Statement, Phase::Prepare, column_and_trigger);
        }
        if self.table.protected_by.is_some() {
            return;
        }
        let by_referrers = !found.referrers.is_empty();
        let fill = |only_missing| Fill {
            column: column.clone(),
            column_type: found.column_type.clone(),
            only_missing,
            from: match by_referrers {
                false => FillFrom::Parents(found.parents.clone()),
                true => FillFrom::Referrers(found.referrers.clone()),
            },
        };
        if self.table.known != Some(true) {
            self.followers(found);
            // From now on rows follow what they belong to: those that have a tenant are left alone.
            self.fill(Phase::Prepare, fill(!by_referrers));
        }
        // Again before any table is isolated: triggers may have been off, and none tells what comes to refer to a row.
        self.fill(Phase::Verify, fill(is_own));
        if by_referrers {
            // By then what refers to it is isolated, and moves only with those who know of tenants.
            self.fill(Phase::Isolate, fill(false));
        }
    }

    fn fill(&mut self, phase: Phase, fill: Fill) {
        let all = fill.whole(&self.table.relation);
        self.add(StepKind::Fill(Box::new(fill)), phase, vec![all]);
    }

    /// Lets the rows follow what they belong to. After the trigger that gives new rows their tenant, so that who moves a row from now on
    /// sees this table, and each in a transaction of its own: it locks another table.
    fn followers(&mut self, found: &Found) {
        let mut known: Vec<&Relation> = Vec::new();
        for parent in &found.parents {
            if !known.contains(&&parent.relation) {
                known.push(&parent.relation);
                let create = moves::create(&parent.relation, &parent.tenant_column);
                self.push(Phase::Prepare, create);
            }
        }
    }

    /// A table with a tenant column: no row without a tenant, an index, and the policies.
    fn isolated(&mut self, choices: &Choices, found: &Found) {
        let Some(column) = &found.column else { return };
        let (name, quoted) = (self.name(), quote_ident(column));
        let open = self.table.protected_by.is_none();
        let declared = self.table.column(column).is_some_and(|c| c.not_null);
        if open && !found.may_be_null() && !declared {
            // The application goes on as before while tables are prepared: it may add a row without a tenant, or before what it refers
            // to, or what refers to it.
            let late = !found.referrers.is_empty()
                || found.parents.iter().any(|parent| !parent.checked)
                || is_loose(self.table, &found.parents);
            let phase = if late { Phase::Verify } else { Phase::Prepare };
            if self.table.known.is_none() {
                self.push(
                    phase,
                    format!("ALTER TABLE {name} ADD CONSTRAINT {KNOWN} CHECK ({quoted} IS NOT NULL) NOT VALID"),
                );
            }
            if self.table.known != Some(true) {
                self.push(
                    phase,
                    format!("ALTER TABLE {name} VALIDATE CONSTRAINT {KNOWN}"),
                );
            }
        }
        if open && self.table.rows >= LARGE_ROWS && !self.table.indexed.contains(column) {
            self.index(column);
        }
        self.protect(choices, found);
        if self.table.known.is_some() || open && !declared && !found.may_be_null() {
            self.push(
                Phase::Isolate,
                format!("ALTER TABLE {name} DROP CONSTRAINT IF EXISTS {KNOWN}"),
            );
        }
    }

    /// An index on a large table, built while writers go on: on the table itself, or on each of its partitions.
    fn index(&mut self, column: &str) {
        let (name, quoted) = (self.name(), quote_ident(column));
        let partitioned = !self.table.partitions.is_empty();
        let stored: Vec<(Relation, bool)> = match partitioned {
            true => (self.table.partitions.iter())
                .map(|part| {
                    (
                        part.relation.clone(),
                        part.indexed.iter().any(|c| c == column),
                    )
                })
                .collect(),
            false => vec![(self.table.relation.clone(), false)],
        };
        for (part, _) in stored.into_iter().filter(|(_, indexed)| !indexed) {
            let index = Relation {
                name: own_name(&part.name, column, OWN_INDEX),
                schema: part.schema.clone(),
            };
            let statement = format!(
                "CREATE INDEX CONCURRENTLY {} ON {part} ({quoted})",
                quote_ident(&index.name)
            );
            self.add(StepKind::Index(index), Phase::Prepare, vec![statement]);
        }
        if partitioned {
            // It takes those of the partitions.
            let index = own_name(&self.table.relation.name, column, OWN_INDEX);
            self.push(
                Phase::Prepare,
                format!("CREATE INDEX {} ON {name} ({quoted})", quote_ident(&index)),
            );
        }
    }

    fn protect(&mut self, choices: &Choices, found: &Found) {
        let Some(column) = &found.column else { return };
        if self.table.protected_by.is_some() {
            return;
        }
        let mut statement = format!(
            "SELECT tenancy.protect({}, {}",
            quote_literal(&self.name()),
            quote_literal(column)
        );
        if !choices.grants.is_empty() {
            let roles: Vec<String> = choices
                .grants
                .iter()
                .map(|role| quote_literal(role))
                .collect();
            statement.push_str(&format!(", grants => ARRAY[{}]::name[]", roles.join(", ")));
        }
        if found.shares_null {
            statement.push_str(", shared_null => true");
        } else if found.hides_null {
            statement.push_str(", hidden_null => true");
        }
        let decision = choices.of(&self.table.relation);
        let columns = [
            (
                "project_column",
                decision.and_then(|d| d.project_column.as_ref()),
            ),
            (
                "owner_column",
                decision.and_then(|d| d.owner_column.as_ref()),
            ),
        ];
        for (name, column) in columns {
            if let Some(column) = column {
                statement.push_str(&format!(", {name} => {}", quote_literal(column)));
            }
        }
        statement.push(')');
        self.add(StepKind::Protect, Phase::Isolate, vec![statement]);
    }

    /// A table that belongs to no tenant: the application's roles may read it.
    fn readable(&mut self) {
        if !self.table.not_readable.is_empty() && self.table.caller_owns {
            let roles = quote_idents(&self.table.not_readable);
            let statement = format!("GRANT SELECT ON TABLE {} TO {roles}", self.name());
            let granted = StepKind::Grant(self.table.not_readable.clone());
            self.add(granted, Phase::Prepare, vec![statement]);
        }
    }
}
