//! What an identity provider says.

pub mod jwt;
