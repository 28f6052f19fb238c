//! Which table takes the rows of which lines of an export, and the statements that insert them. Names and types are the catalogs', never
//! the file's.

use std::collections::{BTreeMap, BTreeSet};

use super::lines::TableLine;
use super::remap::{Column, NewIds, Remap};
use super::tenant_key::TenantKey;
use crate::policy::quote_ident;

/// A table that rows can be imported into.
#[derive(Debug, Clone)]
pub struct Member {
    /// The place of the protected table that it is, or is a part of.
    pub place: usize,
    /// Its name, with its schema, in quotes where it needs them.
    pub table: String,
    /// Its columns, without generated ones.
    pub columns: Vec<Column>,
    /// The column that holds the tenant.
    pub tenant_column: String,
    /// The condition for the tenant's rows; `None` if the tenant can have none.
    pub condition: Option<String>,
}

/// What is inserted into a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert {
    /// Its place among the members.
    pub member: usize,
    /// What becomes of each value of a row, and the type that it is read as.
    pub columns: Vec<(String, String, Remap)>,
}

/// Finds the table for each of these lines, which have so many rows.
///
/// # Errors
/// Why rows cannot be imported, a line for each reason.
pub fn matching(
    lines: &[(&TableLine, u64)],
    members: &[Member],
    changes: &[BTreeMap<String, Remap>],
) -> Result<Vec<Insert>, Vec<String>> {
    let (mut found, mut reasons) = (Vec::new(), Vec::new());
    for (line, rows) in lines {
        let at = members.iter().position(|member| member.table == line.table);
        let Some((place, member)) = at.and_then(|at| Some((at, members.get(at)?))) else {
            reasons.push(format!("{}: no protected table has this name.", line.table));
            continue;
        };
        let before = reasons.len();
        check(line, member, *rows > 0, &mut reasons);
        if reasons.len() > before {
            continue;
        }
        let column = |name: &String| {
            let known = member.columns.iter().find(|column| column.name == *name)?;
            let change = changes.get(member.place)?.get(name).copied();
            Some((
                name.clone(),
                known.kind.clone(),
                change.unwrap_or(Remap::Keep),
            ))
        };
        found.push(Insert {
            member: place,
            columns: line.columns.iter().filter_map(column).collect(),
        });
    }
    match reasons.is_empty() {
        true => Ok(found),
        false => Err(reasons),
    }
}

fn check(line: &TableLine, member: &Member, has_rows: bool, reasons: &mut Vec<String>) {
    let table = &line.table;
    let mut seen = BTreeSet::new();
    for (column, kind) in line.columns.iter().zip(&line.types) {
        if !seen.insert(column) {
            reasons.push(format!(
                "{table}: its column {column} is in the export twice."
            ));
        }
        match member.columns.iter().find(|known| known.name == *column) {
            None => reasons.push(format!("{table}: it has no column {column}.")),
            Some(known) if known.kind != *kind => reasons.push(format!(
                "{table}: its column {column} is of type {} here, and was of type {kind}.",
                known.kind
            )),
            Some(_) => {}
        }
    }
    let missing = |name: &String| !line.columns.contains(name);
    if missing(&member.tenant_column) {
        reasons.push(format!(
            "{table}: the export lacks the tenant column {}.",
            member.tenant_column
        ));
    }
    for column in &member.columns {
        if column.required && column.name != member.tenant_column && missing(&column.name) {
            reasons.push(format!(
                "{table}: its column {} takes no NULL and has no default, and the export lacks it.",
                column.name
            ));
        }
    }
    if has_rows && member.condition.is_none() {
        reasons.push(format!(
            "{table}: the tenant has no external id, or none that the column {} can hold.",
            member.tenant_column
        ));
    }
}

/// Changes the values of rows on their way.
pub struct Row<'a> {
    /// The tenant in the file.
    pub former: &'a TenantKey,
    /// The tenant here.
    pub tenant: &'a TenantKey,
    /// The new ids.
    pub ids: &'a NewIds,
}

