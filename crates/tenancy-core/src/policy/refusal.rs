//! Why a table cannot be isolated.

use thiserror::Error;

/// A refusal: the reason as the message, with SQLSTATE, detail and hint.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Refusal {
    #[error("{table} is a view and cannot be isolated by itself")]
    View { table: String },
    #[error("{table} is a materialized view and cannot be isolated")]
    MaterializedView { table: String },
    #[error("{table} is a foreign table and cannot be isolated")]
    ForeignTable { table: String },
    #[error("{member}, part of {table}, is a foreign table and cannot be isolated")]
    ForeignMember { table: String, member: String },
    #[error("{table} is {what}, not a table")]
    NotATable { table: String, what: &'static str },
    #[error("{table} is a system catalog")]
    Catalog { table: String },
    #[error("{table} belongs to the extension tenancy")]
    Own { table: String },
    #[error("{table} is a temporary table")]
    Temporary { table: String },
    #[error("{table} is a part of {root}, which is not protected")]
    Part { table: String, root: String },
    #[error("column {column} of {table} does not exist")]
    NoColumn { table: String, column: String },
    #[error("{option} {column} of {table} does not exist")]
    NoSuchColumn {
        table: String,
        option: &'static str,
        column: String,
    },
    #[error("tenant column {column} of {table} has type {type_name}")]
    ColumnType {
        table: String,
        column: String,
        type_name: String,
    },
    #[error("{option} {column} of {table} has type {type_name}, not uuid")]
    NotUuid {
        table: String,
        option: &'static str,
        column: String,
        type_name: String,
    },
    #[error("tenant column {column} of {table} has a nondeterministic collation")]
    Collation { table: String, column: String },
    #[error("tenant column {column} of {table} is generated")]
    Generated { table: String, column: String },
    #[error("tenant column {column} of {table} is NULL in {rows} {}", if *rows == 1 { "row" } else { "rows" })]
    Nulls {
        table: String,
        column: String,
        rows: i64,
    },
    #[error("{table} has rows, and the new column {column} needs a tenant for them")]
    NeedsBackfill { table: String, column: String },
    #[error("rows cannot be given to a scope of level {level}")]
    BackfillLevel { level: String, shared: bool },
    #[error("the scope to backfill with has no external id that fits type {type_name}")]
    BackfillKey { type_name: String },
    #[error("must be owner of table {table}")]
    NotOwner { table: String },
    #[error("{member}, part of {table}, belongs to another role")]
    OtherOwner { table: String, member: String },
    #[error("{message}")]
    Contradiction { message: String, hint: String },
    #[error("{table} is already protected with other options")]
    Different { table: String, is: String },
    #[error("{table} is isolated as a part of {root}")]
    PartOf { table: String, root: String },
    #[error("role \"{role}\" does not exist")]
    NoRole { role: String },
    #[error("{table} is not protected")]
    NotProtected { table: String },
    #[error("{table} is protected, and its new parent is not")]
    UnprotectedParent { table: String },
    #[error("the record of the protection of {table} cannot be read: {reason}")]
    BadRecord { table: String, reason: String },
}

impl Refusal {
    /// The SQLSTATE, five characters.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::View { .. }
            | Self::MaterializedView { .. }
            | Self::ForeignTable { .. }
            | Self::ForeignMember { .. }
            | Self::NotATable { .. }
            | Self::Catalog { .. }
            | Self::Own { .. }
            | Self::Temporary { .. } => "42809",
            Self::NotOwner { .. } | Self::OtherOwner { .. } => "42501",
            Self::Different { .. } => "42710",
            Self::NotProtected { .. } | Self::NoRole { .. } => "42704",
            Self::BadRecord { .. } => "XX000",
            Self::UnprotectedParent { .. }
            | Self::Part { .. }
            | Self::PartOf { .. }
            | Self::NoColumn { .. }
            | Self::NoSuchColumn { .. }
            | Self::ColumnType { .. }
            | Self::NotUuid { .. }
            | Self::Collation { .. }
            | Self::Generated { .. }
            | Self::Nulls { .. }
            | Self::NeedsBackfill { .. }
            | Self::BackfillLevel { .. }
            | Self::BackfillKey { .. }
            | Self::Contradiction { .. } => "22023",
        }
    }

    /// What else there is to know.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Different { is, .. } => Some(format!("It is protected with {is}.")),
            Self::MaterializedView { .. } => Some("Row security does not apply to materialized views: they hold the rows of every tenant.".into()),
            Self::ForeignTable { .. } | Self::ForeignMember { .. } => Some("Row security does not apply to foreign tables.".into()),
            Self::OtherOwner { .. } => Some("A part's triggers and expressions would run with the rights of the owner of the whole.".into()),
            Self::Temporary { .. } => Some("Temporary tables are seen by one session only.".into()),
            Self::Collation { .. } => Some("Two keys that differ in bytes would count as one tenant.".into()),
            _ => None,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::View { table } => format!(
                "Protect the tables it reads, and let it run with its caller's rights: ALTER VIEW {table} SET (security_invoker = true)."
            ),
            Self::MaterializedView { .. } => {
                "Protect the tables it reads, and grant it to nobody who serves a single tenant.".into()
            }
            Self::ForeignTable { .. } => "Protect the table on the server where it lives.".into(),
            Self::ForeignMember { member, .. } => {
                format!("Detach {member}, or protect the table on the server where it lives.")
            }
            Self::OtherOwner { table, member } => {
                format!("Give them one owner: ALTER TABLE {member} OWNER TO that of {table}.")
            }
            Self::NotATable { .. } => "Name an ordinary or a partitioned table.".into(),
            Self::Part { root, .. } => format!("Protect {root}: its parts are isolated with it."),
            Self::UnprotectedParent { .. } => {
                "Its rows would be read through the parent: protect the parent first.".into()
            }
            Self::PartOf { root, .. } => format!("Unprotect {root}, or detach this part of it first."),
            Self::NoColumn { .. } => {
                "Name the column that holds the tenant with tenant_column, or have one made: add_column => true.".into()
            }
            Self::ColumnType { .. } => "Use uuid (the id of a scope), or bigint, integer, text or varchar (its external id).".into(),
            Self::Nulls { .. } => "Say whose they are: backfill => 'slug of a tenant'.".into(),
            Self::NeedsBackfill { .. } => "Say whose they are: backfill => 'slug of a tenant'.".into(),
            Self::BackfillLevel { shared, .. } => if *shared {
                "Use a tenant, or a partner or the platform for rows that all below may read.".into()
            } else {
                "Use a tenant.".into()
            },
            Self::BackfillKey { .. } => "Give the scope the key that the application uses for it as its external id.".into(),
            Self::Contradiction { hint, .. } => hint.clone(),
            Self::Different { table, .. } => format!("Take it off first: SELECT * FROM tenancy.unprotect('{}').", table.replace('\'', "''")),
            Self::NotProtected { .. } => "See tenancy.protected_tables.".into(),
            Self::Collation { .. } => "Give the column a deterministic collation.".into(),
            Self::Generated { .. } => "The tenant must be a column that is stored as it was written.".into(),
            Self::NotUuid { .. } => "It must hold the id of a scope.".into(),
            _ => return None,
        })
    }
}
