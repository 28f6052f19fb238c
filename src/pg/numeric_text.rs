//! Numerics of any size, as texts, by the server's own functions.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;

/// Returns a numeric as the server writes it, in the current memory.
///
/// # Safety
/// A numeric. The text lives as long as the current memory.
pub unsafe fn of<'a>(numeric: pg_sys::Datum) -> &'a str {
    // SAFETY: a numeric is what numeric_out takes; it answers a C string of ASCII.
    unsafe {
        pgrx::direct_function_call_as_datum(pg_sys::numeric_out, &[Some(numeric)])
            .and_then(|text| CStr::from_ptr(text.cast_mut_ptr()).to_str().ok())
            .unwrap_or_default()
    }
}

/// Reads a numeric into the current memory; an error if the text is none.
pub fn read(text: &str) -> pg_sys::Datum {
    let text = CString::new(text).unwrap_or_default();
    let arguments = [
        Some(pg_sys::Datum::from(text.as_ptr())),
        Some(pg_sys::Datum::from(0)),
        Some(pg_sys::Datum::from(-1)),
    ];
    // SAFETY: numeric_in takes a C string, an unused oid and no type modifier.
    let read = unsafe { pgrx::direct_function_call_as_datum(pg_sys::numeric_in, &arguments) };
    read.unwrap_or(pg_sys::Datum::from(0))
}

/// Reads numerics into an array in the current memory.
pub fn array(texts: &[String]) -> pg_sys::Datum {
    const ALIGNED_AS_INT: std::ffi::c_char = pg_sys::TYPALIGN_INT as std::ffi::c_char;
    let mut values: Vec<pg_sys::Datum> = texts.iter().map(|text| read(text)).collect();
    let count = i32::try_from(values.len()).unwrap_or(0);
    // SAFETY: numerics, which are varlenas with the alignment of an int.
    let array = unsafe {
        pg_sys::construct_array(
            values.as_mut_ptr(),
            count,
            pg_sys::NUMERICOID,
            -1,
            false,
            ALIGNED_AS_INT,
        )
    };
    pg_sys::Datum::from(array)
}
