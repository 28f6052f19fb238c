//! What cached answers were made of, and the messages between backends that it has changed.
//!
//! | file | what |
//! | --- | --- |
//! | `sources` | the subjects that an answer was made of |
//! | `inval` | invalidation messages between backends |

pub mod inval;
pub mod sources;
