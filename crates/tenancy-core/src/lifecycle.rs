//! The end of a tenant's life: in which order its rows are deleted, and the statements that delete them; and its rows as a file.
//!
//! | file | what |
//! | --- | --- |
//! | `facts` | protected tables and the foreign keys to them, as the catalogs have them |
//! | `tenant_key` | the condition by which a table has a tenant's rows |
//! | `order` | in which order tables are emptied, also where foreign keys make a circle |
//! | `statements` | the statements, as SQL |
//! | `lines` | the lines of an export, and what proves that none is missing or changed |

mod facts;
mod lines;
mod order;
mod statements;
mod tenant_key;

pub use facts::{Facts, Link, Part, Table};
pub use lines::{
    Count, Damage, Header, Manifest, Sums, TableLine, VERSION, Verified, Verify, write_row,
};
pub use order::{Edge, Stage, stages};
pub use statements::{any_row, crossing, delete_all, delete_blocks, delete_leaves, delete_some};
pub use tenant_key::TenantKey;
