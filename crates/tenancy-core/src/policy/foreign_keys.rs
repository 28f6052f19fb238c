//! Foreign keys that let one tenant's row refer to another's, and the statements that replace them.

use super::constraint::{action, constraint};
use super::facts::{ForeignKey, Relation};
use super::former_keys::{Former, MADE_KEY, carries_tenant};
use super::quote::{dollar_quote, own_name, quote_ident, quote_idents, quote_literal};
use super::{Actor, Step, StepKind};

/// What closes a foreign key that lets a row refer to another tenant's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closing {
    /// It has the tenant, and its rows were compared.
    Closed,
    /// It has the tenant, and its rows are to be compared.
    Validate(String),
    /// Another one in its place.
    Replace {
        /// What the new one refers to, if that is missing.
        unique: Option<Unique>,
        /// The statement that replaces it.
        replace: String,
        /// What follows: its comment, and the statement that compares the rows, if the former does not.
        after: Vec<String>,
        /// What it does not keep of the former one.
        note: String,
        /// What puts the former one back, with the new one.
        former: Box<Former>,
    },
    /// Nothing.
    Never(String),
}

/// A unique constraint that a foreign key is to refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    /// The statement that adds it, while writers wait.
    pub statement: String,
    /// The same without a name of tenancy's, for who runs it by hand: it stays.
    pub advised: String,
    /// Its index, with the statements that build it while writers go on and that make it a constraint; `None` where the server
    /// cannot do so.
    pub built: Option<(Relation, [String; 2])>,
}

/// Returns what closes each of these foreign keys. What several are to refer to is made for the first of them.
#[must_use]
pub fn closings(keys: &[ForeignKey]) -> Vec<Closing> {
    let mut made: Vec<String> = Vec::new();
    keys.iter().map(|key| closing(key, &mut made)).collect()
}

fn closing(key: &ForeignKey, made: &mut Vec<String>) -> Closing {
    let validate = || {
        format!(
            "ALTER TABLE {} VALIDATE CONSTRAINT {}",
            key.from,
            quote_ident(&key.name)
        )
    };
    if carries_tenant(key) {
        return match key.validated || !key.enforced {
            true => Closing::Closed,
            false => Closing::Validate(validate()),
        };
    }
    if key.to_shared {
        return Closing::Never(format!(
            "{} has rows that scopes below share, which have another tenant or none: a foreign key with the tenant column would refuse them",
            key.to
        ));
    }
    if key.from_shared_null {
        return Closing::Never(format!(
            "{} has rows without a tenant: a foreign key with the tenant column would not check them",
            key.from
        ));
    }
    if key.columns.contains(&key.from_tenant)
        || key.ref_columns.contains(&key.to_tenant)
        || !pairs(key)
    {
        return Closing::Never(format!(
            "the tenant columns {} and {} do not pair, so it has to be redesigned by hand",
            quote_ident(&key.from_tenant),
            quote_ident(&key.to_tenant)
        ));
    }
    let unique = (!key.unique_exists).then(|| unique(key));
    let unique = unique.and_then(|(identity, unique)| {
        let new = !made.contains(&identity);
        made.push(identity);
        new.then_some(unique)
    });
    // The server adds none to a partitioned table that it does not validate.
    let later = key.enforced && key.validated && !key.partitioned;
    let (replace, note) = replace(key, later);
    Closing::Replace {
        unique,
        replace,
        after: (key.comment.iter())
            .map(|comment| {
                format!(
                    "COMMENT ON CONSTRAINT {} ON {} IS {}",
                    quote_ident(&key.name),
                    key.from,
                    quote_literal(comment)
                )
            })
            .chain(later.then(validate))
            .collect(),
        note,
        former: Box::new(Former::of(key)),
    }
}

/// Returns the constraint that a foreign key with the tenant column is to refer to, and what identifies it.
fn unique(key: &ForeignKey) -> (String, Unique) {
    let mut columns = vec![key.to_tenant.clone()];
    columns.extend(key.ref_columns.iter().cloned());
    let listed = quote_idents(&columns);
    let index = Relation {
        schema: key.to.schema.clone(),
        name: own_name(&key.to.name, &columns.join("_"), MADE_KEY),
    };
    let name = quote_ident(&index.name);
    let unique = format!(
        "UNIQUE ({listed}{})",
        if key.period { " WITHOUT OVERLAPS" } else { "" }
    );
    let built = [
        format!(
            "CREATE UNIQUE INDEX CONCURRENTLY {name} ON {} ({listed})",
            key.to
        ),
        format!(
            "ALTER TABLE {} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}",
            key.to
        ),
    ];
    let built = (!key.period && !key.to_partitioned).then_some((index, built));
    columns.sort();
    (
        format!("{} {columns:?}", key.to),
        Unique {
            statement: format!("ALTER TABLE {} ADD CONSTRAINT {name} {unique}", key.to),
            advised: format!("ALTER TABLE {} ADD {unique}", key.to),
            built,
        },
    )
}

