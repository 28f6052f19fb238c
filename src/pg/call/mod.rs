//! Functions that the server calls: from C per row, as triggers, and with the owner's rights.
//!
//! | file | what |
//! | --- | --- |
//! | `fmgr` | C functions called per row, without pgrx's argument conversion |
//! | `row` | the row that a function answers with |
//! | `trigger` | triggers in C |
//! | `statement` | the statement that an event trigger follows |
//! | `tenant_sets` | the tenant sets that per-row calls read |
//! | `sql_error` | how SQL raises the errors of the catalogue |
//! | `bounded` | arguments that are measured before they are converted |
//! | `managed` | management functions: run as the owner, and know who called |
//! | `blockers` | ending the transactions of the managed that hold up who manages them |

pub mod blockers;
pub mod bounded;
pub mod fmgr;
pub mod managed;
pub mod row;
mod sql_error;
pub mod statement;
pub mod tenant_sets;
pub mod trigger;
