//! Identity providers: tokens that somebody else signed, the users they name, and from where users may
//! come.
//!
//! | file | what |
//! | --- | --- |
//! | `providers` | the providers, as far as this backend met them |
//! | `tokens` | a token is verified, and its user found or made |
//! | `single_use` | tokens that are good for one login |
//! | `login` | what a login writes, when it has to |
//! | `networks` | allowed networks, and the client's address |
//! | `checks` | what SQL asks before it stores keys and claims |

mod checks;
mod login;
pub mod networks;
mod providers;
mod single_use;
mod tokens;

pub use single_use::claim;
pub use tokens::{still_holds, verify};

/// Forgets providers, and the tokens they verified.
pub fn forget() {
    providers::forget();
    tokens::forget();
}
