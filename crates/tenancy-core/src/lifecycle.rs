//! The end of a tenant's life: in which order its rows are deleted, and the statements that delete them; and its rows as a file.
//!
//! | file | what |
//! | --- | --- |
//! | `facts` | protected tables and the foreign keys to them, as the catalogs have them |
//! | `tenant_key` | the condition by which a table has a tenant's rows |
//! | `order` | in which order tables are emptied, also where foreign keys make a circle |
//! | `statements` | the statements, as SQL |
//! | `user_column` | the condition by which a table has a user's rows, and what is done to them when it is forgotten |
//! | `lines` | the lines of an export, and what proves that none is missing or changed |
//! | `own` | what an export has of tenancy's own rows, and so all that an import takes of them |
//! | `publication` | the statements that publish a tenant's rows for another database |
//! | `remap` | how values change when a tenant is imported |
//! | `restore` | which table takes the rows of which lines, and the statements that insert them |

mod facts;
mod lines;
mod order;
mod own;
mod publication;
mod remap;
mod restore;
mod statements;
mod tenant_key;
mod user_column;

pub use facts::{Facts, Link, Part, Table};
pub use lines::{
    Count, Damage, Header, LINE_BYTES_MAX, Manifest, Sums, TableLine, UserHeader, VERSION,
    Verified, Verify, read_row, write_row,
};
pub use order::{Edge, Stage, stages};
pub use own::{OWN, OwnTable, SCOPES};
pub use publication::{Published, identity, name as move_name, publish, subscribe};
pub use remap::{Column, NewIds, Remap, Shape, changes};
pub use restore::{Insert, Member, Row, insert_all, matching, source_name};
pub use statements::{Change, any_row, crossing, delete_all, delete_leaves, straying};
pub use tenant_key::TenantKey;
pub use user_column::{Rule, UserColumn, UserKey, pseudonym};
