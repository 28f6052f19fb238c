//! The statements that restore an export: rows of lines in a table become rows of the tables that they came from.

use super::lines::TableLine;
use crate::policy::{quote_ident, quote_literal};

/// A table that rows can be restored into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The place of the protected table that it is, or is a part of.
    pub place: usize,
    /// Its name, its columns without generated ones, and their types.
    pub line: TableLine,
    /// The column that holds the tenant.
    pub tenant_column: String,
    /// The condition for the tenant's rows; `None` if the tenant can have none.
    pub condition: Option<String>,
}

/// How values change on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The new ids by the former ones, as a JSON object; empty if all are kept.
    pub ids: String,
    /// The tenant's external id, if rows get another one.
    pub external_id: Option<String>,
}

/// Finds the table for each of these lines: of the same name, with the same columns.
///
/// # Errors
/// Why rows cannot be restored, a line for each reason.
pub fn targets<'a>(
    lines: &[&TableLine],
    all: &'a [Target],
) -> Result<Vec<&'a Target>, Vec<String>> {
    let (mut found, mut reasons) = (Vec::new(), Vec::new());
    for line in lines {
        match all.iter().find(|target| target.line.table == line.table) {
            None => reasons.push(format!(
                "{}: there is no protected table of this name.",
                line.table
            )),
            Some(target) if sorted(&target.line) != sorted(line) => {
                reasons.push(format!(
                    "{}: it has other columns than the export, or of other types.",
                    line.table
                ));
            }
            Some(target) if target.condition.is_none() => reasons.push(format!(
                "{}: the tenant has no external id, or none that its tenant column can hold.",
                line.table
            )),
            Some(target) => found.push(target),
        }
    }
    match reasons.is_empty() {
        true => Ok(found),
        false => Err(reasons),
    }
}

fn sorted(line: &TableLine) -> Vec<(&String, &String)> {
    let mut columns: Vec<_> = line.columns.iter().zip(&line.types).collect();
    columns.sort_unstable();
    columns
}

/// Returns the statement that inserts the rows of a table from the lines of a span. It returns of each row whether it is the tenant's.
#[must_use]
pub fn insert(
    target: &Target,
    line: &TableLine,
    staged: &str,
    span: (i64, i64),
    changes: &Changes,
) -> String {
    let columns: Vec<String> = line
        .columns
        .iter()
        .map(|column| quote_ident(column))
        .collect();
    let value = |(n, (column, kind)): (usize, (&String, &String))| {
        let value = format!("a.v[{}]", n + 1);
        let value = match (&changes.external_id, kind.as_str()) {
            (Some(id), kind) if *column == target.tenant_column && kind != "uuid" => {
                quote_literal(id)
            }
            (_, "uuid") if !changes.ids.is_empty() => {
                format!(
                    "coalesce({}::pg_catalog.jsonb ->> {value}, {value})",
                    quote_literal(&changes.ids)
                )
            }
            _ => value,
        };
        format!("({value})::{kind}")
    };
    let values: Vec<String> = line
        .columns
        .iter()
        .zip(&line.types)
        .enumerate()
        .map(value)
        .collect();
    format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {staged} l \
         CROSS JOIN LATERAL (SELECT pg_catalog.array_agg(e.v) FROM pg_catalog.json_array_elements_text(l.line::pg_catalog.json) e(v)) a(v) \
         WHERE l.n > {} AND l.n <= {} RETURNING ({}) IS TRUE AS own",
        target.line.table,
        columns.join(", "),
        values.join(", "),
        span.0,
        span.1,
        target.condition.as_deref().unwrap_or("false")
    )
}

/// Returns the statement that runs several of them at once: foreign keys are checked when all rows are there. It returns how many rows
/// each has inserted, and whether all are the tenant's.
#[must_use]
pub fn insert_all(inserts: &[String]) -> String {
    let join = |form: &dyn Fn(usize, &String) -> String, with: &str| {
        let parts: Vec<String> = inserts
            .iter()
            .enumerate()
            .map(|(n, insert)| form(n, insert))
            .collect();
        parts.join(with)
    };
    format!(
        "WITH {} SELECT ARRAY[{}], {}",
        join(&|n, insert| format!("i{n} AS ({insert})"), ", "),
        join(
            &|n, _| format!("(SELECT pg_catalog.count(*) FROM i{n})"),
            ", "
        ),
        join(
            &|n, _| format!("(SELECT coalesce(pg_catalog.bool_and(own), true) FROM i{n})"),
            " AND "
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(columns: &[(&str, &str)]) -> TableLine {
        TableLine {
            table: "app.notes".to_owned(),
            columns: columns.iter().map(|column| column.0.to_owned()).collect(),
            types: columns.iter().map(|column| column.1.to_owned()).collect(),
        }
    }

    fn target(columns: &[(&str, &str)]) -> Target {
        Target {
            place: 0,
            line: line(columns),
            tenant_column: "org".to_owned(),
            condition: Some("org = 7".to_owned()),
        }
    }

    #[test]
    fn a_table_must_have_the_same_columns_in_any_order() {
        let notes = [target(&[("org", "bigint"), ("id", "uuid")])];
        assert!(targets(&[&line(&[("id", "uuid"), ("org", "bigint")])], &notes).is_ok());
        assert!(targets(&[&line(&[("id", "text"), ("org", "bigint")])], &notes).is_err());
        assert!(targets(&[&line(&[("id", "uuid")])], &notes).is_err());
        assert!(targets(&[&line(&[("id", "uuid"), ("org", "bigint")])], &[]).is_err());
    }

    #[test]
    fn ids_and_the_external_id_change_on_the_way() {
        let columns = [("org", "bigint"), ("id", "uuid"), ("body", "text")];
        let (target, line) = (target(&columns), line(&columns));
        let kept = insert(&target, &line, "s", (1, 2), &Changes::default());
        assert!(
            kept.contains("SELECT (a.v[1])::bigint, (a.v[2])::uuid, (a.v[3])::text FROM s l"),
            "{kept}"
        );
        let changes = Changes {
            ids: "{}".to_owned(),
            external_id: Some("9".to_owned()),
        };
        let changed = insert(&target, &line, "s", (1, 2), &changes);
        assert!(
            changed.contains("SELECT ('9')::bigint, (coalesce('{}'::pg_catalog.jsonb ->> a.v[2], a.v[2]))::uuid, (a.v[3])::text FROM s l"),
            "{changed}"
        );
    }
}