impl Row<'_> {
    /// Changes the values of a row; those that the table gives itself are left out.
    ///
    /// # Errors
    /// Why the row is not taken.
    pub fn change(
        &self,
        insert: &Insert,
        values: Vec<Option<String>>,
    ) -> Result<Vec<Option<String>>, String> {
        let mut changed = Vec::with_capacity(values.len());
        for (value, (column, kind, change)) in values.into_iter().zip(&insert.columns) {
            match change {
                Remap::Number => {}
                Remap::Tenant => changed.push(Some(self.tenant(kind, value)?)),
                Remap::Keep => changed.push(value),
                Remap::LargeObject if value.is_some() => {
                    return Err(format!(
                        "its column {column} has numbers of large objects, which are not in an export"
                    ));
                }
                Remap::LargeObject => changed.push(None),
                Remap::Scope | Remap::Key => changed.push(match value {
                    None => None,
                    Some(text) => Some(
                        self.id(*change, &text)
                            .ok_or_else(|| format!("its column {column} has no uuid in it"))?,
                    ),
                }),
            }
        }
        Ok(changed)
    }

    fn id(&self, change: Remap, text: &str) -> Option<String> {
        let former = text.parse().ok()?;
        Some(match change {
            Remap::Key => self.ids.key(former).to_string(),
            _ => match self.ids.scope(former) {
                Some(scope) => scope.to_string(),
                None => text.to_owned(),
            },
        })
    }

    /// The key of the new tenant, if the value is that of the former one.
    fn tenant(&self, kind: &str, value: Option<String>) -> Result<String, String> {
        const OTHER: &str = "a row is not the tenant's";
        let value = value.ok_or(OTHER)?;
        if kind == "uuid" {
            let id: Option<uuid::Uuid> = value.parse().ok();
            return match id == Some(self.former.id) {
                true => Ok(self.tenant.id.to_string()),
                false => Err(OTHER.to_owned()),
            };
        }
        // Of type char, blanks at the end are none of the key's.
        let is = |id: &String| {
            *id == value || (kind.starts_with("character(") && id == value.trim_end_matches(' '))
        };
        match (
            self.former.external_id.as_ref().filter(|id| is(id)),
            &self.tenant.external_id,
        ) {
            (Some(_), Some(id)) => Ok(id.clone()),
            _ => Err(OTHER.to_owned()),
        }
    }
}

/// Returns the name by which a statement reads the rows for the n-th of its tables.
#[must_use]
pub fn source_name(n: usize) -> String {
    format!("tenancy_rows_{n}")
}

/// Returns the statement that inserts rows into several tables at once: foreign keys are checked when all are there. Its sources have the
/// values as texts, in columns v1, v2 and so on. It returns how many rows each has inserted, and whether all are the tenant's.
#[must_use]
pub fn insert_all(inserts: &[&Insert], members: &[Member]) -> String {
    let each = |form: &dyn Fn(usize) -> String, with: &str| {
        let parts: Vec<String> = (0..inserts.len()).map(form).collect();
        parts.join(with)
    };
    let parts: Vec<String> = (inserts.iter().enumerate())
        .filter_map(|(n, insert)| {
            Some(format!(
                "i{n} AS ({})",
                statement(n, insert, members.get(insert.member)?)
            ))
        })
        .collect();
    format!(
        "WITH {} SELECT ARRAY[{}], {}",
        parts.join(", "),
        each(&|n| format!("(SELECT pg_catalog.count(*) FROM i{n})"), ", "),
        each(
            &|n| format!("(SELECT coalesce(pg_catalog.bool_and(own), true) FROM i{n})"),
            " AND "
        )
    )
}

