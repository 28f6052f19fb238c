//! Keeps Rust's frames out of the errors that clients read, whatever the server's environment says.

use std::backtrace::Backtrace;
use std::env;

const VARIABLE: &str = "RUST_LIB_BACKTRACE";

/// Makes this library's copy of Rust's runtime capture no backtrace. The runtime reads the environment at the first
/// capture and never again, so the variable is there for that one only: other libraries and programs see theirs.
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
