//! What the server's catalogs say.
//!
//! | file | what |
//! | --- | --- |
//! | `relation` | what pg_class says of a relation |
//! | `function` | what pg_proc says of a function |
//! | `role` | who is calling |
//! | `extension` | the extension's schema and tables |
//! | `ddl` | whose code a statement sets off |

pub mod ddl;
pub mod extension;
pub mod function;
pub mod relation;
pub mod role;