fn statement(n: usize, insert: &Insert, member: &Member) -> String {
    let kept = || {
        insert
            .columns
            .iter()
            .filter(|(_, _, change)| *change != Remap::Number)
    };
    let names: Vec<String> = kept().map(|(name, ..)| quote_ident(name)).collect();
    let values: Vec<String> = kept()
        .enumerate()
        .map(|(n, (_, kind, _))| format!("(r.v{})::{kind}", n + 1))
        .collect();
    format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} r RETURNING ({}) IS TRUE AS own",
        member.table,
        names.join(", "),
        values.join(", "),
        source_name(n),
        member.condition.as_deref().unwrap_or("false")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const TENANT: Uuid = Uuid::from_u128(1);
    const NEW: Uuid = Uuid::from_u128(2);

    fn line(columns: &[(&str, &str)]) -> TableLine {
        TableLine {
            table: "app.notes".to_owned(),
            columns: columns.iter().map(|column| column.0.to_owned()).collect(),
            types: columns.iter().map(|column| column.1.to_owned()).collect(),
        }
    }

    fn member(columns: &[(&str, &str)], required: &str) -> Member {
        Member {
            place: 0,
            table: "app.notes".to_owned(),
            columns: (columns.iter())
                .map(|(name, kind)| Column {
                    name: (*name).to_owned(),
                    kind: (*kind).to_owned(),
                    required: *name == required,
                    numbered: false,
                })
                .collect(),
            tenant_column: "org".to_owned(),
            condition: Some("org = 7".to_owned()),
        }
    }

    fn reasons(file: &[(&str, &str)], here: &[(&str, &str)], required: &str) -> Vec<String> {
        let line = line(file);
        matching(&[(&line, 1)], &[member(here, required)], &[BTreeMap::new()])
            .err()
            .unwrap_or_default()
    }

    #[test]
    fn a_table_takes_rows_of_its_own_columns_and_gives_defaults_for_the_others() {
        let all = [("org", "bigint"), ("id", "uuid"), ("body", "text")];
        assert_eq!(reasons(&all, &all, "body"), Vec::<String>::new());
        assert_eq!(reasons(&[all[1], all[0]], &all, ""), Vec::<String>::new());
    }

    #[test]
    fn all_that_does_not_fit_is_named_at_once() {
        let here = [("org", "bigint"), ("id", "uuid"), ("body", "text")];
        assert_eq!(
            reasons(
                &[("id", "text"), ("id", "uuid"), ("more", "text")],
                &here,
                "body"
            ),
            [
                "app.notes: its column id is of type uuid here, and was of type text.",
                "app.notes: its column id is in the export twice.",
                "app.notes: it has no column more.",
                "app.notes: the export lacks the tenant column org.",
                "app.notes: its column body takes no NULL and has no default, and the export lacks it.",
            ]
        );
        let line = line(&here);
        assert_eq!(
            matching(&[(&line, 1)], &[], &[]).err().unwrap_or_default(),
            ["app.notes: no protected table has this name."]
        );
        let mut none = member(&here, "");
        none.condition = None;
        assert!(matching(&[(&line, 1)], std::slice::from_ref(&none), &[]).is_err());
        assert!(matching(&[(&line, 0)], &[none], &[]).is_ok());
    }

    fn keys() -> (TenantKey, TenantKey) {
        let key = |id, external: &str| TenantKey {
            id,
            external_id: Some(external.to_owned()),
        };
        (key(TENANT, "7"), key(NEW, "9"))
    }

    fn changed(
        kind: &str,
        change: Remap,
        value: Option<&str>,
    ) -> Result<Vec<Option<String>>, String> {
        let (former, tenant) = keys();
        let mut ids = NewIds::new([1; 16]);
        ids.add(TENANT, NEW);
        let row = Row {
            former: &former,
            tenant: &tenant,
            ids: &ids,
        };
        let insert = Insert {
            member: 0,
            columns: vec![("c".to_owned(), kind.to_owned(), change)],
        };
        row.change(&insert, vec![value.map(str::to_owned)])
    }

    #[test]
    fn only_the_tenants_own_key_becomes_the_new_one() {
        let tenant = |kind, value: &str| {
            changed(kind, Remap::Tenant, Some(value))
                .ok()
                .and_then(|mut found| found.pop()?)
        };
        assert_eq!(
            tenant("uuid", &TENANT.to_string().to_uppercase()),
            Some(NEW.to_string())
        );
        assert_eq!(tenant("bigint", "7").as_deref(), Some("9"));
        assert_eq!(tenant("character(4)", "7   ").as_deref(), Some("9"));
        for (kind, value) in [
            ("uuid", "7"),
            ("uuid", &NEW.to_string()),
            ("text", "7 "),
            ("text", "8"),
            ("bigint", "9"),
        ] {
            assert_eq!(tenant(kind, value), None, "{kind} {value}");
        }
        assert!(changed("uuid", Remap::Tenant, None).is_err());
    }

    #[test]
    fn ids_of_scopes_change_everywhere_and_others_only_as_keys() {
        let other = Uuid::from_u128(5).to_string();
        let found = |change, value: &str| {
            changed("uuid", change, Some(value))
                .ok()
                .and_then(|mut found| found.pop()?)
        };
        assert_eq!(
            found(Remap::Scope, &TENANT.to_string()),
            Some(NEW.to_string())
        );
        assert_eq!(found(Remap::Scope, &other).as_ref(), Some(&other));
        assert_eq!(
            found(Remap::Key, &TENANT.to_string()),
            Some(NEW.to_string())
        );
        assert!(found(Remap::Key, &other).is_some_and(|id| id != other));
        assert_eq!(found(Remap::Keep, &other).as_ref(), Some(&other));
        assert_eq!(changed("bigint", Remap::Number, Some("1")), Ok(vec![]));
        assert_eq!(changed("oid", Remap::LargeObject, None), Ok(vec![None]));
        assert!(changed("oid", Remap::LargeObject, Some("16384")).is_err());
        assert!(changed("uuid", Remap::Key, Some("x")).is_err());
    }

    #[test]
    fn rows_are_read_from_their_source_and_asked_whose_they_are() {
        let here = member(&[("org", "bigint"), ("n", "bigint"), ("Body", "text")], "");
        let insert = Insert {
            member: 0,
            columns: vec![
                ("org".to_owned(), "bigint".to_owned(), Remap::Tenant),
                ("n".to_owned(), "bigint".to_owned(), Remap::Number),
                ("Body".to_owned(), "text".to_owned(), Remap::Keep),
            ],
        };
        assert_eq!(
            insert_all(&[&insert], &[here]),
            "WITH i0 AS (INSERT INTO app.notes (org, \"Body\") OVERRIDING SYSTEM VALUE SELECT (r.v1)::bigint, (r.v2)::text FROM tenancy_rows_0 r \
             RETURNING (org = 7) IS TRUE AS own) SELECT ARRAY[(SELECT pg_catalog.count(*) FROM i0)], (SELECT coalesce(pg_catalog.bool_and(own), true) FROM i0)"
        );
    }
}
