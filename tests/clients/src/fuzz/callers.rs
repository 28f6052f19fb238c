//! The callers that send the statements.

/// A caller: its user's slug, what it does after it logged in, and a name for its copies.
#[derive(Debug)]
pub struct Caller {
    /// Its name, that of its schemas too.
    pub name: &'static str,
    /// The user, none for a connection without a context.
    pub user: Option<&'static str>,
    /// A statement after the login.
    pub then: Option<&'static str>,
}

const fn caller(name: &'static str, user: &'static str) -> Caller {
    Caller {
        name,
        user: Some(user),
        then: None,
    }
}

/// All of them.
pub const CALLERS: [Caller; 11] = [
    // A member of one tenant; owns rows of the table with an owner.
    caller("alice", "alice"),
    // The tenant's admin.
    caller("ada", "ada"),
    // A partner's admin: a fleet.
    caller("ops", "ops"),
    caller("boss", "boss"),
    // Several assignments: writes in one tenant, reads another.
    caller("mia", "mia"),
    // A role at one project only.
    caller("dave", "dave"),
    // A super admin, elevated.
    caller("sue", "sue"),
    // A fleet, narrowed to one of its tenants.
    Caller {
        name: "narrow",
        user: Some("ops"),
        then: Some("SELECT tenancy.select_tenant('umbrella')"),
    },
    // A user with several assignments.
    Caller {
        name: "chosen",
        user: Some("mia"),
        then: Some("SELECT tenancy.select_tenant('soylent')"),
    },
    // An elevated super admin in one tenant, which it may write to.
    Caller {
        name: "helper",
        user: Some("sue"),
        then: Some("SELECT tenancy.select_tenant('soylent')"),
    },
    // No context, where that is not an error.
    Caller {
        name: "none",
        user: None,
        then: None,
    },
];
