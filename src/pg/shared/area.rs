//! Areas of shared memory whose size a setting decides, each with its locks.

use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::pg::cell::BackendCell;

/// The alignment of an area. The server may align memory to less.
const ALIGNMENT: usize = 64;
/// The most areas.
const AREAS: usize = 4;

/// An area of shared memory.
#[derive(Clone, Copy)]
pub struct Area {
    /// The name of its memory and of its locks.
    pub name: &'static CStr,
    /// How many locks it has.
    pub locks: usize,
    /// Returns its size in bytes, when the server reserves memory.
    pub bytes: fn() -> usize,
    /// Called when the memory is there. `new`: it must be written first; no other process reaches it before.
    pub start: fn(memory: *mut u8, locks: *mut pg_sys::LWLockPadded, new: bool),
}

type Hook = Option<unsafe extern "C-unwind" fn()>;
static NEXT_REQUEST: BackendCell<Hook> = BackendCell::new(None);
static NEXT_STARTUP: BackendCell<Hook> = BackendCell::new(None);
static KNOWN: BackendCell<[Option<Area>; AREAS]> = BackendCell::new([None; AREAS]);

// storage/lwlock.h, called as C calls them, since pgrx's boundary costs more than they do. They raise an error only if a
// backend holds 200 locks.
unsafe extern "C-unwind" {
    fn LWLockAcquire(lock: *mut pg_sys::LWLock, mode: pg_sys::LWLockMode::Type) -> bool;
    fn LWLockRelease(lock: *mut pg_sys::LWLock);
}

/// Requests an area, while the server loads its libraries.
pub fn request(area: Area) {
    let mut known = KNOWN.get();
    if known.iter().all(Option::is_none) {
        // SAFETY: hooks are set once, while the library is loaded, and live until the process exits.
        unsafe {
            NEXT_REQUEST.set(pg_sys::shmem_request_hook);
            pg_sys::shmem_request_hook = Some(on_request);
            NEXT_STARTUP.set(pg_sys::shmem_startup_hook);
            pg_sys::shmem_startup_hook = Some(on_startup);
        }
    }
    if let Some(free) = known.iter_mut().find(|known| known.is_none()) {
        *free = Some(area);
    }
    KNOWN.set(known);
}

fn areas() -> impl Iterator<Item = Area> {
    KNOWN.get().into_iter().flatten()
}

#[pg_guard]
unsafe extern "C-unwind" fn on_request() {
    #[allow(ffi_unwind_calls)] // inside the boundary
    // SAFETY: the previous hook, then what the server wants such a hook to do.
    unsafe {
        if let Some(next) = NEXT_REQUEST.get() {
            pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| next());
        }
        for area in areas() {
            pg_sys::RequestAddinShmemSpace((area.bytes)() + ALIGNMENT);
            pg_sys::RequestNamedLWLockTranche(area.name.as_ptr(), area.locks as i32);
        }
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn on_startup() {
    #[allow(ffi_unwind_calls)] // inside the boundary
    // SAFETY: the previous hook; then memory and locks of the sizes that were asked for.
    unsafe {
        if let Some(next) = NEXT_STARTUP.get() {
            pg_sys::submodules::ffi::pg_guard_ffi_boundary(|| next());
        }
        for area in areas() {
            let mut found = false;
            let bytes = (area.bytes)() + ALIGNMENT;
            let memory = pg_sys::ShmemInitStruct(area.name.as_ptr(), bytes, &mut found);
            let memory = memory.cast::<u8>();
            let memory = memory.add(memory.align_offset(ALIGNMENT));
            let locks = pg_sys::GetNamedLWLockTranche(area.name.as_ptr());
            (area.start)(memory, locks, !found);
        }
    }
}

/// A lock that is held until the value is dropped. An error releases it by the server's abort, which comes first.
pub struct Lock(*mut pg_sys::LWLock);

impl Lock {
    /// Waits for the lock.
    ///
    /// # Safety
    /// It is a lock in shared memory that this process does not hold.
    #[inline]
    pub unsafe fn exclusive(lock: *mut pg_sys::LWLockPadded) -> Self {
        #[allow(ffi_unwind_calls, reason = "raises no error, see above")]
        // SAFETY: the caller's promise; the padded lock begins with the lock.
        unsafe {
            let lock = &raw mut (*lock).lock;
            LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
            Self(lock)
        }
    }

    /// Returns a lock that this process holds and has forgotten.
    ///
    /// # Safety
    /// This process holds it.
    #[inline]
    pub unsafe fn held(lock: *mut pg_sys::LWLockPadded) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { &raw mut (*lock).lock })
    }
}

impl Drop for Lock {
    #[inline]
    fn drop(&mut self) {
        if !std::thread::panicking() {
            #[allow(ffi_unwind_calls, reason = "raises no error, see above")]
            // SAFETY: acquired above.
            unsafe {
                LWLockRelease(self.0)
            };
        }
    }
}
