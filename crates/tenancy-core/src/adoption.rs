//! Adopting the schema of an application that exists: what each of its tables is, and the statements that isolate it.
//!
//! Nothing here connects to a server. [`plan()`] takes [`SchemaFacts`] and [`Choices`] and returns a [`TablePlan`] for each
//! table. The plan holds only what is left to do, so an adoption that was interrupted is resumed by planning again.
//!
//! | file | what |
//! | --- | --- |
//! | `facts`, `decisions` | what the catalogs say, and what a person has decided |
//! | `schema`, `links` | columns that may hold the tenant, and how rows refer to others |
//! | `classify`, `parents`, `referrers` | what each table is, and the tables that its rows have their tenant from |
//! | `counts`, `examples`, `tenant_of` | the rows that must be counted before, and which they are, as SQL |
//! | `rows`, `trigger` | what the numbers of rows mean, and what a trigger does not see |
//! | `steps`, `undo`, `fill`, `filled`, `moves` | the statements, and the triggers that go on |

mod classify;
mod counts;
mod decisions;
mod examples;
mod facts;
mod fill;
mod filled;
mod found;
mod links;
mod moves;
mod parents;
mod referrers;
mod rows;
mod schema;
mod steps;
mod tenant_of;
mod trigger;
mod undo;

pub use counts::{ToCount, to_compare, to_count};
pub use decisions::Named;
pub use facts::{
    Choices, Column, Counts, Decision, ForeignKey, NullRows, OfEach, SchemaFacts, Table,
    UniqueIndex, Usage,
};
pub use fill::{Fill, FillFrom};
pub use filled::{Filled, KEY, OWN, Source, sources};
pub use found::{Blocker, Kind, Parent};
pub use referrers::ToCompare;

use crate::policy::Relation;

/// How a step runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepKind {
    /// The statement, in a transaction of its own.
    Statement,
    /// A statement that cannot run in a transaction block: it builds the index of this name.
    Index(Relation),
    /// A statement that fills a column, in batches.
    Fill(Box<Fill>),
    /// Creates the tenants that are missing, in batches.
    Tenants,
    /// Lets these roles read the table.
    Grant(Vec<String>),
    /// Takes that back.
    Revoke,
    /// A call of `protect()`.
    Protect,
    /// A call of `unprotect()`.
    Unprotect,
}

/// When a step runs: all tables are prepared before the first is isolated, so that the application is closed out of them for
/// the shortest time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The application goes on as before.
    Prepare,
    /// What was prepared is looked at again.
    Verify,
    /// From now on it needs a context.
    Isolate,
}

/// A step for a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// How it runs.
    pub kind: StepKind,
    /// When it runs.
    pub phase: Phase,
    /// The SQL, as it can also be run by hand. Several statements belong into one transaction.
    pub statements: Vec<String>,
}

impl Step {
    /// Returns the SQL as one text.
    #[must_use]
    pub fn sql(&self) -> String {
        self.statements.join(";\n")
    }
}

/// The plan for one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePlan {
    /// The table.
    pub relation: Relation,
    /// What it is.
    pub kind: Kind,
    /// Why it is taken for that.
    pub reason: String,
    /// The column that holds, or will hold, the tenant.
    pub tenant_column: Option<String>,
    /// Whether all tenants may read rows without a tenant.
    pub shares_null: bool,
    /// Whether rows may stay without a tenant, which only maintenance sees.
    pub hides_null: bool,
    /// Whether roles of the application may read it, though it may hold tenants' rows.
    pub stays_open: bool,
    /// What is left to do, in order.
    pub steps: Vec<Step>,
    /// What the caller must decide or correct before.
    pub blocked: Vec<Blocker>,
}

/// Plans the adoption of a schema: a plan for each table, parents before children.
#[must_use]
pub fn plan(facts: &SchemaFacts, choices: &Choices) -> Vec<TablePlan> {
    let found = classify::classify(facts, choices);
    let mut plans: Vec<(usize, TablePlan)> = (facts.tables.iter().zip(found))
        .map(|(table, found)| {
            let depth = found.place();
            (depth, steps::table_plan(facts, choices, table, found))
        })
        .collect();
    // A stable sort: within a depth, in the order of the facts.
    plans.sort_by_key(|(depth, _)| *depth);
    plans.into_iter().map(|(_, plan)| plan).collect()
}

/// Plans how to undo an adoption: children before parents. Tenants stay.
#[must_use]
pub fn undo(facts: &SchemaFacts, choices: &Choices) -> Vec<TablePlan> {
    let found = classify::classify(facts, choices);
    let mut plans: Vec<(usize, TablePlan)> = (facts.tables.iter().zip(found))
        .map(|(table, found)| (found.place(), undo::undo_plan(table, found)))
        .filter(|(_, plan)| !plan.steps.is_empty())
        .collect();
    plans.sort_by_key(|(depth, _)| std::cmp::Reverse(*depth));
    plans.into_iter().map(|(_, plan)| plan).collect()
}

#[cfg(test)]
mod tests;
