//! The tables of an export of a user: tenancy's own, then those that name it, parents before children.

use std::collections::BTreeMap;

use tenancy_core::lifecycle::{TableLine, UserKey};

use super::facts;
use super::plan::Plan;
use super::sources::{self, Reader, Source};
use super::users;
use crate::error::Error;
use crate::pg::ddl;

/// Tenancy's own tables with rows about a user, the columns that stay behind, and the conditions by which rows are found; `%u` is the user.
const OWN: [(&str, &[&str], &str); 9] = [
    ("tenancy.scopes", &[], "id = %u"),
    (
        "tenancy_internal.role_assignments",
        &[],
        "user_id = %u ORDER BY id",
    ),
    (
        "tenancy_internal.api_key_secrets",
        &["hash"],
        "user_id = %u ORDER BY id",
    ),
    ("tenancy_internal.identity_users", &[], "user_id = %u"),
    ("tenancy_internal.allowed_networks", &[], "scope_id = %u"),
    (
        "tenancy_internal.limit_values",
        &[],
        "scope_id = %u ORDER BY id",
    ),
    (
        "tenancy_internal.budget_definitions",
        &[],
        "scope_id = %u ORDER BY id",
    ),
    (
        "tenancy.elevations",
        &[],
        "user_id = %u ORDER BY began_at, id",
    ),
    // By the user, about it, or of somebody who did something to it.
    (
        "tenancy.audit_log",
        &[],
        "%u IN (user_id, CASE WHEN target = %u::pg_catalog.text THEN %u END) OR details ->> 'user' = %u::pg_catalog.text ORDER BY at, id",
    ),
];

/// The user's usage by month in UTC: what is rolled up, and what is not yet.
const USAGE: &str = "\
SELECT pg_catalog.to_char(q.slot AT TIME ZONE 'UTC', 'YYYY-MM') AS month, m.name AS metric, q.tenant_id, q.project_id, \
       pg_catalog.sum(q.events) AS events, pg_catalog.trim_scale(pg_catalog.sum(q.quantity) / 1000000.0) AS quantity, \
       pg_catalog.trim_scale(pg_catalog.sum(q.cost) * 0.000001) AS cost \
  FROM (SELECT slot, metric_id, tenant_id, project_id, events, quantity, cost FROM tenancy_internal.usage_quarterly WHERE user_id = %u \
        UNION ALL \
        SELECT e.at, e.metric_id, e.tenant_id, e.project_id, CASE WHEN e.price_id = -2 THEN 0 ELSE 1 END, e.quantity, e.cost \
          FROM tenancy_internal.usage_events e JOIN tenancy_internal.usage_tails() t ON t.origin = e.origin AND e.xid >= t.rolled_to \
         WHERE e.user_id = %u) q \
  JOIN tenancy_internal.metric_definitions m ON m.id = q.metric_id \
 GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4";
const USAGE_COLUMNS: [(&str, &str); 7] = [
    ("month", "text"),
    ("metric", "text"),
    ("tenant_id", "uuid"),
    ("project_id", "uuid"),
    ("events", "numeric"),
    ("quantity", "numeric"),
    ("cost", "numeric"),
];

/// Returns the tables of a user.
pub fn of_user(key: &UserKey) -> Result<Vec<Source>, Error> {
    let id = format!("'{}'::pg_catalog.uuid", key.user.id);
    let mut found = Vec::new();
    for (name, hidden, condition) in OWN {
        let members = sources::columns(&[ddl::table(name)?])?.into_values();
        let Some((_, partitioned, line)) = members.flatten().next() else {
            continue;
        };
        let line = without(line, hidden);
        found.push(Source {
            query: sources::query(&line, !partitioned, &condition.replace("%u", &id)),
            line,
            reader: Reader::Tenancy,
        });
    }
    found.push(Source {
        line: TableLine {
            table: "usage".to_owned(),
            columns: USAGE_COLUMNS.map(|(name, _)| name.to_owned()).into(),
            types: USAGE_COLUMNS.map(|(_, kind)| kind.to_owned()).into(),
        },
        query: USAGE.replace("%u", &id),
        reader: Reader::Tenancy,
    });
    found.extend(of_application(key)?);
    Ok(found)
}

fn without(line: TableLine, hidden: &[&str]) -> TableLine {
    let (columns, types) = (line.columns.into_iter())
        .zip(line.types)
        .filter(|(column, _)| !hidden.contains(&column.as_str()))
        .unzip();
    TableLine {
        table: line.table,
        columns,
        types,
    }
}

/// Returns the application's tables that name the user in a column of theirs, whatever is decided on it.
fn of_application(key: &UserKey) -> Result<Vec<Source>, Error> {
    let mut conditions: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    let mut tables = facts::Columns::default();
    for named in users::read()? {
        let Some(column) = named.column else { continue };
        let of_table = conditions.entry(named.table.to_u32()).or_default();
        if of_table.is_empty() {
            let (name, kind) = column.searched();
            tables.0.push(named.table);
            tables.1.push(name.to_owned());
            tables.2.push(kind.as_str().to_owned());
        }
        of_table.push(column.condition(key).unwrap_or_else(|| "false".to_owned()));
    }
    let roots = tables.0.clone();
    let facts = facts::read_of(tables)?;
    let found = (facts.tables.iter())
        .map(|table| Some(conditions.remove(&table.oid)?.join(" OR ")))
        .collect();
    let plan = Plan::of(facts, found);
    let mut members = sources::columns(&roots)?;
    let mut sources = Vec::new();
    let order = plan.restoring();
    let places = order.iter().flat_map(|stage| &stage.tables);
    for (table, condition) in places.filter_map(|place| plan.table(*place)) {
        for (oid, partitioned, line) in members.remove(&table.oid).unwrap_or_default() {
            sources.push(Source {
                query: sources::query(&line, !partitioned, condition),
                line,
                reader: Reader::OwnerOf(oid),
            });
        }
    }
    Ok(sources)
}
