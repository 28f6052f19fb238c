//! Settings of the server that a transaction cannot raise above what its tenant's plan allows.
//!
//! A check hook of each setting lowers what SET, set_config() and functions with settings of their own assign. RESET, and
//! set_config() with NULL, call no such hook but assign the reset value: that is lowered too, until the transaction ends.
//! A statement's time runs out by the server's own timer, which is set again wherever a query starts.

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::null_mut;

use pgrx::pg_sys;

use super::settings;
use crate::pg::cell::BackendCell;
use crate::pg::{statics, xact};

// utils/timeout.h, called as C calls it.
unsafe extern "C" {
    fn enable_timeout_at(id: c_int, at: pg_sys::TimestampTz);
    fn get_timeout_active(id: c_int) -> bool;
    fn get_timeout_finish_time(id: c_int) -> pg_sys::TimestampTz;
}

/// STATEMENT_TIMEOUT of utils/timeout.h.
const STATEMENT_TIMER: c_int = 3;

/// Hashes may take work_mem this many times; more would be another way around it.
const HASHES_MAX: f64 = 2.0;

/// The most that a transaction may have; `None` for what the server allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ceilings {
    /// In milliseconds.
    pub statement_timeout: Option<i32>,
    /// In milliseconds.
    pub idle_timeout: Option<i32>,
    /// In kilobytes.
    pub work_mem: Option<i32>,
    /// For one query.
    pub parallel_workers: Option<i32>,
}

/// A setting with a ceiling.
struct Limited {
    name: &'static CStr,
    /// A timeout: 0 is none, which is more than any.
    is_timeout: bool,
    most: BackendCell<Option<i32>>,
    setting: BackendCell<*mut pg_sys::config_int>,
    previous: BackendCell<pg_sys::GucIntCheckHook>,
    /// The reset value before, and the one in its place.
    reset: BackendCell<Option<(i32, i32)>>,
}

const fn limited(name: &'static CStr, is_timeout: bool) -> Limited {
    Limited {
        name,
        is_timeout,
        most: BackendCell::new(None),
        setting: BackendCell::new(null_mut()),
        previous: BackendCell::new(None),
        reset: BackendCell::new(None),
    }
}

static LIMITED: [Limited; 4] = [
    limited(c"statement_timeout", true),
    limited(c"idle_in_transaction_session_timeout", true),
    limited(c"work_mem", false),
    limited(c"max_parallel_workers_per_gather", false),
];
/// The places of two of them.
const STATEMENT: usize = 0;
const WORK_MEM: usize = 2;

static HASHES: BackendCell<*mut pg_sys::config_real> = BackendCell::new(null_mut());
static HASHES_RESET: BackendCell<Option<f64>> = BackendCell::new(None);
static PREVIOUS_HASHES: BackendCell<pg_sys::GucRealCheckHook> = BackendCell::new(None);

/// Whether this transaction has a ceiling.
static ANY: BackendCell<bool> = BackendCell::new(false);

/// Puts the check hooks in their places.
pub fn init() {
    for (place, limited) in LIMITED.iter().enumerate() {
        let setting = settings::find(limited.name).cast::<pg_sys::config_int>();
        if setting.is_null() {
            continue;
        }
        let hook: pg_sys::GucIntCheckHook = Some(match place {
            0 => check::<0>,
            1 => check::<1>,
            2 => check::<2>,
            _ => check::<3>,
        });
        // SAFETY: the server's own record of an integer setting, which lives as long as the process; called once, in _PG_init.
        unsafe {
            limited.previous.set((*setting).check_hook);
            (*setting).check_hook = hook;
        }
        limited.setting.set(setting);
    }
    let hashes = settings::find(c"hash_mem_multiplier").cast::<pg_sys::config_real>();
    if !hashes.is_null() {
        // SAFETY: as above, of a real setting.
        unsafe {
            PREVIOUS_HASHES.set((*hashes).check_hook);
            (*hashes).check_hook = Some(check_hashes);
        }
        HASHES.set(hashes);
    }
}

/// Limits the rest of the transaction, its running statement included.
pub fn impose(most: Ceilings) {
    lift();
    let all = [
        most.statement_timeout,
        most.idle_timeout,
        most.work_mem,
        most.parallel_workers,
    ];
    for (limited, most) in LIMITED.iter().zip(all) {
        limited.most.set(most);
    }
    ANY.set(all.iter().any(Option::is_some));
    hold(true);
}

/// Holds the ceilings where a query starts. Within a parallel query nothing can be set, and nothing need be.
#[inline]
pub fn query_starts() {
    if ANY.get() && !xact::parallel() {
        hold(false);
    }
}

