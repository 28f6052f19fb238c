//! Why a table cannot be isolated.

use std::fmt;

use crate::error::{Kind, Texts, kind};

/// A refusal: a kind of error, and what fills in its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Refusal {
    View {
        table: String,
    },
    MaterializedView {
        table: String,
    },
    ForeignTable {
        table: String,
    },
    ForeignMember {
        table: String,
        member: String,
    },
    NotATable {
        table: String,
        what: &'static str,
    },
    Catalog {
        table: String,
    },
    Own {
        table: String,
    },
    Temporary {
        table: String,
    },
    Part {
        table: String,
        root: String,
    },
    NoColumn {
        table: String,
        column: String,
    },
    NoSuchColumn {
        table: String,
        option: &'static str,
        column: String,
    },
    ColumnType {
        table: String,
        column: String,
        type_name: String,
    },
    NotUuid {
        table: String,
        option: &'static str,
        column: String,
        type_name: String,
    },
    GeneratedOption {
        table: String,
        option: &'static str,
        column: String,
    },
    Collation {
        table: String,
        column: String,
    },
    Generated {
        table: String,
        column: String,
    },
    Nulls {
        table: String,
        column: String,
        rows: i64,
    },
    NeedsBackfill {
        table: String,
        column: String,
    },
    BackfillLevel {
        level: String,
        shared: bool,
    },
    BackfillKey {
        type_name: String,
    },
    NotOwner {
        table: String,
    },
    OtherOwner {
        table: String,
        member: String,
    },
    Contradiction {
        message: String,
        hint: String,
    },
    Different {
        table: String,
        is: String,
    },
    PartOf {
        table: String,
        root: String,
    },
    NoRole {
        role: String,
    },
    NotProtected {
        table: String,
    },
    UnprotectedParent {
        table: String,
    },
    BadRecord {
        table: String,
        reason: String,
    },
}

impl Refusal {
    /// Returns the kind of error, and the arguments of its texts.
    #[must_use]
    pub fn parts(&self) -> (Kind, Vec<String>) {
        match self {
            Self::View { table } => (kind::table_is_view(), strings([table])),
            Self::MaterializedView { table } => {
                (kind::table_is_materialized_view(), strings([table]))
            }
            Self::ForeignTable { table } => (kind::table_is_foreign(), strings([table])),
            Self::ForeignMember { table, member } => {
                (kind::table_has_foreign_part(), strings([member, table]))
            }
            Self::NotATable { table, what } => (kind::not_a_table(), strings([table, what])),
            Self::Catalog { table } => (kind::table_is_catalog(), strings([table])),
            Self::Own { table } => (kind::table_is_tenancys(), strings([table])),
            Self::Temporary { table } => (kind::table_is_temporary(), strings([table])),
            Self::Part { table, root } => (kind::part_of_unprotected(), strings([table, root])),
            Self::NoColumn { table, column } => {
                (kind::tenant_column_missing(), strings([column, table]))
            }
            Self::NoSuchColumn {
                table,
                option,
                column,
            } => (
                kind::option_column_missing(),
                strings([option, column, table]),
            ),
            Self::ColumnType {
                table,
                column,
                type_name,
            } => (
                kind::tenant_column_type(),
                strings([column, table, type_name]),
            ),
            Self::NotUuid {
                table,
                option,
                column,
                type_name,
            } => (
                kind::option_column_type(),
                strings([option, column, table, type_name]),
            ),
            Self::GeneratedOption {
                table,
                option,
                column,
            } => (
                kind::option_column_generated(),
                strings([option, column, table]),
            ),
            Self::Collation { table, column } => {
                (kind::tenant_column_collation(), strings([column, table]))
            }
            Self::Generated { table, column } => {
                (kind::tenant_column_generated(), strings([column, table]))
            }
            Self::Nulls {
                table,
                column,
                rows,
            } => {
                let rows = format!("{rows} {}", if *rows == 1 { "row" } else { "rows" });
                (kind::tenant_column_null(), strings([column, table, &rows]))
            }
            Self::NeedsBackfill { table, column } => {
                (kind::backfill_needed(), strings([table, column]))
            }
            Self::BackfillLevel { level, shared } => {
                let hint = if *shared {
                    "Use a tenant, or a partner or the platform for rows that all below may read."
                } else {
                    "Use a tenant."
                };
                (kind::backfill_level(), strings([level, hint]))
            }
            Self::BackfillKey { type_name } => (kind::backfill_without_key(), strings([type_name])),
            Self::NotOwner { table } => (kind::not_table_owner(), strings([table])),
            Self::OtherOwner { table, member } => {
                (kind::part_of_other_owner(), strings([member, table]))
            }
            Self::Contradiction { message, hint } => {
                (kind::protect_options(), strings([message, hint]))
            }
            Self::Different { table, is } => {
                let literal = table.replace('\'', "''");
                (kind::already_protected(), strings([table, is, &literal]))
            }
            Self::PartOf { table, root } => (kind::isolated_by_parent(), strings([table, root])),
            Self::NoRole { role } => (kind::database_role_not_found(), strings([role])),
            Self::NotProtected { table } => (kind::table_not_protected(), strings([table])),
            Self::UnprotectedParent { table } => (kind::parent_not_protected(), strings([table])),
            Self::BadRecord { table, reason } => {
                (kind::protection_unreadable(), strings([table, reason]))
            }
        }
    }

    /// Returns the message, detail and hint.
    #[must_use]
    pub fn texts(&self) -> Texts {
        let (kind, arguments) = self.parts();
        kind.fill(&arguments)
    }
}

fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(String::from).into()
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts().message)
    }
}

impl std::error::Error for Refusal {}