/// Returns the query for the rows of a foreign key that refer to another tenant's: their number by tenant, the most first.
#[must_use]
pub fn crossing(key: &ForeignKey) -> String {
    let same: Vec<String> = (key.ref_columns.iter())
        .zip(&key.columns)
        .zip(&key.operators)
        .map(|((other, own), operator)| {
            format!(
                "p.{} OPERATOR({operator}) c.{}",
                quote_ident(other),
                quote_ident(own)
            )
        })
        .collect();
    let (own, other) = (quote_ident(&key.from_tenant), quote_ident(&key.to_tenant));
    // A key covers no rows of inheritance children.
    let only = |partitioned| if partitioned { "" } else { "ONLY " };
    format!(
        "SELECT c.{own}::text, pg_catalog.count(*) FROM {}{} c JOIN {}{} p ON {} \
         WHERE c.{own} IS NOT NULL AND p.{other}::text IS DISTINCT FROM c.{own}::text GROUP BY 1 ORDER BY 2 DESC, 1",
        only(key.partitioned),
        key.from,
        only(key.to_partitioned),
        key.to,
        same.join(" AND ")
    )
}

/// Returns advice for foreign keys without the tenant column.
pub(super) fn advice(keys: &[ForeignKey]) -> Vec<Step> {
    let mut steps = Vec::new();
    for (key, closing) in keys.iter().zip(closings(keys)) {
        let name = quote_ident(&key.name);
        let what = format!(
            "foreign key {name} from {} to {} lets a row refer to another tenant's",
            key.from, key.to
        );
        match closing {
            Closing::Closed | Closing::Validate(_) => {}
            Closing::Never(reason) => {
                steps.push(step(String::new(), format!("{what}; {reason}")));
            }
            Closing::Replace { unique, note, .. } => {
                let what_it_refers_to = format!("what foreign key {name} is to refer to");
                steps.extend(unique.map(|unique| step(unique.advised, what_it_refers_to)));
                steps.push(step(
                    in_maintenance(key),
                    format!("{what}; this makes them share it{note}"),
                ));
            }
        }
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

/// Returns whether values of the two tenant columns can refer to each other.
fn pairs(key: &ForeignKey) -> bool {
    match (key.from_key, key.to_key) {
        (Some(from), Some(to)) => from.kind.refers_to(to.kind),
        _ => false,
    }
}

/// Returns a statement that replaces a foreign key in maintenance: validating one reads both tables, and under FORCE row security
/// their owner would read no rows and report it as valid.
fn in_maintenance(key: &ForeignKey) -> String {
    let body = format!(
        "\nBEGIN\n  PERFORM tenancy.maintenance({});\n  {};\nEND\n",
        quote_literal(&format!("foreign key {} of {}", key.name, key.from)),
        replace(key, false).0.replace('\n', "\n  "),
    );
    format!("DO {}", dollar_quote(&body))
}

/// Returns the statement that adds the tenant column to a foreign key, whose rows are compared now or `later`, and notes about it.
fn replace(key: &ForeignKey, later: bool) -> (String, String) {
    let name = quote_ident(&key.name);
    let columns = quote_idents(&key.columns);
    let mut notes = String::new();
    // FULL over one column is SIMPLE. Over several it is kept if no NULL can occur, and spelled out otherwise: with
    // the tenant column in the key it would refuse rows that refer to nothing.
    let full = key.match_type == "f";
    let check = Former::of(key).check.map(|check| {
        format!(
            "ADD CONSTRAINT {} CHECK (pg_catalog.num_nulls({columns}) IN (0, {}))",
            quote_ident(&check),
            key.columns.len()
        )
    });
    // ON UPDATE has no column list, and the tenant column must not be set to NULL.
    let clears = matches!(key.on_update.as_str(), "n" | "d");
    if clears {
        notes = format!("; ON UPDATE{} becomes NO ACTION", action(&key.on_update));
    }
    let new = ForeignKey {
        match_type: if full && !key.nullable.contains(&true) {
            "f"
        } else {
            "s"
        }
        .to_owned(),
        on_update: if clears { "a" } else { &key.on_update }.to_owned(),
        delete_columns: match key.delete_columns.as_slice() {
            [] if matches!(key.on_delete.as_str(), "n" | "d") => key.columns.clone(),
            listed => listed.to_vec(),
        },
        columns: with_first(&key.from_tenant, &key.columns),
        ref_columns: with_first(&key.to_tenant, &key.ref_columns),
        ..key.clone()
    };
    let mut statement = format!(
        "ALTER TABLE {}\n  DROP CONSTRAINT {name},\n  ADD {}",
        key.from,
        constraint(&new, &key.name, later || !key.validated)
    );
    if let Some(check) = check {
        statement.push_str(&format!(",\n  {check}"));
    }
    (statement, notes)
}

fn with_first(first: &str, columns: &[String]) -> Vec<String> {
    let mut all = vec![first.to_owned()];
    all.extend_from_slice(columns);
    all
}
