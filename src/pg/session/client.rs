//! The client's address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pgrx::pg_sys;
#[cfg(feature = "pg15")]
use pgrx::pg_sys::pgstat_fetch_stat_local_beentry as local_entry;
#[cfg(not(feature = "pg15"))]
use pgrx::pg_sys::pgstat_get_local_beentry_by_index as local_entry;

use crate::pg::cell::BackendCell;

static ADDRESS: BackendCell<Option<Option<IpAddr>>> = BackendCell::new(None);

/// Returns the client's address; `None` on a Unix socket and without a client.
pub fn address() -> Option<IpAddr> {
    if let Some(known) = ADDRESS.get() {
        return known;
    }
    let found = read();
    ADDRESS.set(Some(found));
    found
}

/// Returns the address of another process's client, from the server's memory: the view pg_stat_activity hides
/// other roles' addresses from tenancy_owner.
pub fn address_of(process: i32) -> Option<IpAddr> {
    // SAFETY: the entries are numbered from 1, and live until the transaction ends. A socket address is
    // of the kind that its family says.
    unsafe {
        (1..=pg_sys::pgstat_fetch_stat_numbackends()).find_map(|n| {
            let entry = &(*local_entry(n)).backendStatus;
            if entry.st_procpid != process {
                return None;
            }
            let address = (&raw const entry.st_clientaddr.addr).cast::<libc::sockaddr>();
            match i32::from((*address).sa_family) {
                libc::AF_INET => {
                    let v4 = &*address.cast::<libc::sockaddr_in>();
                    Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr))))
                }
                libc::AF_INET6 => {
                    let v6 = &*address.cast::<libc::sockaddr_in6>();
                    Some(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)))
                }
                _ => None,
            }
        })
    }
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
