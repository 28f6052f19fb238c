//! Who a context is for, and what a credential proves of it.

use uuid::Uuid;

use crate::token::Proof;

/// The principal of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A user.
    User(Uuid),
    /// An administrator who touches all rows.
    Maintenance,
}

/// What a credential proves.
pub struct Proven {
    /// Who it belongs to.
    pub user: Uuid,
    /// By what; nothing when a trusted caller says so.
    pub proof: Option<Proof>,
    /// The tenant it is limited to.
    pub tenant: Option<Uuid>,
    /// When it ends, in microseconds of the Unix epoch.
    pub expires_at: Option<i64>,
}
