//! The end of a tenant's life: the procedure `tenancy.purge_tenant()`, and the functions `tenancy.export_tenant()` and
//! `tenancy.import_tenant()`.
//!
//! | file | what |
//! | --- | --- |
//! | `facts` | reads the protected tables, and the foreign keys to them |
//! | `plan` | the order of the tables, and what stands in the way |
//! | `purge` | the procedure: a transaction for each batch |
//! | `batch` | deletes a batch of a table's rows |
//! | `progress` | the record of a purge, for the view `purges` |
//! | `export` | the function: all rows of a tenant as lines |
//! | `import` | the function: a tenant of such lines |
//! | `staged` | lines in a table, verified |
//! | `restore_own` | tenancy's own rows of an import |
//! | `restore_rows` | the rows of the application's tables |
//! | `sources` | the tables of an export, and the queries that read them |
//! | `writers` | waits for transactions that may still write rows of the tenant |

mod batch;
mod export;
mod facts;
mod import;
mod plan;
mod progress;
mod purge;
mod restore_own;
mod restore_rows;
mod sources;
mod staged;
mod writers;
