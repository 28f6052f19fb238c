//! Prints docs/reference/errors.md, for scripts/reference.

use std::collections::BTreeSet;

use tenancy_core::error::{Kind, SECTIONS, all};

const INTRODUCTION: &str = "\
# Errors

An error has a SQLSTATE, a message, often a DETAIL, and a HINT that names the next step. What the caller may not see
gets the message of what does not exist. No message repeats a credential, a ticket or a token.

Each kind of error has a stable name. Every driver reads it: it is the error's CONSTRAINT NAME, with `tenancy` as the
SCHEMA NAME and no TABLE NAME. Names stay; messages may change. [Tell errors apart](../guides/errors.md) shows how.
In the texts below, … stands for a name or a number.

Two errors have no name. A 42501 without one is PostgreSQL's own: the database role lacks a grant, such as that of
`tenancy_app` ([roles](roles.md)), or a row is of another tenant. And 53200 has none, since naming it would take memory.

| retry | means |
| --- | --- |
| no | not without a change of the call, of grants or of data |
| after the hint | once the caller has done what HINT says |
| after a new login | after another `authenticate()` or `assume()` |
| in a new transaction | at once, but not in this transaction |
| later | unchanged, after a pause |
";

/// What the kinds of a SQLSTATE have in common.
const STATES: &[(&str, &str)] = &[
    ("0A000", "not supported"),
    ("22003", "a sum is too large"),
    ("22023", "an argument is wrong"),
    ("22P04", "a file is damaged"),
    ("23514", "it would break the rules of the tree"),
    ("25001", "it cannot run inside a transaction block"),
    ("25006", "something must be written, and cannot be here"),
    ("2BP01", "something else must go first"),
    (
        "40001",
        "the same transaction can succeed when it is run again",
    ),
    (
        "42501",
        "not allowed: the credential, the user's status, the role or a permission",
    ),
    ("42704", "it does not exist, or the caller may not see it"),
    ("42710", "it exists already"),
    ("42809", "it is not a table that can be isolated"),
    ("53000", "the ledger is full"),
    ("53200", "an allocation failed"),
    (
        "53300",
        "the tenant has as many transactions open as its plan allows",
    ),
    (
        "53400",
        "a budget has no room, or a limit of tenancy is reached",
    ),
    ("54000", "a limit of tenancy is reached"),
    (
        "55000",
        "something must be there first: the library, a context, maintenance, the worker",
    ),
    ("55006", "another session does it"),
    ("55P03", "a lock was not to be had in time"),
    ("XX000", "a fault of tenancy: please report it"),
    ("XX001", "what is stored is damaged"),
];

const OTHERS: &str = "
## PostgreSQL's own

| SQLSTATE | means | retry |
| --- | --- | --- |
| 42501 | permission denied for a function, table or schema: the role lacks a grant | no |
| 42501 | new row violates row-level security policy: its tenant is not the context's; if it is NULL, HINT says so | no |
| 40001, 40P01 | serialization failure, deadlock | in a new transaction |
| 57P01 | a management function of a caller above ended the session | on a new connection |";

fn main() {
    let states: BTreeSet<&str> = all().map(|kind| kind.sqlstate).collect();
    assert!(states.iter().eq(STATES.iter().map(|(state, _)| state)));
    println!("{INTRODUCTION}\n| SQLSTATE | means |\n| --- | --- |");
    for (state, means) in STATES {
        println!("| {state} | {means} |");
    }
    for (title, kinds) in SECTIONS {
        println!("\n## {title}\n");
        println!("| name | SQLSTATE | message | retry | what to do |");
        println!("| --- | --- | --- | --- | --- |");
        for kind in *kinds {
            println!("{}", row(kind));
        }
    }
    println!("{OTHERS}");
}

fn row(kind: &Kind) -> String {
    let (message, hint) = (shown(kind.message), shown(kind.hint));
    // Where there is nothing to do, there is something to know.
    let hint = if hint.is_empty() {
        shown(kind.detail)
    } else {
        hint
    };
    format!(
        "| `{}` | {} | {message} | {} | {hint} |",
        kind.name,
        kind.sqlstate,
        kind.retry.as_str()
    )
}

/// A text with … for its arguments.
fn shown(template: &str) -> String {
    let shown: String = (template.split('}'))
        .map(|piece| match piece.split_once('{') {
            Some((before, _)) => format!("{before}…"),
            None => piece.to_owned(),
        })
        .collect();
    shown.replace('|', "\\|").replace('<', "&lt;")
}
