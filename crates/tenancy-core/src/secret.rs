//! Secrets: each is sealed under the key of its tenant, which is sealed under a master key. Both keys are outside the
//! database: the tenants' in the keyring, one file for each.
//!
//! Random bytes come from the caller. Keys and opened values are overwritten when they are dropped.

pub mod keyring;
pub mod master;
pub mod name;
pub mod seal;
