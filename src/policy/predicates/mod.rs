//! Functions that generated policies call for each row: `can`, `can_see`, `tenant_id(permission)` and their
//! forms for tables with the application's own keys.
//!
//! A call site determines once per generation what it may see, and caches the result. A row then costs a
//! comparison or a hash look-up. No SPI, no lock, no allocation.

//!
//! | file | what it answers |
//! | --- | --- |
//! | `rows` | whether a row may be read or written |
//! | `one` | the only tenant, for an equality |
//! | `many` | all tenants, for an index condition |
//! | `owner` | whether a row belongs to the context's user |
//! | `project` | whether a row's project may be read or written |
//! | `view` | what a call site may see, computed once per generation |

mod many;
mod one;
mod owner;
mod project;
mod rows;
mod view;

pub use one::{only_text, parameter};
pub use rows::{holds_int, holds_text, holds_uuid};
pub use view::{tenants, visible};

use crate::error::Error;
use crate::pg::fmgr::Answer;

type Outcome = Result<Answer, Error>;

fn yes(answer: bool) -> Outcome {
    Ok(Answer::Bool(answer))
}
