//! Identity providers: tokens that another service signed, the users they name, and the networks of users.
//!
//! | file | what |
//! | --- | --- |
//! | `providers` | the providers that this backend has cached |
//! | `tokens` | verifies a token, and finds or creates its user |
//! | `single_use` | tokens that are valid for one login |
//! | `refusals` | why tokens were refused, for who runs the provider |
//! | `login` | the rows that some logins write |
//! | `policies` | what the scopes on a user's path ask of a token |
//! | `networks` | allowed networks, and the client's address |
//! | `checks` | checks of keys and claims before SQL stores them |

mod checks;
mod login;
pub mod networks;
mod policies;
mod providers;
mod refusals;
mod single_use;
mod tokens;

pub use refusals::note as note_refusal;
pub use single_use::claim;
pub use tokens::{still_holds, verify};

/// Drops cached providers, and the tokens they verified.
pub fn forget() {
    providers::forget();
    tokens::forget();
}
