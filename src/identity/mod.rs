//! Identity providers: tokens that another service signed, the users they name, and the networks of users.
//!
//! | file | what |
//! | --- | --- |
//! | `providers` | the providers, as far as this backend met them |
//! | `tokens` | a token is verified, and its user found or made |
//! | `single_use` | tokens that are good for one login |
//! | `login` | what a login writes, when it has to |
//! | `networks` | allowed networks, and the client's address |
//! | `checks` | checks of keys and claims before SQL stores them |

mod checks;
mod login;
pub mod networks;
mod providers;
mod single_use;
mod tokens;

pub use single_use::claim;
pub use tokens::{still_holds, verify};

/// Drops cached providers, and the tokens they verified.
pub fn forget() {
    providers::forget();
    tokens::forget();
}
