//! Tokens of identity providers.

pub mod jwt;
