//! Who a context is for, and how that is proved.

pub mod credential;
pub mod mac;
pub mod outside;
pub mod principal;
pub mod ticket;
pub mod token;
