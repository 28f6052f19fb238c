//! The tables of an export, in the order in which they can be restored, and the queries that read them.

use std::collections::HashMap;

use pgrx::prelude::*;
use tenancy_core::lifecycle::{OWN, TableLine, TenantKey};
use tenancy_core::policy::{Relation, quote_ident};

use super::plan::Plan;
use crate::error::Error;
use crate::pg::spi::{self, NotNull};
use crate::policy;

/// The queries for tenancy's own rows of the tenant `%t`, in the order of [`OWN`]. Keys, secrets and identity providers are not among
/// them, nor is what has ended. Two exports of the same rows are the same.
const QUERIES: [&str; OWN.len()] = [
    "SELECT s.id, s.level, s.slug, s.name, s.status, s.external_id, s.kind, s.settings, s.features, s.created_at \
       FROM tenancy.scopes s WHERE s.path && ARRAY[%t] ORDER BY pg_catalog.cardinality(s.path), s.id",
    "SELECT r.name, r.permissions, r.description, r.expires_at \
       FROM tenancy_internal.role_definitions r WHERE r.scope_id = %t ORDER BY r.name COLLATE \"C\"",
    // Those by groups come with the next login.
    "SELECT a.user_id, a.scope_id, r.name, d.level, a.expires_at \
       FROM tenancy_internal.role_assignments a JOIN tenancy_internal.role_definitions r ON r.id = a.role_id \
       JOIN tenancy.scopes d ON d.id = r.scope_id JOIN tenancy.scopes u ON u.id = a.user_id JOIN tenancy.scopes s ON s.id = a.scope_id \
      WHERE u.path && ARRAY[%t] AND s.path && ARRAY[%t] AND a.source = 'direct' AND (a.expires_at > pg_catalog.now() OR a.expires_at IS NULL) \
      ORDER BY a.user_id, a.scope_id, d.level COLLATE \"C\", r.name COLLATE \"C\"",
    "SELECT n.scope_id, n.networks \
       FROM tenancy_internal.allowed_networks n JOIN tenancy.scopes s ON s.id = n.scope_id WHERE s.path && ARRAY[%t] ORDER BY n.scope_id",
    "SELECT l.scope_id, l.amr, l.acr, l.session_length, l.human_api_keys \
       FROM tenancy_internal.login_policy_registry l JOIN tenancy.scopes s ON s.id = l.scope_id WHERE s.path && ARRAY[%t] ORDER BY l.scope_id",
    "SELECT b.scope_id, m.name, b.period, b.imposed, pg_catalog.trim_scale(b.amount / 1000000.0), b.hard, b.alert_at, b.per, b.dimensions, b.anchor, b.alert_amounts \
       FROM tenancy_internal.budget_definitions b JOIN tenancy.scopes s ON s.id = b.scope_id \
       LEFT JOIN tenancy_internal.metric_definitions m ON m.id = b.metric_id WHERE s.path && ARRAY[%t] AND b.api_key_id IS NULL \
      ORDER BY b.scope_id, m.name COLLATE \"C\", b.period, b.imposed, b.per, b.dimensions",
    // What is left of them, to the millionth. A credit whose rollover has begun has no other.
    "SELECT c.scope_id, c.metric, c.period, c.imposed, trim_scale(trunc(c.remaining) * 0.000001), c.priority, c.effective_at, c.expires_at, \
            CASE WHEN c.rolls_at > now() THEN trim_scale(trunc(LEAST(c.rollover, c.remaining)) * 0.000001) END, c.note \
       FROM (SELECT g.*, m.name AS metric, b.period, b.imposed, \
                    LEAST(g.amount - d.drawn, CASE WHEN g.rolls_at <= now() THEN g.rollover - d.since END) AS remaining \
               FROM tenancy_internal.credit_grants g JOIN tenancy_internal.budget_definitions b ON b.id = g.budget_id \
               JOIN tenancy.scopes s ON s.id = g.scope_id LEFT JOIN tenancy_internal.metric_definitions m ON m.id = b.metric_id \
              CROSS JOIN LATERAL (SELECT coalesce(sum(w.quantity), 0), coalesce(sum(w.quantity) FILTER (WHERE w.at >= g.rolls_at), 0) \
                                    FROM tenancy_internal.credit_draws w WHERE w.credit_id = g.id) d (drawn, since) \
              WHERE s.path && ARRAY[%t] AND g.closed_at IS NULL AND (g.expires_at > now() OR g.expires_at IS NULL)) c \
      WHERE c.remaining >= 1 \
      ORDER BY c.scope_id, c.metric COLLATE \"C\", c.period, c.imposed, c.effective_at, c.priority, c.expires_at, 5, c.note COLLATE \"C\"",
    "SELECT v.scope_id, d.name, v.level, v.per, v.imposed, v.amount, v.burst \
       FROM tenancy_internal.limit_values v JOIN tenancy_internal.limit_definitions d ON d.id = v.limit_id JOIN tenancy.scopes s ON s.id = v.scope_id \
      WHERE s.path && ARRAY[%t] ORDER BY v.scope_id, d.name COLLATE \"C\", v.level, v.per, v.imposed",
    "SELECT d.name, p.starts_at, p.ends_at, p.trial \
       FROM tenancy_internal.tenant_plans p JOIN tenancy_internal.plan_definitions d ON d.id = p.plan_id \
      WHERE p.tenant_id = %t AND (p.ends_at > pg_catalog.now() OR p.ends_at IS NULL) ORDER BY p.starts_at, d.name COLLATE \"C\"",
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
    let id = format!("'{}'::pg_catalog.uuid", tenant.id);
    for (table, query) in OWN.iter().zip(QUERIES) {
        sources.push(Source {
            query: query.replace("%t", &id),
            line: table.line(),
            reader: Reader::Tenancy,
        });
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

/// Returns the query for the rows of a table with a condition.
pub fn query(line: &TableLine, only: bool, condition: &str) -> String {
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
