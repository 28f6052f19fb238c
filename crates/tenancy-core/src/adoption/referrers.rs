//! Tables whose rows refer to no tenant, but are referred to by rows of tenants: whether each is used by one tenant alone, and then
//! belongs to it.

use super::facts::Table;
use super::found::{Found, Kind, Parent};
use super::schema::Schema;
use crate::policy::{Relation, quote_ident};

/// How many rows of a referring table are looked at to find out whether tenants share rows.
const SAMPLE_ROWS: u32 = 10_000;

/// How many tables are between a row and its tenant at most in a query.
const DEPTH_MAX: usize = 20;

/// Whether tenants share the rows of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToCompare {
    /// The table.
    pub relation: Relation,
    /// Returns how many of its rows several tenants use, how many one does, and how many tenants these are.
    pub query: String,
}

impl<'a> Schema<'a> {
    /// Finds the next table that was decided to belong to the tenants whose rows refer to its rows.
    pub fn next_referred(&self, found: &[Option<Found>]) -> Option<(usize, Found)> {
        let decided = |table: &Table| {
            let begun = table
                .filled
                .as_ref()
                .is_some_and(|filled| filled.is_added() && filled.sources().next().is_none());
            begun
                || self
                    .choices
                    .of(&table.relation)
                    .is_some_and(|d| d.by_referrers)
        };
        (self.facts.tables.iter().zip(found).enumerate())
            .filter(|(_, (table, place))| place.is_none() && decided(table))
            .find_map(|(n, (table, _))| Some((n, self.referred(table, found)?)))
    }

    fn referred(&self, table: &Table, found: &[Option<Found>]) -> Option<Found> {
        let referrers = self.referrers(table, found);
        let first = referrers.first()?;
        let names: Vec<String> = referrers.iter().map(|r| r.relation.to_string()).collect();
        let mut out = self.added(table, &format!("{} refers to it", names.join(", ")));
        if referrers
            .iter()
            .any(|other| other.ref_columns != first.ref_columns)
        {
            out.block("different keys refer to it: give it the tenant's column".to_owned());
        }
        out.column_type.clone_from(&first.tenant_type);
        out.referrers = referrers;
        Some(out)
    }

    /// Returns the tables whose rows are tenants', and refer to a table: that as the referenced one.
    pub fn referrers(&self, table: &Table, found: &[Option<Found>]) -> Vec<Parent> {
        let mut out = Vec::new();
        for (other, place) in self.facts.tables.iter().zip(found) {
            let Some(above) = place.as_ref().filter(|place| place.holds_tenants()) else {
                continue;
            };
            for link in self
                .all_links(other)
                .into_iter()
                .filter(|link| link.to == table.relation)
            {
                out.push(Parent {
                    relation: other.relation.clone(),
                    ..link.parent(above)
                });
            }
        }
        out
    }

    /// Returns the query that tells whether tenants share the rows of a table.
    pub fn compare(&self, table: &Table, found: &[Option<Found>]) -> Option<ToCompare> {
        let referrers = self.referrers(table, found);
        let first = referrers.first()?;
        if referrers
            .iter()
            .any(|other| other.ref_columns != first.ref_columns)
        {
            return None;
        }
        let sample = format!(" LIMIT {SAMPLE_ROWS}");
        let used = used_by(
            &referrers,
            |r| self.tenant_of(&r.relation, "r", found, 0),
            &sample,
        )?;
        let query = format!(
            "SELECT count(*) FILTER (WHERE u.tenants > 1), count(*) FILTER (WHERE u.tenants = 1), count(DISTINCT u.tenant) FROM ({used}) u"
        );
        Some(ToCompare {
            relation: table.relation.clone(),
            query,
        })
    }

    /// Returns the condition that not exactly one tenant uses a row `t`.
    pub fn not_of_one(&self, own: &Found, found: &[Option<Found>]) -> Option<String> {
        let first = own.referrers.first()?;
        let used = used_by(
            &own.referrers,
            |r| self.tenant_of(&r.relation, "r", found, 0),
            "",
        )?;
        let (columns, keys): (Vec<String>, Vec<String>) = (first.ref_columns.iter().enumerate())
            .map(|(n, column)| (format!("t.{}", quote_ident(column)), format!("u.k{n}")))
            .unzip();
        Some(format!(
            "({}) NOT IN (SELECT {} FROM ({used}) u WHERE u.tenants = 1)",
            columns.join(", "),
            keys.join(", ")
        ))
    }

