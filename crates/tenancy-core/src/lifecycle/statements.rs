//! The statements that delete the rows of a tenant or a user, or take a user out of them. They run with the rights of the tables' owner.

use super::facts::Link;
use crate::policy::{Relation, quote_ident};

/// What is done to rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// They are deleted.
    Delete,
    /// They stay, with these assignments of a SET clause. Batches return for each row whether it still fulfils the condition, because a
    /// trigger keeps it so: it would be found for ever.
    Set(String),
}

impl Change {
    /// Returns the statement that does it to the rows with a condition.
    #[must_use]
    pub fn statement(&self, part: &Relation, condition: &str) -> String {
        match self {
            Self::Delete => format!("DELETE FROM ONLY {part} WHERE {condition}"),
            Self::Set(assignments) => {
                format!("UPDATE ONLY {part} SET {assignments} WHERE {condition}")
            }
        }
    }

    fn to_those(&self, part: &Relation, which: &str, condition: &str) -> String {
        let statement = self.statement(part, which);
        match self {
            Self::Delete => statement,
            Self::Set(_) => format!("{statement} RETURNING ({condition}) IS TRUE"),
        }
    }

    /// Returns the statement that does it to the rows with a condition in some blocks of a table, from the first to before the last.
    #[must_use]
    pub fn in_blocks(&self, part: &Relation, condition: &str, blocks: (u32, u32)) -> String {
        let (from, to) = blocks;
        self.to_those(
            part,
            &format!("ctid >= '({from},0)'::pg_catalog.tid AND ctid < '({to},0)'::pg_catalog.tid AND {condition}"),
            condition,
        )
    }

    /// Returns the statement that does it to at most so many rows with a condition.
    #[must_use]
    pub fn to_some(&self, part: &Relation, condition: &str, most: u32) -> String {
        self.to_those(
            part,
            &format!("ctid = ANY (ARRAY(SELECT ctid FROM ONLY {part} WHERE {condition} LIMIT {most})) AND {condition}"),
            condition,
        )
    }
}

/// Returns the statement that deletes at most so many rows with a condition to which no other row refers by these foreign keys.
#[must_use]
pub fn delete_leaves(part: &Relation, condition: &str, links: &[&Link], most: u32) -> String {
    let mut leaf = String::new();
    for link in links {
        leaf.push_str(&format!(
            " AND NOT EXISTS (SELECT FROM {} r WHERE {} AND NOT (r.tableoid = t.tableoid AND r.ctid = t.ctid))",
            link.from,
            paired(link, "t", "r")
        ));
    }
    format!(
        "DELETE FROM ONLY {part} WHERE ctid = ANY (ARRAY(SELECT t.ctid FROM ONLY {part} t WHERE {condition}{leaf} LIMIT {most})) AND {condition}"
    )
}

