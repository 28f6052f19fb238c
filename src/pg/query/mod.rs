//! Reading and writing tenancy's own tables.
//!
//! | file | what |
//! | --- | --- |
//! | `spi` | queries as the owner of tenancy's objects, with a pinned search_path |
//! | `savepoint` | savepoints of tenancy's own |
//! | `snapshot` | snapshots to read at that are newer than the statement's |
//! | `scan` | one column of a table, every committed row, without a plan |
//! | `rows` | the rows of a query as texts, a few at a time |
//! | `counters` | the counters of quotas, without a query |
//! | `row_source` | rows of texts that a statement reads as if they were a table |
//! | `heap_insert` | new rows, without a query |
//! | `secret_rows` | new rows that no publication sends |

pub mod counters;
pub mod heap_insert;
pub mod row_source;
pub mod rows;
pub mod savepoint;
pub mod scan;
pub mod secret_rows;
pub mod snapshot;
pub mod spi;
