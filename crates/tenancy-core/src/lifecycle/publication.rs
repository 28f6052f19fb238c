//! The statements that publish a tenant's rows for a subscription of another database.

use uuid::Uuid;

use crate::policy::quote_ident;

/// A table that is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its name.
    pub table: String,
    /// The condition for the tenant's rows.
    pub condition: String,
}

/// Returns the name of the publication, of the replication slot and of the subscription of a tenant's move. It needs no quotes.
#[must_use]
pub fn name(tenant: Uuid) -> String {
    format!("tenancy_move_{}", tenant.simple())
}

/// Returns the statements that publish these tables, and no other. Never TRUNCATE: no filter applies to it, and the subscriber would
/// empty the tables of all tenants.
#[must_use]
pub fn publish(name: &str, exists: bool, tables: &[Published]) -> Vec<String> {
    const OPTIONS: &str = "publish = 'insert, update, delete', publish_via_partition_root = true";
    // An empty list can be created, and cannot be set.
    let mut statements = Vec::new();
    if exists && tables.is_empty() {
        statements.push(format!("DROP PUBLICATION {name}"));
    }
    if exists && !tables.is_empty() {
        statements.push(format!("ALTER PUBLICATION {name} SET ({OPTIONS})"));
        statements.push(format!("ALTER PUBLICATION {name} SET {}", list(tables)));
    } else {
        statements.push(format!(
            "CREATE PUBLICATION {name} {}WITH ({OPTIONS})",
            match tables {
                [] => String::new(),
                tables => format!("FOR {} ", list(tables)),
            }
        ));
    }
    statements
}

/// Inheritance children have conditions of their own.
fn list(tables: &[Published]) -> String {
    let each: Vec<String> = tables
        .iter()
        .map(|table| format!("TABLE ONLY {} WHERE ({})", table.table, table.condition))
        .collect();
    each.join(", ")
}

/// Returns the statement that gives a table a replica identity: that of an index, or FULL.
#[must_use]
pub fn identity(table: &str, index: Option<&str>) -> String {
    match index {
        Some(index) => format!(
            "ALTER TABLE ONLY {table} REPLICA IDENTITY USING INDEX {}",
            quote_ident(index)
        ),
        None => format!("ALTER TABLE ONLY {table} REPLICA IDENTITY FULL"),
    }
}

/// Returns the statement by which the other database subscribes; with `runs_as_owner` it writes as the subscription's owner.
#[must_use]
pub fn subscribe(name: &str, runs_as_owner: bool) -> String {
    format!(
        "CREATE SUBSCRIPTION {name} CONNECTION 'host=… dbname=…' PUBLICATION {name}{}",
        if runs_as_owner {
            " WITH (run_as_owner = true)"
        } else {
            ""
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> Published {
        Published {
            table: format!("app.{name}"),
            condition: format!("{name} = 1"),
        }
    }

    #[test]
    fn a_name_needs_no_quotes_and_is_no_longer_than_names_may_be() {
        let name = name(Uuid::from_u128(7));
        assert_eq!(name, "tenancy_move_00000000000000000000000000000007");
        assert_eq!(quote_ident(&name), name);
        assert!(name.len() < 64);
    }

    #[test]
    fn each_table_has_its_condition_and_truncate_is_never_published() {
        let tables = [table("a"), table("b")];
        assert_eq!(
            publish("p", false, &tables),
            [
                "CREATE PUBLICATION p FOR TABLE ONLY app.a WHERE (a = 1), TABLE ONLY app.b WHERE (b = 1) \
                 WITH (publish = 'insert, update, delete', publish_via_partition_root = true)"
            ]
        );
        let again = publish("p", true, &tables[..1]);
        assert_eq!(
            again,
            [
                "ALTER PUBLICATION p SET (publish = 'insert, update, delete', publish_via_partition_root = true)",
                "ALTER PUBLICATION p SET TABLE ONLY app.a WHERE (a = 1)"
            ]
        );
    }

    #[test]
    fn no_table_is_not_all_tables() {
        const NONE: &str = "CREATE PUBLICATION p WITH (publish = 'insert, update, delete', publish_via_partition_root = true)";
        assert_eq!(publish("p", false, &[]), [NONE]);
        assert_eq!(publish("p", true, &[]), ["DROP PUBLICATION p", NONE]);
    }

    #[test]
    fn an_identity_is_an_index_or_all_columns() {
        assert_eq!(
            identity("app.a", Some("A_key")),
            "ALTER TABLE ONLY app.a REPLICA IDENTITY USING INDEX \"A_key\""
        );
        assert_eq!(
            identity("app.a", None),
            "ALTER TABLE ONLY app.a REPLICA IDENTITY FULL"
        );
    }

    #[test]
    fn newer_servers_are_told_to_write_as_the_subscriptions_owner() {
        assert!(!subscribe("p", false).contains("run_as_owner"));
        assert!(subscribe("p", true).ends_with("PUBLICATION p WITH (run_as_owner = true)"));
    }
}
