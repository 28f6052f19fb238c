//! Allowed networks: each scope on a user's path that has networks must have one with the client's address. That
//! is the connection's address, or the one that a trusted caller named.

use std::net::IpAddr;

use tenancy_core::network::Network;

use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::{client, session};

/// The connection's address, once it is known; it never changes.
static CONNECTED_FROM: BackendCell<Option<Option<IpAddr>>> = BackendCell::new(None);

/// Raises an error unless a user whose scopes have these networks may connect from here.
pub fn check(scopes: &[Vec<Network>], vouched: Option<IpAddr>) -> Result<(), Error> {
    if scopes.is_empty() {
        return Ok(());
    }
    let client = match vouched {
        Some(vouched) => Some(vouched),
        None => connected_from(),
    };
    let inside = |networks: &Vec<Network>| {
        client.is_some_and(|client| networks.iter().any(|network| network.contains(client)))
    };
    if scopes.iter().all(inside) {
        Ok(())
    } else {
        Err(Error::WrongNetwork)
    }
}

/// Returns the connection's address; `None` for a Unix socket. A parallel worker returns its leader's.
fn connected_from() -> Option<IpAddr> {
    if let Some(address) = CONNECTED_FROM.get() {
        return address;
    }
    let address = match session::parallel_leader() {
        Some(leader) => client::address_of(leader),
        None => client::address(),
    };
    CONNECTED_FROM.set(Some(address));
    address
}

/// Parses the address of an `inet`'s text, which may have a netmask.
pub fn parse(text: &str) -> Option<IpAddr> {
    text.split('/').next().unwrap_or(text).parse().ok()
}
