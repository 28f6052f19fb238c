//! A foreign key as the constraint of a statement.

use super::facts::ForeignKey;
use super::quote::{quote_ident, quote_idents};

/// Returns a foreign key as a constraint of this name, whose rows are compared when it is added, or not.
pub(super) fn constraint(key: &ForeignKey, name: &str, not_valid: bool) -> String {
    let mut clauses = String::new();
    if key.match_type == "f" {
        clauses.push_str(" MATCH FULL");
    }
    if key.on_delete != "a" {
        clauses.push_str(&format!(" ON DELETE{}", action(&key.on_delete)));
        if !key.delete_columns.is_empty() {
            clauses.push_str(&format!(" ({})", quote_idents(&key.delete_columns)));
        }
    }
    if key.on_update != "a" {
        clauses.push_str(&format!(" ON UPDATE{}", action(&key.on_update)));
    }
    if key.deferrable {
        clauses.push_str(" DEFERRABLE");
        if key.deferred {
            clauses.push_str(" INITIALLY DEFERRED");
        }
    }
    if !key.enforced {
        clauses.push_str(" NOT ENFORCED");
    } else if not_valid {
        clauses.push_str(" NOT VALID");
    }
    format!(
        "CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({}){clauses}",
        quote_ident(name),
        with_period(key, &key.columns),
        key.to,
        with_period(key, &key.ref_columns),
    )
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

/// Returns the clause of `pg_constraint.confupdtype` or `confdeltype`.
pub(super) fn action(code: &str) -> &'static str {
    match code {
        "r" => " RESTRICT",
        "c" => " CASCADE",
        "n" => " SET NULL",
        "d" => " SET DEFAULT",
        _ => "",
    }
}