/// Returns the statement that deletes all rows with a condition in several tables at once, and returns how many of each: foreign keys
/// are checked when it has deleted all of them.
#[must_use]
pub fn delete_all(tables: &[(&Relation, &str)]) -> String {
    let each = |form: &dyn Fn(usize, &Relation, &str) -> String| -> String {
        (tables.iter().enumerate())
            .map(|(n, (table, condition))| form(n, table, condition))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let deletes = each(&|n, table, condition| {
        format!("d{n} AS (DELETE FROM {table} WHERE {condition} RETURNING 1)")
    });
    let counts = each(&|n, _, _| format!("(SELECT pg_catalog.count(*) FROM d{n})"));
    format!("WITH {deletes} SELECT ARRAY[{counts}]")
}

/// Returns the query whether a table has a row with a condition.
#[must_use]
pub fn any_row(part: &Relation, condition: &str) -> String {
    format!("SELECT EXISTS (SELECT FROM ONLY {part} WHERE {condition})")
}

/// Returns the query whether a row that stays refers to one that is deleted. `own` is the condition for rows that are deleted in the
/// referencing table, if there are any. The names of columns in both conditions are those of their own table: each is in a query of its own.
#[must_use]
pub fn crossing(link: &Link, own: Option<&str>, referenced: &str) -> String {
    let others = own.map_or_else(String::new, |own| format!(" AND ({own}) IS NOT TRUE"));
    format!(
        "SELECT EXISTS (SELECT FROM {} t WHERE {referenced} AND EXISTS (SELECT FROM {} r WHERE {}{others}))",
        link.to,
        link.from,
        paired(link, "t", "r")
    )
}

/// Returns the query whether a row of the tenant refers to one that it may not have: the conditions are for those that it may.
#[must_use]
pub fn straying(link: &Link, own: &str, allowed: &[String]) -> String {
    let allowed: Vec<String> = allowed
        .iter()
        .map(|condition| format!("t.{condition}"))
        .collect();
    format!(
        "SELECT EXISTS (SELECT FROM {} r JOIN {} t ON {} WHERE r.{own} AND ({}) IS NOT TRUE)",
        link.from,
        link.to,
        paired(link, "t", "r"),
        match allowed.is_empty() {
            true => "false".to_owned(),
            false => allowed.join(" OR "),
        }
    )
}

/// Returns the condition by which a row refers to another.
fn paired(link: &Link, referenced: &str, referencing: &str) -> String {
    (link.ref_columns.iter())
        .zip(&link.columns)
        .zip(&link.operators)
        .map(|((other, own), operator)| {
            format!(
                "{referenced}.{} OPERATOR({operator}) {referencing}.{}",
                quote_ident(other),
                quote_ident(own)
            )
        })
        .collect::<Vec<_>>()
        .join(" AND ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes() -> Relation {
        Relation {
            schema: "app".to_owned(),
            name: "notes".to_owned(),
        }
    }

    fn reply() -> Link {
        Link {
            name: "reply".to_owned(),
            from: notes(),
            from_root: Some(1),
            from_owner: 1,
            to: notes(),
            to_root: 1,
            columns: vec!["tenant_id".to_owned(), "reply_to".to_owned()],
            ref_columns: vec!["tenant_id".to_owned(), "id".to_owned()],
            operators: vec!["pg_catalog.=".to_owned(), "pg_catalog.=".to_owned()],
            on_delete: "a".to_owned(),
            nullable: false,
        }
    }

    #[test]
    fn rows_stray_that_refer_to_what_is_neither_their_tenants_nor_shared() {
        let found = straying(&reply(), "a = 1", &["a = 1".to_owned(), "a = 2".to_owned()]);
        assert!(
            found.ends_with("WHERE r.a = 1 AND (t.a = 1 OR t.a = 2) IS NOT TRUE)"),
            "{found}"
        );
        assert!(straying(&reply(), "a = 1", &[]).contains("(false) IS NOT TRUE"));
    }

    #[test]
    fn leaves_are_rows_that_no_other_row_refers_to() {
        assert_eq!(
            delete_leaves(&notes(), "tenant_id = 1", &[&reply()], 10),
            "DELETE FROM ONLY app.notes WHERE ctid = ANY (ARRAY(SELECT t.ctid FROM ONLY app.notes t WHERE tenant_id = 1 \
             AND NOT EXISTS (SELECT FROM app.notes r WHERE t.tenant_id OPERATOR(pg_catalog.=) r.tenant_id AND t.id OPERATOR(pg_catalog.=) r.reply_to \
             AND NOT (r.tableoid = t.tableoid AND r.ctid = t.ctid)) LIMIT 10)) AND tenant_id = 1"
        );
    }

    #[test]
    fn several_tables_are_emptied_by_one_statement() {
        let (a, b) = (notes(), notes());
        assert_eq!(
            delete_all(&[(&a, "x = 1"), (&b, "y = 1")]),
            "WITH d0 AS (DELETE FROM app.notes WHERE x = 1 RETURNING 1), d1 AS (DELETE FROM app.notes WHERE y = 1 RETURNING 1) \
             SELECT ARRAY[(SELECT pg_catalog.count(*) FROM d0), (SELECT pg_catalog.count(*) FROM d1)]"
        );
    }

    #[test]
    fn rows_of_others_are_those_that_are_not_known_to_be_the_tenants() {
        assert!(
            crossing(&reply(), Some("tenant_id = 1"), "tenant_id = 1")
                .ends_with("OPERATOR(pg_catalog.=) r.reply_to AND (tenant_id = 1) IS NOT TRUE))")
        );
        assert!(
            crossing(&reply(), None, "tenant_id = 1")
                .ends_with("OPERATOR(pg_catalog.=) r.reply_to))")
        );
    }

    #[test]
    fn rows_that_stay_are_changed_where_they_were_found() {
        let change = Change::Set("author = NULL".to_owned());
        assert_eq!(
            change.in_blocks(&notes(), "author = 1", (0, 8)),
            "UPDATE ONLY app.notes SET author = NULL WHERE ctid >= '(0,0)'::pg_catalog.tid AND ctid < '(8,0)'::pg_catalog.tid AND author = 1 RETURNING (author = 1) IS TRUE"
        );
        assert_eq!(
            Change::Delete.to_some(&notes(), "author = 1", 5),
            "DELETE FROM ONLY app.notes WHERE ctid = ANY (ARRAY(SELECT ctid FROM ONLY app.notes WHERE author = 1 LIMIT 5)) AND author = 1"
        );
    }
}
