//! Shared by the tests over real connections: a database and login roles for each test, a small tree of
//! tenants with data, and connections that report the server's errors.
//!
//! The server is a temporary one, named by `TENANCY_TEST_DSN` or `PGHOST` and `PGPORT`: `make test` starts it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod application;
pub mod bad_input;
pub mod clock;
pub mod dice;
pub mod exported;
pub mod fuzz;
pub mod idp;
pub mod leaving;
pub mod metering;
pub mod program;
pub mod scratch;
pub mod session;
pub mod world;

pub use session::{Failure, SCANS, Session, Until};
pub use world::{Db, World};
