//! What generated policies call, per row: `can`, `can_see`, `tenant_id(permission)` and their
//! relatives for tables that hold the application's own keys.
//!
//! A call site finds out once per generation what it may see and keeps that; a row then costs a
//! comparison or a hash look-up. No SPI, no lock, no allocation.

//!
//! | file | what it answers |
//! | --- | --- |
//! | `rows` | may this row be touched? |
//! | `one` | the one tenant, for an equality |
//! | `many` | all tenants, for an index |
//! | `owner` | is the row its owner's? |
//! | `project` | is the row in a project that may be touched? |
//! | `view` | what a call site may see, found out once per generation |

mod many;
mod one;
mod owner;
mod project;
mod rows;
mod view;

pub use rows::{holds_int, holds_text, holds_uuid};
pub use view::{tenants, visible};

use crate::error::Error;
use crate::pg::fmgr::Answer;

type Outcome = Result<Answer, Error>;

fn yes(answer: bool) -> Outcome {
    Ok(Answer::Bool(answer))
}
