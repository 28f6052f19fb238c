//! A fuzzer of isolation: random statements of an application's role, with conditions that fail, raise a notice, count or sleep on rows
//! that their caller cannot see. A statement must do the same as in a copy that holds only the caller's rows.
//!
//! A statement depends on a seed and its number alone, and a failure prints both.

pub mod callers;
pub mod change;
pub mod conditions;
pub mod facts;
pub mod from;
pub mod hostile;
pub mod outcome;
pub mod query;
pub mod runner;
pub mod settings;
pub mod statement;
pub mod tables;
pub mod tally;
pub mod twin;
pub mod world;

pub use runner::{Options, run};
