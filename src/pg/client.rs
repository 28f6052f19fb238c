//! Where the client is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pgrx::pg_sys;

use super::cell::BackendCell;

static ADDRESS: BackendCell<Option<Option<IpAddr>>> = BackendCell::new(None);

/// The client's address; none on a Unix socket and where there is no client.
pub fn address() -> Option<IpAddr> {
    if let Some(known) = ADDRESS.get() {
        return known;
    }
    let found = read();
    ADDRESS.set(Some(found));
    found
}

fn read() -> Option<IpAddr> {
    // SAFETY: the server's function of this name takes no arguments. An inet is a varlena of a family
    // (IPv4 is AF_INET), the bits of the mask and the address.
    unsafe {
        let found = pgrx::direct_function_call_as_datum(pg_sys::inet_client_addr, &[])?;
        let inet = found.cast_mut_ptr::<pg_sys::varlena>();
        let len = pgrx::varsize_any_exhdr(inet);
        let bytes = std::slice::from_raw_parts(pgrx::vardata_any(inet).cast::<u8>(), len);
        match (bytes.get(2..6), bytes.get(2..18)) {
            (_, Some(v6)) => Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(v6).ok()?))),
            (Some(v4), None) => Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(v4).ok()?))),
            (None, None) => None,
        }
    }
}
