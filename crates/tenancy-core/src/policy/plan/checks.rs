//! Refusals: tables that cannot be protected, and options that do not fit.

use super::super::facts::{Column, TableFacts};
use super::super::quote::quote_ident;
use super::super::{Key, Options, Refusal};
use crate::permission::Permission;

/// Refuses tables that cannot be isolated with any options.
///
/// # Errors
/// The reason.
pub fn check_kind(facts: &TableFacts) -> Result<(), Refusal> {
    let table = facts.relation.to_string();
    if facts.catalog {
        return Err(Refusal::Catalog { table });
    }
    if facts.own {
        return Err(Refusal::Own { table });
    }
    match facts.kind.as_str() {
        "r" | "p" => {}
        "v" => return Err(Refusal::View { table }),
        "m" => return Err(Refusal::MaterializedView { table }),
        "f" => return Err(Refusal::ForeignTable { table }),
        kind => {
            let what = match kind {
                "S" => "a sequence",
                "i" | "I" => "an index",
                "c" => "a composite type",
                _ => "something else",
            };
            return Err(Refusal::NotATable { table, what });
        }
    }
    if facts.persistence == "t" {
        return Err(Refusal::Temporary { table });
    }
    if !facts.invoker_owns {
        return Err(Refusal::NotOwner { table });
    }
    foreign_members(facts)
}

pub(super) fn foreign_members(facts: &TableFacts) -> Result<(), Refusal> {
    match facts.members.iter().find(|m| m.kind == "f") {
        Some(m) => Err(Refusal::ForeignMember {
            table: facts.relation.to_string(),
            member: m.relation.to_string(),
        }),
        None => Ok(()),
    }
}

pub(super) fn key_type(facts: &TableFacts, column: &Column) -> Result<Key, Refusal> {
    let table = facts.relation.to_string();
    let name = quote_ident(&column.name);
    let key = column.key.ok_or_else(|| Refusal::ColumnType {
        table: table.clone(),
        column: name.clone(),
        type_name: column.type_name.clone(),
    })?;
    if column.generated {
        return Err(Refusal::Generated {
            table,
            column: name,
        });
    }
    if !column.deterministic {
        return Err(Refusal::Collation {
            table,
            column: name,
        });
    }
    Ok(key)
}

pub(super) fn check(facts: &TableFacts, options: &Options) -> Result<Key, Refusal> {
    let table = facts.relation.to_string();
    contradictions(options)?;
    permissions(options)?;
    check_kind(facts)?;
    if let Some(top) = facts.ancestors.last() {
        let root = facts.ancestors.iter().find(|a| a.registered).unwrap_or(top);
        return Err(Refusal::Part {
            table,
            root: root.relation.to_string(),
        });
    }
    if let Some(m) = facts.members.iter().find(|m| !m.invoker_owns) {
        return Err(Refusal::NotOwner {
            table: m.relation.to_string(),
        });
    }
    if let Some(registered) = &facts.registered
        && registered.options != options.protection()
    {
        return Err(Refusal::Different {
            table,
            is: registered.options.describe(),
        });
    }
    if let Some(role) = options
        .grants
        .iter()
        .find(|role| !facts.grantees.iter().any(|g| g.name == **role))
    {
        return Err(Refusal::NoRole { role: role.clone() });
    }
    let column = quote_ident(&options.tenant_column);
    let key = match &facts.tenant {
        Some(tenant) => key_type(facts, tenant)?,
        None if !options.add_column => return Err(Refusal::NoColumn { table, column }),
        None => {
            if facts.has_rows != Some(false) && options.backfill.is_none() {
                return Err(Refusal::NeedsBackfill { table, column });
            }
            Key::UUID
        }
    };
    for (option, name, found) in [
        ("owner_column", &options.owner_column, &facts.owner_column),
        (
            "project_column",
            &options.project_column,
            &facts.project_column,
        ),
    ] {
        let Some(name) = name else { continue };
        let found = found.as_ref().ok_or_else(|| Refusal::NoSuchColumn {
            table: table.clone(),
            option,
            column: quote_ident(name),
        })?;
        if found.key.is_none() {
            return Err(Refusal::NotUuid {
                table,
                option,
                column: quote_ident(name),
                type_name: found.type_name.clone(),
            });
        }
        if !found.deterministic {
            return Err(Refusal::Collation {
                table,
                column: quote_ident(name),
            });
        }
        if found.generated {
            return Err(Refusal::GeneratedOption {
                table,
                option,
                column: quote_ident(name),
            });
        }
    }
    if options.backfill.is_some() {
        let level = facts.backfill.as_ref().map_or("", |b| b.level.as_str());
        let fits = level == "tenant" || options.shared && matches!(level, "platform" | "partner");
        if !fits {
            return Err(Refusal::BackfillLevel {
                level: level.to_owned(),
                shared: options.shared,
            });
        }
    } else if let Some(rows @ 1..) = facts
        .null_rows
        .filter(|_| !options.shared_null && !options.hidden_null)
    {
        return Err(Refusal::Nulls {
            table,
            column,
            rows,
        });
    }
    Ok(key)
}

pub(super) fn contradictions(options: &Options) -> Result<(), Refusal> {
    let refuse = |message: &str, hint: &str| {
        Err(Refusal::Contradiction {
            message: message.to_owned(),
            hint: hint.to_owned(),
        })
    };
    let named: Vec<&String> = std::iter::once(&options.tenant_column)
        .chain(&options.owner_column)
        .chain(&options.project_column)
        .collect();
    if named.iter().any(|n| n.is_empty()) {
        return refuse(
            "a column needs a name",
            "Leave out owner_column or project_column where there is none.",
        );
    }
    for (i, a) in named.iter().enumerate() {
        if named.iter().skip(i + 1).any(|b| a == b) {
            return refuse(
                &format!("column {} is named for two things", quote_ident(a)),
                "The tenant, the owner and the project are three columns.",
            );
        }
    }
    if options.shared && options.owner_column.is_some() {
        return refuse(
            "shared and owner_column contradict each other",
            "A row that its owner alone may see cannot be read by all below.",
        );
    }
    if options.shared_null {
        let other = [
            ("shared", options.shared),
            ("owner_column", options.owner_column.is_some()),
            ("project_column", options.project_column.is_some()),
            ("backfill", options.backfill.is_some()),
            ("hidden_null", options.hidden_null),
        ];
        if let Some((name, _)) = other.iter().find(|(_, given)| *given) {
            return refuse(
                &format!("shared_null and {name} contradict each other"),
                "A row without a tenant belongs to everybody: it has no owner, project or scope above.",
            );
        }
    }
    Ok(())
}

fn permissions(options: &Options) -> Result<(), Refusal> {
    for (option, text) in [
        ("read_permission", &options.read_permission),
        ("write_permission", &options.write_permission),
    ] {
        let message = match Permission::parse(text) {
            Ok(permission) if permission.is_for_rows() => continue,
            Ok(_) => format!("{option} {text} is not for rows"),
            Err(fault) => format!("{option}: {fault}"),
        };
        return Err(Refusal::Contradiction {
            message,
            hint: "Use a permission of the application's own, such as invoices:read.".to_owned(),
        });
    }
    Ok(())
}
