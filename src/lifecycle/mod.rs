//! The end of a tenant's or a user's life: the procedures `tenancy.purge_tenant()` and `tenancy.forget_user()`, and the functions
//! `tenancy.export_tenant()`, `tenancy.import_tenant()` and `tenancy.export_user()`.
//!
//! | file | what |
//! | --- | --- |
//! | `facts` | reads the protected tables, and the foreign keys to them |
//! | `plan` | the order of the tables, and what stands in the way |
//! | `batch` | deletes or changes a batch of a table's rows |
//! | `run` | a transaction for each batch, for both procedures |
//! | `purge` | the procedure for a tenant |
//! | `progress` | the record of a purge, for the view `purges` |
//! | `users` | the columns that name users, and what becomes of their rows |
//! | `forget` | the procedure for a user |
//! | `forgetting` | its record, for the view `forgettings` |
//! | `export` | the functions: all rows of a tenant or a user as lines |
//! | `import` | the function: a tenant of such lines |
//! | `staged` | lines in a table, verified |
//! | `restore_own` | tenancy's own rows of an import |
//! | `restore_rows` | the rows of the application's tables |
//! | `moving` | the procedures that move a tenant to another database by logical replication |
//! | `move_record` | their record, for the view `moves`, and what is published |
//! | `digest` | the function: numbers and hashes of a tenant's rows |
//! | `sources` | the tables of an export of a tenant, and the queries that read them |
//! | `user_sources` | those of an export of a user |
//! | `residency` | regions of tenants, tables and tablespaces, and rows that lie elsewhere |
//! | `writers` | waits for transactions that may still write rows of the tenant or user |

mod batch;
mod digest;
mod export;
mod facts;
mod forget;
mod forgetting;
mod import;
mod move_record;
mod moving;
mod plan;
mod progress;
mod purge;
mod residency;
mod restore_own;
mod restore_rows;
mod run;
mod sources;
mod staged;
mod user_sources;
mod users;
mod writers;
