//! A clock for one server that tests can set. A preloaded library adds the offset in a file to the system's time.
//!
//! Our own library, since libfaketime 0.9.10 reads its file at each call, 15 µs in place of 1, and hangs when a signal
//! handler reads the clock, as the server's handlers of timeouts do.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::program::{Cluster, succeed};
use crate::scratch::Scratch;

const LIBRARY: &str = include_str!("shifted_clock.c");

/// The clock of one server.
pub struct Clock {
    scratch: Scratch,
    offset: File,
}

impl Clock {
    /// Returns a clock that shows the system's time.
    pub fn new() -> Self {
        let scratch = Scratch::new("clock");
        let (source, offset) = (scratch.0.join("clock.c"), scratch.0.join("offset"));
        fs::write(&source, LIBRARY).unwrap();
        fs::write(&offset, 0_i64.to_ne_bytes()).unwrap();
        succeed(
            Command::new("cc")
                .args(["-shared", "-fPIC", "-O1", "-o"])
                .arg(scratch.0.join("clock.so"))
                .arg(&source),
        );
        let offset = File::options().write(true).open(&offset).unwrap();
        Self { scratch, offset }
    }

    /// Starts a server that uses this clock.
    pub fn server(&self) -> Cluster {
        let path = |name: &str| -> PathBuf { self.scratch.0.join(name) };
        Cluster::start_with(
            &[],
            &[
                ("LD_PRELOAD", &path("clock.so")),
                ("SHIFTED_CLOCK", &path("offset")),
            ],
        )
    }

    /// Sets it to an instant, in seconds of the Unix epoch. It runs on from there.
    pub fn set(&self, seconds: f64) {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let offset = ((seconds - now) * 1e6) as i64 + own_offset();
        self.offset.write_all_at(&offset.to_ne_bytes(), 0).unwrap();
    }
}

/// Returns by how much the clock of the tests themselves is shifted, in microseconds.
fn own_offset() -> i64 {
    std::env::var_os("SHIFTED_CLOCK").map_or(0, |file| {
        let bytes = fs::read(file).unwrap();
        i64::from_ne_bytes(bytes.try_into().unwrap())
    })
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
