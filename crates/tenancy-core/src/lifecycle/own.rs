//! What an export has of tenancy's own rows, and so all that an import takes of them: each column by its name, ids only where they are
//! those of scopes of the tenant. Roles, metrics, limits and plans are named, never numbered.

use super::lines::TableLine;

/// A table of an export with tenancy's own rows. It need not be a table of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnTable {
    /// Its name.
    pub name: &'static str,
    /// Its columns and their types.
    pub columns: &'static [(&'static str, &'static str)],
    /// The columns that hold ids of scopes of the tenant.
    pub scopes: &'static [&'static str],
}

/// The tenant, its projects and its users: the first table, whose first row is the tenant.
pub const SCOPES: OwnTable = OwnTable {
    name: "tenancy.scopes",
    columns: &[
        ("id", "uuid"),
        ("level", "text"),
        ("slug", "text"),
        ("name", "text"),
        ("status", "text"),
        ("external_id", "text"),
        ("kind", "text"),
        ("settings", "jsonb"),
        ("features", "jsonb"),
        ("created_at", "timestamp with time zone"),
    ],
    scopes: &["id"],
};

/// All of them, in the order in which they are restored.
pub const OWN: [OwnTable; 9] = [
    SCOPES,
    OwnTable {
        name: "tenancy.roles",
        columns: &[
            ("name", "text"),
            ("permissions", "text[]"),
            ("description", "text"),
            ("expires_at", "timestamp with time zone"),
        ],
        scopes: &[],
    },
    OwnTable {
        name: "tenancy.assignments",
        columns: &[
            ("user_id", "uuid"),
            ("scope_id", "uuid"),
            ("role", "text"),
            ("defined_at", "text"),
            ("expires_at", "timestamp with time zone"),
        ],
        scopes: &["user_id", "scope_id"],
    },
    OwnTable {
        name: "tenancy.allowed_networks",
        columns: &[("scope_id", "uuid"), ("networks", "inet[]")],
        scopes: &["scope_id"],
    },
    OwnTable {
        name: "tenancy.login_policies",
        columns: &[
            ("scope_id", "uuid"),
            ("amr", "text[]"),
            ("acr", "text[]"),
            ("session_length", "interval"),
            ("human_api_keys", "boolean"),
        ],
        scopes: &["scope_id"],
    },
    OwnTable {
        name: "tenancy.budgets",
        columns: &[
            ("scope_id", "uuid"),
            ("metric", "text"),
            ("period", "text"),
            ("imposed", "boolean"),
            ("amount", "numeric"),
            ("hard", "boolean"),
            ("alert_at", "numeric[]"),
            ("per", "text"),
            ("dimensions", "jsonb"),
            ("anchor", "timestamp with time zone"),
            ("alert_amounts", "numeric[]"),
        ],
        scopes: &["scope_id"],
    },
    OwnTable {
        name: "tenancy.credits",
        columns: &[
            ("scope_id", "uuid"),
            ("metric", "text"),
            ("period", "text"),
            ("imposed", "boolean"),
            ("remaining", "numeric"),
            ("priority", "integer"),
            ("effective_at", "timestamp with time zone"),
            ("expires_at", "timestamp with time zone"),
            ("rollover", "numeric"),
            ("note", "text"),
        ],
        scopes: &["scope_id"],
    },
    OwnTable {
        name: "tenancy.limits",
        columns: &[
            ("scope_id", "uuid"),
            ("name", "text"),
            ("level", "text"),
            ("per", "text"),
            ("imposed", "boolean"),
            ("amount", "bigint"),
            ("burst", "bigint"),
        ],
        scopes: &["scope_id"],
    },
    OwnTable {
        name: "tenancy.tenant_plans",
        columns: &[
            ("plan", "text"),
            ("starts_at", "timestamp with time zone"),
            ("ends_at", "timestamp with time zone"),
            ("trial", "boolean"),
        ],
        scopes: &[],
    },
];

impl OwnTable {
    /// Returns the table of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        OWN.iter().find(|table| table.name == name)
    }

    /// Returns the line that begins it.
    #[must_use]
    pub fn line(&self) -> TableLine {
        let texts = |part: fn(&(&str, &str)) -> String| self.columns.iter().map(part).collect();
        TableLine {
            table: self.name.to_owned(),
            columns: texts(|(name, _)| (*name).to_owned()),
            types: texts(|(_, kind)| (*kind).to_owned()),
        }
    }

    /// Returns whether these are its columns, in their order. Types need not be compared: each value is read as its column's.
    #[must_use]
    pub fn has(&self, columns: &[String]) -> bool {
        columns.len() == self.columns.len()
            && (columns.iter().zip(self.columns)).all(|(found, (name, _))| found == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_columns_of_their_table_and_all_uuids_are_ids_of_scopes() {
        for table in OWN {
            let uuids: Vec<&str> = (table.columns.iter())
                .filter(|(_, kind)| *kind == "uuid")
                .map(|(name, _)| *name)
                .collect();
            assert_eq!(uuids, table.scopes, "{}", table.name);
        }
    }

    #[test]
    fn columns_are_the_same_ones_in_the_same_order() {
        let names =
            |names: &[&str]| -> Vec<String> { names.iter().map(|n| (*n).to_owned()).collect() };
        let networks = OwnTable::named("tenancy.allowed_networks");
        assert!(networks.is_some_and(|table| table.has(&names(&["scope_id", "networks"]))));
        for other in [
            &["networks", "scope_id"][..],
            &["scope_id"],
            &["scope_id", "networks", "owner"],
        ] {
            assert!(networks.is_some_and(|table| !table.has(&names(other))));
        }
        assert_eq!(OwnTable::named("tenancy.audit_log"), None);
    }
}
