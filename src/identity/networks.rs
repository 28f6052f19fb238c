//! From where users may come: all scopes on a user's path that name networks must name one with the
//! client's address. That is the connection's, or the one that a trusted caller vouched for.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use tenancy_core::network::Network;
use uuid::Uuid;

use crate::access::pg_uuid;
use crate::error::Error;
use crate::pg::cell::BackendCell;
use crate::pg::{client, session, spi};

/// Where the cache is emptied and begun again.
const MOST_USERS: usize = 10_000;

/// Each scope's networks.
type Rules = Vec<Vec<Network>>;

thread_local! {
    static OF_USERS: RefCell<HashMap<Uuid, Rc<Rules>>> = RefCell::default();
}

/// Whether there are any networks at all, once it is known: mostly there are none.
static ANY: BackendCell<Option<bool>> = BackendCell::new(None);
/// The connection's address, once it is known; it stays.
static CONNECTED_FROM: BackendCell<Option<Option<IpAddr>>> = BackendCell::new(None);

/// Forgets all networks.
pub fn forget() {
    ANY.set(None);
    OF_USERS.with_borrow_mut(HashMap::clear);
}

/// An error unless a user may come from here.
pub fn check(user: Uuid, vouched: Option<IpAddr>) -> Result<(), Error> {
    if !any()? {
        return Ok(());
    }
    let rules = of_user(user)?;
    if rules.is_empty() {
        return Ok(());
    }
    let client = match vouched {
        Some(vouched) => Some(vouched),
        None => connected_from(),
    };
    let inside = |networks: &Vec<Network>| {
        client.is_some_and(|client| networks.iter().any(|network| network.contains(client)))
    };
    if rules.iter().all(inside) {
        Ok(())
    } else {
        Err(Error::WrongNetwork)
    }
}

fn any() -> Result<bool, Error> {
    if let Some(any) = ANY.get() {
        return Ok(any);
    }
    let any = spi::read(
        "SELECT 1 FROM tenancy.allowed_networks LIMIT 1",
        &[],
        |rows| Ok(!rows.is_empty()),
    )?;
    ANY.set(Some(any));
    Ok(any)
}

fn of_user(user: Uuid) -> Result<Rc<Rules>, Error> {
    if let Some(rules) = OF_USERS.with_borrow(|users| users.get(&user).cloned()) {
        return Ok(rules);
    }
    let rules = spi::read(
        "SELECT n.networks::text[] FROM tenancy.scopes u \
         JOIN tenancy.allowed_networks n ON n.scope_id = ANY (u.path) \
         WHERE u.id = $1",
        &[pg_uuid(user).into()],
        |rows| {
            rows.into_iter()
                .map(|row| {
                    let networks: Vec<String> = row.get(1)?.unwrap_or_default();
                    networks
                        .iter()
                        .map(|text| text.parse())
                        .collect::<Result<Vec<Network>, _>>()
                        .map_err(|_| Error::Internal("a network that cannot be read"))
                })
                .collect::<Result<Rules, Error>>()
        },
    )?;
    let rules = Rc::new(rules);
    OF_USERS.with_borrow_mut(|users| {
        if users.len() >= MOST_USERS {
            users.clear();
        }
        users.insert(user, rules.clone());
    });
    Ok(rules)
}

/// The address that this connection came from; none for a Unix socket. A parallel worker asks for its
/// leader's.
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

/// The address of an `inet`'s text, which may have a netmask.
pub fn parse(text: &str) -> Option<IpAddr> {
    text.split('/').next().unwrap_or(text).parse().ok()
}
