//! What a principal may do.

pub mod grants;
pub mod network;
pub mod permission;
pub mod role;
pub mod tenants;
