//! Reads the server's catalogs.
//!
//! | file | what |
//! | --- | --- |
//! | `relation` | a relation's row of pg_class |
//! | `lookup` | rows of a table by an oid in an index |
//! | `inheritance` | the tables above and below a table |
//! | `partition` | the columns of partition keys |
//! | `function` | a function's row of pg_proc |
//! | `role` | the calling role |
//! | `extension` | the extension's schema and tables |
//! | `types` | types of columns that may hold keys of tenants |
//! | `ddl` | the owner of the object that a statement changes |

pub mod ddl;
pub mod extension;
pub mod function;
pub mod inheritance;
pub mod lookup;
pub mod partition;
pub mod relation;
pub mod role;
pub mod types;
