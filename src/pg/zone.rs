//! The server's time zones.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString};

use pgrx::pg_sys;
use tenancy_core::period::{Stretch, Zone};
use tenancy_core::time::{Instant, Length};

/// The longest name of a time zone in the server.
const NAME_MAX: usize = 255;

/// How many names a backend caches, also of zones that do not exist.
const KNOWN_MAX: usize = 2_000;

/// A time zone of pg_timezone_names.
#[derive(Clone, Copy, Debug)]
pub struct ServerZone(*const pg_sys::pg_tz);

thread_local! {
    static KNOWN: RefCell<HashMap<String, Option<ServerZone>>> = RefCell::default();
}

impl ServerZone {
    /// Returns the zone with a name in pg_timezone_names, in any case. POSIX rules are not accepted: they can define arbitrary
    /// clocks.
    pub fn named(name: &str) -> Option<Self> {
        if name.len() > NAME_MAX {
            return None;
        }
        if let Some(known) = KNOWN.with_borrow(|known| known.get(name).copied()) {
            return known;
        }
        let found = Self::find(name);
        KNOWN.with_borrow_mut(|known| {
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(name.to_owned(), found);
        });
        found
    }

    fn find(name: &str) -> Option<Self> {
        let text = CString::new(name).ok()?;
        // SAFETY: the name ends with a NUL byte; the zone is the server's, for as long as the process lives, and so is its
        // name.
        let (zone, kept) = unsafe {
            let zone = pg_sys::pg_tzset(text.as_ptr());
            if zone.is_null() || !pg_sys::pg_tz_acceptable(zone) {
                return None;
            }
            (zone, CStr::from_ptr(pg_sys::pg_get_timezone_name(zone)))
        };
        // A different spelling of the file's name, for example with a colon before it.
        if !kept.to_bytes().eq_ignore_ascii_case(name.as_bytes()) {
            return None;
        }
        // A rule is stored in capitals, and has digits. Few names do, such as EST5EDT: those are looked up.
        let bytes = kept.to_bytes();
        let may_be_a_rule =
            !bytes.iter().any(u8::is_ascii_lowercase) && bytes.iter().any(u8::is_ascii_digit);
        (!may_be_a_rule || is_listed(kept)).then_some(Self(zone))
    }
}

/// Returns whether the server lists a zone with this name. Reads all of them.
fn is_listed(name: &CStr) -> bool {
    // SAFETY: what is begun is ended, or with the transaction by an error; a zone that is listed lives up to the next.
    unsafe {
        let list = pg_sys::pg_tzenumerate_start();
        let mut found = false;
        while !found {
            let zone = pg_sys::pg_tzenumerate_next(list);
            if zone.is_null() {
                break;
            }
            found = CStr::from_ptr(pg_sys::pg_get_timezone_name(zone)) == name;
        }
        pg_sys::pg_tzenumerate_end(list);
        found
    }
}

impl Zone for ServerZone {
    fn stretch(&self, at: Instant) -> Option<Stretch> {
        let at = at.unix_seconds();
        let (mut offset, mut is_summer, mut change) = (0, 0, 0);
        let (mut next, mut next_is_summer) = (0, 0);
        // SAFETY: all of these are there to be written to, and the zone lives as long as the process.
        let found = unsafe {
            pg_sys::pg_next_dst_boundary(
                &at,
                &mut offset,
                &mut is_summer,
                &mut change,
                &mut next,
                &mut next_is_summer,
                self.0,
            )
        };
        let until = match found {
            0 => None,
            1 => Some(Instant::from_unix_seconds(change)),
            _ => return None,
        };
        let offset = Length::from_seconds(offset);
        Some(Stretch { offset, until })
    }
}
