//! The principal of a context, and what a credential proves.

use uuid::Uuid;

use crate::time::Instant;
use crate::token::Proof;

/// The principal of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A user.
    User(Uuid),
    /// An administrator with access to all rows.
    Maintenance,
}

/// What a credential proves.
pub struct Proven {
    /// The user that it belongs to.
    pub user: Uuid,
    /// The kind of proof; `None` if a trusted caller named the user.
    pub proof: Option<Proof>,
    /// The tenant that it is limited to.
    pub tenant: Option<Uuid>,
    /// When it ends.
    pub expires_at: Option<Instant>,
}
