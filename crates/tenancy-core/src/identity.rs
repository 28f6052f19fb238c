//! Tokens of identity providers, and what a scope asks of its users' logins.

pub mod jwt;
pub mod login_policy;
