//! Keeps Rust frames out of the errors that clients read, whatever the server's environment contains.

use std::backtrace::Backtrace;
use std::env;

const VARIABLE: &str = "RUST_LIB_BACKTRACE";

/// Makes this library's copy of the Rust runtime capture no backtraces. The runtime reads the environment only at the
/// first capture, so the variable is set only during that: other libraries and programs see the original.
pub fn keep_out_of_errors() {
    let before = env::var_os(VARIABLE);
    // SAFETY: called by the postmaster while it loads libraries, before any other thread exists.
    unsafe { env::set_var(VARIABLE, "0") };
    drop(Backtrace::capture());
    // SAFETY: as above.
    unsafe {
        match before {
            Some(value) => env::set_var(VARIABLE, value),
            None => env::remove_var(VARIABLE),
        }
    }
}
