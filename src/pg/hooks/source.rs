//! The text of one statement in what a client or a script sent.

use std::ffi::c_char;

/// Returns a statement's part of a text with several: as many bytes (all, if 0) from where it begins (all, if not known).
/// A script of n statements that were looked at as a whole, each time, would take n times its length.
///
/// # Safety
/// The text is NULL or a C string that lives for 'a.
pub unsafe fn part<'a>(text: *const c_char, start: i32, length: i32) -> &'a [u8] {
    if text.is_null() {
        return &[];
    }
    // Positions are in bytes, in any encoding.
    let from = usize::try_from(start).unwrap_or(0);
    let length = usize::try_from(length).unwrap_or(0);
    let end = match length {
        0 => usize::MAX,
        _ => from.saturating_add(length),
    };
    // SAFETY: a C string, as the caller promises, of which no more is taken than it has.
    let all = unsafe { std::slice::from_raw_parts(text.cast(), libc::strnlen(text, end)) };
    all.get(from..).unwrap_or(all)
}
