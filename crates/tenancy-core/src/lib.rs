//! The rules of tenancy that can be stated without a server.
//!
//! Nothing here depends on PostgreSQL: no SQL, no shared memory, no clock except the one that [`id::new_id`]
//! reads. The extension asks these modules for a decision and then acts on the server. So every rule can be
//! tested alone, by examples and by properties.
//!
//! The rooms have the names and the floors of the extension's; what is in them is also named without them. Beside them:
//! numbers, instants, ids and excerpts, which all may use.
//!
//! | room | module | what it decides |
//! | --- | --- | --- |
//! | [`error`] | | the kinds of errors: their names, SQLSTATEs and texts |
//! | | [`id`] | what a new id looks like, and which two ids every install shares |
//! | | [`quantity`] | numbers in fixed point: quantities, costs, prices |
//! | | [`time`] | instants and lengths of time |
//! | [`tree`] | | the levels of the scope tree, what may hold what, and the status that results |
//! | | [`slug`] | which slugs, external ids and names may be stored |
//! | | [`subject`] | what a cached answer was made of, as a number |
//! | [`partitions`] | | which month an instant is in, and the partition of that month |
//! | [`access`] | [`permission`] | what a permission is and which one covers which |
//! | | [`role`] | the roles that come with tenancy, and what others may be called |
//! | | [`grants`] | what a principal's assignments add up to |
//! | | [`tenants`] | the set of tenants that a principal may access, checked once per row |
//! | | [`network`] | from where a scope's users may come |
//! | [`identity`] | [`jwt`] | tokens of identity providers, and their verification |
//! | [`ledger`] | | what is used and in flight, exact while entries come and go |
//! | [`audit`] | | what an entry of the audit log may say |
//! | | [`redact`] | a statement without the values in it |
//! | | [`quiet`](audit::quiet) | which statements hold a secret, and what logs may show of them |
//! | [`context`] | [`principal`] | who a context is for, and what a credential proves of it |
//! | | [`credential`] | what a caller may present: an API key, a ticket or a JWT |
//! | | [`ticket`] | the portable, expiring form of an identity |
//! | | [`token`] | the sealed value of the context setting |
//! | | [`mac`] | how anything is signed |
//! | | [`outside`] | the names that a tenant has outside the database |
//! | [`metering`] | [`metric`] | what may be metered, and how it adds up |
//! | | [`price`] | which price of the price book applies to an event |
//! | | [`period`] | which hour, day, week, month or year of a time zone an instant is in |
//! | | [`rollup_plan`] | which rollups a span of time is made of |
//! | | [`span`] | what an interval comes to |
//! | [`plan`] | | plans, features and settings: which values they may have, and which one counts
//! | [`policy`] | | how a table is isolated: which statements, or why it cannot be |
//! | | [`conditions`] | what of an expression shows whether it was evaluated |
//! | | [`index_search`] | which conditions may search an index before a policy |
//! | | [`index_advice`] | which indexes serve a tenant badly, and what to create instead |
//! | [`adoption`] | | what the tables of an existing application are, and how they are isolated |
//! | [`lifecycle`] | | in which order a tenant's rows are deleted, and by which statements |
//! | [`limit`] | | rates, slots and amounts: what is admitted, at every level
//! | [`quota`] | | quotas: how much a table stores for whom, and how much it may |
//! | [`secret`] | | secrets, and the keys that seal them |
//! | [`worker`] | | which databases have a worker and need one |
#![forbid(unsafe_code)]

pub mod access;
pub mod adoption;
pub mod audit;
pub mod context;
pub mod error;
mod excerpt;
pub mod id;
pub mod identity;
pub mod ledger;
pub mod lifecycle;
pub mod limit;
pub mod metering;
pub mod partitions;
pub mod plan;
pub mod policy;
pub mod quantity;
pub mod quota;
pub mod secret;
pub mod time;
pub mod tree;
pub mod worker;

pub use access::{grants, network, permission, role, tenants};
pub use audit::redact;
pub use context::{credential, mac, outside, principal, ticket, token};
pub use identity::jwt;
pub use metering::{metric, period, price, rollup_plan, span};
pub use policy::{conditions, index_advice, index_search};
pub use tree::{slug, subject};
