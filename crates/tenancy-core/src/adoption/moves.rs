//! The trigger by which rows follow the row that they have their tenant from to another tenant.

use super::facts::{SchemaFacts, Table};
use crate::policy::{Relation, quote_ident, quote_literal};

/// Its name. Triggers run in the order of their names: the rows follow before the server checks foreign keys with the tenant column.
pub const MOVE: &str = "00_tenancy_move";

/// Returns the statement that creates it on a table with this tenant column. It waits for all who write the table, also if the trigger
/// is there: who moved a row before has not seen the table that is to follow.
pub fn create(table: &Relation, tenant_column: &str) -> String {
    format!(
        "CREATE OR REPLACE TRIGGER {} AFTER UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION tenancy.pass_tenant({})",
        quote_ident(MOVE),
        quote_literal(tenant_column)
    )
}

/// Returns the tables without it that the rows of a protected table have their tenant from, each with its tenant column.
pub fn missing<'f>(facts: &'f SchemaFacts, table: &Table) -> Vec<(&'f Relation, &'f str)> {
    let mut missing = Vec::new();
    for source in table.filled.iter().flat_map(|filled| filled.sources()) {
        let mut keys = table.foreign_keys.iter();
        let to = match keys.find(|key| source.is_of(&key.name, &key.columns)) {
            Some(key) => key.to.clone(),
            None => source.relation(),
        };
        let above = facts.table(&to).filter(|above| !above.moves);
        if let Some(above) = above
            && let Some(column) = &above.protected_by
            && !missing.iter().any(|(known, _)| *known == &above.relation)
        {
            missing.push((&above.relation, column.as_str()));
        }
    }
    missing
}
