//! Foreign keys that let a row refer to another tenant's: the procedure `tenancy.fix_foreign_keys()`.

use pgrx::JsonB;
use pgrx::prelude::*;
use serde_json::{Value, json};
use tenancy_core::policy::{
    self as rules, Closing, ForeignKey, Former, Relation, Unique, drop_helper, quote_ident,
};

use super::alone;
use super::replaced::{self, Record};
use super::retry::{LOCK_TIMEOUT, Patient, wait_at_most};
use super::run::listed;
use crate::context;
use crate::error::{Error, ErrorReport};
use crate::pg::procedure::Procedure;
use crate::pg::spi::{self, NotNull};
use crate::pg::{bounded, ddl};
use crate::policy;

/// What the maintenance of this procedure is recorded with.
const REASON: &str = "fix_foreign_keys()";

/// How many tenants are named where rows of theirs stand in the way.
const NAMED_MAX: usize = 5;

/// A foreign key and what is done about it.
struct Fix {
    key: ForeignKey,
    /// The statements, in order.
    statements: Vec<String>,
    /// The index that the first of them builds, if writers go on meanwhile.
    built: Option<Relation>,
    /// What stands in the way.
    blocked: Option<String>,
    /// Why nothing closes it.
    open: Option<String>,
    note: String,
    /// What puts the former key back, if this replaces it.
    former: Option<Former>,
}

#[pg_extern(sql = false)]
fn adoption_fix_foreign_keys(
    schemas: Option<bounded::Texts>,
    dry_run: Option<bool>,
    lock_timeout: Option<String>,
    procedure: Procedure,
) -> Result<(), ErrorReport> {
    let schemas = listed(schemas);
    let lock_timeout = lock_timeout.unwrap_or_else(|| LOCK_TIMEOUT.to_owned());
    wait_at_most(&lock_timeout)?;
    let _alone = alone::with_keys()?;
    let mut fixes = plan(schemas.as_deref())?;
    keep(&fixes, &replaced_before()?)?;
    notice!("{}", summary(&fixes));
    if !dry_run.unwrap_or(false) {
        run(&mut fixes, &Patient::new(lock_timeout, &procedure)?)?;
    }
    for fix in fixes.iter().filter(|fix| fix.blocked.is_some()) {
        let (key, reason) = (&fix.key, fix.blocked.as_deref().unwrap_or_default());
        warning!(
            "foreign key {} of {} stays open: {reason}",
            quote_ident(&key.name),
            key.from
        );
    }
    Ok(())
}

fn plan(schemas: Option<&[String]>) -> Result<Vec<Fix>, Error> {
    context::maintain(REASON)?;
    policy::pinned(|| {
        let mut fixes = Vec::new();
        let mut free = Vec::new();
        let mut keys = policy::foreign_keys(&[])?;
        keys.retain(|key| schemas.is_none_or(|schemas| schemas.contains(&key.from.schema)));
        for key in &mut keys {
            // Rows without a tenant would not be checked.
            key.from_shared_null |= key.from_may_miss == Some(true);
        }
        // What an undo that was stopped has added goes again.
        for record in replaced::records()? {
            let begun = (record.replacement(&keys)).and_then(|key| drop_helper(key, &keys));
            if let Some((helper, statement)) = begun {
                keys.retain(|key| (key.oids, &key.name) != (helper.oids, &helper.name));
                let blocked = replaced::out_of_reach(&helper).map(str::to_owned);
                fixes.push(Fix {
                    blocked,
                    note: "left by unfix_foreign_keys(), which was stopped".to_owned(),
                    ..fix(helper, Closing::Validate(statement))
                });
            }
        }
        for key in keys {
            let closing = rules::closings(std::slice::from_ref(&key)).pop();
            let blocked = match closing {
                None | Some(Closing::Closed) => continue,
                Some(Closing::Never(_)) => None,
                Some(Closing::Validate(_) | Closing::Replace { .. }) => blocked(&key)?,
            };
            match (blocked, closing) {
                (Some(reason), Some(closing)) => fixes.push(Fix {
                    blocked: Some(reason),
                    ..fix(key, closing)
                }),
                _ => free.push(key),
            }
        }
        // What several are to refer to is made for the first that nothing stands in the way of: the first that runs.
        free.sort_by_key(|key| (key.from.to_string(), key.name.clone()));
        let closings = rules::closings(&free);
        fixes.extend(
            free.into_iter()
                .zip(closings)
                .map(|(key, closing)| fix(key, closing)),
        );
        fixes.sort_by_key(|fix| (fix.key.from.to_string(), fix.key.name.clone()));
        Ok(fixes)
    })
}

/// Returns the records of keys that have the tenant by now.
fn replaced_before() -> Result<Vec<Record>, Error> {
    policy::pinned(|| {
        let mut records = replaced::records()?;
        let keys = replaced::keys(&records)?;
        records.retain(|record| record.replacement(&keys).is_some());
        Ok(records)
    })
}

/// Returns what stands in the way of closing a key.
fn blocked(key: &ForeignKey) -> Result<Option<String>, Error> {
    match replaced::out_of_reach(key) {
        Some(reason) => Ok(Some(reason.to_owned())),
        None => crossing(key),
    }
}

