//! Foreign keys that let one tenant's row refer to another's, and the statements that replace them.

use super::facts::ForeignKey;
use super::quote::{dollar_quote, quote_ident, quote_idents, quote_literal};
use super::{Actor, Step, StepKind};

/// Returns advice for foreign keys without the tenant column.
pub(super) fn advice(keys: &[ForeignKey]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut made: Vec<String> = Vec::new();
    for key in keys {
        if carries_tenant(key) {
            continue;
        }
        let what = format!(
            "foreign key {} from {} to {} lets a row refer to another tenant's",
            quote_ident(&key.name),
            key.from,
            key.to
        );
        if key.columns.contains(&key.from_tenant)
            || key.ref_columns.contains(&key.to_tenant)
            || !pairs(key)
        {
            steps.push(step(
                String::new(),
                format!("{what}; the tenant columns {} and {} do not pair, so it has to be redesigned by hand", quote_ident(&key.from_tenant), quote_ident(&key.to_tenant)),
            ));
            continue;
        }
        if !key.unique_exists {
            let mut columns = vec![key.to_tenant.clone()];
            columns.extend(key.ref_columns.iter().cloned());
            let statement = format!(
                "ALTER TABLE {} ADD UNIQUE ({}{})",
                key.to,
                quote_idents(&columns),
                if key.period { " WITHOUT OVERLAPS" } else { "" }
            );
            let mut sorted = columns;
            sorted.sort();
            let identity = format!("{} {sorted:?}", key.to);
            if !made.contains(&identity) {
                made.push(identity);
                steps.push(step(
                    statement,
                    format!("what foreign key {} is to refer to", quote_ident(&key.name)),
                ));
            }
        }
        let (statement, extra) = replace(key);
        steps.push(step(
            statement,
            format!("{what}; this makes them share it{extra}"),
        ));
    }
    steps
}

fn step(statement: String, note: String) -> Step {
    Step {
        kind: StepKind::Advice,
        statement,
        note,
        actor: Actor::Invoker,
    }
}

fn carries_tenant(key: &ForeignKey) -> bool {
    key.columns
        .iter()
        .zip(&key.ref_columns)
        .any(|(c, r)| *c == key.from_tenant && *r == key.to_tenant)
}

/// Returns whether values of the two tenant columns can refer to each other.
fn pairs(key: &ForeignKey) -> bool {
    match (key.from_key, key.to_key) {
        (Some(from), Some(to)) => from.kind.refers_to(to.kind),
        _ => false,
    }
}

/// Returns the columns of a foreign key, the last one with PERIOD where it has one.
fn with_period(key: &ForeignKey, columns: &[String]) -> String {
    match columns.split_last() {
        Some((last, rest)) if key.period && !rest.is_empty() => {
            format!("{}, PERIOD {}", quote_idents(rest), quote_ident(last))
        }
        _ => quote_idents(columns),
    }
}

/// Returns the statement that adds the tenant column to a foreign key, and notes about it.
///
/// It runs in maintenance: validating a foreign key reads both tables, and under FORCE row security their owner would read
/// no rows and report it as valid.
fn replace(key: &ForeignKey) -> (String, String) {
    let name = quote_ident(&key.name);
    let columns = quote_idents(&key.columns);
    let mut clauses = String::new();
    let mut check = None;
    let mut notes = String::new();
    if key.match_type == "f" {
        // FULL over one column is SIMPLE. Over several it is kept if no NULL can occur, and spelled out otherwise: with
        // the tenant column in the key it would refuse rows that refer to nothing.
        if !key.nullable.contains(&true) {
            clauses.push_str(" MATCH FULL");
        } else if key.columns.len() > 1 {
            check = Some(format!(
                "ADD CHECK (pg_catalog.num_nulls({columns}) IN (0, {}))",
                key.columns.len()
            ));
        }
    }
    let actions = |code: &str| match code {
        "r" => " RESTRICT",
        "c" => " CASCADE",
        "n" => " SET NULL",
        "d" => " SET DEFAULT",
        _ => "",
    };
    match key.on_delete.as_str() {
        "a" => {}
        code @ ("n" | "d") => {
            let list = if key.delete_columns.is_empty() {
                columns.clone()
            } else {
                quote_idents(&key.delete_columns)
            };
            clauses.push_str(&format!(" ON DELETE{} ({list})", actions(code)));
        }
        code => clauses.push_str(&format!(" ON DELETE{}", actions(code))),
    }
    match key.on_update.as_str() {
        "a" => {}
        code @ ("n" | "d") => {
            // ON UPDATE has no column list, and the tenant column must not be set to NULL.
            notes = format!("; ON UPDATE{} becomes NO ACTION", actions(code));
        }
        code => clauses.push_str(&format!(" ON UPDATE{}", actions(code))),
    }
    if key.deferrable {
        clauses.push_str(" DEFERRABLE");
        if key.deferred {
            clauses.push_str(" INITIALLY DEFERRED");
        }
    }
    if !key.enforced {
        clauses.push_str(" NOT ENFORCED");
    } else if !key.validated {
        clauses.push_str(" NOT VALID");
    }
    let mut body = format!(
        "\nBEGIN\n  PERFORM tenancy.maintenance({reason});\n  ALTER TABLE {from}\n    DROP CONSTRAINT {name},\n    ADD CONSTRAINT {name} FOREIGN KEY ({from_tenant}, {from_columns}) REFERENCES {to} ({to_tenant}, {ref_columns}){clauses}",
        reason = quote_literal(&format!("foreign key {} of {}", key.name, key.from)),
        from = key.from,
        to = key.to,
        from_tenant = quote_ident(&key.from_tenant),
        to_tenant = quote_ident(&key.to_tenant),
        from_columns = with_period(key, &key.columns),
        ref_columns = with_period(key, &key.ref_columns),
    );
    if let Some(check) = check {
        body.push_str(&format!(",\n    {check}"));
    }
    body.push_str(";\nEND\n");
    (format!("DO {}", dollar_quote(&body)), notes)
}
