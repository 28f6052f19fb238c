//! Names and values as they may stand in an SQL text.

/// Words that are not plain names in some version from 15 to 18 (`pg_get_keywords()`, every category but "unreserved").
const KEYWORDS: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "json",
    "json_array",
    "json_arrayagg",
    "json_exists",
    "json_object",
    "json_objectagg",
    "json_query",
    "json_scalar",
    "json_serialize",
    "json_table",
    "json_value",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "merge_action",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

/// An identifier, in double quotes where it needs them, as PostgreSQL's own `quote_ident` does it.
#[must_use]
pub fn quote_ident(name: &str) -> String {
    let mut bytes = name.bytes();
    let plain = bytes
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b == b'_')
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && KEYWORDS.binary_search(&name).is_err();
    if plain {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Identifiers with commas between them.
#[must_use]
pub fn quote_idents<S: AsRef<str>>(names: &[S]) -> String {
    names
        .iter()
        .map(|n| quote_ident(n.as_ref()))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A text literal that reads the same whatever `standard_conforming_strings` is.
#[must_use]
pub fn quote_literal(value: &str) -> String {
    let quoted = value.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// A name made of parts that fits PostgreSQL's 63 bytes: `<table>_<column>_<label>`, the longer of the first two cut
/// first and never within a character.
#[must_use]
pub fn object_name(table: &str, column: &str, label: &str) -> String {
    const MAX: usize = 63;
    let (mut t, mut c) = (table, column);
    while t.len() + c.len() + label.len() + 2 > MAX {
        let longer = if t.len() > c.len() { &mut t } else { &mut c };
        let Some((end, _)) = longer.char_indices().next_back() else {
            break;
        };
        *longer = longer.get(..end).unwrap_or_default();
    }
    format!("{t}_{c}_{label}")
}

/// A dollar-quoted body whose tag does not occur in it.
#[must_use]
pub fn dollar_quote(body: &str) -> String {
    let mut tag = "$tenancy$".to_owned();
    let mut n = 0_u32;
    while body.contains(&tag) {
        n += 1;
        tag = format!("$tenancy{n}$");
    }
    format!("{tag}{body}{tag}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What PostgreSQL's scanner makes of one identifier.
    fn read_ident(sql: &str) -> Option<String> {
        if let Some(rest) = sql.strip_prefix('"') {
            let inner = rest.strip_suffix('"')?;
            let mut out = String::new();
            let mut chars = inner.chars();
            while let Some(c) = chars.next() {
                if c == '"' && chars.next()? != '"' {
                    return None;
                }
                out.push(c);
            }
            (!out.is_empty()).then_some(out)
        } else {
            let ok = sql
                .chars()
                .enumerate()
                .all(|(i, c)| c == '_' || c.is_ascii_lowercase() || (i > 0 && c.is_ascii_digit()));
            (ok && !sql.is_empty() && KEYWORDS.binary_search(&sql).is_err()).then(|| sql.to_owned())
        }
    }

    proptest! {
        #[test]
        fn every_identifier_round_trips(name in "[^\0]{1,40}") {
            prop_assert_eq!(read_ident(&quote_ident(&name)), Some(name));
        }

        #[test]
        fn a_literal_ends_where_it_should(value in "[^\0]{0,40}") {
            let sql = quote_literal(&value);
            let escaped = sql.starts_with('E');
            let inner = sql.trim_start_matches('E').strip_prefix('\'').and_then(|s| s.strip_suffix('\'')).unwrap_or("?").to_owned();
            let mut back = inner.replace("''", "'");
            if escaped { back = back.replace("\\\\", "\\"); } else { prop_assert!(!inner.contains('\\')); }
            prop_assert_eq!(back, value);
        }

        #[test]
        fn object_names_fit(t in "\\PC{1,63}", c in "\\PC{1,63}") {
            let name = object_name(&t, &c, "tenancy_idx");
            prop_assert!(name.len() <= 63);
            prop_assert!(name.ends_with("_tenancy_idx"));
        }

        #[test]
        fn dollar_quotes_hold(body in "[$a-z0-9]{0,60}") {
            let body = format!("{body}$tenancy$ {body} $tenancy1$");
            let q = dollar_quote(&body);
            let tag_end = q[1..].find('$').map_or(0, |i| i + 2);
            prop_assert_eq!(q[tag_end..].find(&q[..tag_end]), Some(body.len()));
        }
    }

    #[test]
    fn plain_names_stay_plain() {
        assert_eq!(quote_ident("tenant_id"), "tenant_id");
        assert_eq!(quote_ident("_a1"), "_a1");
        assert_eq!(quote_ident("user"), "\"user\"");
        assert_eq!(quote_ident("Tenant"), "\"Tenant\"");
        assert_eq!(quote_ident("1a"), "\"1a\"");
        assert_eq!(quote_ident("a\"; drop"), "\"a\"\"; drop\"");
        assert_eq!(quote_ident("größe"), "\"größe\"");
        assert!(KEYWORDS.is_sorted());
    }

    #[test]
    fn object_name_is_short_where_it_can_be() {
        assert_eq!(
            object_name("messages", "tenant_id", "tenancy_idx"),
            "messages_tenant_id_tenancy_idx"
        );
    }
}