#[cold]
fn hold(begins: bool) {
    for limited in &LIMITED {
        limited.hold(begins);
    }
    if LIMITED[WORK_MEM].most.get().is_some() {
        hold_hashes();
    }
    if let Some(most) = LIMITED[STATEMENT].most.get() {
        let end = statics::GetCurrentStatementStartTimestamp() + i64::from(most) * 1000;
        // SAFETY: a backend's own timers; they raise no error.
        unsafe {
            if !get_timeout_active(STATEMENT_TIMER)
                || get_timeout_finish_time(STATEMENT_TIMER) > end
            {
                enable_timeout_at(STATEMENT_TIMER, end);
            }
        }
    }
}

/// Ends the ceilings before the transaction ends, which restores the settings.
pub fn lift() {
    if !ANY.replace_with(false) {
        return;
    }
    for limited in &LIMITED {
        limited.most.set(None);
        if let Some((before, ours)) = limited.reset.replace_with(None) {
            let setting = limited.setting.get();
            // SAFETY: as in `init`. A value that was read from a file meanwhile stays.
            unsafe {
                if (*setting).reset_val == ours {
                    (*setting).reset_val = before;
                }
            }
        }
    }
    if let Some(before) = HASHES_RESET.replace_with(None) {
        // SAFETY: likewise.
        unsafe { (*HASHES.get()).reset_val = before };
    }
}

impl Limited {
    fn exceeds(&self, value: i32, most: i32) -> bool {
        value > most || (self.is_timeout && value == 0)
    }

    /// Lowers the setting and its reset value. When a ceiling begins, it also replaces a default that is lower.
    fn hold(&self, begins: bool) {
        let (Some(most), setting) = (self.most.get(), self.setting.get()) else {
            return;
        };
        if setting.is_null() {
            return;
        }
        // SAFETY: as in `init`; `variable` is a static of the server.
        unsafe {
            let value = *(*setting).variable;
            let chosen = (*setting).gen_.source == pg_sys::GucSource::PGC_S_SESSION;
            let given = begins && !self.is_timeout && !chosen && value != most;
            if given || self.exceeds(value, most) {
                set(self.name, &most.to_string());
            }
            let reset = (*setting).reset_val;
            if self.exceeds(reset, most) {
                let before = self.reset.get().map_or(reset, |(before, _)| before);
                self.reset.set(Some((before, most)));
                (*setting).reset_val = most;
            }
        }
    }
}

fn hold_hashes() {
    let setting = HASHES.get();
    if setting.is_null() {
        return;
    }
    // SAFETY: as in `init`.
    unsafe {
        if *(*setting).variable > HASHES_MAX {
            set(c"hash_mem_multiplier", &HASHES_MAX.to_string());
        }
        if (*setting).reset_val > HASHES_MAX {
            HASHES_RESET.set(HASHES_RESET.get().or(Some((*setting).reset_val)));
            (*setting).reset_val = HASHES_MAX;
        }
    }
}

/// Does what SET LOCAL does.
fn set(name: &CStr, value: &str) {
    let Ok(value) = CString::new(value) else {
        return;
    };
    // SAFETY: inside a transaction; the server copies both strings.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_LOCAL,
            true,
            0,
            false,
        );
    }
}

/// Whether a new value is the session's own, and not a file's.
fn is_of_session(source: pg_sys::GucSource::Type) -> bool {
    source == pg_sys::GucSource::PGC_S_SESSION
}

#[allow(ffi_unwind_calls)] // errors pass by
unsafe extern "C-unwind" fn check<const PLACE: usize>(
    new: *mut c_int,
    extra: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    let limited = &LIMITED[PLACE];
    // SAFETY: the server passes the new value; the previous hook gets what this one got.
    unsafe {
        if let Some(most) = limited.most.get()
            && is_of_session(source)
            && limited.exceeds(*new, most)
        {
            *new = most;
        }
        match limited.previous.get() {
            Some(previous) => previous(new, extra, source),
            None => true,
        }
    }
}

#[allow(ffi_unwind_calls)] // errors pass by
unsafe extern "C-unwind" fn check_hashes(
    new: *mut f64,
    extra: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: as above.
    unsafe {
        if LIMITED[WORK_MEM].most.get().is_some() && is_of_session(source) && *new > HASHES_MAX {
            *new = HASHES_MAX;
        }
        match PREVIOUS_HASHES.get() {
            Some(previous) => previous(new, extra, source),
            None => true,
        }
    }
}
