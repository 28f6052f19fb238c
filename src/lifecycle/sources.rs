//! The tables of an export, in the order in which they can be restored, and the queries that read them.

use std::collections::HashMap;

use pgrx::prelude::*;
use tenancy_core::lifecycle::{TableLine, TenantKey};
use tenancy_core::policy::{Relation, quote_ident};

use super::plan::Plan;
use crate::error::Error;
use crate::pg::ddl;
use crate::pg::spi::{self, NotNull};
use crate::policy;

/// Tenancy's own tables with rows of a tenant, and the conditions by which these are found; `%t` is the tenant. Keys and secrets are not
/// among them.
pub const OWN: [(&str, &str); 9] = [
    (
        "tenancy.scopes",
        "path && ARRAY[%t] ORDER BY pg_catalog.cardinality(path), id",
    ),
    (
        "tenancy_internal.role_definitions",
        "scope_id = %t ORDER BY id",
    ),
    (
        "tenancy_internal.role_assignments",
        "user_id IN (SELECT s.id FROM tenancy.scopes s WHERE s.path && ARRAY[%t]) \
         AND scope_id IN (SELECT s.id FROM tenancy.scopes s WHERE s.path && ARRAY[%t]) ORDER BY id",
    ),
    (
        "tenancy_internal.allowed_networks",
        "scope_id IN (SELECT s.id FROM tenancy.scopes s WHERE s.path && ARRAY[%t]) ORDER BY scope_id",
    ),
    (
        "tenancy_internal.login_policy_registry",
        "scope_id IN (SELECT s.id FROM tenancy.scopes s WHERE s.path && ARRAY[%t]) ORDER BY scope_id",
    ),
    // Of these nothing is imported: they must be the same there.
    (
        "tenancy_internal.metric_definitions",
        "id IN (SELECT b.metric_id FROM tenancy_internal.budget_definitions b JOIN tenancy.scopes s ON s.id = b.scope_id WHERE s.path && ARRAY[%t]) ORDER BY id",
    ),
    (
        "tenancy_internal.budget_definitions",
        "scope_id IN (SELECT s.id FROM tenancy.scopes s WHERE s.path && ARRAY[%t]) ORDER BY id",
    ),
    (
        "tenancy_internal.credit_grants",
        "scope_id IN (SELECT s.id FROM tenancy.scopes s WHERE s.path && ARRAY[%t]) ORDER BY id",
    ),
    (
        "tenancy_internal.credit_draws",
        "credit_id IN (SELECT g.id FROM tenancy_internal.credit_grants g JOIN tenancy.scopes s ON s.id = g.scope_id WHERE s.path && ARRAY[%t]) \
         AND reservation IS NULL ORDER BY credit_id, at",
    ),
];

/// With whose rights a table is read.
pub enum Reader {
    /// Those of tenancy's owner.
    Tenancy,
    /// Those of the owner of this table.
    OwnerOf(pg_sys::Oid),
}

/// A table of an export.
pub struct Source {
    /// The line that begins it.
    pub line: TableLine,
    /// The query for the tenant's rows.
    pub query: String,
    /// With whose rights it runs.
    pub reader: Reader,
}

impl Source {
    /// Runs `f` with the rights that the query needs.
    pub fn with_its_rights<R>(&self, f: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
        spi::exact_texts(|| match self.reader {
            Reader::Tenancy => spi::as_owner(f),
            Reader::OwnerOf(table) => {
                policy::pinned(|| policy::as_table_owner_unfiltered(table, f))
            }
        })
    }
}

/// Returns the tables of a tenant: tenancy's own, then the protected ones, parents before children.
pub fn of_tenant(tenant: &TenantKey) -> Result<Vec<Source>, Error> {
    let mut sources = Vec::new();
    for (name, condition) in OWN {
        let found = columns(&[ddl::table(name)?])?.into_values().next();
        let mut found = found.unwrap_or_default();
        if let Some((_, _, line)) = found.pop() {
            let id = format!("'{}'::pg_catalog.uuid", tenant.id);
            sources.push(Source {
                query: query(&line, false, &condition.replace("%t", &id)),
                line,
                reader: Reader::Tenancy,
            });
        }
    }
    let plan = Plan::read(tenant)?;
    let roots: Vec<pg_sys::Oid> = (plan.facts.tables.iter())
        .map(|table| pg_sys::Oid::from_u32(table.oid))
        .collect();
    let mut members = columns(&roots)?;
    let order = plan.restoring();
    let places = order.iter().flat_map(|stage| &stage.tables);
    for (table, condition) in places.filter_map(|place| plan.table(*place)) {
        for (oid, partitioned, line) in members.remove(&table.oid).unwrap_or_default() {
            sources.push(Source {
                query: query(&line, !partitioned, condition),
                line,
                reader: Reader::OwnerOf(oid),
            });
        }
    }
    Ok(sources)
}

fn query(line: &TableLine, only: bool, condition: &str) -> String {
    let columns: Vec<String> = line
        .columns
        .iter()
        .map(|column| quote_ident(column))
        .collect();
    format!(
        "SELECT {} FROM {}{} WHERE {condition}",
        columns.join(", "),
        if only { "ONLY " } else { "" },
        line.table
    )
}

/// Members of protected tables: the table, whether it is partitioned, and its line.
pub type Members = HashMap<u32, Vec<(pg_sys::Oid, bool, TableLine)>>;

/// Reads the tables that have rows of these, with their columns, by these.
pub fn columns(roots: &[pg_sys::Oid]) -> Result<Members, Error> {
    spi::pinned(|| {
        spi::read_as_caller(
            include_str!("sources.sql"),
            &[roots.to_vec().into()],
            |rows| {
                let mut members = Members::new();
                for row in rows {
                    let root: pg_sys::Oid = row.not_null(1)?;
                    let relation = Relation {
                        schema: row.not_null(4)?,
                        name: row.not_null(5)?,
                    };
                    let line = TableLine {
                        table: relation.to_string(),
                        columns: row.not_null(6)?,
                        types: row.not_null(7)?,
                    };
                    let member = (row.not_null(2)?, row.not_null(3)?, line);
                    members.entry(root.to_u32()).or_default().push(member);
                }
                Ok(members)
            },
        )
    })
}
