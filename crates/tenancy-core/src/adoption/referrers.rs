//! Tables whose rows refer to no tenant, but are referred to by rows of tenants: whether each is used by one tenant alone, and then
//! belongs to it.

use super::facts::Table;
use super::found::{Found, Kind, Parent};
use super::schema::Schema;
use crate::policy::{Relation, quote_ident};

/// How many rows of a table are looked at to find out whether tenants share them.
const SAMPLE_ROWS: u32 = 1000;

/// Of so many rows that one tenant uses, one that several use may be a mistake.
const FEW_SHARED: i64 = 100;

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
            let mut filled = table.filled.iter();
            let begun = filled.any(|filled| filled.is_added() && filled.sources().next().is_none());
            begun || (self.choices.of(&table.relation)).is_some_and(|d| d.by_referrers)
        };
        (self.facts.tables.iter().zip(found).enumerate())
            .filter(|(_, (table, place))| place.is_none() && decided(table))
            .find_map(|(n, (table, _))| {
                let referrers = self.referrers(table, found);
                let mut own = self.added(table, "is referred to");
                own.referrers = referrers;
                own.may_miss = self.may_stay(table);
                (!own.referrers.is_empty()).then_some((n, own))
            })
    }

    /// Returns the tables whose rows are tenants', and refer to a table: that as the referenced one.
    pub fn referrers(&self, table: &Table, found: &[Option<Found>]) -> Vec<Parent> {
        let mut out = Vec::new();
        for (other, place) in self.facts.tables.iter().zip(found) {
            let Some(above) = place.as_ref().filter(|place| place.holds_tenants()) else {
                continue;
            };
            let links = self.decided_or_all_links(other).into_iter();
            for link in links.filter(|link| link.to == table.relation) {
                let relation = other.relation.clone();
                let parent = link.parent(above);
                out.push(Parent { relation, ..parent });
            }
        }
        out
    }

    /// Returns the query that tells whether tenants share the rows of a table; `None` if that cannot be asked.
    pub fn compare(&self, table: &Table, found: &[Option<Found>]) -> Option<ToCompare> {
        let referrers = self.referrers(table, found);
        let first = referrers.first()?;
        if have_different_keys(&referrers) || !self.may_read(referrers.iter()) {
            return None;
        }
        let keys = numbered(first.columns.len(), "");
        let of_sample = |row: &str, columns: &[String]| {
            let columns: Vec<String> = columns
                .iter()
                .map(|c| format!("{row}.{}", quote_ident(c)))
                .collect();
            format!("({}) IN (SELECT {keys} FROM sample)", columns.join(", "))
        };
        let uses = self.uses(&referrers, found, |other| of_sample("r", &other.columns))?;
        let columns: Vec<String> = (first.ref_columns.iter().enumerate())
            .map(|(n, column)| format!("b.{} AS k{n}", quote_ident(column)))
            .collect();
        let query = format!(
            "WITH sample AS MATERIALIZED (SELECT {} FROM {} b LIMIT {SAMPLE_ROWS}) \
             SELECT count(*) FILTER (WHERE u.low <> u.high), count(*) FILTER (WHERE u.low = u.high), count(DISTINCT u.low) \
             FROM (SELECT {LOW} AS low, {HIGH} AS high FROM ({uses}) x GROUP BY {}) u",
            columns.join(", "),
            table.relation,
            numbered(first.columns.len(), "x.")
        );
        Some(ToCompare {
            relation: table.relation.clone(),
            query,
        })
    }

    /// Returns the number of rows of a table that not exactly one tenant uses, as SQL.
    pub fn not_of_one(
        &self,
        relation: &Relation,
        own: &Found,
        found: &[Option<Found>],
    ) -> Option<String> {
        let first = own.referrers.first()?;
        let uses = self.uses(&own.referrers, found, |other| other.refers("r"))?;
        Some(format!(
            "(SELECT count(*) FROM ({}) u WHERE u.one IS NULL)",
            used(&relation.to_string(), first, &uses, "")
        ))
    }

    /// Returns the referenced keys `k0`, … and the tenant of all rows that refer to them, as SQL.
    fn uses(
        &self,
        referrers: &[Parent],
        found: &[Option<Found>],
        wanted: impl Fn(&Parent) -> String,
    ) -> Option<String> {
        let uses: Option<Vec<String>> = (referrers.iter())
            .map(|referrer| {
                Some(uses_of(
                    referrer,
                    &self.tenant_of(&referrer.relation, "r", found)?,
                    &wanted(referrer),
                ))
            })
            .collect();
        Some(uses?.join(" UNION ALL "))
    }

    /// Blocks a table whose rows look like tenants' own.
    pub fn check_sharing(&self, table: &Table, found: &mut Found, known: &[Option<Found>]) {
        let usage = table.usage;
        if found.kind != Kind::Lookup {
            return;
        }
        let decide = "decide with {\"share\": true} or {\"skip\": true}";
        if have_different_keys(&self.referrers(table, known)) {
            found.block(format!("different keys refer to it, so that nothing tells whether tenants share its rows: {decide}"));
        } else if usage.of_one > usage.of_several * FEW_SHARED
            && usage.of_one > 1
            && usage.tenants > 1
        {
            let are = if usage.of_one == 1 { "is" } else { "are" };
            found.block(format!(
                "of its rows that others refer to, {} {are} used by one tenant alone and {} by several, so it may hold tenants' rows: {decide}, or give each row to the \
                 tenant that uses it with {{\"by_referrers\": true}}",
                usage.of_one, usage.of_several
            ));
        }
    }
}

