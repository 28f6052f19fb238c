//! A fuzzer of isolation: random statements of an application's role, with conditions that fail, notice, count or sleep because of rows
//! that their caller cannot see. What a statement does must be what it does in a copy that holds only the caller's rows.
//!
//! A statement is made from a seed and its number alone, and a failure prints both.

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
