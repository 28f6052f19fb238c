//! The rules of tenancy that can be stated without a server.
//!
//! Nothing here knows PostgreSQL: no SQL, no memory shared with anyone, no clock except the one
//! that [`id::new_id`] reads. The extension asks these modules for a decision and then acts on
//! the server. So every rule can be tested alone, by examples and by properties.
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`id`] | what a new id looks like, and which two ids every install shares |
//! | [`slug`] | which slugs, external ids and names may be stored |
//! | [`tree`] | the levels of the scope tree, what may hold what, and the status that results |
//! | [`permission`] | what a permission is and which one covers which |
//! | [`audit`] | what an entry of the audit log may say |
//! | [`principal`] | who a context is for, and what a credential proves of it |
//! | [`quantity`] | numbers in fixed point: quantities, costs, prices |
//! | [`error`] | the kinds of errors: their names, SQLSTATEs and texts |
//! | [`decimal`] | the same as the server stores them |
//! | [`metric`] | what may be metered, and how it adds up |
//! | [`rollup_plan`] | which rollups a span of time is made of |
//! | [`conditions`] | what of an expression shows whether it was evaluated |
//! | [`partitions`] | which month an instant is in, and the partition of that month |
//! | [`policy`] | how a table is isolated: which statements, or why it cannot be |
//! | [`mac`] | how anything is signed |
//! | [`token`] | the sealed value of the context setting |
//! | [`ticket`] | the portable, expiring form of an identity |
//! | [`credential`] | what a caller may present: an API key, a ticket or a JWT |
//! | [`grants`] | what a principal's assignments add up to |
//! | [`role`] | the roles that come with tenancy |
//! | [`ledger`] | what is used and in flight, exact while entries come and go |
//! | [`span`] | what an interval comes to |
//! | [`subject`] | what a cached answer was made of, as a number |
//! | [`period`] | which hour, day, week, month or year of a time zone an instant is in |
//! | [`redact`] | a statement without the values in it |
//! | [`jwt`] | what an identity provider says, and whether it is to be believed |
//! | [`network`] | from where a scope's users may come |
//! | [`worker`] | which databases have a worker and need one |
//! | [`tenants`] | the set of tenants that a principal may touch, asked once per row |
#![forbid(unsafe_code)]

pub mod audit;
pub mod conditions;
pub mod credential;
pub mod decimal;
pub mod error;
mod excerpt;
pub mod grants;
pub mod id;
pub mod jwt;
pub mod ledger;
pub mod mac;
pub mod metric;
pub mod network;
pub mod partitions;
pub mod period;
pub mod permission;
pub mod policy;
pub mod principal;
pub mod quantity;
pub mod redact;
pub mod role;
pub mod rollup_plan;
pub mod slug;
pub mod span;
pub mod subject;
pub mod tenants;
pub mod ticket;
pub mod token;
pub mod tree;
pub mod worker;