/// Returns whether tables refer to different keys of another one.
pub fn have_different_keys(referrers: &[Parent]) -> bool {
    let mut keys = referrers.iter().map(|referrer| &referrer.ref_columns);
    keys.next()
        .is_some_and(|first| keys.any(|key| key != first))
}

/// The first and the last tenant of those that use a key; NULL if none does.
const LOW: &str = r#"min(x.tenant COLLATE "C")"#;
const HIGH: &str = r#"max(x.tenant COLLATE "C")"#;

fn numbered(columns: usize, row: &str) -> String {
    let keys: Vec<String> = (0..columns).map(|n| format!("{row}k{n}")).collect();
    keys.join(", ")
}

/// Returns the keys that some rows of a table refer to, each with the tenant of the row that does.
fn uses_of(referrer: &Parent, tenant: &str, wanted: &str) -> String {
    let columns: Vec<String> = (referrer.columns.iter().enumerate())
        .map(|(n, column)| format!("r.{} AS k{n}", quote_ident(column)))
        .collect();
    format!(
        "SELECT {}, {tenant} AS tenant FROM {} r WHERE {wanted}",
        columns.join(", "),
        referrer.relation
    )
}

/// Returns the keys of some rows of a table, and the tenant that alone uses each.
fn used(target: &str, first: &Parent, uses: &str, range: &str) -> String {
    let columns: Vec<String> = first
        .ref_columns
        .iter()
        .map(|c| format!("b.{}", quote_ident(c)))
        .collect();
    let keys: Vec<String> = (columns.iter().enumerate())
        .map(|(n, column)| format!("{column} AS k{n}"))
        .collect();
    let pairs: Vec<String> = (columns.iter().enumerate())
        .map(|(n, column)| format!("x.k{n} = {column}"))
        .collect();
    format!(
        "SELECT {}, CASE WHEN {LOW} = {HIGH} THEN {LOW} END AS one FROM {target} b LEFT JOIN ({uses}) x ON {} WHERE true{range} GROUP BY {}",
        keys.join(", "),
        pairs.join(" AND "),
        columns.join(", ")
    )
}

/// Returns the statement that gives some rows of a table the tenant that alone uses them, and takes it from those that others use,
/// too. The referring tables have their column.
pub fn fill(
    target: &str,
    column: &str,
    column_type: &str,
    referrers: &[Parent],
    range: &dyn Fn(&str) -> String,
) -> String {
    let Some(first) = referrers.first() else {
        return String::new();
    };
    let uses: Vec<String> = (referrers.iter())
        .map(|r| {
            uses_of(
                r,
                &format!("r.{}::text", quote_ident(&r.tenant_column)),
                &r.refers("r"),
            )
        })
        .collect();
    let used = used(target, first, &uses.join(" UNION ALL "), &range("b"));
    let pairs: Vec<String> = (first.ref_columns.iter().enumerate())
        .map(|(n, theirs)| format!("c.{} = u.k{n}", quote_ident(theirs)))
        .collect();
    let column = quote_ident(column);
    format!(
        "UPDATE {target} AS c SET {column} = u.one::{column_type} FROM ({used}) AS u WHERE {} AND c.{column} IS DISTINCT FROM u.one::{column_type}{}",
        pairs.join(" AND "),
        range("c")
    )
}