    /// Returns the tenant of a row of a table, as SQL: that in its column, or that of its parents, as long as it has none.
    fn tenant_of(
        &self,
        relation: &Relation,
        row: &str,
        found: &[Option<Found>],
        depth: usize,
    ) -> Option<String> {
        let (table, own) = (self.facts.table(relation)?, self.holder(relation, found)?);
        let column = own.column.as_ref()?;
        if table.column(column).is_some() {
            return Some(format!("{row}.{}", quote_ident(column)));
        }
        let above = format!("p{depth}");
        let parents: Option<Vec<String>> = (own.parents.iter().filter(|_| depth < DEPTH_MAX))
            .map(|parent| {
                let pairs: Vec<String> = (parent.columns.iter().zip(&parent.ref_columns))
                    .map(|(c, theirs)| {
                        format!("{above}.{} = {row}.{}", quote_ident(theirs), quote_ident(c))
                    })
                    .collect();
                let tenant = self.tenant_of(&parent.relation, &above, found, depth + 1)?;
                Some(format!(
                    "(SELECT {tenant}::text FROM {} {above} WHERE {})",
                    parent.relation,
                    pairs.join(" AND ")
                ))
            })
            .collect();
        let parents = parents.filter(|parents| !parents.is_empty())?;
        Some(format!("coalesce({})", parents.join(", ")))
    }

    /// Blocks a table whose rows look like tenants' own.
    pub fn check_sharing(&self, table: &Table, found: &mut Found) {
        let usage = table.usage;
        if found.kind == Kind::Lookup
            && usage.of_several == 0
            && usage.of_one > 1
            && usage.tenants > 1
        {
            found.block(format!(
                "each of its rows that others refer to ({}) is used by one tenant alone, so it may hold tenants' rows: decide with {{\"share\": true}} or \
                 {{\"skip\": true}}, or give each row to the tenant that uses it with {{\"by_referrers\": true}}",
                usage.of_one
            ));
        }
    }
}

/// Returns a query of the referenced keys `k0`, …, how many tenants use each, and one of these.
fn used_by(
    referrers: &[Parent],
    tenant: impl Fn(&Parent) -> Option<String>,
    limit: &str,
) -> Option<String> {
    let uses: Option<Vec<String>> = (referrers.iter())
        .map(|referrer| {
            let columns: Vec<String> = (referrer.columns.iter().enumerate())
                .map(|(n, column)| format!("r.{} AS k{n}", quote_ident(column)))
                .collect();
            let there: Vec<String> = referrer
                .columns
                .iter()
                .map(|c| format!("r.{} IS NOT NULL", quote_ident(c)))
                .collect();
            Some(format!(
                "(SELECT {}, {}::text AS tenant FROM {} r WHERE {}{limit})",
                columns.join(", "),
                tenant(referrer)?,
                referrer.relation,
                there.join(" AND ")
            ))
        })
        .collect();
    let keys: Vec<String> = (0..referrers.first()?.columns.len())
        .map(|n| format!("k{n}"))
        .collect();
    let keys = keys.join(", ");
    Some(format!(
        "SELECT {keys}, count(DISTINCT tenant) AS tenants, min(tenant) AS tenant FROM ({}) x WHERE tenant IS NOT NULL GROUP BY {keys}",
        uses?.join(" UNION ALL ")
    ))
}

/// Returns the statement that gives some rows of a table the tenant that alone uses them. The referring tables have their column.
pub fn fill(
    target: &str,
    column: &str,
    column_type: &str,
    referrers: &[Parent],
    range: &str,
) -> String {
    let own = |r: &Parent| Some(format!("r.{}", quote_ident(&r.tenant_column)));
    let used = used_by(referrers, own, "").unwrap_or_default();
    let pairs: Vec<String> = (referrers
        .first()
        .into_iter()
        .flat_map(|first| first.ref_columns.iter().enumerate()))
    .map(|(n, theirs)| format!("c.{} = u.k{n}", quote_ident(theirs)))
    .collect();
    let column = quote_ident(column);
    let tenant = format!("u.tenant::{column_type}");
    format!(
        "UPDATE {target} AS c SET {column} = {tenant} FROM ({used}) AS u WHERE {} AND u.tenants = 1 AND c.{column} IS DISTINCT FROM {tenant}{range}",
        pairs.join(" AND ")
    )
}