fn fix(key: ForeignKey, closing: Closing) -> Fix {
    let mut fix = Fix {
        key,
        statements: Vec::new(),
        built: None,
        blocked: None,
        open: None,
        note: String::new(),
        former: None,
    };
    match closing {
        Closing::Closed => {}
        Closing::Never(reason) => fix.open = Some(reason),
        Closing::Validate(statement) => fix.statements.push(statement),
        Closing::Replace {
            unique,
            replace,
            after,
            note,
            former,
        } => {
            fix.former = Some(*former);
            match unique {
                Some(Unique {
                    built: Some((index, statements)),
                    ..
                }) if fix.key.large => {
                    fix.built = Some(index);
                    fix.statements.extend(statements);
                }
                unique => fix.statements.extend(unique.map(|unique| unique.statement)),
            }
            fix.statements.push(replace);
            fix.statements.extend(after);
            note.trim_start_matches("; ").clone_into(&mut fix.note);
        }
    }
    fix
}

/// Returns what rows refer to another tenant's, if any do.
fn crossing(key: &ForeignKey) -> Result<Option<String>, Error> {
    let query = rules::crossing(key);
    let found = policy::as_table_owner(ddl::table(&key.from.to_string())?, || {
        Spi::connect_mut(|client| {
            let rows = client.update(&query, None, &[])?;
            rows.into_iter()
                .map(|row| Ok((row.not_null::<String>(1)?, row.not_null::<i64>(2)?)))
                .collect::<Result<Vec<_>, Error>>()
        })
    })?;
    if found.is_empty() {
        return Ok(None);
    }
    let mut named: Vec<String> = (found.iter().take(NAMED_MAX))
        .map(|(tenant, rows)| format!("{rows} of {tenant}"))
        .collect();
    if found.len() > NAMED_MAX {
        named.push(format!("and of {} more tenants", found.len() - NAMED_MAX));
    }
    let rows: i64 = found.iter().map(|(_, rows)| rows).sum();
    Ok(Some(format!(
        "{rows} rows refer to another tenant's row: {}",
        named.join(", ")
    )))
}

/// Runs each statement in a transaction of its own. A key whose statement fails stays as it is by then, and the others go on.
fn run(fixes: &mut [Fix], transactions: &Patient) -> Result<(), Error> {
    // The plan stays, whatever happens.
    transactions.commit();
    for fix in fixes.iter_mut().filter(|fix| fix.blocked.is_none()) {
        let table = fix.key.from.to_string();
        for (n, statement) in fix.statements.iter().enumerate() {
            notice!("tenancy: {statement}");
            if let (0, Some(index)) = (n, &fix.built) {
                transactions.build_index(statement, index, &table)?;
            } else {
                let statements = std::slice::from_ref(statement);
                let failed = replaced::execute(transactions, statements, &table, REASON)?;
                if let Some(reason) = failed {
                    fix.blocked = Some(reason);
                    note_blocked(fix)?;
                    transactions.commit();
                    break;
                }
            }
            note(fix)?;
            transactions.commit();
        }
    }
    Ok(())
}

fn keep(fixes: &[Fix], before: &[Record]) -> Result<(), Error> {
    let fixes: Vec<Value> = (fixes.iter())
        .map(|fix| {
            json!({
                "table_name": fix.key.from.to_string(),
                "foreign_key": fix.key.name,
                "referenced_table": fix.key.to.to_string(),
                "blocked": fix.blocked,
                "open": fix.open,
                "note": fix.note,
                "statements": fix.statements,
                "tables": fix.key.oids,
                "former": fix.former,
            })
        })
        .collect();
    let before = (before.iter())
        .map(|record| json!({"table_name": record.table_name, "foreign_key": record.foreign_key}))
        .collect();
    spi::write(
        "SELECT tenancy_internal.keep_foreign_key_fixes($1, $2)",
        &[
            JsonB(Value::Array(fixes)).into(),
            JsonB(Value::Array(before)).into(),
        ],
    )?;
    Ok(())
}

fn note(fix: &Fix) -> Result<(), Error> {
    spi::write(
        "UPDATE tenancy_internal.fixed_foreign_keys SET done = done + 1, updated_at = pg_catalog.clock_timestamp() \
         WHERE table_name = $1 AND foreign_key = $2",
        &[fix.key.from.to_string().into(), fix.key.name.clone().into()],
    )?;
    Ok(())
}

fn note_blocked(fix: &Fix) -> Result<(), Error> {
    spi::write(
        "UPDATE tenancy_internal.fixed_foreign_keys SET blocked = $3, updated_at = pg_catalog.clock_timestamp() \
         WHERE table_name = $1 AND foreign_key = $2",
        &[
            fix.key.from.to_string().into(),
            fix.key.name.clone().into(),
            fix.blocked.clone().into(),
        ],
    )?;
    Ok(())
}

fn summary(fixes: &[Fix]) -> String {
    let blocked = fixes.iter().filter(|fix| fix.blocked.is_some()).count();
    let open = fixes.iter().filter(|fix| fix.open.is_some()).count();
    format!(
        "tenancy: {} foreign keys let a row refer to another tenant's, {blocked} are blocked, {open} cannot be closed: \
         SELECT * FROM tenancy.foreign_key_fixes",
        fixes.len()
    )
}
